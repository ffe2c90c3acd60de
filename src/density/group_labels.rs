//! Which group each image belongs to: its folder, or what a table says.

use crate::error::{Error, Result};
use crate::formats::table::TableReader;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The word on the command line that groups by folder.
const FOLDER: &str = "folder";
/// The group of images that lie in no folder.
const TOP: &str = ".";

/// How images are put into groups: `folder`, or a table FILE.csv with the columns `path` and `group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// The folder an image lies in, with all of its path: `shoes/red` and `bags/red` are two groups.
    Folder,
    /// A CSV file with the columns `path` (as in the results) and `group`; others are passed over.
    Table(PathBuf),
}

impl FromStr for Grouping {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Grouping, Infallible> {
        Ok(if text == FOLDER { Grouping::Folder } else { Grouping::Table(text.into()) })
    }
}

impl Grouping {
    /// Reads the table, where there is one, so that a damaged one is found before the work on images.
    ///
    /// # Errors
    /// As [`Grouping::labels`], but for paths that it leaves out.
    pub(crate) fn check(&self) -> Result<()> {
        self.labels::<&str>(&[]).map(drop)
    }

    /// The group of each path, in the same order.
    ///
    /// # Errors
    /// [`Error::Io`] if the table cannot be read; [`Error::Malformed`] if it lacks a column, is damaged, names a path twice
    /// with different groups, or leaves out one of the paths.
    pub(crate) fn labels<P: AsRef<str>>(&self, paths: &[P]) -> Result<Vec<String>> {
        let file = match self {
            Grouping::Folder => {
                return Ok(paths.iter().map(|p| parent_folder(p.as_ref()).to_string()).collect());
            }
            Grouping::Table(file) => file,
        };
        let table = read_table(file)?;
        let mut missing = paths.iter().filter(|path| !table.contains_key(path.as_ref()));
        if let Some(first) = missing.next() {
            let count = 1 + missing.count();
            return Err(Error::malformed(
                file,
                format!("{count} of {} images have no group, the first is {}", paths.len(), first.as_ref()),
                "add a line for each; paths are relative to the image set, as in the results",
            ));
        }
        Ok(paths.iter().filter_map(|path| table.get(path.as_ref()).cloned()).collect())
    }
}

/// The folder of a `/`-separated relative path; `.` at the top.
pub(crate) fn parent_folder(path: &str) -> &str {
    path.rsplit_once('/').map_or(TOP, |(folder, _)| folder)
}

fn read_table(file: &Path) -> Result<HashMap<String, String>> {
    let malformed = |reason: String| {
        Error::malformed(file, reason, "a table of groups starts with the line `path,group`")
    };
    let damaged = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::Io { action: "read", path: file.to_path_buf(), source },
        kind => malformed(describe(&kind)),
    };
    let mut reader = TableReader::open(file).map_err(damaged)?;
    let headers = reader.headings().map_err(damaged)?;
    let column = |name: &str| {
        let position = headers.iter().position(|header| header.trim() == name);
        position.ok_or_else(|| malformed(format!("there is no column `{name}`")))
    };
    let (path_column, group_column) = (column("path")?, column("group")?);
    let mut table = HashMap::new();
    let mut record = csv::StringRecord::new();
    while reader.read(&mut record).map_err(damaged)? {
        let line = record.position().map_or(0, csv::Position::line);
        let (Some(path), Some(group)) = (record.get(path_column), record.get(group_column)) else {
            return Err(malformed(format!("line {line} has too few columns")));
        };
        if group.is_empty() {
            return Err(malformed(format!("line {line} has no group")));
        }
        if table.insert(path.to_string(), group.to_string()).is_some_and(|before| before != group) {
            return Err(malformed(format!("line {line} puts {path} into a second group")));
        }
    }
    Ok(table)
}

fn describe(kind: &csv::ErrorKind) -> String {
    let line = |position: &Option<csv::Position>| position.as_ref().map_or(0, csv::Position::line);
    match kind {
        csv::ErrorKind::Utf8 { pos, .. } => format!("line {} is not UTF-8", line(pos)),
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            format!("line {} has {len} columns instead of {expected_len}", line(pos))
        }
        _ => "it is not a CSV table".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn table(content: &[u8]) -> (tempfile::NamedTempFile, Grouping) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let grouping = file.path().to_str().unwrap().parse().unwrap();
        (file, grouping)
    }

    #[test]
    fn a_folder_is_the_whole_path_above_the_file() {
        let labels =
            Grouping::Folder.labels(&["a.png", "shoes/b.png", "shoes/red/c.png", "bags/red/c.png"]).unwrap();
        assert_eq!(labels, [".", "shoes", "shoes/red", "bags/red"]);
        assert_eq!("folder".parse(), Ok(Grouping::Folder));
    }

    #[test]
    fn a_table_gives_groups_in_the_order_of_the_images() {
        let (_file, grouping) = table(
            "\u{feff}note,group, path\nx,one,b.png\n,\"two, three\",a.png\n,one,unused.png\n".as_bytes(),
        );
        assert_eq!(grouping.labels(&["a.png", "b.png"]).unwrap(), ["two, three", "one"]);
    }

    #[test]
    fn images_that_the_table_leaves_out_are_counted_and_named() {
        let (_file, grouping) = table(b"path,group\na.png,one\n");
        let error = grouping.labels(&["a.png", "b.png", "c.png"]).unwrap_err();
        assert!(error.to_string().ends_with("2 of 3 images have no group, the first is b.png"), "{error}");
    }

    #[test]
    fn damaged_tables_say_which_line() {
        for (content, reason) in [
            (&b""[..], "no column `path`"),
            (b"file,group\na,b\n", "no column `path`"),
            (b"path\na\n", "no column `group`"),
            (b"path,group\na.png\n", "line 2 has 1 columns instead of 2"),
            (b"path,group\na.png,\n", "line 2 has no group"),
            (b"path,group\na.png,one\na.png,two\n", "line 3 puts a.png into a second group"),
            (b"path,group\n\xff\xfe.png,one\n", "line 2 is not UTF-8"),
        ] {
            let (_file, grouping) = table(content);
            let error = grouping.labels(&["a.png"]).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }));
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_table_that_is_not_there_is_named() {
        let error = Grouping::Table("nowhere/groups.csv".into()).labels(&["a.png"]).unwrap_err();
        assert!(matches!(error, Error::Io { .. }));
        assert_eq!(error.to_string(), "cannot read nowhere/groups.csv");
    }

    proptest! {
        #[test]
        fn no_table_makes_the_parser_panic(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let (_file, grouping) = table(&[b"path,group\n", &content[..]].concat());
            let _ = grouping.labels(&["a.png"]);
        }
    }
}
