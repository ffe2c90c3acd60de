//! Images that the program makes: PNG files, and sheets of many.

use super::resize::{Filter, resize};
use super::rgb::RgbImage;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::io::Write;
use std::path::Path;

/// Pixels between the images of a sheet.
const GAP: u32 = 2;
/// Side of a tile of a sheet of larger images.
const LARGEST_TILE: u32 = 256;

/// An image of bytes with one value per pixel (gray) or three.
///
/// # Errors
/// [`Error::Data`] if the number of values fits neither.
pub fn gray_or_rgb((width, height): (u32, u32), pixels: Vec<u8>) -> Result<RgbImage> {
    let size = width as usize * height as usize;
    let pixels = match pixels.len() {
        n if n == 3 * size => pixels,
        n if n == size => pixels.iter().flat_map(|&v| [v; 3]).collect(),
        n => return Err(Error::data(format!("{n} values are no image of {width} x {height}"), "")),
    };
    Ok(RgbImage { width, height, pixels })
}

/// Writes a PNG file, gray where all channels are equal; it appears when it is whole.
///
/// # Errors
/// [`Error::Io`].
pub fn write_png(path: &Path, image: &RgbImage) -> Result<()> {
    let RgbImage { width, height, pixels } = image;
    let (triples, _) = pixels.as_chunks::<3>();
    let gray = triples.iter().all(|[r, g, b]| r == g && g == b);
    if gray {
        let values: Vec<u8> = triples.iter().map(|pixel| pixel[0]).collect();
        write_png_bytes(path, &values, (*width, *height), 1)
    } else {
        write_png_bytes(path, pixels, (*width, *height), 3)
    }
}

/// Writes `[height, width, channels]` bytes, of one channel (gray) or three, as a PNG file; it appears when it is whole.
///
/// # Errors
/// [`Error::Malformed`] if the bytes do not fit the size; [`Error::Io`].
pub fn write_png_bytes(
    path: &Path,
    bytes: &[u8],
    (width, height): (u32, u32),
    channels: usize,
) -> Result<()> {
    let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(bytes, width, height, color)
        .map_err(|e| Error::malformed(path, format!("cannot be encoded: {e}"), ""))?;
    write_atomic(path, |out| out.write_all(&file))
}

/// Images side by side in rows of `columns`, on white, each in a tile of the first one's size (or smaller, if that is large).
pub fn contact_sheet(images: &[RgbImage], columns: usize) -> RgbImage {
    let columns = columns.clamp(1, images.len().max(1));
    let (width, height) = images.first().map_or((1, 1), |first| {
        let scale = (f64::from(LARGEST_TILE) / f64::from(first.width.max(first.height))).min(1.0);
        let side = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
        (side(first.width), side(first.height))
    });
    let rows = images.len().div_ceil(columns).max(1);
    let sheet_width = (columns as u32) * (width + GAP) + GAP;
    let sheet_height = (rows as u32) * (height + GAP) + GAP;
    let mut pixels = vec![u8::MAX; 3 * sheet_width as usize * sheet_height as usize];
    for (i, image) in images.iter().enumerate() {
        let tile = match (image.width, image.height) == (width, height) {
            true => image.clone(),
            false => scaled(image, (width, height)),
        };
        let left = (GAP + (i % columns) as u32 * (width + GAP)) as usize;
        let top = (GAP + (i / columns) as u32 * (height + GAP)) as usize;
        for (y, row) in tile.pixels.chunks_exact(3 * width as usize).enumerate() {
            let at = 3 * ((top + y) * sheet_width as usize + left);
            pixels[at..at + row.len()].copy_from_slice(row);
        }
    }
    RgbImage { width: sheet_width, height: sheet_height, pixels }
}

fn scaled(image: &RgbImage, (width, height): (u32, u32)) -> RgbImage {
    let size = (image.width, image.height);
    let pixels = resize(&image.pixels, size, 3, (width, height), Filter::Bilinear);
    RgbImage { width, height, pixels }
}

#[cfg(test)]
mod tests {
    use super::super::{Alpha, decode};
    use super::*;

    #[test]
    fn a_written_image_is_read_back_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        for pixels in [vec![0, 50, 100, 255, 1, 2], (0..18).collect::<Vec<u8>>()] {
            let image = gray_or_rgb((3, 2), pixels).unwrap();
            let path = dir.path().join("a.png");
            write_png(&path, &image).unwrap();
            assert_eq!(decode(&std::fs::read(&path).unwrap(), Alpha::White).unwrap(), image);
        }
        assert!(gray_or_rgb((3, 2), vec![0; 7]).is_err());
    }

    #[test]
    fn a_sheet_has_each_image_in_its_place() {
        let image = |v: u8| RgbImage { width: 2, height: 1, pixels: vec![v; 6] };
        let sheet = contact_sheet(&[image(10), image(20), image(30)], 2);
        assert_eq!((sheet.width, sheet.height), (2 * 4 + 2, 2 * 3 + 2));
        let at = |x: u32, y: u32| sheet.pixels[3 * (y * sheet.width + x) as usize];
        assert_eq!((at(2, 2), at(6, 2), at(2, 5), at(6, 5), at(0, 0)), (10, 20, 30, 255, 255));
    }
}
