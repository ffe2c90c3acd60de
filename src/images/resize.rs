//! Pillow's resize, to the byte, for 8-bit images.
//! Two passes with 8-bit values between them, the horizontal one first, a pass that keeps the size left out
//! (`src/libImaging/Resample.c` of Pillow 3.4 to 12.3; 13.0 takes the vertical pass first for some sizes).

use super::filter::Filter;
use std::ops::Range;

/// Bits behind the point of a weight: 32 less 8 for the value and 2 for the sum.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Half a unit of the result.
const ROUNDING: i32 = 1 << (PRECISION_BITS - 1);

/// Rows that go through the horizontal pass side by side. With 16 the compiler unrolls the inner loop and leaves it scalar (half the speed).
const LANES: usize = 32;

/// Values of a row that go through the vertical pass side by side.
const BLOCK: usize = 64;

/// From this many taps on, the horizontal pass sums along each row.
const LONG: usize = 40;

/// Values of a row that are summed side by side then: whole pixels of one and of three channels, and whole registers.
const STEP: usize = 24;

/// Resizes `[H, W, C]` with `(W, H) = size` to `[new_H, new_W, C]`, for 1 or 3 channels. The aspect ratio is not kept.
///
/// # Panics
/// If `pixels` does not hold `W * H * channels` values, a size is 0, or `channels` is neither 1 nor 3.
pub(crate) fn resize(
    pixels: &[u8],
    size: (u32, u32),
    channels: usize,
    new_size: (u32, u32),
    filter: Filter,
) -> Vec<u8> {
    let window = Window { left: 0, top: 0, width: new_size.0, height: new_size.1 };
    resize_window(pixels, size, channels, (new_size.0.into(), new_size.1.into()), window, filter)
}

/// The part of a resized image that is wanted, in its pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub left: u64,
    pub top: u64,
    pub width: u32,
    pub height: u32,
}

/// The pixels that [`resize`] to `new_size` would have in `window`, without computing the others.
pub(super) fn resize_window(
    pixels: &[u8],
    size: (u32, u32),
    channels: usize,
    new_size: (u64, u64),
    window: Window,
    filter: Filter,
) -> Vec<u8> {
    let (width, height) = (size.0 as usize, size.1 as usize);
    assert_eq!(pixels.len(), width * height * channels, "pixels do not fit their size");
    assert!(width > 0 && height > 0 && window.width > 0 && window.height > 0, "a size is 0");
    let across = Weights::new(filter, size.0, new_size.0, window.left, window.width);
    let down = Weights::new(filter, size.1, new_size.1, window.top, window.height);
    match channels {
        1 => passes::<1>(pixels, width, &across, &down),
        3 => passes::<3>(pixels, width, &across, &down),
        _ => panic!("{channels} channels"),
    }
}

/// As [`resize_window`] by any filter, without rounding: values in 0..=1.
pub(super) fn resize_window_exact(
    pixels: &[u8],
    size: (u32, u32),
    channels: usize,
    new_size: (u64, u64),
    window: Window,
    filter: Filter,
) -> Vec<f32> {
    const UNIT: f64 = 1.0 / 255.0;
    let row = size.0 as usize * channels;
    let across = Weights::new(filter, size.0, new_size.0, window.left, window.width);
    let down = Weights::new(filter, size.1, new_size.1, window.top, window.height);
    let mut out = Vec::with_capacity(down.len() * across.len() * channels);
    for (top, by_row) in down.iter_real() {
        for (left, by_column) in across.iter_real() {
            for channel in 0..channels {
                let mut sum = 0.0;
                for (y, wy) in by_row.iter().enumerate() {
                    let first = (top + y) * row + left * channels + channel;
                    let taps = pixels[first..].iter().step_by(channels).zip(by_column);
                    sum += taps.map(|(&v, &wx)| f64::from(v) * wx).sum::<f64>() * wy;
                }
                let value = (sum * UNIT) as f32;
                out.push(if filter == Filter::BicubicClipped { value.clamp(0.0, 1.0) } else { value });
            }
        }
    }
    out
}

/// The weights of one axis: what each output position takes from which input positions.
struct Weights {
    /// First input position of each output position.
    first: Vec<usize>,
    /// Weights of each output position, as many as `taps`, in units of `2^-PRECISION_BITS`.
    weights: Vec<i32>,
    /// The same before they are rounded; of [`Filter::Interpolate`] after it, which features were always made with.
    real: Vec<f64>,
    /// Input positions per output position, zero weights included; all lie inside the input.
    taps: usize,
    /// Where the outputs lie in the input, if the size is kept and there is nothing to compute.
    copied_from: Option<usize>,
}

impl Weights {
    /// `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow, for outputs `start..start + count` of `output`.
    fn new(filter: Filter, input: u32, output: u64, start: u64, count: u32) -> Weights {
        let copied_from = (u64::from(input) == output).then_some(start as usize);
        let scale = f64::from(input) / output as f64;
        let filter_scale = if filter.antialiases() { scale.max(1.0) } else { 1.0 };
        let support = filter.support() * filter_scale;
        let taps = ((support.ceil() * 2.0 + 1.0) as usize).min(input as usize);
        let input = input as usize;
        let mut first = Vec::with_capacity(count as usize);
        let mut weights = vec![0; count as usize * taps];
        let mut real = vec![0.0; count as usize * taps];
        let mut unrounded = Vec::with_capacity(taps);
        let rows = weights.chunks_exact_mut(taps).zip(real.chunks_exact_mut(taps));
        for (i, (row, real)) in rows.enumerate() {
            let centre = filter.centre((start + i as u64) as f64, scale);
            let from = ((centre - support + 0.5).max(0.0) as usize).min(input - 1);
            let to = ((centre + support + 0.5) as usize).clamp(from + 1, (from + taps).min(input));
            unrounded.clear();
            unrounded.extend((from..to).map(|x| filter.at((x as f64 - centre + 0.5) * (1.0 / filter_scale))));
            let sum: f64 = unrounded.iter().sum();
            let begin = from.min(input - taps);
            let slots = row.iter_mut().zip(real).skip(from - begin);
            for ((slot, real), weight) in slots.zip(&unrounded) {
                let weight = if sum != 0.0 { weight / sum } else { *weight };
                *slot = (weight * f64::from(1 << PRECISION_BITS)).round() as i32;
                let rounded = f64::from(*slot) / f64::from(1 << PRECISION_BITS);
                *real = if filter == Filter::Interpolate { rounded } else { weight };
            }
            first.push(begin);
        }
        Weights { first, weights, real, taps, copied_from }
    }

    fn len(&self) -> usize {
        self.first.len()
    }

    /// The input positions that any output position looks at.
    fn reach(&self) -> Range<usize> {
        if let Some(start) = self.copied_from {
            return start..start + self.len();
        }
        match (self.first.iter().min(), self.first.iter().max()) {
            (Some(&low), Some(&high)) => low..high + self.taps,
            _ => 0..0,
        }
    }

    fn iter_real(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.first.iter().copied().zip(self.real.chunks_exact(self.taps))
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.first.iter().copied().zip(self.weights.chunks_exact(self.taps))
    }
}

/// The linear map of one axis: what each output position takes from each input position.
#[derive(Debug, Clone, PartialEq)]
pub struct AxisMap {
    /// Output positions.
    pub outputs: usize,
    /// Input positions.
    pub inputs: usize,
    /// `[outputs, inputs]`; the rows of positions that no input reaches (padding) are zero.
    pub matrix: Vec<f32>,
}

impl AxisMap {
    /// `input` positions resized to `output`.
    ///
    /// # Panics
    /// If there are none on either side.
    pub fn resized(filter: Filter, input: u32, output: u32) -> AxisMap {
        AxisMap::new(filter, (input, output.into()), (0, output), (0, 0))
    }

    /// Outputs `start..start + count` of `input` positions resized to `output`, as [`resize`] weighs them, in the middle of
    /// `before` and `after` positions of padding.
    pub(super) fn new(
        filter: Filter,
        (input, output): (u32, u64),
        (start, count): (u64, u32),
        (before, after): (usize, usize),
    ) -> AxisMap {
        let weights = Weights::new(filter, input, output, start, count);
        let inputs = input as usize;
        let outputs = before + weights.len() + after;
        let mut matrix = vec![0.0; outputs * inputs];
        for (row, (first, taps)) in matrix.chunks_exact_mut(inputs).skip(before).zip(weights.iter()) {
            for (to, &weight) in row.iter_mut().skip(first).zip(taps) {
                *to = (f64::from(weight) / f64::from(1 << PRECISION_BITS)) as f32;
            }
        }
        AxisMap { outputs, inputs, matrix }
    }
}

/// Both passes, compiled for the widest vectors that the processor has; the integers are the same on all.
fn passes<const C: usize>(pixels: &[u8], width: usize, across: &Weights, down: &Weights) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        fn avx512<const C: usize>(pixels: &[u8], width: usize, across: &Weights, down: &Weights) -> Vec<u8> {
            passes_inline::<C>(pixels, width, across, down)
        }
        #[target_feature(enable = "avx2")]
        fn avx2<const C: usize>(pixels: &[u8], width: usize, across: &Weights, down: &Weights) -> Vec<u8> {
            passes_inline::<C>(pixels, width, across, down)
        }
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the features were just detected (both imply AVX-512F).
            return unsafe { avx512::<C>(pixels, width, across, down) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just detected.
            return unsafe { avx2::<C>(pixels, width, across, down) };
        }
    }
    passes_inline::<C>(pixels, width, across, down)
}

#[inline(always)]
fn passes_inline<const C: usize>(pixels: &[u8], width: usize, across: &Weights, down: &Weights) -> Vec<u8> {
    let rows = down.reach();
    let needed = &pixels[rows.start * width * C..rows.end * width * C];
    let middle = horizontal::<C>(needed, width, across);
    if down.copied_from.is_some() { middle } else { vertical(&middle, across.len() * C, rows.start, down) }
}

/// `[rows, width, C]` to `[rows, across.len(), C]`.
#[inline(always)]
fn horizontal<const C: usize>(pixels: &[u8], width: usize, across: &Weights) -> Vec<u8> {
    let (row, out_row) = (width * C, across.len() * C);
    let mut out = vec![0; pixels.len() / row * out_row];
    if let Some(start) = across.copied_from {
        for (from, to) in pixels.chunks_exact(row).zip(out.chunks_exact_mut(out_row)) {
            to.copy_from_slice(&from[start * C..][..out_row]);
        }
    } else if across.taps >= LONG {
        along_rows::<C>(pixels, width, across, &mut out);
    } else {
        side_by_side::<C>(pixels, width, across, &mut out);
    }
    out
}

/// The horizontal pass along each row: every value has its own weight.
#[inline(always)]
fn along_rows<const C: usize>(pixels: &[u8], width: usize, across: &Weights, out: &mut [u8]) {
    let (row, out_row, taps) = (width * C, across.len() * C, across.taps * C);
    let weights: Vec<i32> = across.weights.iter().flat_map(|&weight| [weight; C]).collect();
    for (from, to) in pixels.chunks_exact(row).zip(out.chunks_exact_mut(out_row)) {
        let outputs = across.first.iter().zip(weights.chunks_exact(taps));
        for ((&first, weights), to) in outputs.zip(to.as_chunks_mut::<C>().0) {
            let values = &from[first * C..][..taps];
            let ((values, values_left), (weights, weights_left)) =
                (values.as_chunks::<STEP>(), weights.as_chunks::<STEP>());
            let mut sums = [0i32; STEP];
            for (values, weights) in values.iter().zip(weights) {
                for i in 0..STEP {
                    sums[i] = sums[i].wrapping_add(weights[i].wrapping_mul(i32::from(values[i])));
                }
            }
            for ((sum, &value), weight) in sums.iter_mut().zip(values_left).zip(weights_left) {
                *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(value)));
            }
            for (c, to) in to.iter_mut().enumerate() {
                *to = clip(sums.iter().skip(c).step_by(C).fold(ROUNDING, |all, &sum| all.wrapping_add(sum)));
            }
        }
    }
}

/// The horizontal pass of [`LANES`] rows, which are interleaved first, so that one weight is multiplied with a vector of them.
#[inline(always)]
fn side_by_side<const C: usize>(pixels: &[u8], width: usize, across: &Weights, out: &mut [u8]) {
    let (row, out_row) = (width * C, across.len() * C);
    let reach = across.reach();
    let mut lanes = vec![[0u8; LANES]; reach.len() * C];
    for (from, to) in pixels.chunks(row * LANES).zip(out.chunks_mut(out_row * LANES)) {
        interleave(from, row, reach.start * C, &mut lanes);
        for (x, (first, weights)) in across.iter().enumerate() {
            let mut sums = [[ROUNDING; LANES]; C];
            let taps = lanes[(first - reach.start) * C..].chunks_exact(C);
            for (values, &weight) in taps.zip(weights) {
                for (sums, values) in sums.iter_mut().zip(values) {
                    add(sums, weight, values);
                }
            }
            let sums = sums.map(|lanes| lanes.map(clip));
            for (lane, to) in to.chunks_exact_mut(out_row).enumerate() {
                for c in 0..C {
                    to[x * C + c] = sums[c][lane];
                }
            }
        }
    }
}

/// Value `begin + i` of each row of `rows` to the lanes of `lanes[i]`.
#[inline(always)]
fn interleave(rows: &[u8], row: usize, begin: usize, lanes: &mut [[u8; LANES]]) {
    for (lane, from) in rows.chunks_exact(row).enumerate() {
        for (to, &value) in lanes.iter_mut().zip(&from[begin..]) {
            to[lane] = value;
        }
    }
}

/// `[rows, row]` to `[down.len(), row]`, where the first row is input position `offset`.
#[inline(always)]
fn vertical(pixels: &[u8], row: usize, offset: usize, down: &Weights) -> Vec<u8> {
    let mut out = vec![0; down.len() * row];
    for ((first, weights), out) in down.iter().zip(out.chunks_exact_mut(row)) {
        let from = &pixels[(first - offset) * row..];
        let blocks = row / BLOCK * BLOCK;
        let (whole, rest) = out.split_at_mut(blocks);
        for (i, to) in whole.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            weigh(&from[i * BLOCK..], row, weights, to);
        }
        for (i, to) in rest.as_chunks_mut::<1>().0.iter_mut().enumerate() {
            weigh(&from[blocks + i..], row, weights, to);
        }
    }
    out
}

/// The weighted sum of `N` neighbouring values over the rows that begin every `stride` values.
#[inline(always)]
fn weigh<const N: usize>(from: &[u8], stride: usize, weights: &[i32], to: &mut [u8; N]) {
    let mut sums = [ROUNDING; N];
    for (t, &weight) in weights.iter().enumerate() {
        let Some(values) = from[t * stride..].first_chunk::<N>() else { continue };
        add(&mut sums, weight, values);
    }
    *to = sums.map(clip);
}

#[inline(always)]
fn add<const N: usize>(sums: &mut [i32; N], weight: i32, values: &[u8; N]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(value)));
    }
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = Filter> {
        prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic), Just(Filter::Lanczos)]
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// What each output position of one axis takes, by the definition of the filter in float64.
    fn by_definition(filter: Filter, values: &[u8], outputs: usize) -> Vec<f64> {
        let scale = values.len() as f64 / outputs as f64;
        let value = |at: usize| f64::from(values[at.min(values.len() - 1)]) / 255.0;
        let cubic = |x: f64| match x.abs() {
            x if x < 1.0 => 1.5 * x.powi(3) - 2.5 * x * x + 1.0,
            x if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x * x - 4.0 * x + 2.0,
            _ => 0.0,
        };
        let output = |i: usize| match filter {
            // TensorFlow 1's `resize_bilinear`: lower and upper pixel, and how far it is between them.
            Filter::InterpolateTf1 => {
                let at = i as f64 * scale;
                let low = at.floor() as usize;
                value(low) + (value(low + 1) - value(low)) * at.fract()
            }
            _ => {
                let centre = (i as f64 + 0.5) * scale - 0.5;
                let weights: Vec<f64> =
                    (0..values.len()).map(|at| cubic((at as f64 - centre) / scale.max(1.0))).collect();
                let sum: f64 = weights.iter().sum();
                let all = weights.iter().enumerate().map(|(at, weight)| weight / sum * value(at)).sum();
                if filter == Filter::BicubicClipped { f64::clamp(all, 0.0, 1.0) } else { all }
            }
        };
        (0..outputs).map(output).collect()
    }

    #[test]
    fn filters_in_float_are_those_of_their_definitions() {
        let values: Vec<u8> = noise(90).into_iter().map(|v| if v < 128 { 0 } else { 255 }).collect();
        for filter in [Filter::InterpolateTf1, Filter::BicubicFloat, Filter::BicubicClipped] {
            let mut beyond = false;
            for (inputs, outputs) in [(90, 37), (37, 90), (5, 64), (64, 64), (1, 7)] {
                let window = Window { left: 0, top: 0, width: outputs, height: 1 };
                let row = &values[..inputs as usize];
                let found = resize_window_exact(row, (inputs, 1), 1, (outputs.into(), 1), window, filter);
                let expected = by_definition(filter, row, outputs as usize);
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((f64::from(*found) - expected).abs() < 1e-6, "{filter:?} {inputs} to {outputs}");
                }
                beyond |= found.iter().any(|value| !(0.0..=1.0).contains(value));
            }
            assert_eq!(beyond, filter == Filter::BicubicFloat, "{filter:?}");
        }
    }

    proptest! {
        #[test]
        fn a_window_holds_what_the_whole_would_hold(
            (w, h) in (1u32..70, 1u32..70), (new_w, new_h) in (1u32..90, 1u32..90),
            (x, y) in (0.0..1.0, 0.0..1.0), filter in filter(), gray in any::<bool>(),
        ) {
            let channels = if gray { 1 } else { 3 };
            let pixels = noise((w * h) as usize * channels);
            let whole = resize(&pixels, (w, h), channels, (new_w, new_h), filter);
            let (left, top) = ((f64::from(new_w) * x) as u32, (f64::from(new_h) * y) as u32);
            let window = Window {
                left: left.into(), top: top.into(), width: new_w - left, height: (new_h - top).div_ceil(2),
            };
            let part = resize_window(&pixels, (w, h), channels, (new_w.into(), new_h.into()), window, filter);
            let expected: Vec<u8> = (top..top + window.height)
                .flat_map(|row| {
                    let begin = (row * new_w + left) as usize * channels;
                    whole[begin..begin + window.width as usize * channels].to_vec()
                })
                .collect();
            prop_assert_eq!(part, expected);
        }

        #[test]
        fn every_instruction_set_gives_the_same_bytes(
            (w, h) in (1u32..90, 1u32..90), (new_w, new_h) in (1u32..90, 1u32..90), filter in filter(),
        ) {
            let pixels = noise((w * h) as usize * 3);
            let across = Weights::new(filter, w, new_w.into(), 0, new_w);
            let down = Weights::new(filter, h, new_h.into(), 0, new_h);
            let portable = passes_inline::<3>(&pixels, w as usize, &across, &down);
            prop_assert_eq!(resize(&pixels, (w, h), 3, (new_w, new_h), filter), portable);
        }

        #[test]
        fn one_colour_stays_one_colour(
            value: u8, (w, h) in (1u32..40, 1u32..40), new in (1u32..60, 1u32..60), filter in filter(),
        ) {
            let resized = resize(&vec![value; (w * h) as usize], (w, h), 1, new, filter);
            prop_assert!(resized.iter().all(|&v| v == value));
        }
    }

    #[test]
    fn the_same_size_is_a_copy() {
        let pixels = noise(33 * 20 * 3);
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            assert_eq!(resize(&pixels, (33, 20), 3, (33, 20), filter), pixels);
        }
    }
}
