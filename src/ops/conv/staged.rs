//! The padded copy of a piece of the input that panels are packed from. With the padding in memory and the columns
//! sorted by their place in the stride, every line of the column matrix is a plain run of values: no case is special.

use super::padded::pad;
use super::shape::{Segment, Segments, Shape};
use crate::ops::gemm::NR;
use crate::ops::host::sort_into_phases;
use std::ops::Range;

/// What is staged at once.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub images: Range<usize>,
    pub channels: Range<usize>,
    /// Output rows.
    pub rows: Range<usize>,
}

impl Region {
    /// What `columns` of the output (counted over images, rows, pixels) need of the input.
    pub(super) fn of(shape: &Shape, columns: Range<usize>, channels: Range<usize>) -> Self {
        let plane = shape.out_plane();
        let (first, last) = (columns.start, columns.end - 1);
        let images = first / plane..last / plane + 1;
        let rows = match images.len() {
            1 => first % plane / shape.out_width..last % plane / shape.out_width + 1,
            _ => 0..shape.out_height,
        };
        Self { images, channels, rows }
    }
}

/// Values `[image, channel, row, phase, column]`: padded column `c` lies in phase `c % stride` at `c / stride`.
/// A convolution of one tap without stride reads the input itself.
pub(super) struct Staged<'a> {
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
    /// What the output pixels of `region` see of `x` `[images, in_channels, height, width]`: in `buffer`, or where it lies.
    #[inline(always)]
    pub(super) fn new(shape: &'a Shape, x: &'a [f32], region: Region, buffer: &'a mut Vec<f32>) -> Self {
        if !shape.pointwise() {
            return Self::copied(shape, x, region, buffer);
        }
        let (row, channel) = (shape.width, shape.in_plane());
        let image = shape.in_channels * channel;
        let region = Region { rows: 0..shape.out_height, ..region };
        let values = &x[region.images.start * image + region.channels.start * channel..];
        Self { values, shape, region, phase: 0, row, channel, image }
    }

    /// In `buffer`.
    #[inline(always)]
    fn copied(shape: &'a Shape, x: &'a [f32], region: Region, buffer: &'a mut Vec<f32>) -> Self {
        let plane = shape.in_plane();
        let (stride, phases) = (shape.stride, shape.stride.min(shape.kernel_width));
        let rows = match region.rows.len() {
            0 => 0,
            rows => (rows - 1) * stride + shape.kernel_height,
        };
        let phase = shape.out_width + (shape.kernel_width - 1) / stride;
        let row = phases * phase;
        let channel = rows * row;
        let image = region.channels.len() * channel;
        // Copies of whole registers may read up to a panel's width past the last value. Space for one padded line follows.
        let size = region.images.len() * image + NR;
        let line = if stride == 1 { 0 } else { stride * phase };
        if buffer.len() < size + line {
            buffer.resize(size + line, 0.0);
        }
        let (buffer, line) = buffer[..size + line].split_at_mut(size);
        line.fill(0.0);
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
                            let source = &source[y * shape.width..][..shape.width];
                            match stride {
                                1 => pad(source, shape.left, target),
                                _ => sort(source, shape, line, target, phase),
                            }
                        }
                        _ => target.fill(0.0),
                    }
                }
            }
        }
        Self { values: buffer, shape, region, phase, row, channel, image }
    }

    /// The offsets of all depths of the region's channels, in order.
    #[inline(always)]
    pub(super) fn offsets(&self, offsets: &mut Vec<usize>) {
        let shape = self.shape;
        offsets.clear();
        for channel in 0..self.region.channels.len() {
            for ky in 0..shape.kernel_height {
                let row = channel * self.channel + ky * self.row;
                let (mut column, mut phase) = (0, 0);
                for _ in 0..shape.kernel_width {
                    offsets.push(row + phase * self.phase + column);
                    phase += 1;
                    if phase == shape.stride {
                        (phase, column) = (0, column + 1);
                    }
                }
            }
        }
    }

    /// The place of the first pixel of a segment.
    #[inline(always)]
    pub(super) fn place(&self, segment: &Segment) -> usize {
        (segment.image - self.region.images.start) * self.image
            + (segment.y - self.region.rows.start) * self.shape.stride * self.row
            + segment.x
    }

    /// Where the pixels of panels come from, if these are packed `stride` values apart.
    #[inline(always)]
    pub(super) fn places(&self, panels: &[Segments], stride: usize, places: &mut Places) {
        places.list.clear();
        places.longest = 0;
        for (panel, segments) in panels.iter().enumerate() {
            for segment in segments.iter() {
                let (from, to) = (self.place(segment), panel * stride + segment.at);
                places.list.push(Place { from, to, len: segment.len });
                places.longest = places.longest.max(segment.len);
            }
        }
    }

    /// Packs the depths at `offsets` of the column matrix into `[panels, depths, NR]`. Columns beyond a panel's own are undefined, and
    /// up to `NR` values after a panel are overwritten.
    #[inline(always)]
    pub(super) fn pack(&self, places: &Places, offsets: &[usize], packed: &mut [f32]) {
        match places.longest {
            0..=8 => self.copy::<8>(&places.list, offsets, packed),
            9..=16 => self.copy::<16>(&places.list, offsets, packed),
            _ => self.copy::<NR>(&places.list, offsets, packed),
        }
    }

    /// A depth of all panels after the other: where the input lies itself, that is one run through memory.
    #[inline(always)]
    fn copy<const WIDTH: usize>(&self, places: &[Place], offsets: &[usize], packed: &mut [f32]) {
        for (k, &offset) in offsets.iter().enumerate() {
            let packed = &mut packed[k * NR..];
            // In order of columns: each copy overwrites what the one before left beyond its own end.
            for &Place { from, to, len } in places {
                let (values, target) = (&self.values[from + offset..], &mut packed[to..]);
                match (values.first_chunk::<WIDTH>(), target.first_chunk_mut::<WIDTH>()) {
                    (Some(values), Some(target)) => *target = *values,
                    _ => target[..len].copy_from_slice(&values[..len]),
                }
            }
        }
    }
}

/// Where panels are packed from.
#[derive(Default)]
pub(super) struct Places {
    list: Vec<Place>,
    /// Values of the longest run.
    longest: usize,
}

/// A run of values and where it is packed.
struct Place {
    from: usize,
    to: usize,
    len: usize,
}

/// A row sorted into its phases. `line` holds it between its padding, which is zero and stays so.
#[inline(always)]
fn sort(source: &[f32], shape: &Shape, line: &mut [f32], target: &mut [f32], phase: usize) {
    if let Some(inside) = line.get_mut(shape.left..) {
        for (value, source) in inside.iter_mut().zip(source) {
            *value = *source;
        }
    }
    sort_into_phases(line, shape.stride, target, phase);
}
