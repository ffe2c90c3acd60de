//! CSV: a heading, lines that end in `\n`, quotes where they are needed.

use super::{Table, TableFormat, Values};
use crate::error::{Error, Result};
use crate::formats::atomic::AtomicFile;
use ::csv::{Terminator, Writer, WriterBuilder};
use std::io::{self, Write};
use std::path::Path;

/// `.csv`.
pub(super) struct Csv;

impl TableFormat for Csv {
    fn extension(&self) -> &'static str {
        "csv"
    }

    fn write(&self, table: &Table, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = writer(out);
        write_headings(table, &mut writer)?;
        write_rows(table, &mut writer)?;
        writer.flush()
    }
}

/// Writes a table that comes in pieces, of the same headings: only one of them is in memory.
///
/// # Errors
/// What making a piece returns; [`Error::Io`].
pub(crate) fn write_csv_in_pieces(path: &Path, pieces: impl Iterator<Item = Result<Table>>) -> Result<()> {
    let io = |error: io::Error| Error::io("write", path)(error);
    let mut file = AtomicFile::create(path)?;
    let mut writer = writer(file.writer());
    for (number, piece) in pieces.enumerate() {
        let piece = piece?;
        if number == 0 {
            write_headings(&piece, &mut writer).map_err(io)?;
        }
        write_rows(&piece, &mut writer).map_err(io)?;
    }
    writer.flush().map_err(io)?;
    drop(writer);
    file.commit()
}

pub(super) fn writer<W: Write>(out: W) -> Writer<W> {
    WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(out)
}

fn write_headings(table: &Table, writer: &mut Writer<impl Write>) -> io::Result<()> {
    Ok(writer.write_record(table.columns().iter().map(|column| &column.name))?)
}

fn write_rows(table: &Table, writer: &mut Writer<impl Write>) -> io::Result<()> {
    for row in 0..table.rows() {
        for column in table.columns() {
            writer.write_field(cell(&column.values, row))?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(())
}

fn cell(values: &Values, row: usize) -> String {
    match values {
        Values::Text(cells) => cells[row].clone(),
        Values::OptionalText(cells) => cells[row].clone().unwrap_or_default(),
        Values::Float(cells) if cells[row].is_nan() => String::new(),
        Values::Float(cells) => cells[row].to_string(),
        Values::Int(cells) => cells[row].to_string(),
        Values::OptionalInt(cells) => cells[row].map(|number| number.to_string()).unwrap_or_default(),
        Values::Bool(cells) => cells[row].to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, written};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_commas_and_line_ends_survive() {
        let text = String::from_utf8(written("csv", &example())).unwrap();
        let expected = "path,pseudo_density,row,nearest,seed,improved\n\
                        \"a, \"\"b\"\".png\",1.25,0,,7,true\n\
                        \"é\n.png\",,-1,x,,false\n\
                        ,0.1,9223372036854775807,,9,true\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn in_pieces_the_bytes_are_those_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        write_csv_in_pieces(&path, [example(), example()].into_iter().map(Ok)).unwrap();
        let once = String::from_utf8(written("csv", &example())).unwrap();
        let (heading, rows) = once.split_once('\n').unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{heading}\n{rows}{rows}"));
        let broken = [Ok(example()), Err(Error::data("no more", ""))];
        assert!(write_csv_in_pieces(&dir.path().join("b.csv"), broken.into_iter()).is_err());
        assert!(!dir.path().join("b.csv").exists());
    }

    #[test]
    fn a_table_without_rows_is_its_heading() {
        let mut table = Table::new();
        table.push("path", Values::Text(vec![])).unwrap();
        assert_eq!(written("csv", &table), b"path\n");
    }

    proptest! {
        #[test]
        fn floats_and_text_read_back_as_they_were(
            float in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
            text in "\\PC{0,12}|[,\"\n\r ]{0,6}",
        ) {
            let mut table = Table::new();
            table.push("text", Values::Text(vec![text.clone()])).unwrap();
            table.push("float", Values::Float(vec![float])).unwrap();
            let bytes = written("csv", &table);
            let mut reader = ::csv::Reader::from_reader(&bytes[..]);
            let record = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(&record[0], &text);
            prop_assert_eq!(record[1].parse::<f64>().unwrap().to_bits(), float.to_bits());
        }
    }
}
