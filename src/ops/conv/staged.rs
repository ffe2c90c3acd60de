//! The padded copy of a piece of the input that panels are packed from. With the padding in memory and the columns
//! sorted by their place in the stride, every line of the column matrix is a plain run of values: no case is special.

use super::shape::{Segment, Segments, Shape};
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

impl Region {
    /// What `columns` of the output (counted over images, rows, pixels) need of the input.
    pub fn of(shape: &Shape, columns: Range<usize>, channels: Range<usize>) -> Self {
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
    /// What the output pixels of `region` see of `x` `[images, in_channels, height, width]`: in `buffer`, or where it lies.
    #[inline(always)]
    pub fn new(shape: &'a Shape, x: &'a [f32], region: Region, buffer: &'a mut Vec<f32>) -> Self {
        if !shape.pointwise() {
            return Self::copied(shape, x, region, buffer);
        }
        let (row, channel) = (shape.width, shape.in_plane());
        let image = shape.in_channels * channel;
        let region = Region { rows: 0..shape.out_height, ..region };
        let values = &x[region.images.start * image + region.channels.start * channel..];
        Self { values, shape, region, phase: 0, row, channel, image }
    }

    /// [`Staged::new`], always in `buffer`.
    #[inline(always)]
    pub fn copied(shape: &'a Shape, x: &'a [f32], region: Region, buffer: &'a mut Vec<f32>) -> Self {
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

    /// The offsets of all depths of the region's channels, in order.
    #[inline(always)]
    pub fn offsets(&self, offsets: &mut Vec<usize>) {
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
    pub fn place(&self, segment: &Segment) -> usize {
        (segment.image - self.region.images.start) * self.image
            + (segment.y - self.region.rows.start) * self.shape.stride * self.row
            + segment.x
    }

    /// `WIDTH` (up to [`NR`]) values of a copy.
    ///
    /// # Panics
    /// If the input was not [copied](Staged::copied).
    #[inline(always)]
    pub fn run<const WIDTH: usize>(&self, from: usize) -> &[f32; WIDTH] {
        self.values[from..].first_chunk().expect("a copy is longer by the width of a panel")
    }

    /// Packs the depths at `offsets` of the column matrix for one panel of output pixels into `[depths, NR]`.
    /// Columns beyond the panel's own hold anything, and up to `NR` values after the panel are overwritten.
    #[inline(always)]
    pub fn pack(&self, segments: &Segments, offsets: &[usize], panel: &mut [f32]) {
        let mut places = [(0, 0, 0); NR];
        let mut longest = 0;
        for (place, segment) in places.iter_mut().zip(segments.iter()) {
            *place = (segment.at, self.place(segment), segment.len);
            longest = longest.max(segment.len);
        }
        let places = &places[..segments.iter().len()];
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
                let (values, line) = (&self.values[base + offset..], &mut line[at..]);
                match (values.first_chunk::<WIDTH>(), line.first_chunk_mut::<WIDTH>()) {
                    (Some(values), Some(line)) => *line = *values,
                    _ => line[..len].copy_from_slice(&values[..len]),
                }
            }
        }
    }
}

/// One row into its phases, with the columns of padding.
#[inline(always)]
fn stage_row(shape: &Shape, source: &[f32], target: &mut [f32], phase: usize) {
    if shape.stride == 1 {
        return stage_phase(source, target, shape.left, 0, 1);
    }
    for (p, target) in target.chunks_exact_mut(phase.max(1)).enumerate() {
        let skip = shape.left.saturating_sub(p).div_ceil(shape.stride);
        let first = skip * shape.stride + p - shape.left;
        stage_phase(source, target, skip, first, shape.stride);
    }
}

/// `skip` zeros, then every `stride`-th value from `first` on, then zeros.
#[inline(always)]
fn stage_phase(source: &[f32], target: &mut [f32], skip: usize, first: usize, stride: usize) {
    let (before, target) = target.split_at_mut(skip.min(target.len()));
    before.fill(0.0);
    let source = &source[first.min(source.len())..];
    let len = if stride == 1 { source.len() } else { source.len().div_ceil(stride) }.min(target.len());
    let (target, after) = target.split_at_mut(len);
    after.fill(0.0);
    match stride {
        1 => {
            let (targets, rest) = target.as_chunks_mut::<8>();
            let (sources, source_rest) = source[..len].as_chunks::<8>();
            for (t, s) in targets.iter_mut().zip(sources) {
                *t = *s;
            }
            for (t, s) in rest.iter_mut().zip(source_rest) {
                *t = *s;
            }
        }
        2 => {
            // In pairs: the compiler makes shuffles of whole registers of that.
            let (pairs, last) = source.as_chunks::<2>();
            for (t, pair) in target.iter_mut().zip(pairs) {
                *t = pair[0];
            }
            if let (Some(t), Some(v)) = (target.get_mut(pairs.len()), last.first()) {
                *t = *v;
            }
        }
        4 => {
            let (fours, last) = source.as_chunks::<4>();
            for (t, four) in target.iter_mut().zip(fours) {
                *t = four[0];
            }
            if let (Some(t), Some(v)) = (target.get_mut(fours.len()), last.first()) {
                *t = *v;
            }
        }
        _ => {
            for (t, v) in target.iter_mut().zip(source.iter().step_by(stride)) {
                *t = *v;
            }
        }
    }
}
