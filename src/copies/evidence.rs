//! How well two pictures agree where one lies over the other, and the score that is made of it.

use super::plane::Plane;
use super::transform::Transform;

/// What speaks for a pair being copies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// See [`Evidence::of`].
    pub(crate) measures: [f32; MEASURES],
    pub(crate) mirrored: bool,
    looked: bool,
}

pub(crate) const MEASURES: usize = 22;

/// Smoothing in pixels of 128 between the bands.
const BANDS: [f32; 3] = [1.2, 3.0, 8.0];
/// Pixels of a block along each side.
const BLOCK: usize = 16;

/// Share of the weight of blocks, the best ones, that is looked at: what is written over a picture hides the others.
const AGREEING: f32 = 0.65;

/// A plane split by frequency, the finest first.
pub(super) struct Bands([Vec<f32>; 4]);

impl Bands {
    pub(super) fn of(plane: &Plane) -> Self {
        let smooth = BANDS.map(|sigma| plane.smoothed(sigma));
        let minus = |a: &Plane, b: &Plane| -> Vec<f32> { a.values.iter().zip(&b.values).map(|(a, b)| a - b).collect() };
        Self([minus(plane, &smooth[0]), minus(&smooth[0], &smooth[1]), minus(&smooth[1], &smooth[2]), smooth[2].values.clone()])
    }
}

impl Evidence {
    pub(super) fn of((fixed, ours): (&Plane, &Bands), moving: &Plane, map: &Transform, inliers: usize, mirrored: bool) -> Self {
        let (width, height) = (fixed.width, fixed.height);
        let mut seen = moving.warped(map, width, height);
        let mask: Vec<bool> = seen.values.iter().map(|v| !v.is_nan()).collect();
        let count = mask.iter().filter(|&&m| m).count();
        if count < 200 {
            return Self::default();
        }
        for (value, &other) in seen.values.iter_mut().zip(&fixed.values) {
            if value.is_nan() {
                *value = other;
            }
        }
        let theirs = Bands::of(&seen);
        let (ours, theirs) = (&ours.0, &theirs.0);
        let mut m = [0.0f32; MEASURES];
        for band in 0..4 {
            let pairs = ours[band].iter().zip(&theirs[band]).zip(&mask).filter(|(_, m)| **m).map(|(p, _)| p);
            let (r, a, b) = correlation(pairs, if band == 3 { 1.0 } else { 0.3 });
            m[band] = r;
            m[4 + band] = (1.0 + a.min(b)).ln();
        }
        // Blocks of the two middle bands.
        for (k, band) in [1, 2, 0].into_iter().enumerate() {
            let mut blocks: Vec<(f32, f32)> = Vec::new();
            for y0 in (0..height).step_by(BLOCK) {
                for x0 in (0..width).step_by(BLOCK) {
                    let inside = (y0..(y0 + BLOCK).min(height)).flat_map(|y| (x0..(x0 + BLOCK).min(width)).map(move |x| y * width + x));
                    let places: Vec<usize> = inside.filter(|&at| mask[at]).collect();
                    if places.len() < BLOCK * BLOCK / 2 {
                        continue;
                    }
                    let pairs = places.iter().map(|&at| (&ours[band][at], &theirs[band][at]));
                    let (r, a, b) = correlation(pairs, if band == 0 { 0.3 } else { 1.0 });
                    blocks.push((r, (a.min(b)).sqrt().min(8.0)));
                }
            }
            let weight: f32 = blocks.iter().map(|b| b.1).sum::<f32>().max(1e-3);
            let mean = blocks.iter().map(|b| b.0 * b.1).sum::<f32>() / weight;
            let good = blocks.iter().filter(|b| b.0 > 0.7).map(|b| b.1).sum::<f32>() / weight;
            blocks.sort_by(|a, b| b.0.total_cmp(&a.0));
            let (mut left, mut sum) = (AGREEING * weight, 0.0);
            for (r, w) in &blocks {
                let w = w.min(left);
                sum += r * w;
                left -= w;
            }
            m[18 + k] = sum / (AGREEING * weight).max(1e-3);
            if k < 2 {
                m[8 + 3 * k] = mean;
                m[9 + 3 * k] = good;
                m[10 + 3 * k] = (1.0 + weight).ln();
            }
        }
        let area = fixed.values.len() as f32;
        m[14] = count as f32 / area.min(moving.values.len() as f32 / map.determinant().max(1e-3));
        m[15] = (1.0 + inliers as f32).ln();
        m[16] = map.stretch();
        m[17] = count as f32 / area.max(moving.values.len() as f32 / map.determinant().max(1e-3));
        Self { measures: m, mirrored, looked: true }
    }

    /// From 0 (another picture) to 1 (the same).
    pub(crate) fn score(&self) -> f32 {
        if !self.looked {
            return 0.0;
        }
        let m = &self.measures;
        let sum = 3.0 * m[8] + 2.0 * m[9] + 2.0 * m[11] + 2.0 * m[12] + m[3] + m[14] - 7.0;
        1.0 / (1.0 + (-sum).exp())
    }
}

/// Correlation of pairs with noise of variance `noise` in each, and the variances.
fn correlation<'a>(pairs: impl Iterator<Item = (&'a f32, &'a f32)>, noise: f32) -> (f32, f32, f32) {
    let (mut n, mut sx, mut sy, mut sxx, mut syy, mut sxy) = (0.0f32, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in pairs {
        n += 1.0;
        sx += x;
        sy += y;
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
    }
    if n < 2.0 {
        return (0.0, 0.0, 0.0);
    }
    let (vx, vy, c) = ((sxx - sx * sx / n) / n, (syy - sy * sy / n) / n, (sxy - sx * sy / n) / n);
    (c / ((vx + noise).max(1e-6) * (vy + noise).max(1e-6)).sqrt(), vx.max(0.0), vy.max(0.0))
}
