//! Tables for spreadsheets. A text that a spreadsheet would take for a formula gets an apostrophe in front, and the file begins with the
//! mark of UTF-8, without which a spreadsheet reads names as of another encoding. By that mark such tables are known when they are read
//! back, and the apostrophes are taken off again.

use super::csv::writer;
use crate::error::{Error, Result};
use crate::formats::atomic::AtomicFile;
use crate::formats::digest::hex;
use ::csv::{Reader, ReaderBuilder, StringRecord};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Chain, Cursor, Read, Write};
use std::path::Path;

/// The byte order mark, which says that a text is UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A table that is read row by row, with names as they are.
pub(crate) struct TableReader {
    reader: Reader<Chain<Cursor<Vec<u8>>, File>>,
    is_safe: bool,
}

impl TableReader {
    /// A table whose first row is its headings.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn open(path: &Path) -> ::csv::Result<Self> {
        Self::built(path, &mut ReaderBuilder::new())
    }

    /// A table of which the headings are a row like any other.
    fn of_any_rows(path: &Path) -> Result<Self> {
        let rows = &mut ReaderBuilder::new();
        Self::built(path, rows.has_headers(false).flexible(true)).map_err(|e| unreadable(path, e))
    }

    fn built(path: &Path, builder: &mut ReaderBuilder) -> ::csv::Result<Self> {
        let mut file = File::open(path)?;
        // It may be a pipe, where nothing can be read twice.
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(MARK.len() as u64).read_to_end(&mut head)?;
        let is_safe = head == MARK;
        if is_safe {
            head.clear();
        }
        Ok(Self { reader: builder.from_reader(Cursor::new(head).chain(file)), is_safe })
    }

    /// The names of the columns, from left to right.
    ///
    /// # Errors
    /// If the first row is damaged.
    pub(crate) fn headings(&mut self) -> ::csv::Result<&StringRecord> {
        self.reader.headers()
    }

    /// Reads the next row into `record`; false behind the last one.
    ///
    /// # Errors
    /// If the row is damaged or of another length than the headings.
    pub(crate) fn read(&mut self, record: &mut StringRecord) -> ::csv::Result<bool> {
        let found = self.reader.read_record(record)?;
        if found && self.is_safe && record.iter().any(|cell| unmasked(cell) != cell) {
            let position = record.position().cloned();
            *record = record.iter().map(unmasked).collect();
            record.set_position(position);
        }
        Ok(found)
    }
}

/// Whether a table is safe for spreadsheets already.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn is_safe(path: &Path) -> Result<bool> {
    TableReader::open(path).map(|table| table.is_safe).map_err(|e| unreadable(path, e))
}

/// Rewrites a `.csv` table so that it is safe for spreadsheets; one that is safe already stays as it is.
///
/// # Errors
/// [`Error::Malformed`] if it is no table; [`Error::Io`].
pub(crate) fn make_safe(path: &Path) -> Result<()> {
    let table = TableReader::of_any_rows(path)?;
    if table.is_safe {
        return Ok(());
    }
    let mut file = AtomicFile::create(path)?;
    file.writer().write_all(MARK).map_err(Error::io("write", path))?;
    copy(path, table, file.writer(), |cell| match would_be_masked(cell) {
        true => format!("'{cell}").into(),
        false => cell.into(),
    })?;
    file.commit()
}

/// The SHA-256 that a table had before it was made safe.
///
/// # Errors
/// As [`make_safe`].
pub(crate) fn sha256_as_written(path: &Path) -> Result<String> {
    let mut digest = Hashed(Sha256::new());
    copy(path, TableReader::of_any_rows(path)?, &mut digest, |cell| cell.into())?;
    Ok(hex(&digest.0.finalize()))
}

/// Writes the rows of a table, each cell as `shown`.
fn copy(
    path: &Path,
    mut table: TableReader,
    out: &mut impl Write,
    shown: impl Fn(&str) -> Cow<'_, str>,
) -> Result<()> {
    let io = |error: io::Error| Error::io("write", path)(error);
    let mut out = writer(out);
    let mut record = StringRecord::new();
    while table.read(&mut record).map_err(|e| unreadable(path, e))? {
        for cell in &record {
            out.write_field(shown(cell).as_bytes()).map_err(|e| io(e.into()))?;
        }
        out.write_record(None::<&[u8]>).map_err(|e| io(e.into()))?;
    }
    out.flush().map_err(io)
}

/// A digest as something to write into.
struct Hashed(Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unreadable(path: &Path, error: ::csv::Error) -> Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(source) => Error::io("read", path)(source),
        kind => {
            Error::malformed(path, format!("is no table: {kind:?}"), "run the command that made it again")
        }
    }
}

/// A cell without the apostrophe that [`make_safe`] has put in front of it.
fn unmasked(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| would_be_masked(rest)).unwrap_or(cell)
}

/// Whether a cell gets an apostrophe. One that looks as if it had one already gets another, so that each can be taken off.
fn would_be_masked(cell: &str) -> bool {
    is_formula(cell.trim_start_matches('\''))
}

/// Whether a spreadsheet may take a text for a formula. It passes over tabs and line breaks in front.
fn is_formula(text: &str) -> bool {
    let leads = text.starts_with(['\t', '\r', '\n']);
    let first = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control()).chars().next();
    // The wide forms are taken for the narrow ones by programs of East Asia.
    let begins = matches!(first, Some('=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'));
    (leads || begins) && !is_number(text)
}

fn is_number(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Columns, Table, Values, write_table};
    use super::*;
    use proptest::prelude::*;

    fn written(dir: &Path, cells: &[&str]) -> std::path::PathBuf {
        let path = dir.join("a.csv");
        let mut table = Table::new();
        table.push("path", Values::Text(cells.iter().map(|&cell| cell.into()).collect())).unwrap();
        table.push("number", Values::Float(vec![-1.5e-9; cells.len()])).unwrap();
        write_table(&path, &table).unwrap();
        path
    }

    #[test]
    fn formulas_get_an_apostrophe_and_everything_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cells = ["=1+1", "+x", "-x", "@x", " =1", "\t=1", "\rx", "＝1", "'=1", "--rule ratio:2", "-inf"];
        let harmless = ["a.png", "'a", "-5", "+1e3", "a=b", "", "é, \"b\""];
        let path = written(dir.path(), &[&cells[..], &harmless].concat());
        let plain = std::fs::read_to_string(&path).unwrap();
        make_safe(&path).unwrap();
        let safe = std::fs::read_to_string(&path).unwrap();
        let mut rows = ReaderBuilder::new().from_reader(safe.as_bytes());
        let rows: Vec<StringRecord> = rows.records().map(|row| row.unwrap()).collect();
        for (row, cell) in rows.iter().zip(cells) {
            assert_eq!((&row[0], &row[1]), (format!("'{cell}").as_str(), "-0.0000000015"));
        }
        let tail = plain.lines().rev().take(harmless.len());
        assert!(tail.eq(safe.lines().rev().take(harmless.len())), "{safe}");
        assert!(safe.starts_with("\u{feff}path,number\n"));
        make_safe(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), safe);
        assert_eq!(sha256_as_written(&path).unwrap(), crate::formats::digest::sha256(plain.as_bytes()));
    }

    #[test]
    fn a_table_that_is_not_safe_is_read_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), &["'=1"]);
        assert_eq!(Columns::read(&path).unwrap().text("path").unwrap(), ["'=1"]);
        assert!(!is_safe(&path).unwrap());
        assert!(matches!(is_safe(&dir.path().join("missing.csv")).unwrap_err(), Error::Io { .. }));
        std::fs::write(&path, b"a\n\xff\n").unwrap();
        assert!(matches!(make_safe(&path).unwrap_err(), Error::Malformed { .. }));
        assert_eq!(std::fs::read(&path).unwrap(), b"a\n\xff\n");
    }

    proptest! {
        #[test]
        fn what_was_made_safe_reads_back_as_it_was(cells in proptest::collection::vec("['=+@a0\\-\t\n ,\"é]{0,4}", 1..8)) {
            let dir = tempfile::tempdir().unwrap();
            let path = written(dir.path(), &cells.iter().map(String::as_str).collect::<Vec<_>>());
            make_safe(&path).unwrap();
            prop_assert!(is_safe(&path).unwrap());
            let columns = Columns::read(&path).unwrap();
            prop_assert_eq!(columns.text("path").unwrap(), &cells[..]);
        }
    }
}
