//! What is kept of a picture for the second look: a small JPEG of it, with its size and a digest of its pixels.

use crate::images::{Filter, RgbImage, decode_jpeg, encode_jpeg, resize};
use sha2::{Digest, Sha256};

/// Bytes of a descriptor.
pub(crate) const BYTES: usize = 2048;
/// Longer side of the small picture, in pixels, where it fits.
const SIDES: [u32; 4] = [128, 112, 96, 64];
/// Qualities that are tried.
const QUALITIES: [u8; 9] = [95, 90, 85, 75, 65, 55, 45, 35, 25];
/// Bytes of the digest.
const DIGEST: usize = 16;
/// Bytes before the JPEG: digest, width, height, length.
const HEAD: usize = DIGEST + 4 + 4 + 2;

/// A picture in at most 2 kB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    digest: [u8; DIGEST],
    width: u32,
    height: u32,
    jpeg: Vec<u8>,
}

impl Descriptor {
    /// Of a picture as it is shown: upright, in RGB.
    ///
    /// # Errors
    /// A reason without the path, if the picture cannot be encoded.
    pub(crate) fn of(image: &RgbImage) -> Result<Self, String> {
        let mut hash = Sha256::new();
        hash.update(image.width.to_le_bytes());
        hash.update(image.height.to_le_bytes());
        hash.update(&image.pixels);
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&hash.finalize()[..DIGEST]);
        let jpeg = small(image)?;
        Ok(Self { digest, width: image.width, height: image.height, jpeg })
    }

    /// The small picture.
    ///
    /// # Errors
    /// A reason, if the bytes are not those of a small picture.
    pub(crate) fn picture(&self) -> Result<RgbImage, String> {
        decode_jpeg(&self.jpeg)
    }

    /// Which of two pictures is laid under the other.
    pub(crate) fn ordered_before(&self, other: &Self) -> bool {
        self.digest <= other.digest
    }

    /// Whether both have the same pixels.
    pub(crate) fn is_exactly(&self, other: &Self) -> bool {
        self.digest == other.digest && (self.width, self.height) == (other.width, other.height)
    }
}

fn small(image: &RgbImage) -> Result<Vec<u8>, String> {
    for side in SIDES {
        let longer = image.width.max(image.height);
        let size = |n: u32| if longer <= side { n } else { ((f64::from(n) * f64::from(side) / f64::from(longer)).round() as u32).max(1) };
        let new = (size(image.width), size(image.height));
        let pixels = if new == (image.width, image.height) {
            image.pixels.clone()
        } else {
            resize(&image.pixels, (image.width, image.height), 3, new, Filter::Bilinear)
        };
        for quality in QUALITIES {
            let jpeg = encode_jpeg(&pixels, new, quality)?;
            if jpeg.len() <= BYTES - HEAD {
                return Ok(jpeg);
            }
        }
    }
    Err("cannot be made small".into())
}
