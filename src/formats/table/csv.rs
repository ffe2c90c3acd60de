//! CSV: a heading, lines that end in `\n`, quotes where they are needed.

use super::{Table, TableFormat, Values};
use ::csv::{Terminator, WriterBuilder};
use std::io::{self, Write};

/// `.csv`.
pub(super) struct Csv;

impl TableFormat for Csv {
    fn extension(&self) -> &'static str {
        "csv"
    }

    fn write(&self, table: &Table, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(out);
        writer.write_record(table.columns().iter().map(|column| &column.name))?;
        for row in 0..table.rows() {
            for column in table.columns() {
                writer.write_field(cell(&column.values, row))?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        writer.flush()
    }
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
