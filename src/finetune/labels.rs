//! Classes of the training images: `dataset.json` as StyleGAN's dataset tool writes it, else the folders that they lie in.

use crate::density::parent_folder;
use crate::error::{Error, Result};
use crate::formats::zip::open_zip;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

const FILE: &str = "dataset.json";
/// Longest label file that is read, in bytes: ten million images.
const MAX_BYTES: u64 = 1 << 29;

#[derive(Deserialize)]
struct Dataset {
    labels: Option<Vec<(String, Label)>>,
}

/// A class, as its number or as a vector that is 1 there and 0 elsewhere: the official loader takes both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Class(u32),
    OneHot(Vec<f64>),
}

impl Label {
    /// The class; `None` for a vector that names none or several, or is not as long as there are classes.
    fn class(&self, count: usize) -> Option<u32> {
        match self {
            Label::Class(class) => Some(*class),
            Label::OneHot(values) => {
                let mut hot = values.iter().zip(0..).filter(|(value, _)| **value != 0.0);
                let class = hot.next().filter(|(value, _)| **value == 1.0).map(|(_, class)| class)?;
                (values.len() == count && hot.next().is_none()).then_some(class)
            }
        }
    }
}

/// The class of each path of an image set, below `count`. Without a `dataset.json` folders in bytewise order are classes 0, 1, ….
///
/// # Errors
/// [`Error::Malformed`] if the label file is damaged, leaves out an image or names a class beyond `count`; [`Error::Data`] if there
/// is none and there are not exactly `count` folders.
pub(crate) fn classes(data: &Path, paths: &[String], count: usize) -> Result<Vec<u32>> {
    let Some(text) = read(data)? else { return by_folder(paths, count) };
    let file = data.join(FILE);
    let wrong =
        |reason: String| Error::malformed(&file, reason, "StyleGAN's dataset_tool.py writes such a file");
    let dataset: Dataset = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let Some(labels) = dataset.labels else { return by_folder(paths, count) };
    let labels: HashMap<String, Label> = labels.into_iter().collect();
    let class = |path: &String| match labels.get(path) {
        Some(label) => match label.class(count) {
            Some(class) if (class as usize) < count => Ok(class),
            Some(class) => Err(wrong(format!("gives {path} the class {class}, the model has {count}"))),
            None => Err(wrong(format!(
                "gives {path} a label that is not 1 for one of {count} classes and 0 for the others"
            ))),
        },
        None => Err(wrong(format!("has no label for {path}"))),
    };
    paths.iter().map(class).collect()
}

fn by_folder(paths: &[String], count: usize) -> Result<Vec<u32>> {
    let mut folders: Vec<&str> = paths.iter().map(|path| parent_folder(path)).collect();
    folders.sort_unstable();
    folders.dedup();
    if folders.len() != count {
        return Err(Error::data(
            format!("the model has {count} classes, the images lie in {} folders", folders.len()),
            "put the images of each class into a folder of its own, or label them in dataset.json",
        ));
    }
    let class = |path: &String| folders.binary_search(&parent_folder(path)).unwrap_or(0) as u32;
    Ok(paths.iter().map(class).collect())
}

/// The label file of a directory or zip archive, if it has one.
fn read(data: &Path) -> Result<Option<Vec<u8>>> {
    if data.is_dir() {
        let path = data.join(FILE);
        return match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            file => bounded(file.map_err(Error::io("open", &path))?, &path).map(Some),
        };
    }
    let is_zip = data.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    if !is_zip {
        return Ok(None);
    }
    let wrong = |e: zip::result::ZipError| Error::malformed(data, e.to_string(), "");
    let mut archive = open_zip(File::open(data).map_err(Error::io("open", data))?).map_err(wrong)?;
    match archive.by_name(FILE) {
        Err(zip::result::ZipError::FileNotFound) => Ok(None),
        entry => bounded(entry.map_err(wrong)?, data).map(Some),
    }
}

fn bounded(source: impl Read, path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(Error::io("read", path))?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(Error::malformed(path, format!("{FILE} is too long"), "")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn paths() -> Vec<String> {
        ["b/1.png", "a/2.png", "b/3.png"].map(String::from).to_vec()
    }

    #[test]
    fn folders_in_order_are_classes_where_nothing_else_is_said() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(classes(place.path(), &paths(), 2).unwrap(), [1, 0, 1]);
        assert!(classes(place.path(), &paths(), 3).unwrap_err().to_string().contains("2 folders"));
    }

    #[test]
    fn a_label_file_goes_before_folders_in_a_directory_and_in_an_archive() {
        const LABELS: &str = r#"{"labels": [["b/1.png", 4], ["a/2.png", 0], ["b/3.png", 1]]}"#;
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(FILE), LABELS).unwrap();
        assert_eq!(classes(place.path(), &paths(), 5).unwrap(), [4, 0, 1]);
        assert!(classes(place.path(), &paths(), 4).unwrap_err().to_string().contains("class 4"));
        let archive = place.path().join("a.zip");
        let mut zip = zip::ZipWriter::new(File::create(&archive).unwrap());
        zip.start_file(FILE, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(LABELS.as_bytes()).unwrap();
        zip.finish().unwrap();
        assert_eq!(classes(&archive, &paths(), 5).unwrap(), [4, 0, 1]);
        assert!(classes(&archive, &["new.png".into()], 5).unwrap_err().to_string().contains("new.png"));
    }

    #[test]
    fn labels_are_numbers_or_vectors_that_are_one_at_the_class() {
        let place = tempfile::tempdir().unwrap();
        let text =
            r#"{"labels": [["b/1.png", [0.0, 0.0, 1.0]], ["a/2.png", [1, 0, 0]], ["b/3.png", [0, 1, 0]]]}"#;
        std::fs::write(place.path().join(FILE), text).unwrap();
        assert_eq!(classes(place.path(), &paths(), 3).unwrap(), [2, 0, 1]);
        assert!(classes(place.path(), &paths(), 4).is_err());
    }

    #[test]
    fn damaged_labels_are_an_error_and_empty_ones_none() {
        let place = tempfile::tempdir().unwrap();
        let text =
            |label: &str| format!(r#"{{"labels": [["b/1.png", {label}], ["a/2.png", 0], ["b/3.png", 0]]}}"#);
        let vectors = ["[1.0]", "[0, 0]", "[1, 1]", "[0.5, 0.5]", "[0, 1, 0]", "[]", "[2, 0]"].map(text);
        for text in ["", "[]", &text("-1")].into_iter().chain(vectors.iter().map(String::as_str)) {
            std::fs::write(place.path().join(FILE), text).unwrap();
            assert!(matches!(classes(place.path(), &paths(), 2), Err(Error::Malformed { .. })), "{text}");
        }
        std::fs::write(place.path().join(FILE), r#"{"labels": null}"#).unwrap();
        assert_eq!(classes(place.path(), &paths(), 2).unwrap(), [1, 0, 1]);
    }
}
