//! From the bytes of an image file to RGB pixels, upright, with transparency resolved.
//! The content of a file tells its format, not its name.
//! Any bytes give an image or a reason, within bounded memory.

use super::alpha::{Alpha, resolve};
use super::budget::{self, Memory};
use super::jpeg::LeastSize;
use super::kind::{Format, Kind, kind_of, unread};
use super::rgb::{MAX_PIXELS, MAX_SIDE, RGB_BYTES_PER_PIXEL, RgbImage, check_pixels};
use super::{gif, jpeg, orientation, png, tiff};
use crate::panics;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// Most memory of one decoder in bytes: four for each pixel of the largest image.
const MAX_ALLOCATION: u64 = 4 * MAX_PIXELS;

/// Most bytes that the decoder of PNG files may take beside pixels and what stands in the file: the colour profile, which is unfolded as
/// soon as the file is opened, in every thread at once, and not used here; and a row.
const MAX_PROFILE: u64 = 8 << 20;
const _: () = assert!(MAX_PROFILE > 8 * MAX_SIDE);
/// How often it counts a chunk of the file: as it is read, in a vector that grows, and as what it holds.
const CHUNK_COPIES: u64 = 4;

/// Colours and opacity.
const GIF_BYTES_PER_PIXEL: u64 = 4;

/// How often a decoder keeps the pixels as they are stored: in a canvas of its own, and in what it returns.
const COPIES: u64 = 2;

/// An image, with its format and peculiarities of its file.
#[derive(Debug)]
pub(super) struct Decoded {
    /// The pixels.
    pub image: RgbImage,
    /// Width and height of the whole picture, upright: `image` may be smaller.
    pub size: (u32, u32),
    /// What the content is.
    pub format: Format,
    /// What decoding changed (`cmyk`, `16-bit`, `animated, first frame`); empty for most.
    pub note: String,
    /// What decoding took: held as long as the image is used.
    pub _memory: Memory,
}

/// Note of an image whose visible pixels are white on a transparent ground, or of one colour for another reason.
pub(crate) const ONE_COLOUR: &str = "one colour where transparency is replaced";

/// Decodes an image file and turns it upright by its Exif orientation.
///
/// JPEG pixels are libjpeg-turbo's. Of a value of 16 bits the high byte is kept, in colour and in gray (Pillow clips gray).
/// Of several frames or pages the first is taken. A PNG whose pixel data have a wrong checksum, or that lacks its end, is read, as
/// Pillow does.
///
/// # Errors
/// A reason without the path: not an image of a known kind, damaged, cut short, or above [`MAX_PIXELS`].
pub(crate) fn decode(bytes: &[u8], alpha: Alpha) -> Result<RgbImage, String> {
    decode_file(bytes, alpha, &whole).map(|decoded| decoded.image)
}

/// As [`decode`], with what is worth knowing about the file; mostly empty.
///
/// # Errors
/// As [`decode`].
pub fn decode_noted(bytes: &[u8], alpha: Alpha) -> Result<(RgbImage, String), String> {
    decode_file(bytes, alpha, &whole).map(|decoded| (decoded.image, decoded.note))
}

fn whole((width, height): (u32, u32)) -> (u64, u64) {
    (width.into(), height.into())
}

/// As [`decode`], with the format and a note. JPEG files are decoded at the smallest of libjpeg's sizes that `least` allows.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_file(bytes: &[u8], alpha: Alpha, least: LeastSize) -> Result<Decoded, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let format = match kind_of(bytes) {
        Kind::Image(format) => format,
        Kind::UnreadImage(kind) => return Err(unread(kind)),
        _ => return Err("not an image of a known kind (jpeg, png, webp, gif, bmp, tiff, pnm)".into()),
    };
    let mut reduced_from = None;
    let (image, orientation, note, memory) = match format {
        Format::Jpeg => {
            let jpeg = jpeg::decode(bytes, least)?;
            reduced_from = Some(jpeg.size);
            (jpeg.image, jpeg.orientation, if jpeg.cmyk { "cmyk" } else { "" }.to_string(), jpeg.memory)
        }
        Format::Tiff => {
            let tiff = caught(|| tiff::decode(bytes, alpha))?;
            (tiff.image, orientation::of_number(tiff.orientation), tiff.note, tiff.memory)
        }
        Format::Png => match caught(|| decode_other(bytes, ImageFormat::Png, alpha)) {
            Ok(decoded) => decoded,
            Err(reason) => {
                // What is wrong with the file itself is the reason, not what is wrong with a repair that does not help.
                let repaired = png::repaired(bytes).ok_or_else(|| reason.clone())?;
                caught(|| decode_other(&repaired, ImageFormat::Png, alpha)).map_err(|_| reason)?
            }
        },
        Format::WebP => caught(|| decode_other(bytes, ImageFormat::WebP, alpha))?,
        Format::Gif => caught(|| decode_other(bytes, ImageFormat::Gif, alpha))?,
        Format::Bmp => caught(|| decode_other(bytes, ImageFormat::Bmp, alpha))?,
        Format::Pnm => caught(|| decode_other(bytes, ImageFormat::Pnm, alpha))?,
    };
    let image = upright(image, orientation)?;
    let size = reduced_from.unwrap_or((image.width, image.height));
    Ok(Decoded { image, size, format, note, _memory: memory })
}

/// Turns a panic of a decoder into a reason.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    panics::caught(work).unwrap_or_else(|_| Err("the decoder failed on this file".into()))
}

fn decode_other(
    bytes: &[u8],
    kind: ImageFormat,
    alpha: Alpha,
) -> Result<(RgbImage, Orientation, String, Memory), String> {
    let words = |e: image::ImageError| e.to_string();
    let mut limits = Limits::default();
    limits.max_alloc = Some(match kind {
        ImageFormat::Png => MAX_PROFILE + CHUNK_COPIES * bytes.len() as u64,
        _ => MAX_ALLOCATION,
    });
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(words)?;
    let (width, height) = decoder.dimensions();
    check_pixels(width.into(), height.into())?;
    if decoder.total_bytes() > MAX_ALLOCATION {
        return Err(format!("{width} x {height} pixels of this depth are more than {MAX_ALLOCATION} bytes"));
    }
    let pixels = u64::from(width) * u64::from(height);
    let mut stored = decoder.total_bytes();
    if let Some((width, height)) = gif::frames(bytes).next().filter(|_| kind == ImageFormat::Gif) {
        // A frame may be larger than the canvas.
        stored = stored.max(GIF_BYTES_PER_PIXEL * u64::from(width) * u64::from(height));
    }
    let memory = budget::hold(COPIES * stored + RGB_BYTES_PER_PIXEL * pixels)?;
    let depth = match decoder.color_type() {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => "",
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => "16-bit",
        _ => "floating point",
    };
    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let orientation = exif
        .and_then(|exif| orientation::of_exif(&exif))
        .or_else(|| png::text_orientation(bytes))
        .or_else(|| orientation::of_xmp(&xmp?))
        .unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(words)?;
    let opacity = Opacity::of(&image);
    if kind == ImageFormat::Bmp && opacity == Opacity::Nowhere {
        // Many programs leave the fourth byte of a pixel zero and mean nothing by it.
        image = DynamicImage::ImageRgb8(image.into_rgb8());
    }
    let pixels = rgb(image, alpha);
    let note = if is_animated(bytes, kind) {
        "animated, first frame"
    } else if alpha != Alpha::Drop && opacity != Opacity::Everywhere && is_one_colour(&pixels) {
        ONE_COLOUR
    } else {
        depth
    };
    Ok((RgbImage { width, height, pixels }, orientation, note.into(), memory))
}

/// Where an image is opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opacity {
    Everywhere,
    Somewhere,
    Nowhere,
}

impl Opacity {
    fn of(image: &DynamicImage) -> Self {
        fn found<T: PartialEq + Copy>(alpha: impl Iterator<Item = T> + Clone, none: T, full: T) -> Opacity {
            if alpha.clone().all(|a| a == full) {
                Opacity::Everywhere
            } else if alpha.clone().all(|a| a == none) {
                Opacity::Nowhere
            } else {
                Opacity::Somewhere
            }
        }
        match image {
            DynamicImage::ImageLumaA8(i) => found(i.pixels().map(|p| p[1]), 0, u8::MAX),
            DynamicImage::ImageRgba8(i) => found(i.pixels().map(|p| p[3]), 0, u8::MAX),
            DynamicImage::ImageLumaA16(i) => found(i.pixels().map(|p| p[1]), 0, u16::MAX),
            DynamicImage::ImageRgba16(i) => found(i.pixels().map(|p| p[3]), 0, u16::MAX),
            _ => Opacity::Everywhere,
        }
    }
}

/// Whether all pixels are alike.
fn is_one_colour(pixels: &[u8]) -> bool {
    let (triples, _) = pixels.as_chunks::<3>();
    triples.first().is_some_and(|first| triples.iter().all(|pixel| pixel == first))
}

fn is_animated(bytes: &[u8], kind: ImageFormat) -> bool {
    use image::codecs::webp::WebPDecoder;
    match kind {
        ImageFormat::Gif => gif::frames(bytes).nth(1).is_some(),
        ImageFormat::Png => png::is_animated(bytes),
        ImageFormat::WebP => WebPDecoder::new(Cursor::new(bytes)).is_ok_and(|d| d.has_animation()),
        _ => false,
    }
}

/// `[H, W, 3]` of any pixel layout.
fn rgb(image: DynamicImage, alpha: Alpha) -> Vec<u8> {
    let high = |v: u16| (v >> 8) as u8;
    match image {
        DynamicImage::ImageRgb8(i) => i.into_raw(),
        DynamicImage::ImageLuma8(i) => i.into_raw().into_iter().flat_map(|v| [v; 3]).collect(),
        DynamicImage::ImageLumaA8(i) => i.pixels().flat_map(|p| resolve([p[0]; 3], p[1], alpha)).collect(),
        DynamicImage::ImageRgba8(i) => {
            i.pixels().flat_map(|p| resolve([p[0], p[1], p[2]], p[3], alpha)).collect()
        }
        DynamicImage::ImageLuma16(i) => i.into_raw().into_iter().flat_map(|v| [high(v); 3]).collect(),
        DynamicImage::ImageLumaA16(i) => {
            i.pixels().flat_map(|p| resolve([high(p[0]); 3], high(p[1]), alpha)).collect()
        }
        DynamicImage::ImageRgb16(i) => i.into_raw().into_iter().map(high).collect(),
        DynamicImage::ImageRgba16(i) => {
            i.pixels().flat_map(|p| resolve([p[0], p[1], p[2]].map(high), high(p[3]), alpha)).collect()
        }
        other => other.to_rgba8().pixels().flat_map(|p| resolve([p[0], p[1], p[2]], p[3], alpha)).collect(),
    }
}

fn upright(image: RgbImage, orientation: Orientation) -> Result<RgbImage, String> {
    let RgbImage { width, height, pixels } = image;
    let buffer = image::RgbImage::from_raw(width, height, pixels).ok_or("fewer pixels than declared")?;
    let mut image = DynamicImage::ImageRgb8(buffer);
    image.apply_orientation(orientation);
    Ok(RgbImage { width: image.width(), height: image.height(), pixels: image.into_rgb8().into_raw() })
}
