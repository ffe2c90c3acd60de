//! The samples of an image, gathered from its strips or tiles.

use super::codec::{Chunk, unpack};
use super::ifd::Form;
use super::layout::{Layout, Number, Predictor};
use crate::images::budget::{self, Memory};
use crate::images::rgb::RGB_BYTES_PER_PIXEL;

/// Most bytes of the samples of one image.
const MAX_BYTES: usize = 4 * crate::images::rgb::MAX_PIXELS as usize;

/// Samples of all pixels, `[H, W, used]`.
pub(super) enum Samples {
    /// Whole numbers of at most 8 bits; of longer ones the high byte. The largest that can be is `top`.
    Bytes { values: Vec<u8>, top: u8 },
    /// Numbers of which the file does not say what is black and white.
    Numbers(Vec<f32>),
}

/// The samples, and whether they are red, green and blue whatever the layout says.
pub(super) struct Gathered {
    pub samples: Samples,
    pub is_rgb: bool,
    /// What samples and pixels take.
    pub memory: Memory,
}

/// Pixels of the image.
pub(super) fn pixels(layout: &Layout) -> u64 {
    layout.width as u64 * layout.height as u64
}

enum Out {
    Bytes(Vec<u8>),
    Numbers(Vec<f32>),
}

/// Reads all strips or tiles.
///
/// # Errors
/// A reason: damaged, cut short, or too large.
pub(super) fn gather(
    layout: &Layout,
    file: &[u8],
    form: Form,
    tables: Option<&[u8]>,
) -> Result<Gathered, String> {
    let used = layout.used();
    let as_numbers = layout.bits > 16
        || layout.number == Number::Float
        || (layout.number == Number::Signed && layout.bits > 8 && layout.colours.count() == 1);
    let count = layout.width.checked_mul(layout.height).and_then(|n| n.checked_mul(used));
    let size = if as_numbers { size_of::<f32>() } else { 1 };
    let count = count
        .filter(|count| count.checked_mul(size).is_some_and(|bytes| bytes <= MAX_BYTES))
        .ok_or_else(|| format!("{} x {} pixels of this depth are too many", layout.width, layout.height))?;
    let memory = budget::hold((count * size) as u64 + RGB_BYTES_PER_PIXEL * pixels(layout))?;
    let (across, down) = layout.grid();
    let planes = if layout.planar { layout.samples } else { 1 };
    let chunks = across.checked_mul(down).and_then(|n| n.checked_mul(planes)).unwrap_or(usize::MAX);
    if layout.offsets.len() < chunks || layout.lengths.len() < chunks {
        return Err(format!("{} of its {chunks} strips or tiles are listed", layout.offsets.len()));
    }
    let mut out = if as_numbers { Out::Numbers(vec![0.0; count]) } else { Out::Bytes(vec![0; count]) };
    let mut is_rgb = false;
    let per_plane = across * down;
    // Samples that are not used have chunks of their own only where planes are apart.
    for plane in 0..planes.min(used) {
        for (down, across) in (0..down).flat_map(|down| (0..across).map(move |across| (down, across))) {
            let number = plane * per_plane + down * layout.grid().0 + across;
            let (at, length) = (layout.offsets[number], layout.lengths[number]);
            let data = usize::try_from(at)
                .ok()
                .and_then(|at| file.get(at..))
                .ok_or("a strip or tile lies outside the file")?;
            let data = data.get(..usize::try_from(length).unwrap_or(usize::MAX)).unwrap_or(data);
            let left = layout.height - down * layout.chunk.1;
            let rows = if layout.tiled { layout.chunk.1 } else { layout.chunk.1.min(left) };
            let row = row_bytes(layout, rows).ok_or("a strip or tile is too large")?;
            let mut chunk = unpack(layout, data, tables, (row, stored_rows(layout, rows)))?;
            is_rgb |= chunk.is_rgb;
            undo_predictor(layout, form, &mut chunk)?;
            place(layout, form, &chunk, (across, down, plane), &mut out)?;
        }
    }
    let samples = match out {
        Out::Numbers(values) => Samples::Numbers(values),
        Out::Bytes(values) => {
            let top = if layout.bits < 8 { (1u8 << layout.bits) - 1 } else { u8::MAX };
            Samples::Bytes { values, top }
        }
    };
    Ok(Gathered { samples, is_rgb, memory })
}

/// Whether a chunk is stored as blocks of luma samples with one pair of chroma samples each.
fn is_in_blocks(layout: &Layout) -> bool {
    use super::layout::Compression::{Jpeg, OldJpeg};
    layout.subsampling != (1, 1) && !layout.planar && !matches!(layout.compression, Jpeg | OldJpeg)
}

fn row_bytes(layout: &Layout, _rows: usize) -> Option<usize> {
    let (h, v) = layout.subsampling;
    if is_in_blocks(layout) {
        return layout.chunk.0.div_ceil(h).checked_mul(h * v + 2);
    }
    let bits = layout.chunk.0.checked_mul(layout.chunk_samples())?.checked_mul(layout.bits)?;
    Some(bits.div_ceil(8))
}

/// Rows of bytes of a chunk: of blocks, where it is stored in blocks.
fn stored_rows(layout: &Layout, rows: usize) -> usize {
    if is_in_blocks(layout) { rows.div_ceil(layout.subsampling.1) } else { rows }
}

fn undo_predictor(layout: &Layout, form: Form, chunk: &mut Chunk) -> Result<(), String> {
    use super::layout::Compression::{Deflate, Lzw, Zstd};
    if !matches!(layout.compression, Lzw | Deflate | Zstd) || layout.predictor == Predictor::None {
        return Ok(());
    }
    let step = layout.chunk_samples();
    let size = layout.bits / 8;
    if !layout.bits.is_multiple_of(8) || size == 0 {
        return Err(format!("differences of samples of {} bits are not read", layout.bits));
    }
    for row in chunk.bytes.chunks_exact_mut(chunk.row.max(1)) {
        match layout.predictor {
            Predictor::None => {}
            Predictor::Differences if size == 1 => {
                for i in step..row.len() {
                    row[i] = row[i].wrapping_add(row[i - step]);
                }
            }
            Predictor::Differences => {
                for i in (step * size..row.len()).step_by(size) {
                    let before = form.number(row, i - step * size, size).unwrap_or(0);
                    let sum = form.number(row, i, size).unwrap_or(0).wrapping_add(before);
                    let place = row.get_mut(i..i + size).unwrap_or_default();
                    let bytes = sum.to_le_bytes();
                    place.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                    if form.big_endian {
                        place.reverse();
                    }
                }
            }
            Predictor::FloatDifferences => {
                for i in step..row.len() {
                    row[i] = row[i].wrapping_add(row[i - step]);
                }
                // The bytes of a row stand apart by their significance, the highest first.
                let count = row.len() / size;
                let apart = row.to_vec();
                for (i, number) in row.chunks_exact_mut(size).enumerate() {
                    for (byte, to) in number.iter_mut().enumerate() {
                        let significance = if form.big_endian { byte } else { size - 1 - byte };
                        *to = apart.get(significance * count + i).copied().unwrap_or(0);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Puts the samples of a chunk where they belong.
fn place(
    layout: &Layout,
    form: Form,
    chunk: &Chunk,
    (across, down, plane): (usize, usize, usize),
    out: &mut Out,
) -> Result<(), String> {
    let (left, top) = (across * layout.chunk.0, down * layout.chunk.1);
    let used = layout.used();
    let stored = if layout.planar { 1 } else { layout.samples };
    let kept = stored.min(used);
    let width = layout.chunk.0.min(layout.width - left);
    let height = layout.chunk.1.min(layout.height - top);
    for y in 0..height {
        let base = ((top + y) * layout.width + left) * used + plane;
        if is_in_blocks(layout) {
            let Out::Bytes(values) = out else { continue };
            for x in 0..width {
                let pixel = block_pixel(layout, chunk, x, y).ok_or("its pixel data are cut short")?;
                values[base + x * used..][..3].copy_from_slice(&pixel);
            }
            continue;
        }
        let row =
            chunk.bytes.get(y * chunk.row..(y + 1) * chunk.row).ok_or("its pixel data are cut short")?;
        match out {
            Out::Bytes(values) if layout.bits == 8 => {
                let row = row.get(..width * stored).ok_or("its pixel data are cut short")?;
                for (x, pixel) in row.chunks_exact(stored).enumerate() {
                    values[base + x * used..][..kept].copy_from_slice(&pixel[..kept]);
                }
            }
            Out::Bytes(values) => {
                let shift = layout.bits.saturating_sub(8);
                for x in 0..width {
                    for s in 0..kept {
                        let value = sample(row, x * stored + s, layout.bits, form);
                        values[base + x * used + s] = (value >> shift) as u8;
                    }
                }
            }
            Out::Numbers(values) => {
                for x in 0..width {
                    for s in 0..kept {
                        let value = sample(row, x * stored + s, layout.bits, form);
                        values[base + x * used + s] = number(value, layout.bits, layout.number);
                    }
                }
            }
        }
    }
    Ok(())
}

/// A pixel of a chunk of blocks: `h * v` luma samples, then the two chroma samples of all of them.
fn block_pixel(layout: &Layout, chunk: &Chunk, x: usize, y: usize) -> Option<[u8; 3]> {
    let (h, v) = layout.subsampling;
    let block = (y / v) * chunk.row + (x / h) * (h * v + 2);
    let luma = chunk.bytes.get(block + (y % v) * h + x % h)?;
    Some([*luma, *chunk.bytes.get(block + h * v)?, *chunk.bytes.get(block + h * v + 1)?])
}

/// The sample of a number in a row, as it is stored.
fn sample(row: &[u8], at: usize, bits: usize, form: Form) -> u64 {
    if bits.is_multiple_of(8) {
        let size = bits / 8;
        return form.number(row, at * size, size).unwrap_or(0);
    }
    // Samples that fill no whole bytes follow each other, the highest bit first, whatever the order of bytes is.
    let first = at * bits;
    let last = (first + bits - 1) / 8;
    let window = row.get(first / 8..=last).unwrap_or_default();
    let value = window.iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let spare = (last + 1) * 8 - (first + bits);
    (value >> spare) & ((1 << bits) - 1)
}

fn number(stored: u64, bits: usize, number: Number) -> f32 {
    match (number, bits) {
        (Number::Float, 16) => half::f16::from_bits(stored as u16).to_f32(),
        (Number::Float, 32) => f32::from_bits(stored as u32),
        (Number::Float, _) => f64::from_bits(stored) as f32,
        (Number::Signed, _) => {
            let spare = 64 - bits as u32;
            ((stored << spare) as i64 >> spare) as f32
        }
        (Number::Unsigned, _) => stored as f32,
    }
}
