//! Metadata files: `metadata.jsonl` or `metadata.csv` in the folders of the images, a row for each image, as `imagefolder` of Hugging Face's
//! datasets reads them. `file_name` is the path of the image from the folder of the file.

use crate::error::{Error, Result};
use crate::formats::regular::open_regular;
use crate::formats::table::TableReader;
use crate::progress::Progress;
use serde_json::{Map, Number, Value};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path};

/// Most bytes of a caption, or of a row of a metadata file.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// What some editors put in front of UTF-8.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// A file of JSON objects, one a line.
pub(super) const JSONL: &str = "metadata.jsonl";
const CSV: &str = "metadata.csv";
const PARQUET: &str = "metadata.parquet";
/// The column that names the image.
const FILE_NAME: &str = "file_name";
/// What columns are called that name further files, at their end.
const FURTHER_FILES: [&str; 3] = ["_file_name", "_file_names", "file_names"];
/// The columns that hold captions, the usual one first.
const CAPTIONS: [&str; 2] = ["text", "caption"];
const HINT: &str = "mend it, or take it out of the folder";

/// What a metadata file has of an image, without its name.
pub(super) type Row = Map<String, Value>;

/// The rows of images by their paths, from the directory that was looked through.
#[derive(Default)]
pub(super) struct Metadata {
    rows: HashMap<String, Row>,
}

impl Metadata {
    /// Of the images `paths` of the directory `place`: the files in their folders and in those above, up to `place`. Where several name
    /// an image, the nearest counts.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a damaged file; [`Error::Io`].
    pub(super) fn open(place: &Path, paths: &[String], progress: &dyn Progress) -> Result<Self> {
        let wanted: HashSet<&str> = paths.iter().map(String::as_str).collect();
        let mut folders = BTreeSet::new();
        for path in paths {
            let above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
            // What is there already has its folders there too.
            above.take_while(|folder| folders.insert(*folder)).for_each(drop);
        }
        let mut found = Self::default();
        // A folder comes before those in it.
        for folder in folders {
            let file = |name: &str| Some(place.join(folder).join(name)).filter(|file| file.exists());
            let (lines, table) = (file(JSONL), file(CSV));
            if let Some(file) = file(PARQUET) {
                let file = file.display();
                progress
                    .warn(&format!("{file} is not read: captions of {JSONL}, {CSV} and .txt files go along"));
            }
            let (file, rows) = match (lines, table) {
                (Some(file), other) => {
                    if let Some(other) = other {
                        progress.warn(&format!("{} is not read, but {JSONL} beside it", other.display()));
                    }
                    let rows = lines_of(&file)?;
                    (file, rows)
                }
                (None, Some(file)) => {
                    let rows = rows_of_table(&file)?;
                    (file, rows)
                }
                (None, None) => continue,
            };
            found.take(folder, &file, rows, &wanted, progress);
        }
        Ok(found)
    }

    fn take(
        &mut self,
        folder: &str,
        file: &Path,
        rows: Vec<Row>,
        wanted: &HashSet<&str>,
        progress: &dyn Progress,
    ) {
        let mut dropped = BTreeSet::new();
        let mut count = 0;
        for mut row in rows {
            let Some(Value::String(name)) = row.remove(FILE_NAME) else { continue };
            let Some(path) = joined(folder, &name).filter(|path| wanted.contains(path.as_str())) else {
                continue;
            };
            row.retain(|column, _| {
                let names_files = FURTHER_FILES.iter().any(|end| column.ends_with(end));
                if names_files {
                    dropped.insert(column.clone());
                }
                !names_files
            });
            self.rows.insert(path, row);
            count += 1;
        }
        let file = file.display();
        if count == 0 {
            progress.warn(&format!("{file} names none of the photographs ({FILE_NAME}): it is left out"));
        }
        if let Some(column) = dropped.first() {
            progress.warn(&format!("{file}: `{column}` names further files, which do not go along"));
        }
    }

    /// Whether there are no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of an image.
    pub(super) fn row(&self, path: &str) -> Option<&Row> {
        self.rows.get(path)
    }

    /// The column that holds captions, where there is one.
    pub(super) fn caption_column(&self) -> Option<&'static str> {
        CAPTIONS.into_iter().find(|column| self.rows.values().any(|row| row.contains_key(*column)))
    }

    /// The caption of an image.
    pub(super) fn caption(&self, path: &str) -> Option<&str> {
        let row = self.row(path)?;
        CAPTIONS.iter().find_map(|column| row.get(*column)?.as_str())
    }

    /// The usual column of captions.
    pub(super) const USUAL: &str = CAPTIONS[0];
}

/// A path from a folder, with `.` and `..` worked out; `None` if it leads elsewhere.
fn joined(folder: &str, name: &str) -> Option<String> {
    let name = name.replace('\\', "/");
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let inside = parts.len();
    for part in Path::new(&name).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir if parts.len() > inside => drop(parts.pop()),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// The objects of a file of lines.
fn lines_of(file: &Path) -> Result<Vec<Row>> {
    let mut reader = BufReader::new(open_regular(file)?);
    let mut rows = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = Read::by_ref(&mut reader).take(MOST_BYTES + 1);
        if bounded.read_until(b'\n', &mut line).map_err(Error::io("read", file))? == 0 {
            break;
        }
        if line.len() as u64 > MOST_BYTES {
            return Err(Error::malformed(file, format!("line {number} is longer than 1 MiB"), HINT));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let wrong = |e: serde_json::Error| Error::malformed(file, format!("line {number}: {e}"), HINT);
        let mark = BYTE_ORDER_MARK.to_string();
        let object = line.strip_prefix(mark.as_bytes()).filter(|_| number == 1).unwrap_or(&line);
        rows.push(serde_json::from_slice(object).map_err(wrong)?);
    }
    Ok(rows)
}

/// The rows of a table. A column whose cells are all numbers holds numbers, as datasets reads it.
fn rows_of_table(file: &Path) -> Result<Vec<Row>> {
    let wrong = |e: csv::Error| Error::malformed(file, e.to_string(), HINT);
    drop(open_regular(file)?);
    let mut table = TableReader::open(file).map_err(wrong)?;
    let names: Vec<String> = table.headings().map_err(wrong)?.iter().map(str::to_owned).collect();
    let mut cells: Vec<Vec<String>> = Vec::new();
    let mut record = csv::StringRecord::new();
    while table.read(&mut record).map_err(wrong)? {
        cells.push(record.iter().map(str::to_owned).collect());
    }
    let value_of = |at: usize| -> fn(&str) -> Option<Value> {
        let all = |number: fn(&str) -> Option<Value>| {
            let mut written = cells.iter().map(|row| row[at].as_str()).filter(|cell| !cell.is_empty());
            names[at] != FILE_NAME && written.all(|cell| number(cell).is_some())
        };
        let numbers: [fn(&str) -> Option<Value>; 2] = [whole, number];
        numbers.into_iter().find(|number| all(*number)).unwrap_or(text)
    };
    let values: Vec<fn(&str) -> Option<Value>> = (0..names.len()).map(value_of).collect();
    let row = |cells: &Vec<String>| {
        let columns = names.iter().zip(cells).zip(&values).filter(|((_, cell), _)| !cell.is_empty());
        columns.filter_map(|((name, cell), value)| Some((name.clone(), value(cell)?))).collect()
    };
    Ok(cells.iter().map(row).collect())
}

fn whole(cell: &str) -> Option<Value> {
    cell.parse::<i64>().ok().map(Value::from)
}

fn number(cell: &str) -> Option<Value> {
    Number::from_f64(cell.parse().ok()?).map(Value::Number)
}

fn text(cell: &str) -> Option<Value> {
    Some(Value::String(cell.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use proptest::prelude::*;
    use serde_json::json;
    use std::fs;

    fn paths(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn rows_are_those_of_the_nearest_file_and_name_images_from_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let lines = "\u{feff}{\"file_name\": \"a/x.png\", \"text\": \"far\", \"n\": 3}\n\n{\"file_name\": \"y.png\", \"text\": \"top\"}\n\
                     {\"file_name\": \"../y.png\"}\n{\"no\": 1}\n";
        fs::write(dir.path().join("metadata.jsonl"), lines).unwrap();
        let table = "file_name,caption,size,share,empty\nx.png,near,12,1,\n./b/../b/z.png,,13,0.5,\ngone.png,x,1,1,\n";
        fs::write(dir.path().join("a/metadata.csv"), table).unwrap();
        let names = paths(&["a/b/z.png", "a/x.png", "y.png"]);
        let found = Metadata::open(dir.path(), &names, &Silent).unwrap();
        let row = |path| Value::Object(found.row(path).unwrap().clone());
        assert_eq!(row("a/x.png"), json!({"caption": "near", "size": 12, "share": 1.0}));
        assert_eq!(row("a/b/z.png"), json!({"size": 13, "share": 0.5}));
        assert_eq!(row("y.png"), json!({"text": "top"}));
        assert_eq!(found.rows.len(), 3);
        assert_eq!((found.caption("a/x.png"), found.caption("y.png")), (Some("near"), Some("top")));
        assert_eq!((found.caption("a/b/z.png"), found.caption_column()), (None, Some("text")));
    }

    #[test]
    fn files_that_a_row_names_further_stay_behind() {
        let dir = tempfile::tempdir().unwrap();
        let line = r#"{"file_name": "y.png", "mask_file_name": "m.png", "box": [1, 2], "text": "t"}"#;
        fs::write(dir.path().join("metadata.jsonl"), line).unwrap();
        let found = Metadata::open(dir.path(), &paths(&["y.png"]), &Silent).unwrap();
        assert_eq!(Value::Object(found.row("y.png").unwrap().clone()), json!({"box": [1, 2], "text": "t"}));
    }

    #[test]
    fn damaged_files_are_told_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let opened = |name: &str, bytes: &[u8]| {
            fs::write(dir.path().join(name), bytes).unwrap();
            let found = Metadata::open(dir.path(), &paths(&["y.png"]), &Silent);
            fs::remove_file(dir.path().join(name)).unwrap();
            found.err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(opened(JSONL, b"{}\n{\"file_name\": \n").contains("line 2"));
        assert!(opened(JSONL, b"[1]").contains("line 1"));
        assert!(opened(JSONL, &vec![b'['; 5000]).contains("line 1"));
        assert!(opened(JSONL, &vec![b' '; (1 << 20) + 1]).contains("longer"));
        assert!(opened(CSV, b"file_name,text\na\n").contains("metadata.csv"));
        fs::create_dir(dir.path().join(JSONL)).unwrap();
        assert!(Metadata::open(dir.path(), &paths(&["y.png"]), &Silent).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), is_table: bool) {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(if is_table { CSV } else { JSONL }), bytes).unwrap();
            let _ = Metadata::open(dir.path(), &paths(&["y.png"]), &Silent);
        }

        #[test]
        fn no_name_leads_out_of_its_folder(name in "[a./\\\\]{0,12}") {
            if let Some(path) = joined("in", &name) {
                prop_assert!(path == "in" || path.starts_with("in/"), "{}", path);
                prop_assert!(!path.split('/').any(|part| part == ".." || part.is_empty()));
            }
        }
    }
}
