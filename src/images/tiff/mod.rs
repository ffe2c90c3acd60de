//! TIFF as scanners, microscopes, cameras and programs write it. The decoder of the `image` crate reads a part of these kinds; here the
//! container is read, and crates unpack what is in it. Of several pages the first is taken.

mod codec;
mod colours;
mod fax;
pub(super) mod ifd;
mod layout;
mod samples;
#[cfg(test)]
mod tests;

use super::alpha::Alpha;
use super::budget::{self, Memory};
use super::jpeg::{self, ForcedColours};
use super::rgb::RGB_BYTES_PER_PIXEL;
use super::rgb::RgbImage;
use ifd::{Directory, Form};
use layout::{Compression, Layout};
use samples::Gathered;
use std::collections::HashSet;

/// Most pages that are counted.
const MOST_PAGES: usize = 10_000;

const SUBFILE_TYPE: u16 = 254;
const ORIENTATION: u16 = 274;
const JPEG_TABLES: u16 = 347;
const JPEG_OFFSET: u16 = 513;
const JPEG_LENGTH: u16 = 514;

/// What a TIFF file holds.
pub(super) struct Tiff {
    /// As stored, before orientation.
    pub image: RgbImage,
    /// As Exif numbers it, 1 to 8.
    pub orientation: u8,
    /// What is worth knowing about the file; empty for most.
    pub note: String,
    /// What decoding took.
    pub memory: Memory,
}

/// Decodes the first page of a TIFF file.
///
/// # Errors
/// A reason without the path, which names the kind if it is one that is not read.
pub(super) fn decode(bytes: &[u8], alpha: Alpha) -> Result<Tiff, String> {
    let (form, first) = Form::of(bytes).ok_or("not a TIFF file")?;
    let directory = Directory::read(bytes, form, first).ok_or("its first page lies outside the file")?;
    let layout = Layout::of(&directory, bytes.len())?;
    let (width, height) = (layout.width, layout.height);
    let (pixels, mut note, memory) = match old_jpeg(bytes, &directory, &layout) {
        Some(pixels) => {
            let memory = budget::hold(RGB_BYTES_PER_PIXEL * samples::pixels(&layout))?;
            (pixels?, String::new(), memory)
        }
        None => {
            let tables = directory.bytes_of(JPEG_TABLES);
            let Gathered { samples, is_rgb, memory } = samples::gather(&layout, bytes, form, tables)?;
            let (pixels, note) = colours::rgb(&layout, &directory, samples, is_rgb, alpha)?;
            (pixels, note, memory)
        }
    };
    let pages = pages(bytes, form, first);
    if pages > 1 {
        let page = format!("page 1 of {pages}");
        note = if note.is_empty() { page } else { format!("{note}; {page}") };
    }
    let orientation = directory.first(ORIENTATION).and_then(|n| u8::try_from(n).ok()).unwrap_or(1);
    let image = RgbImage { width: width as u32, height: height as u32, pixels };
    Ok(Tiff { image, orientation, note, memory })
}

/// Pixels `[H, W, 3]` of a file of the first kind of JPEG in TIFF, where it holds a whole JPEG file; `None` if it does not.
fn old_jpeg(bytes: &[u8], directory: &Directory, layout: &Layout) -> Option<Result<Vec<u8>, String>> {
    if layout.compression != Compression::OldJpeg {
        return None;
    }
    let at = usize::try_from(directory.first(JPEG_OFFSET)?).ok()?;
    let length = directory.first(JPEG_LENGTH).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let file = bytes.get(at..)?;
    let file = file.get(..length).unwrap_or(file);
    if !file.starts_with(&[0xFF, 0xD8]) {
        return None;
    }
    let samples = match jpeg::decode_samples(file, ForcedColours::YCbCr) {
        Ok(samples) => samples,
        Err(reason) => return Some(Err(reason)),
    };
    let fits = (samples.width as usize, samples.height as usize) == (layout.width, layout.height);
    Some(match samples.channels {
        _ if !fits => Err("its JPEG data are of another size".into()),
        3 => Ok(samples.values),
        1 => Ok(samples.values.into_iter().flat_map(|v| [v; 3]).collect()),
        _ => Err("its JPEG data are of another kind of colours".into()),
    })
}

/// How many pages there are: directories of images that are no smaller copies of others.
fn pages(bytes: &[u8], form: Form, first: u64) -> usize {
    const SMALLER_COPY: u64 = 1;
    let mut seen = HashSet::new();
    let mut pages = 0;
    let mut at = first;
    while at != 0 && seen.len() < MOST_PAGES && seen.insert(at) {
        let Some(directory) = Directory::read(bytes, form, at) else { break };
        pages += usize::from(directory.first(SUBFILE_TYPE).unwrap_or(0) & SMALLER_COPY == 0);
        at = directory.next;
    }
    pages
}
