//! JSON files of other programs. Python's `json` writes `NaN`, `Infinity` and `-Infinity`, which JSON has no words for: they are read as
//! null.

use crate::error::{Error, Result};
use crate::formats::regular::open_regular;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// Most bytes of a file that are read.
const MAX_BYTES: u64 = 1 << 24;

/// What Python writes for numbers that are not finite, the longest first.
const NOT_FINITE: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Reads a JSON object of reasonable size.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] if it is no JSON object.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let file = open_regular(path)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(Error::io("read", path))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::malformed(path, "is too long for a configuration", ""));
    }
    let value: Value = serde_json::from_slice(&finite(text))
        .map_err(|e| Error::malformed(path, format!("is damaged: {e}"), ""))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(Error::malformed(path, "is no JSON object", "")),
    }
}

/// The text with null, and blanks up to the length of what was there, in place of numbers that are not finite: a message about a place in
/// it is about the same place in the file.
fn finite(text: Vec<u8>) -> Vec<u8> {
    const NULL: &[u8] = b"null";
    let mut out = Vec::with_capacity(text.len());
    let (mut rest, mut in_text) = (text.as_slice(), false);
    while let Some(&byte) = rest.first() {
        let word = NOT_FINITE.iter().find(|word| !in_text && rest.starts_with(word));
        let taken = match (byte, word) {
            (_, Some(word)) => {
                out.extend(NULL);
                // `NaN` is shorter than `null`.
                out.resize(out.len() + word.len().saturating_sub(NULL.len()), b' ');
                word.len()
            }
            (b'\\', None) if in_text => rest.len().min(2),
            (_, None) => {
                in_text ^= byte == b'"';
                1
            }
        };
        if word.is_none() {
            out.extend(&rest[..taken]);
        }
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Value> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.json");
        std::fs::write(&path, text).unwrap();
        read_json(&path)
    }

    #[test]
    fn numbers_that_are_not_finite_are_null_and_texts_stay() {
        let read =
            read(r#"{"a": -Infinity, "b": [Infinity, NaN,-1.5], "NaN": "say \"Infinity\" \\", "c": NaN}"#);
        let expected = json!({"a": null, "b": [null, null, -1.5], "NaN": "say \"Infinity\" \\", "c": null});
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn damaged_and_other_files_are_refused() {
        for text in [
            "",
            "[]",
            "{",
            "{\"a\": Inf}",
            "{\"a\": -}",
            "{\"a\": N",
            "\"\\",
            "nul",
            "{\"a\": InfinityInfinity}",
        ] {
            assert!(matches!(read(text), Err(Error::Malformed { .. })), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_python_adds_changes_nothing_else(text in "[-\\\\INa\"nfity{}: ,1]{0,40}") {
            let replaced = finite(text.clone().into_bytes());
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                proptest::prop_assert_eq!(serde_json::from_slice::<Value>(&replaced).unwrap(), value);
            }
        }
    }
}
