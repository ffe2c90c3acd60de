//! What is kept of a picture for the second look: a small JPEG of it, its gray levels seen from afar, its size and a digest of its pixels.

use super::thumb::{BYTES as THUMB, Thumb};
use crate::error::Error;
use crate::images::{Alpha, Filter, RgbImage, decode, encode_jpeg, resize};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of a descriptor in a file, at most.
pub(crate) const BYTES: usize = 2048;
/// Longer sides of the small picture, in pixels: the largest that fits.
const SIDES: [u32; 4] = [128, 112, 96, 64];
/// Qualities of the small picture: the best that fits.
const QUALITIES: [u8; 9] = [95, 90, 85, 75, 65, 55, 45, 35, 25];
/// Smaller pictures, by their shorter side in pixels, hold too little to tell an edited copy from another picture (of digits of 28 pixels
/// three in four were named): they are copies if they are the same to the pixel.
const SMALLEST: u32 = 32;
/// Share of each side that a frame may take.
const FRAME: f64 = 0.2;
/// Bytes of the digest.
const DIGEST: usize = 16;
/// A digest of the pixels and the size of a picture.
pub(crate) type Digest = [u8; DIGEST];
/// Bytes beside the JPEG: digest, width, height, thumbnail, length.
const HEAD: usize = DIGEST + 4 + 4 + THUMB + 2;

/// A picture in at most [`BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    digest: Digest,
    width: u32,
    height: u32,
    thumb: Thumb,
    jpeg: Vec<u8>,
}

impl Descriptor {
    /// Of a picture as it is shown: upright, RGB.
    ///
    /// # Errors
    /// A reason without the path, if it cannot be made small.
    pub(crate) fn of(image: &RgbImage) -> Result<Self, String> {
        Self::from_digested(image, (image.width, image.height), &image.pixels)
    }

    /// Of a picture that was decoded at a reduced size. Others are the same to the pixel if their `file` is the same: pixels that are
    /// not decoded may differ.
    ///
    /// # Errors
    /// As [`Descriptor::of`].
    pub(crate) fn of_reduced(image: &RgbImage, size: (u32, u32), file: &[u8]) -> Result<Self, String> {
        Self::from_digested(image, size, file)
    }

    fn from_digested(image: &RgbImage, (width, height): (u32, u32), digested: &[u8]) -> Result<Self, String> {
        let mut hash = Sha256::new();
        hash.update(width.to_le_bytes());
        hash.update(height.to_le_bytes());
        hash.update(digested);
        let mut digest = [0; DIGEST];
        digest.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        let (thumb, jpeg) = small(image)?;
        Ok(Self { digest, width, height, thumb, jpeg })
    }

    /// The smallest size at which a picture of `size` (width, height) may be decoded: twice what is kept of it.
    pub(crate) fn least_size((width, height): (u32, u32)) -> (u64, u64) {
        let (wanted, longer) = (2 * u64::from(SIDES[0]), u64::from(width.max(height)).max(1));
        let scaled = |n: u32| (u64::from(n) * wanted).div_ceil(longer).min(n.into());
        (scaled(width), scaled(height))
    }

    /// As a row of a file: digest, width, height, thumbnail, length of the JPEG, the JPEG, and zeros.
    pub(crate) fn to_row(&self) -> [u8; BYTES] {
        let mut row = [0; BYTES];
        let head = [&self.digest[..], &self.width.to_le_bytes(), &self.height.to_le_bytes()].concat();
        let length = (self.jpeg.len() as u16).to_le_bytes();
        let bytes = head.iter().chain(self.thumb.bytes()).chain(&length).chain(&self.jpeg);
        row.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        row
    }

    /// From a row of a file; `None` if it is none of a descriptor.
    pub(crate) fn from_row(row: &[u8]) -> Option<Self> {
        let (digest, rest) = row.split_first_chunk()?;
        let (width, rest) = rest.split_first_chunk()?;
        let (height, rest) = rest.split_first_chunk()?;
        let (thumb, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let jpeg = rest.get(..usize::from(u16::from_le_bytes(*length)))?.to_vec();
        let (width, height) = (u32::from_le_bytes(*width), u32::from_le_bytes(*height));
        Some(Self { digest: *digest, width, height, thumb: Thumb::new(*thumb), jpeg })
    }

    /// The small picture.
    ///
    /// # Errors
    /// [`Error::Data`] if the bytes are not those of a picture.
    pub(super) fn picture(&self) -> crate::Result<RgbImage> {
        let damaged = |reason| Error::data(format!("a descriptor cannot be read: {reason}"), "");
        decode(&self.jpeg, Alpha::White).map_err(damaged)
    }

    /// The digest of the pixels and the size: equal where two pictures are the same to the pixel.
    pub(crate) fn pixels(&self) -> Digest {
        self.digest
    }

    /// The picture from afar.
    pub(crate) fn thumb(&self) -> &Thumb {
        &self.thumb
    }

    /// The thumbnails of what it may be a copy of: the picture and its middle, as a frame leaves it, plain and mirrored.
    ///
    /// # Errors
    /// As [`Descriptor::picture`].
    pub(crate) fn originals(&self) -> crate::Result<[Thumb; 4]> {
        let middle = Thumb::of(&middle(&self.picture()?));
        Ok([self.thumb.clone(), self.thumb.mirrored(), middle.mirrored(), middle])
    }

    /// Whether the picture is large enough for edited copies of it to be told from other pictures.
    pub(crate) fn is_large(&self) -> bool {
        self.width.min(self.height) >= SMALLEST
    }

    /// Pixels of the picture itself.
    pub(crate) fn area(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Without a frame.
fn middle(image: &RgbImage) -> RgbImage {
    let edge = |side: u32| (0.5 * FRAME * f64::from(side)).round() as u32;
    let (left, top) = (edge(image.width), edge(image.height));
    let (width, height) = (image.width - 2 * left, image.height - 2 * top);
    let rows = image.pixels.chunks_exact(3 * image.width.max(1) as usize).skip(top as usize);
    let row =
        |row: &[u8]| row.iter().skip(3 * left as usize).take(3 * width as usize).copied().collect::<Vec<_>>();
    RgbImage { width, height, pixels: rows.take(height as usize).flat_map(row).collect() }
}

/// The thumbnail of a picture, and the small JPEG.
fn small(image: &RgbImage) -> Result<(Thumb, Vec<u8>), String> {
    let longer = image.width.max(image.height);
    for side in SIDES {
        let scaled = |n: u32| match longer <= side {
            true => n,
            false => ((f64::from(n) * f64::from(side) / f64::from(longer)).round() as u32).max(1),
        };
        let (width, height) = (scaled(image.width), scaled(image.height));
        let pixels = match (width, height) == (image.width, image.height) {
            true => image.pixels.clone(),
            false => resize(&image.pixels, (image.width, image.height), 3, (width, height), Filter::Bilinear),
        };
        let small = RgbImage { width, height, pixels };
        if let Some(jpeg) = best_that_fits(&small)? {
            return Ok((Thumb::of(&small), jpeg));
        }
    }
    Err(format!("no small picture of it fits into {BYTES} bytes"))
}

/// The JPEG of the best quality that fits, found by halving: a better quality takes more bytes.
fn best_that_fits(image: &RgbImage) -> Result<Option<Vec<u8>>, String> {
    let mut best = None;
    let mut open = 0..QUALITIES.len();
    while !open.is_empty() {
        let middle = (open.start + open.end) / 2;
        let jpeg = encode_jpeg(image, QUALITIES[middle])?;
        if jpeg.len() + HEAD <= BYTES {
            (best, open.end) = (Some(jpeg), middle);
        } else {
            open.start = middle + 1;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hardest_picture_fits_and_the_smallest_survives() {
        // Noise: nothing compresses worse.
        let mut state = 1u32;
        let noise = |n: usize| -> Vec<u8> {
            (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect()
        };
        let mut noise = noise;
        for (width, height) in [(1, 1), (1, 300), (32, 32), (300, 200)] {
            let image = RgbImage { width, height, pixels: noise((3 * width * height) as usize) };
            let descriptor = Descriptor::of(&image).unwrap();
            assert!(descriptor.jpeg.len() + HEAD <= BYTES);
            let small = descriptor.picture().unwrap();
            assert!(small.width.max(small.height) <= 128 && small.width * small.height > 0);
            assert_eq!(descriptor.area(), u64::from(width * height));
            let row = descriptor.to_row();
            assert_eq!(Descriptor::from_row(&row).unwrap(), descriptor);
            assert_eq!(Descriptor::from_row(&row[..HEAD - 1]), None);
            let mut long = row;
            long[HEAD - 2..HEAD].copy_from_slice(&u16::MAX.to_le_bytes());
            assert_eq!(Descriptor::from_row(&long), None);
            assert!(descriptor.originals().is_ok());
        }
    }

    #[test]
    fn pictures_decoded_at_a_reduced_size_are_the_same_if_their_files_are() {
        let image = RgbImage { width: 4, height: 3, pixels: vec![100; 36] };
        let of = |size, file: &[u8]| Descriptor::of_reduced(&image, size, file).unwrap();
        assert_eq!(of((40, 30), b"a").pixels(), of((40, 30), b"a").pixels());
        assert_ne!(of((40, 30), b"a").pixels(), of((40, 30), b"b").pixels());
        assert_ne!(of((40, 30), b"a").pixels(), Descriptor::of(&image).unwrap().pixels());
        assert_eq!(of((40, 30), b"a").area(), 1200);
        assert_eq!(Descriptor::least_size((4000, 3000)), (256, 192));
        assert_eq!(Descriptor::least_size((200, 100)), (200, 100));
    }

    #[test]
    fn one_gray_level_makes_another_picture() {
        let image = RgbImage { width: 4, height: 3, pixels: vec![100; 36] };
        let mut other = image.clone();
        other.pixels[7] = 101;
        let of = |image: &RgbImage| Descriptor::of(image).unwrap().pixels();
        assert_eq!(of(&image), of(&image.clone()));
        assert_ne!(of(&image), of(&other));
        assert_ne!(of(&image), of(&RgbImage { width: 3, height: 4, ..image }));
    }
}
