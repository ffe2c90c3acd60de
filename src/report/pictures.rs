//! Small copies of images, inside the page.

use super::text::{escaped, shortened};
use crate::error::{Error, Result};
use crate::images::{Alpha, Filter, ImageSet, RgbImage, decode, resize};
use crate::progress::Progress;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::collections::HashMap;
use std::path::Path;

/// Longer side of a thumbnail, in pixels. With [`QUALITY`] it bounds a page: noise of this size takes 10 kB.
const SIDE: u32 = 112;
/// Longer side of the thumbnail of a contact sheet.
const SHEET_SIDE: u32 = 640;
/// Images up to this side are kept as they are, to the pixel.
const SMALL: u32 = 64;
/// Quality of JPEG thumbnails, 0 to 100.
const QUALITY: f32 = 76.0;

/// A picture as a `data:` address.
#[derive(Debug, Clone)]
pub(crate) struct Thumbnail {
    address: String,
    small: bool,
}

impl Thumbnail {
    /// A thumbnail of the bytes of an image file.
    ///
    /// # Errors
    /// A reason, if it cannot be decoded.
    pub(crate) fn of_file(bytes: &[u8]) -> std::result::Result<Self, String> {
        Self::of_image(decode(bytes, Alpha::White)?, SIDE)
    }

    /// A larger thumbnail, for a contact sheet.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it cannot be decoded; [`Error::Io`].
    pub(crate) fn of_sheet(path: &Path, progress: &dyn Progress) -> Result<Self> {
        let wrong = |reason: String| Error::malformed(path, reason, "");
        let set = ImageSet::open(path, progress)?;
        let image = set.read(0).and_then(|bytes| decode(&bytes, Alpha::White)).map_err(wrong)?;
        Self::of_image(image, SHEET_SIDE).map_err(wrong)
    }

    fn of_image(image: RgbImage, side: u32) -> std::result::Result<Self, String> {
        let longest = image.width.max(image.height);
        let small = longest <= SMALL;
        let (kind, bytes) = if small {
            ("png", png(&image)?)
        } else {
            let scale = (f64::from(side) / f64::from(longest)).min(1.0);
            let scaled = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
            let (width, height) = (scaled(image.width), scaled(image.height));
            let pixels =
                resize(&image.pixels, (image.width, image.height), 3, (width, height), Filter::Bilinear);
            ("jpeg", jpeg(&RgbImage { width, height, pixels })?)
        };
        Ok(Self { address: format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(bytes)), small })
    }

    /// The element that shows it.
    pub(super) fn img(&self, alt: &str) -> String {
        let class = if self.small { " class=\"small\"" } else { "" };
        format!("<img{class} src=\"{}\" alt=\"{}\">", self.address, escaped(&shortened(alt)))
    }
}

fn png(image: &RgbImage) -> std::result::Result<Vec<u8>, String> {
    let (triples, _) = image.pixels.as_chunks::<3>();
    let gray = triples.iter().all(|[r, g, b]| r == g && g == b);
    let values: Vec<u8> = triples.iter().map(|[r, _, _]| *r).collect();
    let (bytes, color) =
        if gray { (&values, ExtendedColorType::L8) } else { (&image.pixels, ExtendedColorType::Rgb8) };
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(bytes, image.width, image.height, color)
        .map_err(|e| e.to_string())?;
    Ok(file)
}

fn jpeg(image: &RgbImage) -> std::result::Result<Vec<u8>, String> {
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_size(image.width as usize, image.height as usize);
    encoder.set_quality(QUALITY);
    let mut started = encoder.start_compress(Vec::new()).map_err(|e| e.to_string())?;
    started.write_scanlines(&image.pixels).map_err(|e| e.to_string())?;
    started.finish().map_err(|e| e.to_string())
}

/// Images by their path; there may be none.
pub(crate) struct Pictures {
    set: Option<ImageSet>,
    places: HashMap<String, usize>,
}

impl Pictures {
    /// No images: pages are made without them.
    pub(crate) fn none() -> Self {
        Self { set: None, places: HashMap::new() }
    }

    /// Those of a set.
    pub(crate) fn of(set: ImageSet) -> Self {
        let places = (0..set.len()).map(|i| (set.path(i).to_owned(), i)).collect();
        Self { set: Some(set), places }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_none()
    }

    /// The digest of the set, which a reference of it records.
    pub(crate) fn digest(&self) -> Option<String> {
        self.set.as_ref().map(ImageSet::digest)
    }

    /// The picture of this path, if it is there and can be decoded.
    pub(crate) fn thumbnail(&self, path: &str) -> Option<Thumbnail> {
        let bytes = self.set.as_ref()?.read(*self.places.get(path)?).ok()?;
        Thumbnail::of_file(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(thumbnail: &Thumbnail) -> Vec<u8> {
        let (_, text) = thumbnail.address.split_once("base64,").unwrap();
        BASE64_STANDARD.decode(text).unwrap()
    }

    #[test]
    fn a_small_image_is_kept_to_the_pixel_and_a_large_one_shrinks() {
        let small = RgbImage { width: 3, height: 2, pixels: (0..18).collect() };
        let kept = Thumbnail::of_file(&png(&small).unwrap()).unwrap();
        assert!(kept.small && kept.address.starts_with("data:image/png"));
        assert_eq!(decode(&bytes_of(&kept), Alpha::White).unwrap(), small);
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        let large = RgbImage { width: 900, height: 300, pixels: (0..900 * 300 * 3).map(noise).collect() };
        let shrunk = Thumbnail::of_file(&png(&large).unwrap()).unwrap();
        let found = decode(&bytes_of(&shrunk), Alpha::White).unwrap();
        assert_eq!((found.width, found.height, shrunk.small), (112, 37, false));
        assert!(Thumbnail::of_file(b"no image").is_err());
    }

    #[test]
    fn the_noisiest_thumbnail_is_bounded() {
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        for side in [SMALL, SIDE] {
            let pixels = (0..side * side * 3).map(noise).collect();
            let found = Thumbnail::of_image(RgbImage { width: side, height: side, pixels }, SIDE).unwrap();
            assert!(found.address.len() < 24_000, "{}", found.address.len());
        }
    }
}
