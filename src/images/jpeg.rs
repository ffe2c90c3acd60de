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

/// What decoding takes for each pixel, in bytes: the pixels, once more when they are turned, and the coefficients of all scans.
const BYTES_PER_PIXEL: u64 = 3 + 3 + 6;

/// `JMSG_LENGTH_MAX` of `jpeglib.h`.
const MESSAGE_BYTES: usize = 200;

/// Beginning of the APP1 segment that holds an XMP packet.
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// What a JPEG file holds.
pub(super) struct Jpeg {
    /// As stored, before orientation.
    pub image: RgbImage,
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

/// Decodes a JPEG file.
///
/// # Errors
/// A reason without the path: an error of libjpeg, or a warning of libjpeg that pixels were lost
/// (Pillow refuses only a file that ends early, and returns the damaged pixels of others).
pub(super) fn decode(bytes: &[u8]) -> Result<Jpeg, String> {
    let (orientation, Samples { width, height, channels, values, memory }) = unwinding(bytes)?;
    let pixels = match channels {
        3 => values,
        1 => values.into_iter().flat_map(|v| [v; 3]).collect(),
        _ => values.as_chunks().0.iter().flat_map(rgb_of_inverted_cmyk).collect(),
    };
    Ok(Jpeg { image: RgbImage { width, height, pixels }, orientation, cmyk: channels == 4, memory })
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
    unwinding(&[start, &marker, rest].concat()).map(|(_, samples)| samples)
}

fn unwinding(bytes: &[u8]) -> Result<(Orientation, Samples), String> {
    match panics::caught(|| decode_unwinding(bytes)) {
        Ok(result) => result,
        Err(payload) => {
            Err(payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "damaged JPEG".into()))
        }
    }
}

fn decode_unwinding(bytes: &[u8]) -> Result<(Orientation, Samples), String> {
    let started = DecompressBuilder::new()
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
    let memory = budget::hold(BYTES_PER_PIXEL * width * height)?;
    let orientation = started.markers().find_map(|marker| orientation::of_exif(marker.data));
    let orientation = orientation
        .or_else(|| started.markers().find_map(|marker| orientation::of_xmp(marker.data.strip_prefix(XMP)?)))
        .unwrap_or(Orientation::NoTransforms);
    let (channels, values) = match started.image().map_err(|e| e.to_string())? {
        Format::RGB(image) => (3, samples(image)?),
        Format::Gray(image) => (1, samples(image)?),
        Format::CMYK(image) => (4, samples(image)?),
    };
    Ok((orientation, Samples { width: width as u32, height: height as u32, channels, values, memory }))
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
