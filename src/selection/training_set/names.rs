//! What the files and folders of a training set are called.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

/// The extension of images that are written anew.
const PNG: &str = "png";
/// Most bytes of an image's own name that are kept: file systems take 255 for all.
const MOST_BYTES: usize = 160;

/// A name that is part of a folder's and, with some trainers, the caption of images that have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SetName(String);

impl FromStr for SetName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            |c: char| c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
        let is_plain =
            !text.contains(wrong) && text.trim() == text && !text.starts_with('.') && !text.ends_with('.');
        match !text.is_empty() && text.len() <= MOST_BYTES && is_plain {
            true => Ok(Self(text.into())),
            false => Err(Error::usage(
                format!("`{text}` cannot be part of a folder's name"),
                "letters, digits, spaces, - and _ can",
            )),
        }
    }
}

impl TryFrom<String> for SetName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<SetName> for String {
    fn from(name: SetName) -> Self {
        name.0
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a trainer takes a file of this name for an image, by its extension.
pub(super) fn is_taken(path: &str, extensions: &[&str]) -> bool {
    extension(path).is_some_and(|own| extensions.contains(&own.as_str()))
}

/// In lower case: some trainers tell letter cases apart.
fn extension(path: &str) -> Option<String> {
    Some(Path::new(path).extension()?.to_str()?.to_ascii_lowercase())
}

/// The folders that a path names, without what leads elsewhere (an archive may have made it up).
pub(super) fn folders(path: &str) -> Vec<&str> {
    let named = |part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    };
    let parent = Path::new(path).parent().unwrap_or(Path::new(""));
    parent.components().filter_map(named).collect()
}

/// The name of the file of an image, without its extension, and the extension. No other row has this name.
pub(super) fn file_name(row: usize, path: &str, extensions: &[&str]) -> (String, String) {
    let own = Path::new(path).file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let mut end = own.len().min(MOST_BYTES);
    while !own.is_char_boundary(end) {
        end -= 1;
    }
    let own = own.get(..end).unwrap_or_default();
    let extension = extension(path).filter(|own| extensions.contains(&own.as_str()));
    (format!("{row:06}-{own}"), extension.unwrap_or_else(|| PNG.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_stay_in_their_place() {
        for name in ["photo", "sks shoe", "Schuhe_2", "靴"] {
            assert_eq!(name.parse::<SetName>().unwrap().to_string(), name);
        }
        let long = "x".repeat(161);
        for name in ["", "..", "a/b", "a\\b", " a", "a\n", "a:b", ".a", "a.", long.as_str()] {
            assert!(name.parse::<SetName>().is_err(), "{name}");
        }
        assert_eq!(folders("../a/./b/../c.png"), ["a", "b"]);
        assert_eq!(folders("/etc/c.png"), ["etc"]);
        assert!(folders("c.png").is_empty());
    }

    #[test]
    fn no_two_images_have_one_name_and_the_trainer_takes_each() {
        let name = |row, path| file_name(row, path, &["jpg", "png"]);
        assert_eq!(name(7, "a/b.JPG"), ("000007-b".into(), "jpg".into()));
        assert_eq!(name(8, "a/b.gif"), ("000008-b".into(), "png".into()));
        assert_eq!(name(9, "a/b"), ("000009-b".into(), "png".into()));
        assert_eq!(name(1, &format!("{}.png", "é".repeat(100))).0.len(), 7 + 160);
        assert!(is_taken("a.JPG", &["jpg"]) && !is_taken("a.gif", &["jpg"]) && !is_taken("jpg", &["jpg"]));
    }
}
