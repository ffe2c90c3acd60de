//! The padded copy of a piece of the input that panels are packed from. With the padding in memory and the columns
//! sorted by their place in the stride, every line of the column matrix is a plain run of values: no case is special.

use super::shape::{Segments, Shape};
use crate::ops::gemm::NR;
use std::ops::Range;

/// What is staged at once.
#[derive(Debug, Clone)]
pub struct Region {
    pub images: Range<usize>,
    pub channels: Range<usize>,
    /// Output rows.
    pub rows: Range<usize>,
}

/// Values `[image, channel, row, phase, column]`: padded column `c` lies in phase `c % stride` at `c / stride`.
/// A convolution of one tap without stride reads the input itself.
pub struct Staged<'a> {
    values: &'a [f32],
    shape: &'a Shape,
    region: Region,
    /// Values between two columns of phases, rows, channels and images.
    phase: usize,
    row: usize,
    channel: usize,
    image: usize,
}

impl<'a> Staged<'a> {
    /// Copies what the output pixels of `region` see of `x` `[images, in_channels, height, width]` into `buffer`.
    #[inline(always)]
    pub fn new(shape: &'a Shape, x: &'a [f32], region: Region, buffer: &'a mut Vec<f32>) -> Self {
        let plane = shape.in_plane();
        if shape.taps() == 1 && shape.stride == 1 && shape.top == 0 && shape.left == 0 {
            let (row, channel, image) = (shape.width, plane, shape.in_channels * plane);
            let region = Region { rows: 0..shape.out_height, ..region };
            let values = &x[region.images.start * image + region.channels.start * channel..];
            return Self { values, shape, region, phase: 0, row, channel, image };
        }
        let (stride, phases) = (shape.stride, shape.stride.min(shape.kernel_width));
        let rows = match region.rows.len() {
            0 => 0,
            rows => (rows - 1) * stride + shape.kernel_height,
        };
        let phase = shape.out_width + (shape.kernel_width - 1) / stride;
        let row = phases * phase;
        let channel = rows * row;
        let image = region.channels.len() * channel;
        // Copies of whole registers may read up to a panel's width past the last value.
        let size = region.images.len() * image + NR;
        if buffer.len() < size {
            buffer.resize(size, 0.0);
        }
        let mut planes = buffer.chunks_exact_mut(channel.max(1));
        for b in region.images.clone() {
            for (c, target) in region.channels.clone().zip(&mut planes) {
                let source = &x[(b * shape.in_channels + c) * plane..][..plane];
                for (r, target) in target.chunks_exact_mut(row.max(1)).enumerate() {
                    if r % stride >= shape.kernel_height {
                        continue;
                    }
                    match (region.rows.start * stride + r).checked_sub(shape.top) {
                        Some(y) if y < shape.height => {
                            stage_row(shape, &source[y * shape.width..][..shape.width], target, phase);
                        }
                        _ => target.fill(0.0),
                    }
                }
            }
        }
        Self { values: buffer, shape, region, phase, row, channel, image }
    }

    /// Where the value at depth `k` of the column matrix lies, from a pixel's own place.
    #[inline(always)]
    pub fn offset(&self, k: usize) -> usize {
        let (channel, ky, kx) = self.shape.tap(k);
        let stride = self.shape.stride;
        (channel - self.region.channels.start) * self.channel
            + ky * self.row
            + kx % stride * self.phase
            + kx / stride
    }

    /// Packs the depths at `offsets` of the column matrix for one panel of output pixels into `[depths, NR]`.
    /// Columns beyond the panel's own hold anything, and up to `NR` values after the panel are overwritten.
    #[inline(always)]
    pub fn pack(&self, segments: &Segments, offsets: &[usize], panel: &mut [f32]) {
        let mut places = [(0, 0, 0); NR];
        let count = segments.iter().len();
        for (place, segment) in places.iter_mut().zip(segments.iter()) {
            let base = (segment.image - self.region.images.start) * self.image
                + (segment.y - self.region.rows.start) * self.shape.stride * self.row
                + segment.x;
            *place = (segment.at, base, segment.len);
        }
        let places = &places[..count];
        let longest = places.iter().map(|place| place.2).max().unwrap_or(0);
        // In order of columns: each copy overwrites what the one before left beyond its own end.
        match longest {
            0..=8 => self.copy::<8>(places, offsets, panel),
            9..=16 => self.copy::<16>(places, offsets, panel),
            _ => self.copy::<NR>(places, offsets, panel),
        }
    }

    #[inline(always)]
    fn copy<const WIDTH: usize>(
        &self,
        places: &[(usize, usize, usize)],
        offsets: &[usize],
        panel: &mut [f32],
    ) {
        for (k, &offset) in offsets.iter().enumerate() {
            let line = &mut panel[k * NR..][..2 * NR];
            for &(at, base, len) in places {
                let from = base + offset;
                match self.values.get(from..from + WIDTH) {
                    Some(values) => line[at..at + WIDTH].copy_from_slice(values),
                    None => line[at..at + len].copy_from_slice(&self.values[from..from + len]),
                }
            }
        }
    }
}

/// One row into its phases, with the columns of padding.
#[inline(always)]
fn stage_row(shape: &Shape, source: &[f32], target: &mut [f32], phase: usize) {
    for (p, target) in target.chunks_exact_mut(phase.max(1)).enumerate() {
        let skip = shape.left.saturating_sub(p).div_ceil(shape.stride).min(phase);
        let (before, target) = target.split_at_mut(skip);
        before.fill(0.0);
        let first = (skip * shape.stride + p).saturating_sub(shape.left).min(shape.width);
        let source = &source[first..];
        let len = source.len().div_ceil(shape.stride).min(target.len());
        let (target, after) = target.split_at_mut(len);
        after.fill(0.0);
        if shape.stride == 1 {
            target.copy_from_slice(&source[..len]);
        } else {
            for (t, v) in target.iter_mut().zip(source.iter().step_by(shape.stride)) {
                *t = *v;
            }
        }
    }
}
