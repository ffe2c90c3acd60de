//! Writing .npy files.

use super::header::MAGIC;
use super::items::{NpyElement, RowElement};
use super::rows::NpyRows;
use crate::error::{Error, Result};
use crate::formats::atomic::AtomicFile;
use ndarray::{ArrayRef, ArrayView2, Dimension};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::Path;

/// Headers end at a multiple of this many bytes, as NumPy's do.
const ALIGNMENT: usize = 64;

/// Bytes of the header of a matrix, whatever its shape: two 64-bit lengths always fit.
const MATRIX_HEADER_BYTES: usize = 128;

/// Bytes before the text of a header of version 1.
const PREFIX_BYTES: usize = 10;

/// Writes an array of any shape, row-major; the file appears when it is whole.
///
/// # Errors
/// [`Error::Io`].
pub fn write_npy<T: NpyElement, D: Dimension>(path: impl AsRef<Path>, array: &ArrayRef<T, D>) -> Result<()> {
    let path = path.as_ref();
    let mut file = AtomicFile::create(path)?;
    write_array(file.writer(), array).map_err(Error::io("write", path))?;
    file.commit()
}

/// As [`write_npy`], for a file that is read at once and then removed: it may be half written when the machine stops.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_npy_unsynced<T: NpyElement, D: Dimension>(
    path: &Path,
    array: &ArrayRef<T, D>,
) -> Result<()> {
    let write = |file: File| {
        let mut writer = BufWriter::new(file);
        write_array(&mut writer, array).and_then(|()| writer.flush())
    };
    File::create(path).and_then(write).map_err(Error::io("write", path))
}

fn write_array<T: NpyElement, D: Dimension>(
    writer: &mut impl Write,
    array: &ArrayRef<T, D>,
) -> io::Result<()> {
    writer.write_all(&header(T::DESCR, array.shape(), 0))?;
    array.iter().try_for_each(|value| value.write(writer))
}

/// A version 1 header, at least `least` bytes long.
pub(super) fn header(descr: &str, shape: &[usize], least: usize) -> Vec<u8> {
    let mut lengths: String = shape.iter().map(|n| format!("{n}, ")).collect();
    if shape.len() > 1 {
        lengths.truncate(lengths.len() - 2);
    } else {
        lengths.truncate(lengths.trim_end().len());
    }
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({lengths}), }}");
    let total = (PREFIX_BYTES + text.len() + 1).max(least).next_multiple_of(ALIGNMENT);
    let mut header = Vec::with_capacity(total);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&((total - PREFIX_BYTES) as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header.resize(total - 1, b' ');
    header.push(b'\n');
    header
}

/// A matrix `[N, D]` written row by row, `N` not known beforehand.
///
/// The file appears under its name with [`NpyWriter::finish`]; dropped before that, nothing is left.
#[derive(Debug)]
pub(crate) struct NpyWriter<T = f32> {
    file: AtomicFile,
    rows: usize,
    columns: usize,
    element: PhantomData<T>,
}

impl<T: RowElement> NpyWriter<T> {
    /// Starts a matrix of `columns` columns.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn create(path: impl AsRef<Path>, columns: usize) -> Result<Self> {
        let mut file = AtomicFile::create(path)?;
        file.write_all(&header(T::DESCR, &[0, columns], MATRIX_HEADER_BYTES))
            .map_err(Error::io("write", file.target()))?;
        Ok(NpyWriter { file, rows: 0, columns, element: PhantomData })
    }

    /// Rows written so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends rows `[n, D]`.
    ///
    /// # Errors
    /// [`Error::Data`] if they are of another width, [`Error::Io`].
    pub(crate) fn write_rows(&mut self, rows: ArrayView2<T>) -> Result<()> {
        if rows.ncols() != self.columns {
            let reason =
                format!("rows of {} numbers do not fit a matrix {} wide", rows.ncols(), self.columns);
            return Err(Error::data(reason, ""));
        }
        let writer = self.file.writer();
        let written = rows.iter().try_for_each(|value| value.write(writer));
        written.map_err(Error::io("write", self.file.target()))?;
        self.rows += rows.nrows();
        Ok(())
    }

    /// Appends the rows of a matrix in a file, without holding them in memory.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the file is no such matrix of this width, or cut short; [`Error::Io`].
    pub(crate) fn write_rows_of(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut source = NpyRows::<T>::open(path, self.columns)?;
        let rows = source.rows();
        io::copy(&mut source.all_bytes()?, self.file.writer()).map_err(Error::io("copy", path))?;
        self.rows += rows;
        Ok(())
    }

    /// Writes the number of rows into the header and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn finish(mut self) -> Result<()> {
        let header = header(T::DESCR, &[self.rows, self.columns], MATRIX_HEADER_BYTES);
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .map_err(Error::io("write", self.file.target()))?;
        self.file.commit()
    }
}
