//! Folders and a configuration as kohya's sd-scripts read them: `--dataset_config dataset.toml`, or `--train_data_dir` with the folders
//! themselves, whose names begin with their repeats. Of several subsets with one `image_dir` the scripts take the first alone, so each level
//! is a folder.

use super::captions::{self, Caption, CaptionCounts};
use super::names::{file_name, is_taken};
use super::{SetOptions, WrittenSet, each_image, put};
use crate::candidates::PoolSource;
use crate::error::{Error, Result};
use crate::formats::atomic::{link_to, write_atomic};
use crate::progress::Progress;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// Extensions of the files that the scripts take for images wherever they run (library/train_util.py, IMAGE_EXTENSIONS); letter case
/// counts on most systems.
pub(super) const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];
/// The configuration.
const CONFIG: &str = "dataset.toml";

/// As [`super::write_training_set`].
pub(super) fn write(
    source: &PoolSource,
    dir: &Path,
    repeats: &[u32],
    options: &SetOptions,
    progress: &dyn Progress,
) -> Result<WrittenSet> {
    let mut written = WrittenSet { files: vec![None; repeats.len()], ..WrittenSet::default() };
    let mut counts = CaptionCounts::default();
    let mut unusable = None;
    each_image(repeats.len(), progress, |row| {
        let path = source.paths().get(row).map_or("", String::as_str);
        let convert = !is_taken(path, &EXTENSIONS);
        written.converted += usize::from(convert);
        let (stem, extension) = file_name(row, path, &EXTENSIONS);
        let folder = folder(repeats.get(row).copied().unwrap_or(1), options);
        let target = dir.join(&folder).join(format!("{stem}.{extension}"));
        put(source, row, &target, convert, options.link)?;
        let image = source.place().join(path);
        let caption = dir.join(&folder).join(format!("{stem}.{}", captions::EXTENSION));
        match captions::beside(&image) {
            Caption::None => counts.without += 1,
            Caption::Unusable(reason) => {
                let path = Path::new(path).with_extension(captions::EXTENSION).display().to_string();
                if options.strict {
                    return Err(Error::Strict { path, reason });
                }
                counts.unusable += 1;
                unusable.get_or_insert(format!("{path} {reason}"));
            }
            Caption::Text(text) => {
                counts.with += 1;
                match options.link {
                    true => {
                        let file = image.with_extension(captions::EXTENSION);
                        link_to(&fs::canonicalize(&file).map_err(Error::io("link", &file))?, &caption)?;
                    }
                    false => write_atomic(&caption, |out| out.write_all(&text))?,
                }
            }
        }
        written.files[row] = Some(format!("{folder}/{stem}.{extension}"));
        Ok(())
    })?;
    if let Some(first) = unusable {
        progress.warn(&format!(
            "{} captions cannot be used and are left out, the first: {first}",
            counts.unusable
        ));
    }
    let levels: BTreeSet<u32> = repeats.iter().copied().collect();
    let text = config(&levels, options)?;
    write_atomic(dir.join(CONFIG), |out| out.write_all(text.as_bytes()))?;
    written.captions = Some(counts);
    Ok(written)
}

fn folder(repeats: u32, options: &SetOptions) -> String {
    format!("{repeats}_{}", options.name)
}

/// The text of the configuration. Resolution and batch size are the trainer's options.
fn config(levels: &BTreeSet<u32>, options: &SetOptions) -> Result<String> {
    let mut text = String::new();
    let at = match &options.root {
        None => "Folders are relative: start the trainer in the directory of this file.",
        Some(_) => "The trainer finds the folders as they are named here.",
    };
    let class = quoted(&options.name.to_string())?;
    let _ = writeln!(
        text,
        "# Written by pd resample. {at}\n[general]\ncaption_extension = \".{}\"\n\n[[datasets]]",
        captions::EXTENSION
    );
    for &repeats in levels {
        let folder = folder(repeats, options);
        let path = match &options.root {
            None => folder,
            Some(root) => format!("{}/{folder}", root.trim_end_matches(['/', '\\'])),
        };
        let _ = writeln!(
            text,
            "\n  [[datasets.subsets]]\n  image_dir = {}\n  class_tokens = {class}\n  num_repeats = {repeats}",
            quoted(&path)?
        );
    }
    Ok(text)
}

/// A string of TOML: JSON's are, but for one character.
fn quoted(text: &str) -> Result<String> {
    let quoted = serde_json::to_string(text).map_err(|e| Error::data(e.to_string(), ""))?;
    Ok(quoted.replace('\u{7f}', "\\u007f"))
}

#[cfg(test)]
mod tests {
    use super::super::TrainerFormat;
    use super::*;

    fn options(name: &str, root: Option<&str>) -> SetOptions {
        let (name, root) = (name.parse().unwrap(), root.map(String::from));
        SetOptions { format: TrainerFormat::Kohya, name, root, link: false, strict: false }
    }

    #[test]
    fn each_level_is_a_subset_with_a_folder_of_its_own() {
        let text = config(&BTreeSet::from([33, 1]), &options("sks shoe", None)).unwrap();
        assert_eq!(
            text,
            "# Written by pd resample. Folders are relative: start the trainer in the directory of this file.\n\
             [general]\ncaption_extension = \".txt\"\n\n[[datasets]]\n\n  \
             [[datasets.subsets]]\n  image_dir = \"1_sks shoe\"\n  class_tokens = \"sks shoe\"\n  num_repeats = 1\n\n  \
             [[datasets.subsets]]\n  image_dir = \"33_sks shoe\"\n  class_tokens = \"sks shoe\"\n  num_repeats = 33\n"
        );
        let rooted = config(&BTreeSet::from([2]), &options("a", Some("/data/\"x\"\u{7f}/"))).unwrap();
        assert!(rooted.contains(r#"image_dir = "/data/\"x\"\u007f/2_a""#), "{rooted}");
        let windows = config(&BTreeSet::from([2]), &options("a", Some(r"C:\sets\"))).unwrap();
        assert!(windows.contains(r#"image_dir = "C:\\sets/2_a""#), "{windows}");
    }
}
