//! PNG files of images that the program makes.

use super::rgb::RgbImage;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::io::Write;
use std::path::Path;

/// An image of bytes with one value per pixel (gray) or three.
///
/// # Errors
/// [`Error::Data`] if the number of values fits neither.
pub(crate) fn gray_or_rgb((width, height): (u32, u32), pixels: Vec<u8>) -> Result<RgbImage> {
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
pub(crate) fn write_png_bytes(
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
}
