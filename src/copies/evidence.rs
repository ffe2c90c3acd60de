//! How well two pictures agree where one lies over the other, and the score that is made of it.

use super::pair_sums::PairSums;
use super::plane::Plane;
use super::transform::Transform;

/// Smoothing in pixels of the finest level, between the bands.
const SMOOTHING: [f32; 3] = [1.2, 3.0, 8.0];
/// Bands, the finest first: FINE, MIDDLE, LOW, BASE.
const BANDS: usize = SMOOTHING.len() + 1;
const FINE: usize = 0;
const MIDDLE: usize = 1;
const LOW: usize = 2;
const BASE: usize = 3;
/// Variance of the noise of small JPEG pictures in each band, in squared gray levels: what is plain correlates with nothing.
const NOISE: [f32; BANDS] = [0.3, 1.0, 1.0, 1.0];
/// Pixels of a block along each side.
const BLOCK: usize = 16;
/// Fewest overlapping pixels.
const FEWEST: usize = 200;
/// Largest weight of a block: the standard deviation of its gray levels.
const MOST_WEIGHT: f32 = 8.0;
/// Share of the weight of blocks, the best ones, that is looked at: what is written over a picture hides the others.
const AGREEING: f32 = 0.65;

/// Blocks with a smaller correlation disagree.
const UNLIKE: f32 = 0.3;

/// Numbers of [`Evidence`].
pub(super) const MEASURES: usize = 12;
/// What each measure counts for, and the constant: a logistic regression on planted copies against pictures that are near in features
/// (`benches/plant_copies.py` plants, `benches/vs_imagehash.py` measures).
const WEIGHTS: [f32; MEASURES] =
    [7.58, -2.45, -1.34, 4.85, -11.55, 28.11, 1.57, -20.57, 2.09, 4.29, -12.39, 9.24];
const CONSTANT: f32 = -25.0;

/// What speaks for a pair being copies.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// In this order: correlation in the fine band; in the base band; logarithm of the lesser variance in the fine band; mean correlation of
    /// the best blocks in the middle band; in the low band; share of the smaller picture that overlaps; logarithm of the corners that agree;
    /// difference between the scales of the axes; share of the larger picture that overlaps; mean correlation of the best blocks in the
    /// fine band; share of blocks that disagree in the middle band; in the low band.
    pub(super) measures: [f32; MEASURES],
    /// Whether one lies mirrored over the other.
    pub(super) mirrored: bool,
    looked: bool,
}

/// A plane split by frequency.
pub(super) struct Bands([Vec<f32>; BANDS]);

impl Bands {
    pub(super) fn of(plane: &Plane) -> Self {
        let [first, second, third] = SMOOTHING.map(|sigma| plane.smoothed(sigma));
        Self(
            [plane.minus(&first), first.minus(&second), second.minus(&third), third]
                .map(|plane| plane.values),
        )
    }
}

impl Evidence {
    /// Of `moving` seen through `map` from the pixels of `fixed`; `inliers` corners agree with the map.
    pub(super) fn of(
        (fixed, ours): (&Plane, &Bands),
        moving: &Plane,
        map: &Transform,
        inliers: usize,
        mirrored: bool,
    ) -> Self {
        let mut seen = moving.warped(map, fixed.width, fixed.height);
        let mask: Vec<bool> = seen.values.iter().map(|v| !v.is_nan()).collect();
        let count = mask.iter().filter(|&&inside| inside).count();
        if count < FEWEST {
            return Self::default();
        }
        for (value, &other) in seen.values.iter_mut().zip(&fixed.values) {
            if value.is_nan() {
                *value = other;
            }
        }
        let theirs = Bands::of(&seen);
        let (ours, theirs) = (&ours.0, &theirs.0);
        let whole = |band: usize| {
            let pairs = ours[band].iter().zip(&theirs[band]).zip(&mask).filter(|(_, inside)| **inside);
            correlation(pairs.map(|(pair, _)| pair), NOISE[band])
        };
        let blocks = |band: usize| {
            blocks((fixed.width, fixed.height), &mask, (&ours[band], &theirs[band]), NOISE[band].max(1.0))
        };
        let (fine, variance) = whole(FINE);
        let (middle, low) = (blocks(MIDDLE), blocks(LOW));
        let area = fixed.values.len() as f32;
        let other = moving.values.len() as f32 / map.determinant().max(f32::EPSILON);
        let measures = [
            fine,
            whole(BASE).0,
            (1.0 + variance).ln(),
            mean_of_best(&middle),
            mean_of_best(&low),
            count as f32 / area.min(other),
            (1.0 + inliers as f32).ln(),
            map.stretch(),
            count as f32 / area.max(other),
            mean_of_best(&blocks(FINE)),
            share_that_disagrees(&middle),
            share_that_disagrees(&low),
        ];
        Self { measures, mirrored, looked: true }
    }

    /// From 0 (another picture) to 1 (the same).
    pub(super) fn score(&self) -> f32 {
        if !self.looked {
            return 0.0;
        }
        let sum: f32 = self.measures.iter().zip(&WEIGHTS).map(|(m, w)| m * w).sum();
        1.0 / (1.0 + (-(sum + CONSTANT)).exp())
    }
}

/// The correlation and the weight of each block that the pictures share.
fn blocks(
    (width, height): (usize, usize),
    mask: &[bool],
    (ours, theirs): (&[f32], &[f32]),
    noise: f32,
) -> Vec<(f32, f32)> {
    let mut found = Vec::new();
    for top in (0..height).step_by(BLOCK) {
        for left in (0..width).step_by(BLOCK) {
            let (bottom, right) = ((top + BLOCK).min(height), (left + BLOCK).min(width));
            let inside =
                (top..bottom).flat_map(|y| (left..right).map(move |x| y * width + x)).filter(|&at| mask[at]);
            if inside.clone().count() < BLOCK * BLOCK / 2 {
                continue;
            }
            let (correlation, variance) = correlation(inside.map(|at| (&ours[at], &theirs[at])), noise);
            found.push((correlation, variance.sqrt().min(MOST_WEIGHT)));
        }
    }
    found
}

/// The weighted mean of the best blocks, which have [`AGREEING`] of the weight.
fn mean_of_best(blocks: &[(f32, f32)]) -> f32 {
    let mut blocks = blocks.to_vec();
    blocks.sort_by(|a, b| b.0.total_cmp(&a.0));
    let wanted = AGREEING * blocks.iter().map(|block| block.1).sum::<f32>();
    if wanted <= f32::EPSILON {
        return 0.0;
    }
    let (mut left, mut sum) = (wanted, 0.0);
    for (correlation, weight) in &blocks {
        let weight = weight.min(left);
        sum += correlation * weight;
        left -= weight;
    }
    sum / wanted
}

/// The share of the weight of blocks that are not alike.
fn share_that_disagrees(blocks: &[(f32, f32)]) -> f32 {
    let weight = |counts: &dyn Fn(f32) -> bool| -> f32 {
        blocks.iter().filter(|block| counts(block.0)).map(|block| block.1).sum()
    };
    weight(&|correlation| correlation < UNLIKE) / (weight(&|_| true) + f32::EPSILON)
}

/// Correlation of pairs with noise of variance `noise` in each, and the lesser of the two variances.
fn correlation<'a>(pairs: impl Iterator<Item = (&'a f32, &'a f32)>, noise: f32) -> (f32, f32) {
    let mut sums = PairSums::default();
    pairs.for_each(|(x, y)| sums.add(*x, *y));
    let n = sums.count();
    if n < 2.0 {
        return (0.0, 0.0);
    }
    let (xx, yy, xy) = sums.scatter();
    let (vx, vy) = ((xx / n).max(0.0), (yy / n).max(0.0));
    let covariance = xy / n;
    (covariance / ((vx + noise) * (vy + noise)).sqrt(), vx.min(vy))
}
