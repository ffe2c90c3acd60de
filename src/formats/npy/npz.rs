//! `.npz` files of float64 arrays: what NumPy's `savez` writes, one .npy file for each name.

use super::header::read_header;
use super::items::NpyElement;
use super::write::header;
use crate::error::{Error, Result};
use crate::formats::archive::expect_end;
use crate::formats::atomic::AtomicFile;
use crate::formats::element::{element_count, expansion_limit};
use crate::formats::regular::open_regular;
use crate::formats::zip::open_zip;
use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder};
use std::io::{BufReader, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Writes named float64 arrays, not compressed; the file appears when it is whole, and the same arrays give the same bytes.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_npz_f64(path: impl AsRef<Path>, arrays: &[(&str, ArrayViewD<'_, f64>)]) -> Result<()> {
    let path = path.as_ref();
    let mut file = AtomicFile::create(path)?;
    let refused = |e: zip::result::ZipError| Error::io("write", path)(e.into());
    let mut zip = ZipWriter::new(&mut file);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .large_file(true);
    for (name, array) in arrays {
        zip.start_file(format!("{name}.npy"), options).map_err(refused)?;
        zip.write_all(&header(f64::DESCR, array.shape(), 0))
            .and_then(|()| array.iter().try_for_each(|value| value.write(&mut zip)))
            .map_err(Error::io("write", path))?;
    }
    zip.finish().map_err(refused)?;
    file.commit()
}

/// Reads the arrays `names` as float64, whatever numbers they are stored as. `None` if the file lacks one of them.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] for a damaged file, and for an array that declares far more than the file holds.
pub(crate) fn read_npz_f64(path: impl AsRef<Path>, names: &[&str]) -> Result<Option<Vec<ArrayD<f64>>>> {
    let path = path.as_ref();
    let damaged = |e: zip::result::ZipError| Error::malformed(path, format!("damaged .npz file: {e}"), "");
    let file = open_regular(path)?;
    let limit = expansion_limit(file.metadata().map_err(Error::io("read", path))?.len());
    let mut zip = open_zip(BufReader::new(file)).map_err(damaged)?;
    let members: Vec<String> = names.iter().map(|name| format!("{name}.npy")).collect();
    if members.iter().any(|member| zip.index_for_name(member).is_none()) {
        return Ok(None);
    }
    let mut arrays = Vec::new();
    for member in &members {
        let mut entry = zip.by_name(member).map_err(damaged)?;
        let size = entry.size();
        if size > limit {
            let reason = format!("{member} declares {size} bytes, far more than its file holds");
            return Err(Error::malformed(path, reason, ""));
        }
        let (header, header_bytes) = read_header(&mut entry, path)?;
        let count = element_count(&header.shape)
            .filter(|count| {
                let bytes = count.checked_mul(header.element.size());
                bytes.is_some_and(|bytes| bytes as u64 == size.saturating_sub(header_bytes))
            })
            .ok_or_else(|| {
                let reason = format!("{member} does not hold what its shape {:?} says", header.shape);
                Error::malformed(path, reason, "copy or compute it again")
            })?;
        let data = header.element.read_f64(&mut entry, header.order, count, path)?;
        expect_end(&mut entry, path)?;
        let shape = IxDyn(&header.shape).set_f(header.fortran_order);
        arrays.push(
            ArrayD::from_shape_vec(shape, data).map_err(|e| Error::malformed(path, e.to_string(), ""))?,
        );
    }
    Ok(Some(arrays))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{arr1, arr2};

    #[test]
    fn arrays_read_back_exactly_and_a_missing_name_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let (mu, sigma) = (arr1(&[0.1, -2.0]).into_dyn(), arr2(&[[1e-300, 2.0], [3.0, 4.0]]).into_dyn());
        write_npz_f64(&path, &[("mu", mu.view()), ("sigma", sigma.view())]).unwrap();
        let first = std::fs::read(&path).unwrap();
        assert_eq!(read_npz_f64(&path, &["sigma", "mu"]).unwrap().unwrap(), [sigma.clone(), mu.clone()]);
        assert!(read_npz_f64(&path, &["mu", "act"]).unwrap().is_none());
        write_npz_f64(&path, &[("mu", mu.view()), ("sigma", sigma.view())]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        write_npz_f64(&path, &[("mu", arr1(&[1.0; 9]).into_dyn().view())]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(read_npz_f64(&path, &["mu"]).is_err(), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        let at = flipped.windows(8).position(|w| w == 1.0f64.to_le_bytes()).unwrap();
        flipped[at + 7] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert!(read_npz_f64(&path, &["mu"]).is_err());
        let mut longer = whole;
        let at = longer.windows(4).position(|w| w == b"(9,)").unwrap();
        longer[at + 1] = b'8';
        std::fs::write(&path, longer).unwrap();
        assert!(read_npz_f64(&path, &["mu"]).is_err());
    }
}
