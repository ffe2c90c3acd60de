//! One finished shard on disk: `parts/00003-of-00016/`, with a record that says what it is.
//! It is built under a name of its own and renamed into place: of two writers the first wins, and the other's equal part is dropped.

use super::identity::{another_run, differences};
use super::spec::Shard;
use crate::error::{Error, Result};
use crate::formats::atomic::{remove_directory_in_use, write_json};
use crate::formats::digest::{sha256, sha256_of_file};
use crate::remedy::Remedy;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// Where in an output directory the parts are.
pub(crate) const PARTS: &str = "parts";
/// The file that says what a part is; written last.
const RECORD: &str = "part.json";
/// Beginning of the name of a part that is being put together.
const BUILDING: &str = ".building-";
/// Beginning of the name of a directory with the finished chunks of an unfinished part.
const CHUNKS: &str = ".chunks-";
/// Digits of a digest in names and messages.
const SHOWN_DIGITS: usize = 12;

/// What the parts of one run have in common: everything that its result depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The subcommand.
    pub command: String,
    /// Version of the program.
    pub version: String,
    /// Options, extractor and weights, digest of the inputs.
    pub options: Value,
}

impl Run {
    /// A run of this version of the program.
    ///
    /// # Errors
    /// [`Error::Data`] if the options cannot be written as JSON.
    pub(crate) fn new(command: &str, options: &impl Serialize) -> Result<Self> {
        let options = serde_json::to_value(options).map_err(|e| Error::data(e.to_string(), ""))?;
        Ok(Self { command: command.into(), version: env!("CARGO_PKG_VERSION").into(), options })
    }

    /// First digits of the SHA-256 of its record.
    pub(crate) fn digest(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        sha256(text.as_bytes())[..SHOWN_DIGITS].to_owned()
    }

    /// What differs from another run, in one phrase; `None` if nothing does.
    fn difference(&self, other: &Run) -> Option<String> {
        if self == other {
            return None;
        }
        let fields = |run: &Run| serde_json::to_value(run).unwrap_or_default();
        let differing = differences(&fields(self), &fields(other)).join("; ");
        Some(format!("run {} against run {}: {differing}", self.digest(), other.digest()))
    }
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    /// The run that it belongs to.
    pub run: Run,
    /// Its number, from 0.
    pub shard: usize,
    /// Number of parts.
    pub of: usize,
    /// The inputs that it covers.
    pub inputs: Range<usize>,
    /// Rows of its tables.
    pub rows: usize,
    /// Inputs that could not be used.
    pub skipped: usize,
    /// SHA-256 of each file, by its name from the part's directory, with `/`.
    pub files: BTreeMap<String, String>,
}

/// A finished part.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its directory.
    pub dir: PathBuf,
    /// What it is.
    pub record: PartRecord,
}

impl Part {
    /// A file of the part; `None` if it has none of this name.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        self.record.files.contains_key(name).then(|| self.dir.join(name))
    }

    /// Whether every file is the one that was written.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first that is not; [`Error::Io`].
    pub(crate) fn verify(&self) -> Result<()> {
        for (name, digest) in &self.record.files {
            let path = self.dir.join(name);
            if sha256_of_file(&path)? != *digest {
                return Err(Error::malformed(
                    &path,
                    "is not the file that its part.json was written for",
                    format!("remove {} and run that shard again", self.dir.display()),
                ));
            }
        }
        Ok(())
    }

    /// Reads the record of a part.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if it is damaged or of another directory.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(RECORD);
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let wrong = |reason: String| {
            Error::malformed(&path, reason, format!("remove {} and run that shard again", dir.display()))
        };
        let record: PartRecord = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let shard = Shard::new(record.shard, record.of).map_err(|e| wrong(e.to_string()))?;
        if shard.name() != name {
            return Err(wrong(format!("is of shard {}", shard.name())));
        }
        let inside = |name: &String| {
            !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
        };
        if let Some(outside) = record.files.keys().find(|name| !inside(name)) {
            return Err(wrong(format!("{outside} is no file of this directory")));
        }
        Ok(Self { dir: dir.to_path_buf(), record })
    }
}

/// The directory of a shard's part.
fn place(out: &Path, shard: Shard) -> PathBuf {
    out.join(PARTS).join(shard.name())
}

/// The part of this shard where it is finished.
///
/// # Errors
/// [`Error::Usage`] naming what differs, if it is of another run; [`Error::Malformed`] if it is damaged.
pub(super) fn finished_part(out: &Path, shard: Shard, run: &Run) -> Result<Option<Part>> {
    let dir = place(out, shard);
    if !dir.exists() {
        return Ok(None);
    }
    let part = Part::open(&dir)?;
    match run.difference(&part.record.run) {
        None => Ok(Some(part)),
        Some(difference) => Err(another_run(&dir, &difference)),
    }
}

/// The part of this shard where it is finished, else what `make` makes of it. Here alone is the place of parts created: a process
/// that was cut off and goes on when all is merged finds none, and leaves nothing.
///
/// # Errors
/// As [`finished_part`]; what `make` returns.
pub(crate) fn finished_or(
    out: &Path,
    shard: Shard,
    run: &Run,
    make: impl FnOnce() -> Result<Part>,
) -> Result<Part> {
    let part = match finished_part(out, shard, run)? {
        Some(part) => part,
        None => {
            let parts = out.join(PARTS);
            fs::create_dir_all(&parts).map_err(Error::io("create", &parts))?;
            match make() {
                // Another process of the same run may have finished this part, and with it removed what both work on.
                Err(error @ (Error::Io { .. } | Error::Malformed { .. })) => {
                    finished_part(out, shard, run)?.ok_or(error)?
                }
                result => result?,
            }
        }
    };
    remove_attempts(out, shard, run)?;
    Ok(part)
}

/// Removes what attempts at a finished part left: those that were cut off, and those that others may still be working on.
fn remove_attempts(out: &Path, shard: Shard, run: &Run) -> Result<()> {
    remove_directory_in_use(&chunks_of(out, shard, run))?;
    let parts = out.join(PARTS);
    let entries = match fs::read_dir(&parts) {
        // All was merged meanwhile.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("read", &parts))?,
    };
    let building = format!("{BUILDING}{}-", shard.name());
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &parts))?;
        if entry.file_name().to_string_lossy().contains(&building) {
            remove_directory_in_use(&entry.path())?;
        }
    }
    Ok(())
}

/// Where the finished chunks of an unfinished part are kept: two runs do not share them, two writers of one run may.
pub(crate) fn chunks_of(out: &Path, shard: Shard, run: &Run) -> PathBuf {
    out.join(PARTS).join(format!("{CHUNKS}{}-{}", shard.name(), run.digest()))
}

/// Puts a part together, within [`finished_or`]: `write` fills a directory and returns how many rows and skipped inputs that are;
/// the directory then gets its name.
///
/// # Errors
/// What `write` returns; [`Error::Io`] if all is merged and gone; [`Error::Malformed`] if a different part is there already.
pub(crate) fn publish(
    out: &Path,
    shard: Shard,
    run: &Run,
    inputs: Range<usize>,
    write: impl FnOnce(&Path) -> Result<(usize, usize)>,
) -> Result<Part> {
    let dir = place(out, shard);
    let parts = out.join(PARTS);
    let building = building(&parts, shard)?;
    let (rows, skipped) = write(building.path())?;
    let mut record = PartRecord {
        run: run.clone(),
        shard: shard.index,
        of: shard.count,
        inputs,
        rows,
        skipped,
        files: BTreeMap::new(),
    };
    list(building.path(), "", &mut record.files)?;
    write_json(building.path().join(RECORD), &record)?;
    if let Err(error) = fs::rename(building.path(), &dir) {
        let other = finished_part(out, shard, run)?.ok_or_else(|| Error::io("create", &dir)(error))?;
        if other.record != record {
            return Err(Error::malformed(
                &dir,
                "was made before by another process of the same run, and differs",
                "are the images, or the machines, the same? Remove it and run the shard again",
            ));
        }
    } else {
        // What it was built in has another name now, and must not be removed under the old one.
        let _ = building.keep();
    }
    Ok(Part { dir, record })
}

/// The files below `dir` by their names from there, after `prefix`, with the SHA-256 of each.
fn list(dir: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(Error::io("read", dir))?.is_dir() {
            list(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, sha256_of_file(entry.path())?);
        }
    }
    Ok(())
}

fn building(parts: &Path, shard: Shard) -> Result<tempfile::TempDir> {
    let prefix = format!("{BUILDING}{}-", shard.name());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        /// Mode of a new directory before the user's umask.
        const NEW_DIRECTORY_MODE: u32 = 0o777;
        builder.permissions(fs::Permissions::from_mode(NEW_DIRECTORY_MODE));
    }
    builder.tempdir_in(parts).map_err(Error::io("create", parts))
}

/// All parts of a run, in order, none missing, each of the same run and covering all inputs together; files are not read yet.
///
/// # Errors
/// [`Error::Malformed`] naming what is missing as an array of tasks, or the two parts that do not fit.
pub(crate) fn all_parts(out: &Path) -> Result<Vec<Part>> {
    let parts = out.join(PARTS);
    let mut found: BTreeMap<usize, Part> = BTreeMap::new();
    let entries = match fs::read_dir(&parts) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::malformed(out, "has no parts", Remedy::MakeParts));
        }
        entries => entries.map_err(Error::io("read", &parts))?,
    };
    let mut names: Vec<String> = Vec::new();
    for entry in entries {
        names.push(entry.map_err(Error::io("read", &parts))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for shard in names.iter().filter_map(|name| Shard::of_name(name)) {
        let part = Part::open(&place(out, shard))?;
        if let Some(first) = found.values().next() {
            let reason = match part.record.run.difference(&first.record.run) {
                Some(difference) => Some(difference),
                None if part.record.of != first.record.of => Some("cut into another number of shards".into()),
                None => None,
            };
            if let Some(reason) = reason {
                return Err(Error::malformed(
                    &part.dir,
                    format!("does not belong to {}: {reason}", first.dir.display()),
                    "remove the one that is wrong and run its shard again",
                ));
            }
        }
        found.insert(shard.index, part);
    }
    let count = found.values().next().map_or(0, |part| part.record.of);
    let missing: Vec<usize> = (0..count).filter(|index| !found.contains_key(index)).collect();
    if count == 0 || !missing.is_empty() {
        let reason = match count {
            0 => "has no finished part".to_owned(),
            _ => format!("missing {} of {count}: --array={}", missing.len(), as_array(&missing)),
        };
        return Err(Error::malformed(&parts, reason, "run those shards, then merge again"));
    }
    let found: Vec<Part> = found.into_values().collect();
    let mut end = 0;
    for part in &found {
        if part.record.inputs.start != end || part.record.inputs.end < end {
            return Err(Error::malformed(
                &part.dir,
                format!("covers the inputs {:?}, where {end} should come next", part.record.inputs),
                "remove it and run its shard again",
            ));
        }
        end = part.record.inputs.end;
    }
    Ok(found)
}

/// Removes the parts and whatever unfinished attempts left beside them, also under a process that was cut off and still works on
/// one of them.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove_parts(out: &Path) -> Result<()> {
    remove_directory_in_use(&out.join(PARTS))
}

/// Numbers as an array of tasks: `3,7-8`.
fn as_array(numbers: &[usize]) -> String {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(last) if last.end == number => last.end = number + 1,
            _ => runs.push(number..number + 1),
        }
    }
    let shown = runs.iter().map(|run| match run.len() {
        1 => run.start.to_string(),
        _ => format!("{}-{}", run.start, run.end - 1),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::atomic::write_atomic;
    use serde_json::json;
    use std::io::Write;

    fn write(out: &Path, shard: Shard, options: Value, text: &'static str) -> Result<Part> {
        let run = Run::new("embed", &options).unwrap();
        let inputs = shard.range(10);
        fs::create_dir_all(out.join(PARTS)).unwrap();
        publish(out, shard, &run, inputs.clone(), |dir| {
            write_atomic(dir.join("a.txt"), |out| out.write_all(text.as_bytes()))?;
            Ok((inputs.len(), 0))
        })
    }

    fn shard(index: usize) -> Shard {
        Shard { index, count: 3 }
    }

    fn names(out: &Path) -> Vec<String> {
        let entries = fs::read_dir(out.join(PARTS)).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_first_of_two_writers_wins_and_an_equal_second_is_dropped() {
        let out = tempfile::tempdir().unwrap();
        write(out.path(), shard(1), json!(1), "x").unwrap();
        let again = write(out.path(), shard(1), json!(1), "x").unwrap();
        again.verify().unwrap();
        assert_eq!(names(out.path()), ["00001-of-00003"]);
    }

    #[test]
    fn a_different_second_is_refused_and_names_both() {
        let out = tempfile::tempdir().unwrap();
        write(out.path(), shard(1), json!({"weights": "aa"}), "x").unwrap();
        let message = write(out.path(), shard(1), json!({"weights": "bb"}), "x").unwrap_err().to_string();
        assert!(message.contains(r#"options.weights is "aa" there, "bb" here"#), "{message}");
        assert!(write(out.path(), shard(1), json!({"weights": "aa"}), "y").is_err());
        assert_eq!(names(out.path()), ["00001-of-00003"]);
        let run = Run::new("embed", &json!({"weights": "bb"})).unwrap();
        assert!(finished_part(out.path(), shard(1), &run).is_err());
        assert!(finished_part(out.path(), shard(2), &run).unwrap().is_none());
    }

    #[test]
    fn what_was_cut_off_goes_once_the_part_is_finished_and_what_others_work_on_stays() {
        let out = tempfile::tempdir().unwrap();
        let run = Run::new("embed", &json!(1)).unwrap();
        let leave = |shard: Shard| {
            fs::create_dir_all(out.path().join(PARTS)).unwrap();
            for dir in
                [chunks_of(out.path(), shard, &run), building(&out.path().join(PARTS), shard).unwrap().keep()]
            {
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join("half"), "x").unwrap();
            }
        };
        for finished_before in [false, true] {
            leave(shard(1));
            if !finished_before {
                leave(shard(2));
            }
            let make = || write(out.path(), shard(1), json!(1), "x");
            finished_or(out.path(), shard(1), &run, make).unwrap();
            let left = names(out.path());
            assert_eq!(left.len(), 3, "{left:?}");
            assert!(left.iter().all(|name| name == "00001-of-00003" || name.contains("00002-of-00003")));
        }
    }

    #[test]
    fn a_writer_that_comes_too_late_leaves_nothing() {
        let out = tempfile::tempdir().unwrap();
        write(out.path(), shard(1), json!(1), "x").unwrap();
        remove_parts(out.path()).unwrap();
        remove_parts(out.path()).unwrap();
        let run = Run::new("embed", &json!(1)).unwrap();
        assert!(publish(out.path(), shard(1), &run, 0..1, |_| Ok((1, 0))).is_err());
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    }

    #[test]
    fn missing_shards_are_named_as_an_array() {
        let out = tempfile::tempdir().unwrap();
        assert!(all_parts(out.path()).is_err());
        write(out.path(), shard(1), json!(1), "x").unwrap();
        let message = all_parts(out.path()).unwrap_err().to_string();
        assert!(message.contains("missing 2 of 3: --array=0,2"), "{message}");
        write(out.path(), shard(0), json!(1), "x").unwrap();
        write(out.path(), shard(2), json!(1), "x").unwrap();
        assert_eq!(all_parts(out.path()).unwrap().len(), 3);
        assert_eq!(as_array(&[3, 7, 8, 9, 11]), "3,7-9,11");
    }

    #[test]
    fn parts_of_different_runs_or_counts_are_refused() {
        let out = tempfile::tempdir().unwrap();
        write(out.path(), shard(0), json!(1), "x").unwrap();
        write(out.path(), shard(1), json!(2), "x").unwrap();
        assert!(all_parts(out.path()).unwrap_err().to_string().contains("00000-of-00003"));
        fs::remove_dir_all(out.path().join(PARTS).join("00001-of-00003")).unwrap();
        write(out.path(), Shard { index: 1, count: 4 }, json!(1), "x").unwrap();
        assert!(all_parts(out.path()).unwrap_err().to_string().contains("another number"));
    }

    #[test]
    fn a_changed_file_a_damaged_record_and_a_moved_part_are_noticed() {
        let out = tempfile::tempdir().unwrap();
        let part = write(out.path(), shard(0), json!(1), "x").unwrap();
        fs::write(part.dir.join("a.txt"), "y").unwrap();
        assert!(part.verify().unwrap_err().to_string().contains("a.txt"));
        fs::rename(&part.dir, part.dir.with_file_name("00002-of-00003")).unwrap();
        assert!(all_parts(out.path()).unwrap_err().to_string().contains("00000-of-00003"));
        fs::write(out.path().join(PARTS).join("00002-of-00003").join(RECORD), "{").unwrap();
        assert!(matches!(all_parts(out.path()), Err(Error::Malformed { .. })));
    }
}
