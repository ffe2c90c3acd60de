//! Photographs that the program carries: a catalogue of garments, and a pool of pictures as a generator that repeats itself might make
//! them. The names of the pool's files say what each is.

use crate::error::{Error, Result};
use crate::formats::atomic::write_unless_there;
use crate::images::{Alpha, ImageSet, RgbImage, decode, encode_jpeg};
use crate::progress::Progress;
use image::imageops;
use std::path::Path;

/// 160 garments in `catalogue/` and 80 others in `new/`, 96 pixels on the longer side; `examples/demo/README.md` says where they are from.
pub(super) const GARMENTS: &[u8] = include_bytes!("../../examples/garments.zip");
/// Edited pictures of the catalogue in the pool.
const COPIES: usize = 24;
/// Edited pictures of other new ones in the pool.
const REPEATS: usize = 12;
/// Of the JPEG files that are made.
const QUALITY: u8 = 85;

type Picture = image::RgbImage;
type Change = fn(&Picture) -> Picture;

/// What is done to a picture that remains the same picture, by name.
const EDITS: [(&str, Change); 6] = [
    ("mirrored", imageops::flip_horizontal),
    ("cropped", |picture| {
        let (width, height) = picture.dimensions();
        imageops::crop_imm(picture, width / 16, height / 10, width - width / 8, height - height / 8)
            .to_image()
    }),
    ("brighter", |picture| imageops::brighten(picture, 40)),
    ("smaller", |picture| {
        let (width, height) = picture.dimensions();
        imageops::resize(picture, width * 2 / 3, height * 2 / 3, imageops::FilterType::CatmullRom)
    }),
    ("framed", |picture| {
        const FRAME: u32 = 8;
        let (width, height) = picture.dimensions();
        let mut framed = Picture::from_pixel(width + 2 * FRAME, height + 2 * FRAME, image::Rgb([255; 3]));
        imageops::replace(&mut framed, picture, FRAME.into(), FRAME.into());
        framed
    }),
    ("gray", |picture| image::DynamicImage::ImageLuma8(imageops::grayscale(picture)).into_rgb8()),
];

/// What makes a picture useless, by name.
const FAULTS: [(&str, Change); 4] = [
    ("dark", |picture| imageops::brighten(picture, -190)),
    ("blurred", |picture| imageops::blur(picture, 9.0)),
    ("inverted", |picture| {
        let mut inverted = picture.clone();
        imageops::invert(&mut inverted);
        inverted
    }),
    ("cut", |picture| {
        let mut cut = picture.clone();
        let (width, height) = cut.dimensions();
        let blank = Picture::from_pixel(width, height, image::Rgb([128; 3]));
        imageops::replace(&mut cut, &blank, 0, (height / 3).into());
        cut
    }),
];

/// Writes `catalogue/`, 160 pictures, and `pool/`, 120 pictures, into `root`; files that are there already are kept.
pub(super) fn write_garments(root: &Path, progress: &dyn Progress) -> Result<()> {
    let archive = root.join("garments.zip");
    write_unless_there(&archive, GARMENTS)?;
    let set = ImageSet::open(&archive, progress)?;
    let mut catalogue = Vec::new();
    let mut new = Vec::new();
    for at in 0..set.len() {
        let bytes = set.read(at).map_err(|reason| Error::malformed(&archive, reason, ""))?;
        match set.path(at).split_once('/') {
            Some(("catalogue", name)) => {
                write_unless_there(&root.join("catalogue").join(name), &bytes)?;
                catalogue.push((stem(name).to_owned(), bytes));
            }
            Some((_, name)) => {
                write_unless_there(&root.join("pool").join(format!("new-{name}")), &bytes)?;
                new.push((format!("new-{}", stem(name)), bytes));
            }
            None => {}
        }
    }
    let pool = Pool { root, archive: &archive };
    pool.add("copy-of", &catalogue, COPIES, &EDITS)?;
    pool.add("repeat-of", &new, REPEATS, &EDITS)?;
    pool.add("broken", &new, FAULTS.len(), &FAULTS)
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

struct Pool<'a> {
    root: &'a Path,
    archive: &'a Path,
}

impl Pool<'_> {
    /// Changes `count` of the pictures, evenly over all of them, by each of `changes` in turn.
    fn add(
        &self,
        what: &str,
        pictures: &[(String, Vec<u8>)],
        count: usize,
        changes: &[(&str, Change)],
    ) -> Result<()> {
        let malformed = |reason: String| Error::malformed(self.archive, reason, "");
        let chosen = pictures.iter().step_by((pictures.len() / count).max(1)).take(count);
        for ((name, bytes), (change, apply)) in chosen.zip(changes.iter().cycle()) {
            let RgbImage { width, height, pixels } = decode(bytes, Alpha::White).map_err(malformed)?;
            let picture = Picture::from_raw(width, height, pixels)
                .ok_or_else(|| malformed(format!("{name} has fewer pixels than it says")))?;
            let changed = apply(&picture);
            let (width, height) = changed.dimensions();
            let changed = RgbImage { width, height, pixels: changed.into_raw() };
            let path = self.root.join("pool").join(format!("{what}-{name}-{change}.jpg"));
            write_unless_there(&path, &encode_jpeg(&changed, QUALITY).map_err(malformed)?)?;
        }
        Ok(())
    }
}
