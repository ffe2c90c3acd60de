//! JPEG to RGB with libjpeg-turbo's pixels, which every published number was made with.
//! Accurate integer DCT and smooth chroma upsampling (the library's defaults); CMYK is turned to RGB as Pillow does.
//! The C library reports errors by unwinding: it is caught here, and nothing is printed.

use super::budget::{self, Memory};
use super::orientation;
use super::rgb::{MAX_PIXELS, RgbImage, check_pixels};
use crate::panics;
use image::metadata::Orientation;
use mozjpeg::Marker;
use mozjpeg::decompress::{DecompressBuilder, DecompressStarted, Format};
use mozjpeg_sys as sys;
use std::panic::resume_unwind;

/// Most pixels that one byte of a JPEG file can describe: one bit per 8 x 8 block, and at worst half of the
/// blocks where the largest sampling factors belong to different components. Doubled to be on the safe side.
const MAX_PIXELS_PER_BYTE: u64 = 2 * 2 * 8 * 64;

/// Most scans of one image: each takes the time of a whole image, and real encoders make less than a tenth of these.
const MAX_SCANS: std::ffi::c_long = 500;

/// What decoding takes for each pixel of the picture, in bytes: the coefficients of all scans.
const COEFFICIENT_BYTES: u64 = 6;
/// And for each pixel that is decoded: the pixels, and once more when they are turned.
const SAMPLE_BYTES: u64 = 3 + 3;

/// `JMSG_LENGTH_MAX` of `jpeglib.h`.
const MESSAGE_BYTES: usize = 200;

/// Beginning of the APP1 segment that holds an XMP packet.
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// What a JPEG file holds.
pub(super) struct Jpeg {
    /// As stored, before orientation; it may be smaller than the picture.
    pub image: RgbImage,
    /// Width and height of the picture, upright.
    pub size: (u32, u32),
    pub orientation: Orientation,
    pub cmyk: bool,
    /// What decoding took.
    pub memory: Memory,
}

/// Samples as they are stored, or as red, green and blue.
pub(super) struct Samples {
    pub width: u32,
    pub height: u32,
    /// 1 for gray, 3 for red, green and blue, 4 for inks.
    pub channels: usize,
    /// `[H, W, channels]`
    pub values: Vec<u8>,
    /// What decoding took.
    pub memory: Memory,
}

/// What the colours of JPEG data are that do not say it themselves: those inside other files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForcedColours {
    /// Luma and chroma, which are converted.
    YCbCr,
    /// Whatever they are, they are not converted.
    AsStored,
}

/// The smallest size (width, height) at which a picture of a size may be decoded, both upright.
pub(super) type LeastSize<'a> = &'a dyn Fn((u32, u32)) -> (u64, u64);

/// libjpeg decodes at so many sizes, from an eighth of the picture's on.
const SIZES: u8 = 8;

/// Decodes a JPEG file at the smallest of libjpeg's sizes that `least` allows.
///
/// # Errors
/// A reason without the path: an error of libjpeg, or a warning of libjpeg that pixels were lost
/// (Pillow refuses only a file that ends early, and returns the damaged pixels of others).
pub(super) fn decode(bytes: &[u8], least: LeastSize) -> Result<Jpeg, String> {
    let (size, orientation, Samples { width, height, channels, values, memory }) =
        unwinding(bytes, Some(least))?;
    let pixels = match channels {
        3 => values,
        1 => values.into_iter().flat_map(|v| [v; 3]).collect(),
        _ => values.as_chunks().0.iter().flat_map(rgb_of_inverted_cmyk).collect(),
    };
    Ok(Jpeg { image: RgbImage { width, height, pixels }, size, orientation, cmyk: channels == 4, memory })
}

/// Decodes JPEG data that lie inside another file.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_samples(bytes: &[u8], colours: ForcedColours) -> Result<Samples, String> {
    // The marker by which Adobe's programs say what colours there are.
    let mut marker = *b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0\0";
    marker[15] = u8::from(colours == ForcedColours::YCbCr);
    let (start, rest) = bytes.split_at_checked(2).ok_or("its JPEG data are cut short")?;
    unwinding(&[start, &marker, rest].concat(), None).map(|(.., samples)| samples)
}

/// Width and height of the picture, upright, its orientation, and the samples as they are stored.
type Unwound = ((u32, u32), Orientation, Samples);

fn unwinding(bytes: &[u8], least: Option<LeastSize>) -> Result<Unwound, String> {
    match panics::caught(|| decode_unwinding(bytes, least)) {
        Ok(result) => result,
        Err(payload) => {
            Err(payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "damaged JPEG".into()))
        }
    }
}

fn decode_unwinding(bytes: &[u8], least: Option<LeastSize>) -> Result<Unwound, String> {
    let mut started = DecompressBuilder::new()
        .with_err(error_manager())
        .with_markers(&[Marker::APP(1)])
        .from_mem(bytes)
        .map_err(|e| e.to_string())?;
    let (width, height) = (started.width() as u64, started.height() as u64);
    check_pixels(width, height)?;
    if width * height > MAX_PIXELS_PER_BYTE * bytes.len() as u64 {
        return Err(format!(
            "{} bytes cannot hold the {width} x {height} pixels that are declared",
            bytes.len()
        ));
    }
    let orientation = started.markers().find_map(|marker| orientation::of_exif(marker.data));
    let orientation = orientation
        .or_else(|| started.markers().find_map(|marker| orientation::of_xmp(marker.data.strip_prefix(XMP)?)))
        .unwrap_or(Orientation::NoTransforms);
    let size = turned((width as u32, height as u32), orientation);
    let mut pixels = width * height;
    if let Some(least) = least {
        let (least_width, least_height) = turned(least(size), orientation);
        let at = |side: u64, eighths: u8| (side * u64::from(eighths)).div_ceil(SIZES.into());
        let covers = |&eighths: &u8| at(width, eighths) >= least_width && at(height, eighths) >= least_height;
        let eighths = (1..SIZES).find(covers).unwrap_or(SIZES);
        started.scale(eighths);
        pixels = at(width, eighths) * at(height, eighths);
    }
    let memory = budget::hold(COEFFICIENT_BYTES * width * height + SAMPLE_BYTES * pixels)?;
    let (channels, (width, height), values) = match started.image().map_err(|e| e.to_string())? {
        Format::RGB(image) => (3, size_of(&image), samples(image)?),
        Format::Gray(image) => (1, size_of(&image), samples(image)?),
        Format::CMYK(image) => (4, size_of(&image), samples(image)?),
    };
    Ok((size, orientation, Samples { width, height, channels, values, memory }))
}

/// Width and height of an upright picture from those of a stored one, or the other way.
fn turned<T>((width, height): (T, T), orientation: Orientation) -> (T, T) {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

fn size_of(image: &DecompressStarted<&[u8]>) -> (u32, u32) {
    (image.width() as u32, image.height() as u32)
}

/// Whether libjpeg was built with vector instructions that this processor has. The pixels are the same without them.
pub(crate) fn decodes_jpeg_with_vector_instructions() -> bool {
    unsafe extern "C" {
        /// Of libjpeg-turbo's `jsimddct.h`.
        fn jsimd_can_idct_islow() -> std::ffi::c_int;
    }
    // SAFETY: takes nothing, and looks at the processor alone.
    unsafe { jsimd_can_idct_islow() != 0 }
}

/// Encodes an image as JPEG, fast rather than as small as possible; the same pixels give the same bytes.
///
/// # Errors
/// libjpeg's reason.
pub(crate) fn encode_jpeg(image: &RgbImage, quality: u8) -> Result<Vec<u8>, String> {
    let encoded = panics::caught(|| {
        let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
        encoder.set_fastest_defaults();
        encoder.set_optimize_coding(true);
        encoder.set_size(image.width as usize, image.height as usize);
        encoder.set_quality(quality.into());
        let mut started = encoder.start_compress(Vec::new())?;
        started.write_scanlines(&image.pixels)?;
        started.finish()
    });
    encoded.unwrap_or_else(|_| Err(std::io::Error::other("the encoder failed"))).map_err(|e| e.to_string())
}

fn samples(mut image: DecompressStarted<&[u8]>) -> Result<Vec<u8>, String> {
    let samples = image.read_scanlines().map_err(|e| e.to_string())?;
    image.finish().map_err(|e| e.to_string())?;
    Ok(samples)
}

/// RGB of inverted CMYK as Pillow computes it, without a colour profile. Pillow assumes that inks are inverted, as Adobe stores them.
fn rgb_of_inverted_cmyk(&[c, m, y, k]: &[u8; 4]) -> [u8; 3] {
    rgb_of_cmyk([c, m, y, k].map(|ink| u8::MAX - ink))
}

/// RGB of CMYK as Pillow computes it, without a colour profile.
pub(super) fn rgb_of_cmyk([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let white = u8::MAX - k;
    let times = |a: u8, b: u8| {
        let t = u32::from(a) * u32::from(b) + 128;
        ((t + (t >> 8)) >> 8) as u8
    };
    [c, m, y].map(|ink| white - times(ink, white))
}

/// libjpeg's error manager, which unwinds at errors and at warnings that mean damage, and prints nothing.
fn error_manager() -> sys::jpeg_error_mgr {
    // SAFETY: the C struct is plain data for which all bits zero is a value; `jpeg_std_error` fills it in.
    let mut manager = unsafe {
        let mut manager: sys::jpeg_error_mgr = std::mem::zeroed();
        sys::jpeg_std_error(&mut manager);
        manager
    };
    manager.error_exit = Some(error_exit);
    manager.emit_message = Some(emit_message);
    manager
}

extern "C-unwind" fn error_exit(info: &mut sys::jpeg_common_struct) {
    resume_unwind(Box::new(message(info)));
}

/// Called for warnings (`level` -1) and for traces, one of which marks the start of each scan.
extern "C-unwind" fn emit_message(info: &mut sys::jpeg_common_struct, level: std::ffi::c_int) {
    // SAFETY: libjpeg hands over its own state, whose `err` is the manager made above.
    let Some(manager) = (unsafe { info.err.as_mut() }) else { return };
    let code = manager.msg_code;
    if level >= 0 {
        if code == sys::JTRC_SOS {
            manager.num_warnings += 1;
            if manager.num_warnings > MAX_SCANS {
                resume_unwind(Box::new(format!("more than {MAX_SCANS} scans")));
            }
        }
        return;
    }
    let harmless =
        [sys::JWRN_ADOBE_XFORM, sys::JWRN_EXTRANEOUS_DATA, sys::JWRN_JFIF_MAJOR, sys::JWRN_NOT_SEQUENTIAL];
    if !harmless.contains(&code) {
        resume_unwind(Box::new(message(info)));
    }
}

/// libjpeg's text for the message at hand.
fn message(info: &mut sys::jpeg_common_struct) -> String {
    type Formatter = unsafe extern "C-unwind" fn(*mut sys::jpeg_common_struct, *mut u8);
    let mut text = [0u8; MESSAGE_BYTES];
    // SAFETY: `err` is the manager made above. The binding declares a reference to 80 bytes where C has a pointer to
    // `JMSG_LENGTH_MAX`, which `text` holds; references and pointers are passed alike.
    unsafe {
        if let Some(format) = info.err.as_ref().and_then(|manager| manager.format_message) {
            let format: Formatter = std::mem::transmute(format);
            format(info, text.as_mut_ptr());
        }
    }
    let end = text.iter().position(|&b| b == 0).unwrap_or(MESSAGE_BYTES);
    String::from_utf8_lossy(&text[..end]).into_owned()
}

const _: () = assert!(MAX_PIXELS < u32::MAX as u64);
