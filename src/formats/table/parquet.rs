//! Parquet: snappy-compressed columns; those whose cells may be absent, and floats, are optional.

use super::{Table, TableFormat, Values};
use ::parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use ::parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

/// `.parquet`.
pub(super) struct Parquet;

/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 20;

/// The writer that the file names, without a version, so that the bytes depend on the table alone.
const CREATED_BY: &str = "pseudo-density";

impl TableFormat for Parquet {
    fn extension(&self) -> &'static str {
        "parquet"
    }

    fn write(&self, table: &Table, out: &mut dyn Write) -> io::Result<()> {
        // The library's writer must be `Send`, which `out` need not be.
        let mut bytes = Vec::new();
        write(table, &mut bytes).map_err(io::Error::other)?;
        out.write_all(&bytes)
    }
}

fn write(table: &Table, out: &mut Vec<u8>) -> Result<()> {
    let fields = table.columns().iter().map(|column| field(&column.name, &column.values).map(Arc::new));
    let schema = Type::group_type_builder("schema").with_fields(fields.collect::<Result<_>>()?).build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(CREATED_BY.into())
        .build();
    let mut file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
    for start in (0..table.rows()).step_by(GROUP_ROWS) {
        let rows = start..table.rows().min(start + GROUP_ROWS);
        let mut group = file.next_row_group()?;
        for column in table.columns() {
            let mut writer = group
                .next_column()?
                .ok_or_else(|| ParquetError::General(format!("no place for the column `{}`", column.name)))?;
            write_column(&column.values, rows.clone(), writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
    }
    file.close()?;
    Ok(())
}

fn field(name: &str, values: &Values) -> Result<Type> {
    let (physical, logical, repetition) = match values {
        Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
        Values::OptionalText(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::OPTIONAL),
        Values::Float(_) => (Physical::DOUBLE, None, Repetition::OPTIONAL),
        Values::Int(_) => (Physical::INT64, None, Repetition::REQUIRED),
        Values::OptionalInt(_) => (Physical::INT64, None, Repetition::OPTIONAL),
        Values::Bool(_) => (Physical::BOOLEAN, None, Repetition::REQUIRED),
    };
    Type::primitive_type_builder(name, physical)
        .with_logical_type(logical)
        .with_repetition(repetition)
        .build()
}

fn write_column(values: &Values, rows: Range<usize>, writer: &mut ColumnWriter) -> Result<()> {
    let text = |cell: &String| ByteArray::from(cell.as_str());
    match (values, writer) {
        (Values::Text(cells), ColumnWriter::ByteArrayColumnWriter(w)) => {
            required(w, cells[rows].iter().map(text))
        }
        (Values::OptionalText(cells), ColumnWriter::ByteArrayColumnWriter(w)) => {
            optional::<ByteArrayType>(w, cells[rows].iter().map(|cell| cell.as_ref().map(text)))
        }
        (Values::Float(cells), ColumnWriter::DoubleColumnWriter(w)) => {
            optional::<DoubleType>(w, cells[rows].iter().map(|&cell| (!cell.is_nan()).then_some(cell)))
        }
        (Values::Int(cells), ColumnWriter::Int64ColumnWriter(w)) => required(w, cells[rows].iter().copied()),
        (Values::OptionalInt(cells), ColumnWriter::Int64ColumnWriter(w)) => {
            optional::<Int64Type>(w, cells[rows].iter().copied())
        }
        (Values::Bool(cells), ColumnWriter::BoolColumnWriter(w)) => {
            required::<BoolType>(w, cells[rows].iter().copied())
        }
        _ => Err(ParquetError::General("a column and its schema disagree".into())),
    }
}

fn required<T: DataType>(
    writer: &mut ColumnWriterImpl<'_, T>,
    cells: impl Iterator<Item = T::T>,
) -> Result<()> {
    writer.write_batch(&cells.collect::<Vec<_>>(), None, None).map(drop)
}

fn optional<T: DataType>(
    writer: &mut ColumnWriterImpl<'_, T>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> Result<()> {
    let (mut present, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        present.extend(cell);
    }
    writer.write_batch(&present, Some(&levels), None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, written};
    use super::*;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::RowAccessor;

    #[test]
    fn what_is_written_reads_back_with_its_types_and_nulls() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        std::fs::write(&path, written("parquet", &example())).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap()).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].get_string(0).unwrap(), "a, \"b\".png");
        assert_eq!(rows[1].get_string(0).unwrap(), "é\n.png");
        assert_eq!(rows[2].get_double(1).unwrap(), 0.1);
        assert!(rows[1].get_double(1).is_err(), "NaN is a null");
        assert_eq!(rows[2].get_long(2).unwrap(), i64::MAX);
        assert_eq!(rows[1].get_string(3).unwrap(), "x");
        assert!(rows[0].get_string(3).is_err() && rows[1].get_long(4).is_err());
        assert!(!rows[1].get_bool(5).unwrap());
    }

    #[test]
    fn the_same_table_gives_the_same_bytes_and_an_empty_one_is_a_file_too() {
        assert_eq!(written("parquet", &example()), written("parquet", &example()));
        let mut empty = Table::new();
        empty.push("x", Values::Int(vec![])).unwrap();
        assert!(written("parquet", &empty).starts_with(b"PAR1"));
    }
}
