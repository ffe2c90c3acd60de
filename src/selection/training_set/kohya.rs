//! What kohya's sd-scripts read: `--dataset_config dataset.toml`. Of several subsets with one `image_dir`, or one `metadata_file`, the scripts
//! take the first alone, so each level is a folder or a metadata file of its own. Folders, whose names begin with their repeats, serve
//! `--train_data_dir` too. With metadata files the photographs stay where they are.

use super::captions::{self, Captions, Tally};
use super::names::{file_name, is_taken};
use super::{SetOptions, WrittenSet, each_image, put};
use crate::candidates::PoolSource;
use crate::error::{Error, Result};
use crate::formats::atomic::{link_to, write_atomic, write_json};
use crate::progress::Progress;
use serde_json::{Map, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Component, Path};

/// Extensions of the files that the scripts take for images wherever they run (library/train_util.py, IMAGE_EXTENSIONS); letter case
/// counts on most systems.
pub(super) const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];
/// The configuration.
const CONFIG: &str = "dataset.toml";

/// What the names of folders say that are in the layout of the scripts, `N_NAME`, as those of a set that was made before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KohyaFolders {
    /// Repeats of the photographs in them.
    pub repeats: BTreeSet<u32>,
    /// What the scripts take for the caption of photographs without one.
    pub names: BTreeSet<String>,
}

impl KohyaFolders {
    /// Of the folders that photographs of these paths in `place` lie in. Empty where one lies elsewhere.
    pub(crate) fn of(place: &Path, paths: &[String]) -> Self {
        let mut found = Self::default();
        for path in paths {
            let file = place.join(path);
            let folder =
                file.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
            let Some((repeats, name)) =
                folder.split_once('_').and_then(|(repeats, name)| Some((repeats.parse().ok()?, name)))
            else {
                return Self::default();
            };
            found.repeats.insert(repeats);
            found.names.insert(name.into());
        }
        found
    }
}

/// Where the photographs of a level are.
enum Layout<'a> {
    /// In a folder of their own.
    Folders,
    /// Where they were: in this directory, from that of the set. A metadata file names them.
    InPlace(&'a str),
}

/// As [`super::write_training_set`].
pub(super) fn write(
    source: &PoolSource,
    captions: &Captions,
    dir: &Path,
    repeats: &[u32],
    options: &SetOptions,
    progress: &dyn Progress,
) -> Result<WrittenSet> {
    let mut tally = Tally::new(options.strict);
    let levels: BTreeSet<u32> = repeats.iter().copied().collect();
    let (text, mut written) = match options.in_place {
        false => {
            let written = write_folders(source, captions, dir, repeats, options, (&mut tally, progress))?;
            (config(&levels, options, &Layout::Folders)?, written)
        }
        true => {
            let place = relative(source.place(), dir)?;
            write_metadata(source, captions, dir, repeats, options, (&mut tally, progress))?;
            let written = WrittenSet { files: vec![None; repeats.len()], ..WrittenSet::default() };
            (config(&levels, options, &Layout::InPlace(&place))?, written)
        }
    };
    write_atomic(dir.join(CONFIG), |out| out.write_all(text.as_bytes()))?;
    written.captions = Some(tally.counts(progress));
    Ok(written)
}

/// A folder for each level.
fn write_folders(
    source: &PoolSource,
    captions: &Captions,
    dir: &Path,
    repeats: &[u32],
    options: &SetOptions,
    (tally, progress): (&mut Tally, &dyn Progress),
) -> Result<WrittenSet> {
    let mut written = WrittenSet { files: vec![None; repeats.len()], ..WrittenSet::default() };
    each_image(repeats.len(), progress, |row| {
        let path = source.paths().get(row).map_or("", String::as_str);
        let convert = !is_taken(path, &EXTENSIONS);
        written.converted += usize::from(convert);
        let (stem, extension) = file_name(row, path, &EXTENSIONS);
        let folder = level(repeats.get(row).copied().unwrap_or(1), options);
        let target = dir.join(&folder).join(format!("{stem}.{extension}"));
        put(source, row, &target, convert, options.link)?;
        let caption = dir.join(&folder).join(format!("{stem}.{}", captions::EXTENSION));
        if let Some(text) = tally.text(path, captions.of(path))? {
            match captions.file(path).filter(|file| options.link && file.exists()) {
                Some(file) => link_to(&fs::canonicalize(&file).map_err(Error::io("link", &file))?, &caption)?,
                None => write_atomic(&caption, |out| out.write_all(text.as_bytes()))?,
            }
        }
        written.files[row] = Some(format!("{folder}/{stem}.{extension}"));
        Ok(())
    })?;
    Ok(written)
}

/// A metadata file for each level: an object with the caption of each photograph, by its path.
///
/// # Errors
/// [`Error::Malformed`] for a photograph that is no file, as in an archive.
fn write_metadata(
    source: &PoolSource,
    captions: &Captions,
    dir: &Path,
    repeats: &[u32],
    options: &SetOptions,
    (tally, progress): (&mut Tally, &dyn Progress),
) -> Result<()> {
    let mut levels: BTreeMap<u32, Map<_, _>> = BTreeMap::new();
    let name = options.name.to_string();
    each_image(repeats.len(), progress, |row| {
        let path = source.paths().get(row).map_or("", String::as_str);
        let file = source.place().join(path);
        if !file.is_file() {
            return Err(Error::malformed(
                file,
                "is in an archive, where the trainer does not find it",
                "unpack it",
            ));
        }
        let text = tally.text(path, captions.of(path))?;
        let caption = text.map_or_else(|| name.clone(), |text| lines(&text));
        let of_level = levels.entry(repeats.get(row).copied().unwrap_or(1)).or_default();
        of_level.insert(path.into(), json!({ "caption": caption }));
        Ok(())
    })?;
    levels.iter().try_for_each(|(&repeats, images)| write_json(dir.join(metadata(repeats, options)), images))
}

/// A caption as the scripts read it of a file: a line each, of which they take the first, or any with `enable_wildcard`.
fn lines(text: &str) -> String {
    let lines = text.lines().map(str::trim).enumerate();
    let kept: Vec<&str> =
        lines.filter(|(at, line)| *at == 0 || !line.is_empty()).map(|(_, line)| line).collect();
    kept.join("\n")
}

/// The name of a level.
fn level(repeats: u32, options: &SetOptions) -> String {
    format!("{repeats}_{}", options.name)
}

/// The metadata file of a level.
fn metadata(repeats: u32, options: &SetOptions) -> String {
    format!("{}.json", level(repeats, options))
}

/// The way from the directory `dir` to `place`; both are there.
fn relative(place: &Path, dir: &Path) -> Result<String> {
    let real = |path: &Path| fs::canonicalize(path).map_err(Error::io("open", path));
    let part = |part: Component| match part {
        Component::ParentDir => Some("..".to_owned()),
        Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    };
    let way = pathdiff::diff_paths(real(place)?, real(dir)?);
    let parts = way.and_then(|way| way.components().map(part).collect::<Option<Vec<_>>>());
    let parts = parts.ok_or_else(|| {
        Error::malformed(place, "cannot be named from the directory of the set", "put both on one drive")
    })?;
    Ok(if parts.is_empty() { ".".into() } else { parts.join("/") })
}

/// The text of the configuration. Resolution and batch size are the trainer's options.
fn config(levels: &BTreeSet<u32>, options: &SetOptions, layout: &Layout) -> Result<String> {
    let mut text = String::new();
    let at = match &options.root {
        None => "Paths are relative: start the trainer in the directory of this file.",
        Some(_) => "The trainer finds the files as they are named here.",
    };
    let placed = |path: &str| {
        quoted(&match &options.root {
            None => path.to_owned(),
            Some(root) => format!("{}/{path}", root.trim_end_matches(['/', '\\'])),
        })
    };
    let _ = writeln!(text, "# Written by pd resample. {at}");
    if matches!(layout, Layout::Folders) {
        let _ = writeln!(text, "[general]\ncaption_extension = \".{}\"\n", captions::EXTENSION);
    }
    let _ = writeln!(text, "[[datasets]]");
    for &repeats in levels {
        let _ = match layout {
            Layout::Folders => writeln!(
                text,
                "\n  [[datasets.subsets]]\n  image_dir = {}\n  class_tokens = {}\n  num_repeats = {repeats}",
                placed(&level(repeats, options))?,
                quoted(&options.name.to_string())?
            ),
            Layout::InPlace(place) => writeln!(
                text,
                "\n  [[datasets.subsets]]\n  image_dir = {}\n  metadata_file = {}\n  num_repeats = {repeats}",
                placed(place)?,
                placed(&metadata(repeats, options))?
            ),
        };
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
        SetOptions { format: TrainerFormat::Kohya, name, root, link: false, in_place: false, strict: false }
    }

    #[test]
    fn each_level_is_a_subset_with_a_folder_of_its_own() {
        let config = |levels: &[u32], options: &SetOptions| {
            config(&levels.iter().copied().collect(), options, &Layout::Folders).unwrap()
        };
        assert_eq!(
            config(&[33, 1], &options("sks shoe", None)),
            "# Written by pd resample. Paths are relative: start the trainer in the directory of this file.\n\
             [general]\ncaption_extension = \".txt\"\n\n[[datasets]]\n\n  \
             [[datasets.subsets]]\n  image_dir = \"1_sks shoe\"\n  class_tokens = \"sks shoe\"\n  num_repeats = 1\n\n  \
             [[datasets.subsets]]\n  image_dir = \"33_sks shoe\"\n  class_tokens = \"sks shoe\"\n  num_repeats = 33\n"
        );
        let rooted = config(&[2], &options("a", Some("/data/\"x\"\u{7f}/")));
        assert!(rooted.contains(r#"image_dir = "/data/\"x\"\u007f/2_a""#), "{rooted}");
        let windows = config(&[2], &options("a", Some(r"C:\sets\")));
        assert!(windows.contains(r#"image_dir = "C:\\sets/2_a""#), "{windows}");
    }

    #[test]
    fn photographs_that_stay_are_named_by_a_metadata_file_for_each_level() {
        let in_place = Layout::InPlace("../photos");
        let text = config(&BTreeSet::from([1, 33]), &options("a", Some("/data/set")), &in_place).unwrap();
        assert_eq!(
            text,
            "# Written by pd resample. The trainer finds the files as they are named here.\n[[datasets]]\n\n  \
             [[datasets.subsets]]\n  image_dir = \"/data/set/../photos\"\n  metadata_file = \"/data/set/1_a.json\"\n  num_repeats = 1\n\n  \
             [[datasets.subsets]]\n  image_dir = \"/data/set/../photos\"\n  metadata_file = \"/data/set/33_a.json\"\n  num_repeats = 33\n"
        );
        let dir = tempfile::tempdir().unwrap();
        let (photos, set) = (dir.path().join("a/photos"), dir.path().join("b/set"));
        fs::create_dir_all(&photos).unwrap();
        fs::create_dir_all(&set).unwrap();
        assert_eq!(relative(&photos, &set).unwrap(), "../../a/photos");
        assert_eq!(relative(&set, &set).unwrap(), ".");
    }

    #[test]
    fn folders_of_a_set_made_before_tell_repeats_and_names() {
        let of = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
            KohyaFolders::of(Path::new("photos/2_sks shoe"), &paths)
        };
        let one = of(&["10_sks shoe/a.png", "b.png"]);
        assert_eq!(one.repeats, BTreeSet::from([2, 10]));
        assert_eq!(one.names, BTreeSet::from(["sks shoe".to_string()]));
        assert_eq!(of(&["1_a_b/c.png", "1_d/c.png"]).names.len(), 2);
        for elsewhere in ["shoes/c.png", "x_1/c.png", "10/c.png", "1_a/b/c.png"] {
            assert_eq!(of(&["1_a/c.png", elsewhere]), KohyaFolders::default(), "{elsewhere}");
        }
    }

    #[test]
    fn the_first_line_of_a_caption_stays_the_first() {
        assert_eq!(lines("a shoe \r\n\n  red\n"), "a shoe\nred");
        assert_eq!(lines("\nred"), "\nred");
        assert_eq!(lines("one"), "one");
    }
}
