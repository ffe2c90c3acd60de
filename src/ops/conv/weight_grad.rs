//! Gradient of a dense convolution with respect to its weights: for each kernel position a product of the output's gradient
//! and the input, over pixels. The input lies channel-last in lanes of [`NR`], so that every kernel position reads the same
//! copy at another offset. Images are summed in groups of fixed size: the sum does not depend on the threads.

use super::shape::Shape;
use crate::ops::gemm::{self, MR, NR, Tile, ZERO_TILE};
use rayon::prelude::*;

/// Images whose contributions one task sums, at least.
const IMAGES_PER_TASK: usize = 8;
/// Pixels over which one task sums, at least, where there are so many: the sums of all tasks are added up afterwards, which of small maps
/// would take as long as the products.
const PIXELS_PER_TASK: usize = 2048;
/// Pixels multiplied at once: their lanes stay in the first-level cache while the output channels pass.
const PIXELS: usize = 128;
/// From this many channels on, a lane is a channel; below, too many would be empty, and a lane is a weight.
const MIN_CHANNELS: usize = NR / 2;

/// What the lanes of the input's copy hold, and at which offsets they are read.
struct Lanes<'a> {
    shape: &'a Shape,
    by_channel: bool,
    /// Pixels of a row of the copy; the output's gradient has zeros beyond its own width.
    row: usize,
    /// Rows of the copy, per phase of the stride.
    rows: usize,
}

impl<'a> Lanes<'a> {
    fn new(shape: &'a Shape) -> Self {
        let by_channel = shape.in_channels >= MIN_CHANNELS;
        let reach = |kernel: usize| if by_channel { (kernel - 1) / shape.stride } else { 0 };
        Self {
            shape,
            by_channel,
            row: shape.out_width + reach(shape.kernel_width),
            rows: shape.out_height + reach(shape.kernel_height),
        }
    }

    /// Lanes altogether.
    fn count(&self) -> usize {
        if self.by_channel { self.shape.in_channels } else { self.shape.depth() }
    }

    /// Products for each panel of lanes: one for each kernel position, or one.
    fn reads(&self) -> usize {
        if self.by_channel { self.shape.taps() } else { 1 }
    }

    /// Pixels over which is summed.
    fn pixels(&self) -> usize {
        self.shape.out_height * self.row
    }

    /// Rows and columns of the stride that the copy keeps apart.
    fn phases(&self) -> (usize, usize) {
        let s = self.shape;
        if self.by_channel { (s.stride.min(s.kernel_height), s.stride.min(s.kernel_width)) } else { (1, 1) }
    }

    /// The first pixel of a product in the copy.
    fn offset(&self, read: usize) -> usize {
        let (stride, width) = (self.shape.stride, self.shape.kernel_width);
        let (ky, kx) = (read / width, read % width);
        let phase = ky % stride * self.phases().1 + kx % stride;
        phase * self.rows * self.row + ky / stride * self.row + kx / stride
    }

    /// Copies one panel of lanes of one image into `[phase, row, column, NR]`.
    fn fill(&self, image: &[f32], first: usize, copy: &mut Vec<f32>) {
        let (phase_rows, phase_columns) = self.phases();
        let plane = self.rows * self.row;
        copy.clear();
        // The last products run past the last row by less than a row.
        copy.resize((phase_rows * phase_columns * plane + self.row) * NR, 0.0);
        for (phase, copy) in copy.chunks_exact_mut(plane * NR).take(phase_rows * phase_columns).enumerate() {
            for (row, copy) in copy.chunks_exact_mut(self.row * NR).enumerate() {
                for lane in first..self.count().min(first + NR) {
                    let (channel, ky, kx) = if self.by_channel {
                        (lane, phase / phase_columns, phase % phase_columns)
                    } else {
                        self.shape.tap(lane)
                    };
                    self.fill_row(image, channel, (row, ky, kx), &mut copy[lane - first..]);
                }
            }
        }
    }

    /// One lane of one row.
    fn fill_row(
        &self,
        image: &[f32],
        channel: usize,
        (row, ky, kx): (usize, usize, usize),
        lane: &mut [f32],
    ) {
        let s = self.shape;
        let Some(y) = (row * s.stride + ky).checked_sub(s.top).filter(|&y| y < s.height) else { return };
        let skip = s.left.saturating_sub(kx).div_ceil(s.stride);
        let Some(source) =
            image[(channel * s.height + y) * s.width..][..s.width].get(skip * s.stride + kx - s.left..)
        else {
            return;
        };
        let targets = lane.iter_mut().step_by(NR).take(self.row).skip(skip);
        if s.stride == 1 {
            targets.zip(source).for_each(|(t, v)| *t = *v);
        } else {
            targets.zip(source.iter().step_by(s.stride)).for_each(|(t, v)| *t = *v);
        }
    }
}

/// `dw` `[O, C * kh * kw]` from the input `x` and `dy`, the gradient of the output.
pub(super) fn weight_grad(shape: &Shape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let shape = &shape.flattened();
    let (outs, depth) = (shape.out_channels, shape.depth());
    dw.fill(0.0);
    if dw.is_empty() || shape.out_plane() == 0 || shape.batch == 0 {
        return;
    }
    let lanes = Lanes::new(shape);
    let row_panels = outs.div_ceil(MR);
    let panels = lanes.count().div_ceil(NR);
    let pixels = lanes.pixels();
    let packed = pack(shape, dy, row_panels, lanes.row);
    let together = PIXELS_PER_TASK.div_ceil(pixels).max(IMAGES_PER_TASK);
    let groups = shape.batch.div_ceil(together);
    let image = shape.in_channels * shape.in_plane();
    // Per task [read, row panel].
    let partial: Vec<Vec<Tile>> = (0..groups * panels)
        .into_par_iter()
        .map_init(Vec::new, |copy, task| {
            let (group, panel) = (task / panels, task % panels);
            let mut tiles = vec![ZERO_TILE; lanes.reads() * row_panels];
            for b in group * together..shape.batch.min((group + 1) * together) {
                lanes.fill(&x[b * image..][..image], panel * NR, copy);
                let dy = &packed[b * row_panels * pixels * MR..];
                for (read, tiles) in tiles.chunks_exact_mut(row_panels).enumerate() {
                    let copy = &copy[lanes.offset(read) * NR..];
                    for pixel in (0..pixels).step_by(PIXELS) {
                        let count = PIXELS.min(pixels - pixel);
                        for (m, tile) in tiles.iter_mut().enumerate() {
                            let dy = &dy[(m * pixels + pixel) * MR..];
                            gemm::multiply_panels(count, dy, &copy[pixel * NR..], tile);
                        }
                    }
                }
            }
            tiles
        })
        .collect();
    dw.par_chunks_mut(MR * depth).enumerate().for_each(|(m, dw)| {
        for (task, tiles) in partial.iter().enumerate() {
            let first = task % panels * NR;
            // The weights of a lane, one for each product, lie side by side.
            for (i, dw) in dw.chunks_exact_mut(depth).enumerate() {
                let of_lanes = dw.chunks_exact_mut(lanes.reads()).skip(first).take(NR);
                for (lane, dw) in of_lanes.enumerate() {
                    for (weight, tile) in dw.iter_mut().zip(tiles[m..].iter().step_by(row_panels)) {
                        *weight += tile[i][lane];
                    }
                }
            }
        }
    });
}

/// `dy` as `[image, row panel, pixel, MR]`, rows of pixels lengthened to `row` with zeros.
fn pack(shape: &Shape, dy: &[f32], row_panels: usize, row: usize) -> Vec<f32> {
    let (outs, plane, width) = (shape.out_channels, shape.out_plane(), shape.out_width);
    let panel = shape.out_height * row * MR;
    let mut packed = vec![0.0; shape.batch * row_panels * panel];
    packed.par_chunks_exact_mut(panel).enumerate().for_each(|(i, chunk)| {
        let (b, m) = (i / row_panels, i % row_panels);
        let count = MR.min(outs - m * MR);
        for (y, chunk) in chunk.chunks_exact_mut(row * MR).enumerate() {
            for lane in 0..count {
                let source = &dy[(b * outs + m * MR + lane) * plane + y * width..][..width];
                for (group, value) in chunk.chunks_exact_mut(MR).zip(source) {
                    group[lane] = *value;
                }
            }
        }
    });
    packed
}
