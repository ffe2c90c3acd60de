//! Result tables: named columns of one length, written in the format that the file's extension asks for.
//! One file per format; a new one is a file and a line in [`FORMATS`].
//! The same table gives the same bytes: floats are the shortest text that reads back, and no file holds a time.

mod columns;
mod concat;
mod csv;
mod json;
mod paper;
mod parquet;
mod spreadsheet;

pub(crate) use columns::Columns;
pub(crate) use concat::concat_csv;
pub(crate) use csv::write_csv_in_pieces;
pub(crate) use paper::{MINUS, significant};
pub(crate) use spreadsheet::{TableReader, is_safe, make_safe, sha256_as_written};

use super::atomic::AtomicFile;
use crate::error::{Error, Result};
use std::io::{self, Write};
use std::path::Path;

/// The cells of a column. What is absent, and a float that is NaN, is an empty cell in CSV, a null elsewhere.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Values {
    Text(Vec<String>),
    OptionalText(Vec<Option<String>>),
    Float(Vec<f64>),
    Int(Vec<i64>),
    OptionalInt(Vec<Option<i64>>),
    Bool(Vec<bool>),
}

impl Values {
    /// Number of cells.
    pub fn len(&self) -> usize {
        match self {
            Values::Text(cells) => cells.len(),
            Values::OptionalText(cells) => cells.len(),
            Values::Float(cells) => cells.len(),
            Values::Int(cells) => cells.len(),
            Values::OptionalInt(cells) => cells.len(),
            Values::Bool(cells) => cells.len(),
        }
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A named column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Its cells, from the first row to the last.
    pub values: Values,
}

/// Columns of one length.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    columns: Vec<Column>,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Table::default()
    }

    /// Adds a column on the right.
    ///
    /// # Errors
    /// [`Error::Data`] if it is not as long as the others, or its name is taken.
    pub fn push(&mut self, name: impl Into<String>, values: Values) -> Result<()> {
        let name = name.into();
        if !self.columns.is_empty() && values.len() != self.rows() {
            let reason =
                format!("column `{name}` has {} cells in a table of {} rows", values.len(), self.rows());
            return Err(Error::data(reason, ""));
        }
        if self.columns.iter().any(|column| column.name == name) {
            return Err(Error::data(format!("two columns are called `{name}`"), ""));
        }
        self.columns.push(Column { name, values });
        Ok(())
    }

    /// The columns, from left to right.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }
}

/// A way to write tables.
pub(crate) trait TableFormat: Sync {
    /// Extension of its files, without the dot; also its name.
    fn extension(&self) -> &'static str;
    /// Writes a table.
    ///
    /// # Errors
    /// Whatever `out` returns.
    fn write(&self, table: &Table, out: &mut dyn Write) -> io::Result<()>;
}

/// The known formats.
pub(crate) const FORMATS: [&dyn TableFormat; 6] =
    [&csv::Csv, &json::JsonLines, &json::Json, &parquet::Parquet, &paper::Latex, &paper::Markdown];

/// The format of this name (an extension without the dot, in any case).
///
/// # Errors
/// [`Error::Usage`] naming the known ones.
pub(crate) fn format_named(name: &str) -> Result<&'static dyn TableFormat> {
    let found = FORMATS.iter().find(|format| format.extension().eq_ignore_ascii_case(name));
    found.copied().ok_or_else(|| {
        let known: Vec<_> = FORMATS.iter().map(|format| format!(".{}", format.extension())).collect();
        Error::usage(format!("tables are not written as `.{name}`"), format!("known: {}", known.join(", ")))
    })
}

/// The format of a file, by its extension: worth asking before the work that fills it begins.
///
/// # Errors
/// As [`format_named`].
pub(crate) fn format_of(path: impl AsRef<Path>) -> Result<&'static dyn TableFormat> {
    let path = path.as_ref();
    match path.extension() {
        Some(extension) => format_named(&extension.to_string_lossy()),
        None => {
            let known: Vec<_> = FORMATS.iter().map(|format| format!(".{}", format.extension())).collect();
            let reason = format!("{} has no extension to tell its format by", path.display());
            Err(Error::usage(reason, format!("known: {}", known.join(", "))))
        }
    }
}

/// Writes a table to a file in the format of its extension; the file appears when it is whole.
///
/// # Errors
/// As [`format_named`]; [`Error::Io`].
pub fn write_table(path: impl AsRef<Path>, table: &Table) -> Result<()> {
    let path = path.as_ref();
    let format = format_of(path)?;
    let mut file = AtomicFile::create(path)?;
    format.write(table, file.writer()).map_err(Error::io("write", path))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn example() -> Table {
        let mut table = Table::new();
        table.push("path", Values::Text(vec!["a, \"b\".png".into(), "é\n.png".into(), "".into()])).unwrap();
        table.push("pseudo_density", Values::Float(vec![1.25, f64::NAN, 0.1])).unwrap();
        table.push("row", Values::Int(vec![0, -1, i64::MAX])).unwrap();
        table.push("nearest", Values::OptionalText(vec![None, Some("x".into()), None])).unwrap();
        table.push("seed", Values::OptionalInt(vec![Some(7), None, Some(9)])).unwrap();
        table.push("improved", Values::Bool(vec![true, false, true])).unwrap();
        table
    }

    pub(super) fn written(name: &str, table: &Table) -> Vec<u8> {
        let mut out = Vec::new();
        format_named(name).unwrap().write(table, &mut out).unwrap();
        out
    }

    #[test]
    fn the_extension_picks_the_format_and_an_unknown_one_names_those_that_are_known() {
        let directory = tempfile::tempdir().unwrap();
        for format in FORMATS {
            let path = directory.path().join(format!("a.{}", format.extension().to_uppercase()));
            write_table(&path, &example()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), written(format.extension(), &example()));
        }
        for name in ["a.xlsx", "a"] {
            let error = write_table(directory.path().join(name), &example()).unwrap_err();
            assert!(matches!(error, Error::Usage { .. }));
            assert!(error.hint().unwrap().contains(".csv, .jsonl, .json, .parquet"), "{error:?}");
        }
    }

    #[test]
    fn columns_are_of_one_length_and_have_names_of_their_own() {
        let mut table = example();
        assert!(table.push("x", Values::Int(vec![1])).is_err());
        assert!(table.push("row", Values::Int(vec![1, 2, 3])).is_err());
        assert_eq!((table.rows(), table.columns().len()), (3, 6));
    }
}
