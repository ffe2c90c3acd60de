//! Tables read back: the `.csv` files of a directory, column by column.

use super::spreadsheet::TableReader;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// A table by columns.
pub(crate) struct Columns {
    path: PathBuf,
    names: Vec<String>,
    cells: Vec<Vec<String>>,
}

impl Columns {
    /// Reads a whole table.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no table.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let wrong =
            |e: csv::Error| Error::malformed(path, e.to_string(), "run the command that made it again");
        let mut reader = TableReader::open(path).map_err(wrong)?;
        let names: Vec<String> = reader.headings().map_err(wrong)?.iter().map(str::to_owned).collect();
        let mut cells = vec![Vec::new(); names.len()];
        let mut record = csv::StringRecord::new();
        while reader.read(&mut record).map_err(wrong)? {
            for (column, cell) in cells.iter_mut().zip(&record) {
                column.push(cell.to_owned());
            }
        }
        Ok(Self { path: path.to_path_buf(), names, cells })
    }

    /// Whether there is a column of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// The names of the columns, from left to right.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.cells.first().map_or(0, Vec::len)
    }

    /// A column as it is written.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is none of this name.
    pub(crate) fn text(&self, name: &str) -> Result<&[String]> {
        let at = self.names.iter().position(|n| n == name);
        at.and_then(|at| self.cells.get(at)).map(Vec::as_slice).ok_or_else(|| {
            Error::malformed(
                &self.path,
                format!("has no column `{name}`"),
                "run the command that made it again",
            )
        })
    }

    /// A column of numbers; empty cells are NaN.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is none of this name, or a cell is no number.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let number = |text: &String| match text.as_str() {
            "" => Ok(f64::NAN),
            text => text.parse().map_err(|_| {
                Error::malformed(
                    &self.path,
                    format!("`{text}` in column {name} is not a number"),
                    "run the command that made it again",
                )
            }),
        };
        self.text(name)?.iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "file,rho\n\"a,b\",1.5\nc,\nd,NaN\n").unwrap();
        let table = Columns::read(&path).unwrap();
        assert_eq!((table.rows(), table.has("rho"), table.has("x")), (3, true, false));
        assert_eq!(table.text("file").unwrap(), ["a,b", "c", "d"]);
        let rho = table.numbers("rho").unwrap();
        assert!(rho[0] == 1.5 && rho[1].is_nan() && rho[2].is_nan());
        assert!(table.numbers("file").is_err() && table.text("x").is_err());
        std::fs::write(&path, "a,b\n1\n").unwrap();
        assert!(Columns::read(&path).is_err());
    }
}
