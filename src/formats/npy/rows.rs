//! Rows of a matrix, read as they are wanted.

use super::header::read_header;
use super::items::RowElement;
use crate::error::{Error, Result};
use crate::formats::element::ByteOrder;
use crate::formats::regular::open_regular;
use ndarray::Array2;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file with a matrix `[N, D]`, row by row and little-endian, as [`super::NpyWriter`] writes it.
#[derive(Debug)]
pub(crate) struct NpyRows<T = f32> {
    file: File,
    path: PathBuf,
    rows: usize,
    columns: usize,
    /// Where the first element is.
    start: u64,
    element: PhantomData<T>,
}

impl<T: RowElement> NpyRows<T> {
    /// Opens a matrix of `columns` columns.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the file is no such matrix, or cut short; [`Error::Io`].
    pub(crate) fn open(path: impl AsRef<Path>, columns: usize) -> Result<Self> {
        let path = path.as_ref();
        let mut file = open_regular(path)?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let (found, start) = read_header(&mut BufReader::new(&mut file), path)?;
        let rows = match found.shape[..] {
            [rows, width]
                if width == columns
                    && found.element == T::ELEMENT
                    && found.order == ByteOrder::Little
                    && !found.fortran_order =>
            {
                rows
            }
            _ => {
                let reason = format!("is no matrix of {} that is {columns} wide: {found:?}", T::DESCR);
                return Err(Error::malformed(path, reason, ""));
            }
        };
        let opened = Self { file, path: path.to_path_buf(), rows, columns, start, element: PhantomData };
        let held = length.saturating_sub(start);
        if opened.bytes(rows) > held {
            let reason = format!("is cut short: {held} bytes of {}", opened.bytes(rows));
            return Err(Error::malformed(path, reason, "copy or compute it again"));
        }
        Ok(opened)
    }

    /// N.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    fn bytes(&self, rows: usize) -> u64 {
        (rows as u64).saturating_mul((self.columns * size_of::<T>()) as u64)
    }

    /// The bytes of all rows.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn all_bytes(&mut self) -> Result<impl Read> {
        self.file.seek(SeekFrom::Start(self.start)).map_err(Error::io("read", &self.path))?;
        let bytes = self.bytes(self.rows);
        Ok(BufReader::new(&mut self.file).take(bytes))
    }

    /// Some of the rows, `[n, D]`.
    ///
    /// # Errors
    /// [`Error::Data`] if there are fewer; [`Error::Io`].
    pub(crate) fn read(&mut self, range: Range<usize>) -> Result<Array2<T>> {
        if range.end > self.rows || range.start > range.end {
            let reason = format!("{} has {} rows, not {range:?}", self.path.display(), self.rows);
            return Err(Error::data(reason, ""));
        }
        let at = self.start + self.bytes(range.start);
        self.file.seek(SeekFrom::Start(at)).map_err(Error::io("read", &self.path))?;
        let count = range.len() * self.columns;
        let mut source = BufReader::new(&mut self.file);
        let values = T::read(&mut source, count, &self.path)?;
        Array2::from_shape_vec((range.len(), self.columns), values)
            .map_err(|e| Error::malformed(&self.path, e.to_string(), ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::npy::write_npy;
    use ndarray::s;

    #[test]
    fn any_rows_are_those_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let whole = Array2::from_shape_fn((7, 3), |(i, j)| (i * 10 + j) as f32);
        write_npy(&path, &whole).unwrap();
        let mut rows = NpyRows::<f32>::open(&path, 3).unwrap();
        assert_eq!(rows.rows(), 7);
        for range in [2..5, 0..7, 6..7, 3..3] {
            assert_eq!(rows.read(range.clone()).unwrap(), whole.slice(s![range, ..]));
        }
        assert!(rows.read(5..8).is_err());
        let bytes = whole.mapv(|value| value as u8);
        write_npy(&path, &bytes).unwrap();
        assert_eq!(NpyRows::<u8>::open(&path, 3).unwrap().read(1..3).unwrap(), bytes.slice(s![1..3, ..]));
    }

    #[test]
    fn another_width_type_or_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        write_npy(&path, &Array2::<f32>::zeros((4, 3))).unwrap();
        assert!(NpyRows::<f32>::open(&path, 4).is_err());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(NpyRows::<f32>::open(&path, 3).unwrap_err().to_string().contains("cut short"));
        write_npy(&path, &Array2::<f64>::zeros((4, 3))).unwrap();
        assert!(NpyRows::<f32>::open(&path, 3).is_err());
    }
}
