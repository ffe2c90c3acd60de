//! The messages between this process and a program that makes images, each a JSON object on a line of its own.

use super::super::info::LatentSpace;
use crate::error::Error;
use crate::remedy::Remedy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::path::PathBuf;

/// The first line that a program is sent.
pub(super) const GREETING: &str = "{\"hello\": 1}";

/// What programs of some systems put in front of UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Most characters of a name or version.
const MAX_NAME: usize = 200;
/// Most numbers of a latent.
const MAX_LATENT: usize = 1 << 28;
/// Characters of a prompt that messages repeat.
const SHOWN_PROMPT: usize = 60;
/// What the space of a program's latents is called.
const SPACE: &str = "latent";

/// What a program says of itself when it is greeted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ProgramInfo {
    /// What it is called.
    pub name: String,
    /// Its version; `None` if it has not said.
    pub version: Option<String>,
    /// Dimensions of the latent that it makes an image of; `None` if it takes none.
    pub latent: Option<Vec<usize>>,
    /// The number of its classes; `None` if it takes none.
    pub classes: Option<u32>,
    /// The values that stand for black and white in arrays that it writes; `None` where these are bytes.
    pub range: Option<[f64; 2]>,
}

/// What an answer to the greeting may hold. What else it holds is for later versions.
#[derive(Deserialize)]
struct Greeted {
    name: Option<String>,
    version: Option<Value>,
    latent: Option<Vec<usize>>,
    classes: Option<u32>,
    range: Option<[f64; 2]>,
    error: Option<Value>,
}

impl ProgramInfo {
    /// From the answer to the greeting.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence whose subject is the program.
    pub(super) fn of_answer(answer: Map<String, Value>) -> Result<Self, String> {
        let told: Greeted = serde_json::from_value(Value::Object(answer))
            .map_err(|e| format!("answered the greeting with what is not understood: {e}"))?;
        if let Some(error) = told.error {
            return Err(format!("answered the greeting with an error: {}", plain(&error)));
        }
        let name = told.name.map(|name| name.trim().to_owned()).unwrap_or_default();
        let version = told.version.map(|version| plain(&version));
        if name.is_empty() {
            return Err("answered the greeting without its `name`".into());
        }
        if name.chars().count().max(version.as_ref().map_or(0, |v| v.chars().count())) > MAX_NAME {
            return Err(format!("has a name or version of more than {MAX_NAME} characters"));
        }
        if let Some(shape) = &told.latent {
            let numbers = shape.iter().try_fold(1usize, |n, &length| n.checked_mul(length));
            if shape.is_empty() || !numbers.is_some_and(|n| (1..=MAX_LATENT).contains(&n)) {
                return Err(format!("says that its latents have the shape {shape:?}"));
            }
        }
        if told.classes == Some(0) {
            return Err("says that it has 0 classes; one without classes leaves `classes` out".into());
        }
        if told.range.is_some_and(|[low, high]| !(low < high && (high - low).is_finite())) {
            return Err("says a `range` that is not two numbers, the lower one first".into());
        }
        Ok(Self { name, version, latent: told.latent, classes: told.classes, range: told.range })
    }

    /// Its name and version.
    fn title(&self) -> String {
        match &self.version {
            Some(version) => format!("{} {version}", self.name),
            None => self.name.clone(),
        }
    }

    /// # Errors
    /// [`Error::Usage`] if it does not take the class, or has classes and none is given.
    pub(crate) fn check_class(&self, class: Option<u32>) -> Result<(), Error> {
        match (self.classes, class) {
            (None, None) => Ok(()),
            (Some(count), Some(class)) if class < count => Ok(()),
            (Some(count), Some(_)) => Err(Error::usage(
                format!("{} has {count} classes, numbered from 0", self.name),
                Remedy::GiveClass(count as usize),
            )),
            (Some(count), None) => Err(Error::usage(
                format!("{} has {count} classes and was given none", self.name),
                Remedy::GiveClass(count as usize),
            )),
            (None, Some(_)) => Err(Error::usage(
                format!("{} has not said that it has classes", self.name),
                "its answer to {\"hello\": 1} may hold \"classes\": their number",
            )),
        }
    }

    /// The space of its latents, which are drawn from a standard normal distribution.
    pub(crate) fn space(&self) -> Option<LatentSpace> {
        self.latent.as_ref().map(|shape| LatentSpace::normal(SPACE, shape))
    }
}

impl fmt::Display for ProgramInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, another program", self.title())?;
        if let Some(shape) = &self.latent {
            write!(f, ", latents {shape:?}")?;
        }
        if let Some(classes) = self.classes {
            write!(f, ", {classes} classes")?;
        }
        if let Some([low, high]) = self.range {
            write!(f, ", values {low} to {high}")?;
        }
        Ok(())
    }
}

/// One image that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Request {
    /// What the answer names it by.
    pub id: u64,
    /// Everything random about the image follows from it, but for what is in the latent.
    pub seed: u64,
    /// The file that the image is to be written to.
    pub output: PathBuf,
    /// A file with the latent, in the shape that the program has named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent: Option<PathBuf>,
    /// The class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
    /// The prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl Request {
    /// What messages call it.
    pub(crate) fn describe(&self) -> String {
        let class = self.class.map(|class| format!(", class {class}")).unwrap_or_default();
        let prompt = match self.prompt.as_deref() {
            None => String::new(),
            Some(prompt) if prompt.chars().count() <= SHOWN_PROMPT => format!(", prompt \"{prompt}\""),
            Some(prompt) => {
                format!(", prompt \"{}…\"", prompt.chars().take(SHOWN_PROMPT).collect::<String>())
            }
        };
        format!("request {} (seed {}{class}{prompt})", self.id, self.seed)
    }
}

/// What a program says of a request.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    /// The request.
    pub id: u64,
    /// Where the image is; where it was asked for if this is not given.
    pub output: Option<String>,
    /// Why there is no image.
    pub error: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    id: Option<u64>,
    output: Option<String>,
    error: Option<Value>,
}

impl Answer {
    /// From an object that a program has written.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence whose subject is the program.
    pub(super) fn of_object(object: Map<String, Value>) -> Result<Self, String> {
        let told: Told = serde_json::from_value(Value::Object(object))
            .map_err(|e| format!("wrote an answer that is not understood: {e}"))?;
        match told.id {
            Some(id) => Ok(Self { id, output: told.output, error: told.error.map(|error| plain(&error)) }),
            None => Err("wrote an answer without the `id` of a request".into()),
        }
    }
}

/// The object that a line is; `None` for any other text. The mark that some programs begin their output with is no part of it.
pub(super) fn object(line: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(line.trim_start_matches(BYTE_ORDER_MARK)) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// A text without its quotes, and any other value as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn greeted(answer: Value) -> Result<ProgramInfo, String> {
        ProgramInfo::of_answer(answer.as_object().unwrap().clone())
    }

    #[test]
    fn the_greeting_is_an_object_and_the_least_answer_to_it_is_a_name() {
        assert_eq!(object(GREETING), json!({"hello": 1}).as_object().cloned());
        let least = greeted(json!({"name": "dots"})).unwrap();
        assert_eq!((least.name.as_str(), least.latent.as_ref(), least.range), ("dots", None, None));
        let full = json!({
            "name": " sd ", "version": 3, "latent": [4, 64, 64], "classes": 10, "range": [-1, 1], "space": "z"
        });
        let full = greeted(full).unwrap();
        assert_eq!((full.name.as_str(), full.version.as_deref()), ("sd", Some("3")));
        assert_eq!(full.space().unwrap().shape, [4, 64, 64]);
        assert_eq!((full.classes, full.range), (Some(10), Some([-1.0, 1.0])));
    }

    #[test]
    fn answers_to_the_greeting_that_make_no_sense_are_refused_in_words() {
        for (answer, words) in [
            (json!({}), "without its `name`"),
            (json!({"name": "  "}), "without its `name`"),
            (json!({"name": 7}), "not understood"),
            (json!({"name": "a".repeat(1000)}), "more than 200 characters"),
            (json!({"error": "no GPU"}), "an error: no GPU"),
            (json!({"name": "a", "latent": []}), "shape []"),
            (json!({"name": "a", "latent": [4, 0]}), "shape [4, 0]"),
            (json!({"name": "a", "latent": [-4]}), "not understood"),
            (json!({"name": "a", "latent": [1u64 << 40, 1u64 << 40]}), "shape [1099511627776"),
            (json!({"name": "a", "classes": 0}), "0 classes"),
            (json!({"name": "a", "range": [1, 1]}), "range"),
            (json!({"name": "a", "range": [1]}), "not understood"),
        ] {
            let reason = greeted(answer).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn a_request_has_what_the_run_has_and_is_named_by_what_tells_it_from_others() {
        let mut request =
            Request { id: 17, seed: 5, output: "/a/17.png".into(), latent: None, class: None, prompt: None };
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            json!({"id": 17, "seed": 5, "output": "/a/17.png"})
        );
        assert_eq!(request.describe(), "request 17 (seed 5)");
        (request.class, request.prompt) = (Some(3), Some("a \"red\" shoe".into()));
        request.latent = Some("/a/17.npy".into());
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            json!({"id": 17, "seed": 5, "output": "/a/17.png", "latent": "/a/17.npy", "class": 3, "prompt": "a \"red\" shoe"})
        );
        assert_eq!(request.describe(), "request 17 (seed 5, class 3, prompt \"a \"red\" shoe\")");
        request.prompt = Some("é".repeat(100));
        assert_eq!(request.describe().matches('é').count(), 60);
    }

    #[test]
    fn answers_name_a_request_and_other_lines_are_no_objects() {
        let answer = |text: &str| Answer::of_object(object(text).unwrap());
        for text in [r#"{"id": 3}"#, "\u{feff}{\"id\": 3} "] {
            assert_eq!(answer(text), Ok(Answer { id: 3, output: None, error: None }));
        }
        let failed = answer(r#"{"id": 3, "error": {"code": 1}, "seconds": 2}"#).unwrap();
        assert_eq!(failed.error.as_deref(), Some("{\"code\":1}"));
        assert!(answer("{}").unwrap_err().contains("without the `id`"));
        for text in [r#"{"id": -1}"#, r#"{"id": "3"}"#, r#"{"id": 1.5}"#, r#"{"id": 1, "output": 3}"#] {
            assert!(answer(text).unwrap_err().contains("not understood"), "{text}");
        }
        for text in ["", "loading", "[1]", "3", "null", "{\"id\": 1", &"[".repeat(100_000)] {
            assert_eq!(object(text), None);
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in ".{0,80}") {
            if let Some(object) = object(&line) {
                let _ = (Answer::of_object(object.clone()), ProgramInfo::of_answer(object));
            }
        }
    }
}
