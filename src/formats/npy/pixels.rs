//! Images as numbers: a `.npz` file whose array `arr_0` is the pixels of all images, uint8 `[N, H, W, 3]`. ADM's samplers write such files,
//! its evaluator reads them, and its reference files have mean and covariance of more images beside them.

use super::header::read_header;
use crate::formats::element::Element;
use crate::formats::regular::open_regular;
use crate::formats::zip::open_zip;
use std::io::BufReader;
use std::path::Path;

/// What `numpy.savez(file, images)` calls the array.
const ARRAY: &str = "arr_0.npy";
/// The extension of such a file.
const EXTENSION: &str = "npz";
/// Red, green and blue.
const CHANNELS: usize = 3;

/// What a `.npz` file says of the images in it; nothing of it is checked but the kind of the array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PixelArray {
    /// The number of its entry in the archive.
    pub entry: usize,
    /// Bytes of the entry before the first pixel.
    pub header_bytes: u64,
    /// N.
    pub images: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// Whether the first index runs fastest, so that the pixels of an image do not lie together.
    pub fortran_order: bool,
}

impl PixelArray {
    /// Of the file `path`; `None` if it is none of images, or cannot be read.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(EXTENSION)) {
            return None;
        }
        let mut zip = open_zip(BufReader::new(open_regular(path).ok()?)).ok()?;
        let entry = zip.index_for_name(ARRAY)?;
        let (header, header_bytes) = read_header(&mut zip.by_index(entry).ok()?, path).ok()?;
        match header.shape[..] {
            [images, height, width, CHANNELS] if header.element == Element::U8 => {
                let fortran_order = header.fortran_order;
                Some(Self { entry, header_bytes, images, height, width, fortran_order })
            }
            _ => None,
        }
    }

    /// Bytes of the pixels of an image; `None` beyond what can be counted.
    pub(crate) fn image_bytes(&self) -> Option<u64> {
        let bytes = self.height.checked_mul(self.width)?.checked_mul(CHANNELS)?;
        u64::try_from(bytes).ok()
    }

    /// Bytes of the whole entry, likewise.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.image_bytes()?.checked_mul(u64::try_from(self.images).ok()?)?.checked_add(self.header_bytes)
    }
}
