//! Small copies of images, inside the page.

use super::text::{escaped, shortened};
use crate::error::{Error, Result};
use crate::images::{Alpha, Filter, ImageSet, RgbImage, decode, resize};
use crate::progress::Progress;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// Longer side of the thumbnail of a contact sheet.
const SHEET_SIDE: u32 = 640;
/// Images up to this side are kept as they are, to the pixel.
const SMALL: u32 = 64;
/// Quality of JPEG thumbnails, 0 to 100.
const QUALITY: f32 = 76.0;
/// What is escaped in the address of a file: all but what no browser takes for a scheme, a query or a fragment.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A picture as a `data:` address.
#[derive(Debug, Clone)]
pub(crate) struct Thumbnail {
    address: String,
    small: bool,
}

impl Thumbnail {
    /// A thumbnail of the bytes of an image file, whose longer side is `side` pixels at most.
    ///
    /// # Errors
    /// A reason, if it cannot be decoded.
    pub(crate) fn of_file(bytes: &[u8], side: u32) -> std::result::Result<Self, String> {
        Self::of_image(decode(bytes, Alpha::White)?, side)
    }

    /// Its address.
    pub(super) fn address(&self) -> &str {
        &self.address
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
    root: PathBuf,
    places: HashMap<String, usize>,
}

impl Pictures {
    /// No images: pages are made without them.
    pub(crate) fn none() -> Self {
        Self { set: None, root: PathBuf::new(), places: HashMap::new() }
    }

    /// Those of a directory, an archive or a file.
    ///
    /// # Errors
    /// As [`ImageSet::open`].
    pub(crate) fn open(path: &Path, progress: &dyn Progress) -> Result<Self> {
        let set = ImageSet::open(path, progress)?;
        Ok(Self::of(set, path.canonicalize().unwrap_or_else(|_| path.to_path_buf())))
    }

    /// Those of a set, whose name tells it from others. Where that is a directory, its files are linked.
    pub(crate) fn of(set: ImageSet, root: PathBuf) -> Self {
        let places = (0..set.len()).map(|i| (set.path(i).to_owned(), i)).collect();
        Self { set: Some(set), root, places }
    }

    /// Those of a directory of results, or none where it holds only numbers.
    pub(super) fn in_directory(dir: &Path, progress: &dyn Progress) -> Self {
        Self::open(dir, progress).unwrap_or_else(|_| Self::none())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_none()
    }

    /// Whether there is one of this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// What tells this set from others.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The digest of the set, which a reference of it records.
    pub(crate) fn digest(&self) -> Option<String> {
        self.set.as_ref().map(ImageSet::digest)
    }

    /// The picture of this path, if it is there and can be decoded.
    pub(super) fn thumbnail(&self, path: &str, side: u32) -> Option<Thumbnail> {
        let bytes = self.set.as_ref()?.read(*self.places.get(path)?).ok()?;
        Thumbnail::of_file(&bytes, side).ok()
    }

    /// The address of the file of this path, as seen from a page in `folder`; `None` in an archive, or where there is no such file.
    pub(super) fn link(&self, path: &str, folder: &Path) -> Option<String> {
        if !self.has(path) {
            return None;
        }
        let file = match self.root.is_dir() {
            true => self.root.join(path),
            // The set of one file; what lies in an archive has none.
            false if self.root.file_name().is_some_and(|name| name == path) => self.root.clone(),
            false => return None,
        };
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new(".").canonicalize(),
            false => folder.canonicalize(),
        };
        let relative = pathdiff::diff_paths(&file, folder.ok()?).filter(|_| file.is_file())?;
        let part = |part: Component| match part {
            Component::ParentDir => Some("..".to_owned()),
            Component::Normal(name) => Some(utf8_percent_encode(name.to_str()?, ESCAPED).to_string()),
            _ => None,
        };
        Some(relative.components().map(part).collect::<Option<Vec<_>>>()?.join("/"))
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
        let kept = Thumbnail::of_file(&png(&small).unwrap(), 112).unwrap();
        assert!(kept.small && kept.address.starts_with("data:image/png"));
        assert_eq!(decode(&bytes_of(&kept), Alpha::White).unwrap(), small);
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        let large = RgbImage { width: 900, height: 300, pixels: (0..900 * 300 * 3).map(noise).collect() };
        let shrunk = Thumbnail::of_file(&png(&large).unwrap(), 112).unwrap();
        let found = decode(&bytes_of(&shrunk), Alpha::White).unwrap();
        assert_eq!((found.width, found.height, shrunk.small), (112, 37, false));
        assert!(Thumbnail::of_file(b"no image", 112).is_err());
    }

    #[test]
    fn the_noisiest_thumbnail_is_bounded() {
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        for (side, bound) in [(SMALL, 24_000), (180, 45_000), (280, 110_000)] {
            let pixels = (0..side * side * 3).map(noise).collect();
            let found = Thumbnail::of_image(RgbImage { width: side, height: side, pixels }, side).unwrap();
            assert!(found.address.len() < bound, "{}", found.address.len());
        }
    }

    #[test]
    fn a_link_is_relative_and_its_name_is_no_scheme_or_markup() {
        let place = tempfile::tempdir().unwrap();
        let photos = place.path().join("photos");
        std::fs::create_dir_all(photos.join("a")).unwrap();
        std::fs::create_dir(place.path().join("page")).unwrap();
        let small = png(&RgbImage { width: 1, height: 1, pixels: vec![7; 3] }).unwrap();
        let name = "a/javascript:x?\"<#% é.png";
        std::fs::write(photos.join(name), small).unwrap();
        let pictures = Pictures::open(&photos, &crate::progress::Silent).unwrap();
        let found = pictures.link(name, &place.path().join("page")).unwrap();
        assert_eq!(found, "../photos/a/javascript%3Ax%3F%22%3C%23%25%20%C3%A9.png");
        assert_eq!(pictures.link(name, &photos).unwrap(), found.strip_prefix("../photos/").unwrap());
        assert_eq!(pictures.link("../photos/a.png", &photos), None);
        std::fs::remove_file(photos.join(name)).unwrap();
        assert_eq!(pictures.link(name, &photos), None);
    }
}
