//! Reading, decoding and preparing many images on all cores.
//! The result is in the order of the set; a damaged image has its reason in its place.
//! Memory is bounded by the range asked for, and by what decoding may take in all threads ([`budget`]).

use super::budget;
use super::decode::decode_file;
use super::names::promised_format;
use super::preprocess::{Pixels, Preprocessing};
use super::rgb::RgbImage;
use super::skipped::Skipped;
use super::source::ImageSet;
use crate::formats::digest::sha256;
use rayon::prelude::*;
use std::ops::Range;

/// An image ready for the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The pixels, in the size and colours of the preprocessing.
    pub pixels: Pixels,
    /// Width of the original, upright.
    pub width: u32,
    /// Height of the original, upright.
    pub height: u32,
    /// Peculiarities of the file (`cmyk`, `16-bit`, `named .png but is jpeg`); empty for most.
    pub note: String,
}

impl Prepared {
    /// An image without peculiarities.
    pub fn of_image(image: &RgbImage, preprocessing: &Preprocessing) -> Self {
        let pixels = preprocessing.apply(image);
        Self { pixels, width: image.width, height: image.height, note: String::new() }
    }
}

/// Images `range` of the set, in order, each prepared or with the reason why it cannot be used.
///
/// # Panics
/// If `range` reaches beyond the set.
pub fn load(
    set: &ImageSet,
    range: Range<usize>,
    preprocessing: &Preprocessing,
) -> Vec<Result<Prepared, Skipped>> {
    assert!(range.end <= set.len(), "a range beyond the set");
    range
        .into_par_iter()
        .with_max_len(1)
        .map(|i| prepare(set, i, preprocessing).map_err(|reason| Skipped::new(set.path(i), reason)))
        .collect()
}

/// An image ready for the network, what its file is, and what else was made of it.
#[derive(Debug)]
pub(crate) struct Loaded<T> {
    /// The image.
    pub image: Prepared,
    /// SHA-256 of its file, 64 hexadecimal digits.
    pub sha256: String,
    /// What else was made of it.
    pub also: T,
}

/// The picture that a decoded image may be a reduced form of.
pub(crate) struct Original<'a> {
    /// Width and height, upright.
    pub size: (u32, u32),
    /// The bytes of its file.
    pub file: &'a [u8],
}

/// Something else that is made of each decoded image.
pub(crate) trait FromImage: Sync {
    /// What is made.
    type Made: Send;

    /// The smallest size at which an image of `size` may be decoded for it (width, height, upright).
    fn least_size(&self, size: (u32, u32)) -> (u64, u64);

    /// # Errors
    /// Why the image cannot be used.
    fn make(&self, image: &RgbImage, original: &Original) -> Result<Self::Made, String>;
}

/// Nothing.
impl FromImage for () {
    type Made = ();

    fn least_size(&self, _: (u32, u32)) -> (u64, u64) {
        (1, 1)
    }

    fn make(&self, _: &RgbImage, _: &Original) -> Result<(), String> {
        Ok(())
    }
}

/// As [`load`], for those images of `range` alone that are `wanted`; `None` for the others.
///
/// # Panics
/// If `range` reaches beyond the set.
pub(crate) fn load_some<A: FromImage>(
    set: &ImageSet,
    range: Range<usize>,
    wanted: impl Fn(usize) -> bool + Sync,
    preprocessing: &Preprocessing,
    also: &A,
) -> Vec<Option<Result<Loaded<A::Made>, Skipped>>> {
    assert!(range.end <= set.len(), "a range beyond the set");
    let loaded = |i| {
        let _file = budget::hold(set.size(i))?;
        let bytes = set.read(i)?;
        let (image, also) = prepared(set.path(i), &bytes, preprocessing, also)?;
        Ok(Loaded { image, sha256: sha256(&bytes), also })
    };
    range
        .into_par_iter()
        .with_max_len(1)
        .map(|i| wanted(i).then(|| loaded(i).map_err(|reason: String| Skipped::new(set.path(i), reason))))
        .collect()
}

fn prepare(set: &ImageSet, i: usize, preprocessing: &Preprocessing) -> Result<Prepared, String> {
    let _file = budget::hold(set.size(i))?;
    Ok(prepared(set.path(i), &set.read(i)?, preprocessing, &())?.0)
}

/// The image of the file of this path, and what else is made of it.
fn prepared<A: FromImage>(
    path: &str,
    bytes: &[u8],
    preprocessing: &Preprocessing,
    also: &A,
) -> Result<(Prepared, A::Made), String> {
    let decoded = decode_file(bytes, preprocessing.alpha, &|size| {
        let (sizes, others) = (preprocessing.least_size(size), also.least_size(size));
        (sizes.0.max(others.0), sizes.1.max(others.1))
    })?;
    let mut notes = Vec::new();
    if !decoded.note.is_empty() {
        notes.push(decoded.note);
    }
    if promised_format(path.as_bytes()).is_some_and(|promised| promised != decoded.format.name()) {
        let extension = path.rsplit('.').next().unwrap_or_default();
        notes.push(format!("named .{extension} but is {}", decoded.format.name()));
    }
    let also = also.make(&decoded.image, &Original { size: decoded.size, file: bytes })?;
    let pixels = preprocessing.apply(&decoded.image);
    let (width, height) = decoded.size;
    Ok((Prepared { pixels, width, height, note: notes.join("; ") }, also))
}
