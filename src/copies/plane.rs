//! A channel of a small picture in float32, with what is needed to lay one picture over another: smoothing, halving, sampling.

use super::transform::Transform;
use crate::ops::simd::{self, Kernel};

/// A channel, `[height, width]`, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

impl Plane {
    /// A plane of one value.
    pub(super) fn filled(width: usize, height: usize, value: f32) -> Self {
        Self { width, height, values: vec![value; width * height] }
    }

    /// The rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// The value at integer coordinates, which are clamped to the plane.
    pub(super) fn at(&self, x: isize, y: isize) -> f32 {
        let x = x.clamp(0, self.width as isize - 1) as usize;
        let y = y.clamp(0, self.height as isize - 1) as usize;
        self.values.get(y * self.width + x).copied().unwrap_or_default()
    }

    /// The value between pixels (bilinear); `None` outside of the centres of the outermost pixels.
    #[inline]
    pub(super) fn sample(&self, x: f32, y: f32) -> Option<f32> {
        if !(x >= 0.0 && y >= 0.0 && x <= (self.width - 1) as f32 && y <= (self.height - 1) as f32) {
            return None;
        }
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let right = usize::from(left + 1 < self.width);
        let below = if top + 1 < self.height { self.width } else { 0 };
        let at = top * self.width + left;
        let corner = |offset: usize| self.values.get(at + offset).copied().unwrap_or_default();
        let (a, b) = (corner(0), corner(right));
        let (c, d) = (corner(below), corner(below + right));
        let upper = a + (b - a) * fx;
        let lower = c + (d - c) * fx;
        Some(upper + (lower - upper) * fy)
    }

    /// Smoothed by a Gaussian of `sigma` pixels; the outermost pixels are repeated beyond the edge.
    pub(super) fn smoothed(&self, sigma: f32) -> Self {
        let radius = (3.0 * sigma).ceil() as usize;
        let weight = |i: usize| (-0.5 * (i as f32 / sigma).powi(2)).exp();
        let total = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f32>();
        let mut taps: Vec<f32> = (0..=radius).map(|i| weight(i) / total).collect();
        // A pixel is added twice.
        taps[0] *= 0.5;
        let mut down = Self::filled(self.width, self.height, 0.0);
        simd::run(Smoothing { plane: self, taps: &taps, out: &mut down });
        down
    }

    /// What remains without another plane of the same size.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(one, other)| one - other).collect();
        Self { values, ..*self }
    }

    /// Half as wide and high: means of 2 x 2 pixels.
    pub(super) fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height as isize {
            for x in 0..width as isize {
                let at = |dx, dy| self.at(2 * x + dx, 2 * y + dy);
                values.push(0.25 * (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)));
            }
        }
        Self { width, height, values }
    }

    /// Resized to `width` x `height` by bilinear sampling, after smoothing where it becomes smaller.
    pub(super) fn resized(&self, width: usize, height: usize) -> Self {
        let shrink = (self.width as f32 / width as f32).max(self.height as f32 / height as f32);
        let smooth;
        let source = if shrink > 1.05 {
            smooth = self.smoothed(0.5 * (shrink * shrink - 1.0).sqrt().max(0.2));
            &smooth
        } else {
            self
        };
        let (sx, sy) = (self.width as f32 / width as f32, self.height as f32 / height as f32);
        let limit = |v: f32, n: usize| v.clamp(0.0, (n - 1) as f32);
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            let v = limit((y as f32 + 0.5) * sy - 0.5, self.height);
            for x in 0..width {
                let u = limit((x as f32 + 0.5) * sx - 0.5, self.width);
                values.push(source.sample(u, v).unwrap_or_default());
            }
        }
        Self { width, height, values }
    }

    /// Left and right exchanged.
    pub(super) fn mirrored(&self) -> Self {
        let values = self.rows().flat_map(|row| row.iter().rev().copied()).collect();
        Self { width: self.width, height: self.height, values }
    }

    /// The plane as it is seen from a grid of `width` x `height` whose coordinates `transform` maps to this plane's; `NAN` outside.
    pub(super) fn warped(&self, transform: &Transform, width: usize, height: usize) -> Self {
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (u, v) = transform.apply(x as f32, y as f32);
                values.push(self.sample(u, v).unwrap_or(f32::NAN));
            }
        }
        Self { width, height, values }
    }
}

/// Smooths a plane along both axes.
struct Smoothing<'a> {
    plane: &'a Plane,
    /// Weights of half a pixel and of those at each distance from it.
    taps: &'a [f32],
    out: &'a mut Plane,
}

impl Kernel for Smoothing<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { plane, taps, out } = self;
        let (width, radius) = (plane.width, taps.len() - 1);
        let mut across = vec![0.0; plane.values.len()];
        let mut padded = vec![0.0; width + 2 * radius];
        for (row, out) in plane.values.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
            padded[..radius].fill(row[0]);
            padded[radius..radius + width].copy_from_slice(row);
            padded[radius + width..].fill(row[width - 1]);
            for (pair, taps) in taps.chunks(2).enumerate() {
                let around = |i: usize| (&padded[radius - i..][..width], &padded[radius + i..][..width]);
                add(out, taps, around(2 * pair), around((2 * pair + 1).min(radius)));
            }
        }
        for (y, out) in out.values.chunks_exact_mut(width).enumerate() {
            for (pair, taps) in taps.chunks(2).enumerate() {
                let row = |y: usize| &across[y * width..][..width];
                let around = |i: usize| (row(y.saturating_sub(i)), row((y + i).min(plane.height - 1)));
                add(out, taps, around(2 * pair), around(2 * pair + 1));
            }
        }
    }
}

/// Two rows at the same distance from a pixel.
type Around<'a> = (&'a [f32], &'a [f32]);

/// Adds what is around a pixel at one distance or two, each times its tap: two at a time, so that sums are loaded and stored half as often.
#[inline(always)]
fn add(out: &mut [f32], taps: &[f32], first: Around, second: Around) {
    let (tap, other) = (taps[0], taps.get(1).copied().unwrap_or(0.0));
    let pairs = first.0.iter().zip(first.1).zip(second.0.iter().zip(second.1));
    for (out, ((a, b), (c, d))) in out.iter_mut().zip(pairs) {
        *out += tap * (a + b) + other * (c + d);
    }
}
