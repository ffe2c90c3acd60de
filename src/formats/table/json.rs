//! JSON: one object per row, by line or in one array. What JSON has no number for (NaN, infinities) is null.

use super::{Column, Table, TableFormat, Values};
use std::io::{self, Write};

/// `.jsonl`: one object per line.
pub(super) struct JsonLines;

/// `.json`: an array of objects, one per line.
pub(super) struct Json;

impl TableFormat for JsonLines {
    fn extension(&self) -> &'static str {
        "jsonl"
    }

    fn write(&self, table: &Table, out: &mut dyn Write) -> io::Result<()> {
        for row in 0..table.rows() {
            write_row(table, row, out)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl TableFormat for Json {
    fn extension(&self) -> &'static str {
        "json"
    }

    fn write(&self, table: &Table, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"[")?;
        for row in 0..table.rows() {
            out.write_all(if row == 0 { b"\n" } else { b",\n" })?;
            write_row(table, row, out)?;
        }
        out.write_all(if table.rows() == 0 { b"]\n" } else { b"\n]\n" })
    }
}

fn write_row(table: &Table, row: usize, out: &mut dyn Write) -> io::Result<()> {
    for (place, Column { name, values }) in table.columns().iter().enumerate() {
        out.write_all(if place == 0 { b"{" } else { b"," })?;
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b":")?;
        match values {
            Values::Text(cells) => serde_json::to_writer(&mut *out, &cells[row])?,
            Values::OptionalText(cells) => serde_json::to_writer(&mut *out, &cells[row])?,
            Values::Float(cells) if cells[row].is_finite() => write!(out, "{}", cells[row])?,
            Values::Float(_) => out.write_all(b"null")?,
            Values::Int(cells) => write!(out, "{}", cells[row])?,
            Values::OptionalInt(cells) => serde_json::to_writer(&mut *out, &cells[row])?,
            Values::Bool(cells) => write!(out, "{}", cells[row])?,
        }
    }
    out.write_all(b"}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, written};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn lines_and_array_hold_the_same_objects() {
        let lines = String::from_utf8(written("jsonl", &example())).unwrap();
        let first = r#"{"path":"a, \"b\".png","pseudo_density":1.25,"row":0,"nearest":null,"seed":7,"improved":true}"#;
        assert_eq!(lines.lines().next(), Some(first));
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let array: Vec<Value> = serde_json::from_slice(&written("json", &example())).unwrap();
        assert_eq!(lines, array);
        assert_eq!(array[1]["path"], json!("é\n.png"));
        assert_eq!(array[1]["pseudo_density"], Value::Null);
        assert_eq!(array[2]["row"], json!(i64::MAX));
    }

    #[test]
    fn infinities_are_null_and_no_rows_an_empty_array() {
        let mut table = Table::new();
        table.push("x", Values::Float(vec![f64::INFINITY])).unwrap();
        assert_eq!(written("jsonl", &table), b"{\"x\":null}\n");
        let mut empty = Table::new();
        empty.push("x", Values::Float(vec![])).unwrap();
        assert_eq!(written("json", &empty), b"[]\n");
        assert_eq!(written("jsonl", &empty), b"");
    }
}
