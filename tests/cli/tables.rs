//! Tables read back from every format that the program writes.

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The cells of a row by the names of their columns.
type Row = BTreeMap<String, Value>;

/// That a `.jsonl`, `.json` or `.parquet` file holds the columns, the rows and the cells of a CSV file, the numbers to the last bit.
#[track_caller]
pub fn assert_same_table(csv: &Path, other: &Path) {
    let table = read(other);
    let mut reader = csv::Reader::from_path(csv).unwrap();
    let expected: Vec<BTreeMap<String, String>> = reader.deserialize().map(|row| row.unwrap()).collect();
    assert!(!expected.is_empty(), "{} has no rows", csv.display());
    assert_eq!(table.len(), expected.len(), "rows of {}", other.display());
    for (row, (found, expected)) in table.iter().zip(&expected).enumerate() {
        assert!(
            found.keys().eq(expected.keys()),
            "columns {:?} instead of {:?}",
            found.keys(),
            expected.keys()
        );
        for (name, found) in found {
            let expected = &expected[name];
            let place = format!("{}, row {row}, {name}", other.display());
            assert!(is_cell(found, expected), "{place}: {found} instead of {expected}");
        }
    }
}

fn is_cell(found: &Value, csv: &str) -> bool {
    match found {
        Value::Null => csv.is_empty(),
        Value::Bool(found) => csv == found.to_string(),
        Value::Number(found) => csv.parse().ok() == found.as_f64(),
        Value::String(found) => csv == found,
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn read(path: &Path) -> Vec<Row> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => serde_json::from_slice(&fs::read(path).unwrap()).unwrap(),
        Some("jsonl") => {
            let text = fs::read_to_string(path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
        Some("parquet") => {
            let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
            let rows = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns());
            rows.map(|row| row.into_iter().map(|(name, cell)| (name, value(cell))).collect()).collect()
        }
        _ => panic!("{} is no table", path.display()),
    }
}

fn value(cell: Field) -> Value {
    match cell {
        Field::Null => Value::Null,
        Field::Bool(cell) => cell.into(),
        Field::Long(cell) => cell.into(),
        Field::Double(cell) => cell.into(),
        Field::Str(cell) => cell.into(),
        other => panic!("no column of the program holds {other:?}"),
    }
}
