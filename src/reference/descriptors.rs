//! The descriptors of a reference's pictures: what tells copies of them when the two pictures are looked at.

use super::lookalikes::ThumbIndex;
use super::manifest::Manifest;
use crate::copies::{DESCRIPTOR_BYTES, Descriptor};
use crate::error::{Error, Result};
use crate::formats::npy::NpyRows;
use crate::remedy::Remedy;
use ndarray::{Array2, ArrayView1};
use std::path::{Path, PathBuf};

/// The descriptors of a set, by row.
pub(crate) trait Descriptors {
    /// The descriptor of a row.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is damaged; [`Error::Data`] if there is no such row.
    fn descriptor(&mut self, row: usize) -> Result<Descriptor>;
}

impl Descriptors for Vec<Descriptor> {
    fn descriptor(&mut self, row: usize) -> Result<Descriptor> {
        self.as_slice().descriptor(row)
    }
}

impl Descriptors for &[Descriptor] {
    fn descriptor(&mut self, row: usize) -> Result<Descriptor> {
        self.get(row).cloned().ok_or_else(|| Error::data(format!("there is no descriptor of row {row}"), ""))
    }
}

/// A row of bytes for each descriptor, `[n, 2048]`.
pub(super) fn rows_of(descriptors: &[Descriptor]) -> Array2<u8> {
    let mut rows = Array2::zeros((descriptors.len(), DESCRIPTOR_BYTES));
    for (mut row, descriptor) in rows.outer_iter_mut().zip(descriptors) {
        row.iter_mut().zip(descriptor.to_row()).for_each(|(to, from)| *to = from);
    }
    rows
}

/// The descriptors of a file.
///
/// # Errors
/// [`Error::Malformed`] if it does not hold descriptors.
pub(super) fn read_rows(path: &Path) -> Result<Vec<Descriptor>> {
    let mut file = NpyRows::<u8>::open(path, DESCRIPTOR_BYTES)?;
    let rows = file.read(0..file.rows())?;
    let of = |row: ArrayView1<u8>| {
        let damaged = || Error::malformed(path, "holds a damaged descriptor", Remedy::RemakeFeatures);
        Descriptor::from_row(&row.to_vec()).ok_or_else(damaged)
    };
    rows.outer_iter().map(of).collect()
}

/// Descriptors in files, read one by one.
pub(crate) struct DescriptorFiles {
    files: Vec<NpyRows<u8>>,
    dir: PathBuf,
}

impl DescriptorFiles {
    /// Those of the reference in `dir`; `None` where there are none: features came without pictures, or an earlier version made it.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the files do not hold what the manifest says.
    pub(super) fn open(dir: &Path, manifest: &Manifest) -> Result<Option<Self>> {
        if manifest.descriptors.is_empty() {
            return Ok(None);
        }
        let open = |name: &String| NpyRows::open(dir.join(name), DESCRIPTOR_BYTES);
        let files = manifest.descriptors.iter().map(open).collect::<Result<Vec<_>>>()?;
        let rows: usize = files.iter().map(NpyRows::rows).sum();
        if rows != manifest.rows {
            let reason = format!("descriptors of {rows} pictures, but the manifest says {}", manifest.rows);
            return Err(Error::malformed(dir, reason, Remedy::RemakeFeatures));
        }
        Ok(Some(Self { files, dir: dir.to_path_buf() }))
    }

    /// The thumbnails of all rows, to search in.
    ///
    /// # Errors
    /// As [`Descriptors::descriptor`].
    pub(crate) fn thumbs(&mut self) -> Result<ThumbIndex> {
        let rows: usize = self.files.iter().map(NpyRows::rows).sum();
        ThumbIndex::new(
            (0..rows).map(|row| Ok(self.descriptor(row)?.thumb().numbers())).collect::<Result<_>>()?,
        )
    }
}

impl Descriptors for DescriptorFiles {
    fn descriptor(&mut self, row: usize) -> Result<Descriptor> {
        let mut first = 0;
        for file in &mut self.files {
            if row < first + file.rows() {
                let bytes = file.read(row - first..row - first + 1)?;
                return Descriptor::from_row(bytes.as_slice().unwrap_or_default()).ok_or_else(|| {
                    let reason = format!("the descriptor of row {row} is damaged");
                    Error::malformed(&self.dir, reason, Remedy::RemakeFeatures)
                });
            }
            first += file.rows();
        }
        Err(Error::data(format!("there is no descriptor of row {row}"), ""))
    }
}
