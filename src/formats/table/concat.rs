//! CSV tables one below the other, row by row: memory does not grow with their length.

use crate::error::{Error, Result};
use crate::formats::atomic::AtomicFile;
use ::csv::{ReaderBuilder, StringRecord, Terminator, WriterBuilder};
use std::path::{Path, PathBuf};

/// Writes the rows of `parts`, tables of the same headings, below each other; the numbers of a column named `number` run on.
/// The bytes are those of the one table written at once. Returns the number of rows.
///
/// # Errors
/// [`Error::Malformed`] if a part is damaged or of other headings; [`Error::Io`].
pub(crate) fn concat_csv(path: &Path, parts: &[PathBuf], number: Option<&str>) -> Result<usize> {
    let mut file = AtomicFile::create(path)?;
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(file.writer());
    let mut headings: Option<StringRecord> = None;
    let mut rows = 0;
    for part in parts {
        let wrong = |reason: String| Error::malformed(part, reason, "");
        let read = |e: ::csv::Error| wrong(e.to_string());
        let mut reader = ReaderBuilder::new().from_path(part).map_err(read)?;
        let own = reader.headers().map_err(read)?.clone();
        let numbered = number.and_then(|name| own.iter().position(|heading| heading == name));
        match &headings {
            Some(first) if *first != own => {
                return Err(wrong(format!("has the headings {own:?}, not {first:?}")));
            }
            Some(_) => {}
            None => {
                writer.write_record(&own).map_err(|e| Error::io("write", path)(e.into()))?;
                headings = Some(own);
            }
        }
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(read)? {
            let count = rows.to_string();
            let cells = record.iter().enumerate();
            let cells = cells.map(|(i, cell)| if Some(i) == numbered { count.as_str() } else { cell });
            writer.write_record(cells).map_err(|e| Error::io("write", path)(e.into()))?;
            rows += 1;
        }
    }
    writer.flush().map_err(Error::io("write", path))?;
    drop(writer);
    file.commit()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::table::{Table, Values, write_table};
    use proptest::prelude::*;

    fn table(first: usize, names: &[String]) -> Table {
        let mut table = Table::new();
        table.push("row", Values::Int((0..names.len()).map(|i| (first + i) as i64).collect())).unwrap();
        table.push("path", Values::Text(names.to_vec())).unwrap();
        table.push("density", Values::Float(names.iter().map(|n| n.len() as f64 / 3.0).collect())).unwrap();
        table
    }

    proptest! {
        #[test]
        fn cut_anywhere_and_joined_a_table_has_the_same_bytes(
            names in proptest::collection::vec("[a-c,\"\n é]{0,4}", 0..12),
            at in 0usize..12,
        ) {
            let at = at.min(names.len());
            let dir = tempfile::tempdir().unwrap();
            let path = |name: &str| dir.path().join(name);
            write_table(path("whole.csv"), &table(0, &names)).unwrap();
            write_table(path("a.csv"), &table(0, &names[..at])).unwrap();
            write_table(path("b.csv"), &table(0, &names[at..])).unwrap();
            let rows = concat_csv(&path("joined.csv"), &[path("a.csv"), path("b.csv")], Some("row")).unwrap();
            prop_assert_eq!(rows, names.len());
            let read = |name: &str| std::fs::read(path(name)).unwrap();
            prop_assert_eq!(read("joined.csv"), read("whole.csv"));
        }
    }

    #[test]
    fn other_headings_and_damaged_rows_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (a, b) = (path("a.csv", "x,y\n1,2\n"), path("b.csv", "x,z\n1,2\n"));
        let joined = dir.path().join("joined.csv");
        let message = concat_csv(&joined, &[a.clone(), b], None).unwrap_err().to_string();
        assert!(message.contains("b.csv"), "{message}");
        assert!(concat_csv(&joined, &[a, path("c.csv", "x,y\n1,2,3\n")], None).is_err());
        assert!(!joined.exists());
    }
}
