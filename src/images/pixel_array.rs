//! The images of a `.npz` file of pixels ([`PixelArray`]). They are named by their places, and read from the file one by one as they are
//! wanted; a compressed array is unpacked first.

use super::container::{Container, Entry, Found, Listing, modified};
use super::inputs::LeftOut;
use super::read_at::{FileAt, read_bounded};
use super::rgb::{RgbImage, check_pixels};
use super::unpack::{read_whole, unpacked};
use super::zip;
use crate::error::{Error, Result};
use crate::formats::npy::PixelArray;
use crate::progress::{Progress, check_stop};
use ::zip::CompressionMethod;
use std::fs::Metadata;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Most images of one file: a name and a place are kept of each, which pixels of nothing but zeros would not pay for.
const MOST_IMAGES: usize = 10_000_000;
/// Digits of the names of images, at least.
const LEAST_DIGITS: usize = 6;

struct Pixels {
    file: FileAt,
    /// Bytes before the first image.
    before: u64,
    image_bytes: u64,
    width: u32,
    height: u32,
}

impl Container for Pixels {
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let place =
            self.image_bytes.checked_mul(entry.slot as u64).and_then(|at| at.checked_add(self.before));
        let mut file = self.file.clone();
        file.seek(SeekFrom::Start(place.ok_or("there is no such image")?)).map_err(|e| e.to_string())?;
        let pixels = read_bounded(file.take(self.image_bytes), self.image_bytes)?;
        if pixels.len() as u64 != self.image_bytes {
            return Err("the file ends in the middle of this image".into());
        }
        RgbImage { width: self.width, height: self.height, pixels }.as_file()
    }
}

/// The images of the file `path`, which says of itself what `array` holds.
///
/// # Errors
/// [`Error::Malformed`] if it does not hold what it says, or in an order in which images cannot be read one by one; [`Error::Io`];
/// [`Error::Interrupted`].
pub(super) fn list(
    path: &Path,
    file: FileAt,
    metadata: &Metadata,
    array: &PixelArray,
    progress: &dyn Progress,
) -> Result<Listing> {
    let malformed = |reason: String| Error::malformed(path, reason, "copy or make it again");
    let PixelArray { images, height, width, .. } = *array;
    let shape = format!("[{images}, {height}, {width}, 3]");
    if array.fortran_order {
        return Err(Error::malformed(
            path,
            format!("its array of shape {shape} is in Fortran order"),
            "save numpy.ascontiguousarray(images)",
        ));
    }
    if images > MOST_IMAGES {
        let reason = format!("says that it holds {images} images, and {MOST_IMAGES} of one file are read");
        return Err(Error::malformed(path, reason, "save them in several files"));
    }
    check_pixels(width as u64, height as u64).map_err(malformed)?;
    let unfit = || malformed(format!("its array does not hold what its shape {shape} says"));
    let (Some(image_bytes), Some(bytes)) = (array.image_bytes(), array.bytes()) else { return Err(unfit()) };
    let mut archive = zip::open(path, file.clone())?;
    let damaged = |e: ::zip::result::ZipError| malformed(format!("damaged .npz file: {e}"));
    let entry = archive.by_index(array.entry).map_err(damaged)?;
    if entry.size() != bytes {
        return Err(unfit());
    }
    let (file, before) = match (entry.compression(), entry.data_start()) {
        (CompressionMethod::Stored, Some(start)) => {
            if start.checked_add(bytes).is_none_or(|end| end > file.len()) {
                return Err(unfit());
            }
            // Images are read past the archive's checksum later.
            read_whole(path, entry, bytes, progress, |_| Ok(()))?;
            (file, start + array.header_bytes)
        }
        _ => {
            let packed = entry.compressed_size();
            (unpacked(path, entry, packed, bytes, progress)?, array.header_bytes)
        }
    };
    let digits = images.to_string().len().max(LEAST_DIGITS);
    let changed = modified(metadata);
    let mut found = Vec::with_capacity(images);
    for slot in 0..images {
        check_stop(progress, || "nothing was begun yet; run the same command again".into())?;
        // The content of an image is a PNM file: see `as_file`.
        let name = format!("{slot:0digits$}.ppm").into_bytes();
        found.push(Found { name, size: image_bytes, slot, modified: changed });
    }
    progress.advance(images as u64);
    let (width, height) = (width as u32, height as u32);
    Ok(Listing {
        container: Box::new(Pixels { file, before, image_bytes, width, height }),
        found,
        unreadable: Vec::new(),
        left_out: LeftOut::default(),
        archives: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::is_features_file;
    use crate::formats::npy::{write_npy, write_npz_f64};
    use crate::images::{Alpha, ImageSet, decode};
    use crate::progress::Silent;
    use ::zip::{ZipWriter, write::SimpleFileOptions};
    use ndarray::{Array, Array4, Dimension, arr1};
    use std::fs::File;
    use std::io::Write;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn pixels(images: usize) -> Array4<u8> {
        Array4::from_shape_fn((images, 4, 5, 3), |(i, y, x, c)| (i * 67 + y * 31 + x * 7 + c * 101) as u8)
    }

    fn npy_bytes<D: Dimension>(array: &Array<u8, D>) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        write_npy(dir.path().join("a.npy"), array).unwrap();
        std::fs::read(dir.path().join("a.npy")).unwrap()
    }

    /// An `.npz` file with these entries.
    fn npz(entries: &[(&str, &[u8])], method: CompressionMethod) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("images.npz");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        (dir, path)
    }

    #[test]
    fn stored_and_compressed_pixels_are_images_in_their_order() {
        let array = pixels(12);
        let bytes = npy_bytes(&array);
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let entries =
                [("mu.npy", b"something else".as_slice()), ("arr_0.npy", &bytes), ("arr_1.npy", b"")];
            let (_dir, path) = npz(&entries, method);
            assert!(!is_features_file(&path));
            let set = ImageSet::open(&path, &Silent).unwrap();
            assert_eq!((set.len(), set.path(0), set.path(11)), (12, "000000.ppm", "000011.ppm"));
            for i in 0..set.len() {
                let image = decode(&set.read(i).unwrap(), Alpha::White).unwrap();
                assert_eq!((image.width, image.height), (5, 4));
                assert!(image.pixels.iter().eq(array.index_axis(ndarray::Axis(0), i)));
            }
            assert!(set.modified(0) > 0 && set.unreadable().is_empty());
        }
    }

    #[test]
    fn features_and_statistics_are_no_images() {
        let (_dir, path) = npz(&[("features.npy", &npy_bytes(&pixels(2)))], CompressionMethod::Stored);
        assert!(is_features_file(&path) && PixelArray::of(&path).is_none());
        let gray = Array4::<u8>::zeros((2, 4, 5, 1));
        let (_dir, path) = npz(&[("arr_0.npy", &npy_bytes(&gray))], CompressionMethod::Stored);
        assert!(is_features_file(&path));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.npz");
        write_npz_f64(&path, &[("arr_0", arr1(&[1.0]).into_dyn().view())]).unwrap();
        assert!(is_features_file(&path));
        std::fs::copy(&path, dir.path().join("stats.zip")).unwrap();
        assert!(PixelArray::of(&dir.path().join("stats.zip")).is_none());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_or_says_more_than_it_holds_is_refused() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let (_dir, path) = npz(&[("arr_0.npy", &npy_bytes(&pixels(3)))], method);
            let whole = std::fs::read(&path).unwrap();
            for cut in 0..whole.len() {
                std::fs::write(&path, &whole[..cut]).unwrap();
                // Of the first bytes alone nothing tells that it is an archive: it is taken for one image, which cannot be decoded.
                let read = ImageSet::open(&path, &Silent).map(|set| set.read(0));
                let decoded = read.is_ok_and(|bytes| decode(&bytes.unwrap(), Alpha::White).is_ok());
                assert!(!decoded, "{method} cut at {cut}");
            }
        }
        let shaped = |from: &[u8], to: &[u8]| {
            let mut bytes = npy_bytes(&pixels(3));
            let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
            bytes[at..at + to.len()].copy_from_slice(to);
            let (_dir, path) = npz(&[("arr_0.npy", &bytes)], CompressionMethod::Stored);
            ImageSet::open(&path, &Silent).err().unwrap().to_string()
        };
        assert!(shaped(b"(3, 4", b"(9, 4").contains("[9, 4, 5, 3]"));
        assert!(shaped(b"(3, 4, 5", b"(3, 0, 5").contains("no pixels"));
        assert!(
            shaped(b"(3, 4, 5, 3), }      ", b"(999999999999, 1, 1, 3), }").contains("of one file are read")
        );
        assert!(shaped(b"False, ", b"True,  ").contains("Fortran order"));
    }

    #[test]
    fn damage_in_pixels_is_found_and_far_too_many_are_not_unpacked() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let (_dir, path) = npz(&[("arr_0.npy", &npy_bytes(&pixels(40)))], method);
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(ImageSet::open(&path, &Silent), Err(Error::Malformed { .. })), "{method}");
        }
        let nothing: &[u8] = &[];
        let error = unpacked(Path::new("x.npz"), nothing, 10, 1 << 31, &Silent).unwrap_err();
        assert!(error.to_string().contains("more than 100 times"), "{error}");
        for (bytes, size) in [(&[1u8; 10][..], 9), (&[1; 10], 11)] {
            assert!(unpacked(Path::new("x.npz"), bytes, 10, size, &Silent).is_err());
        }
    }
}
