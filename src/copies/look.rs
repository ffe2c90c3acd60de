//! The second look at two pictures: the ways in which one might lie over the other, and how well they agree where they overlap.
//! Most pairs are told apart while they are small; the few that might be copies are looked at closely.

use super::align::refined;
use super::colours::{Colours, LUMA, colour_mix, mixed};
use super::evidence::{Bands, Evidence};
use super::matching::agreed;
use super::overlap::{Overlap, dot, sum};
use super::plane::Plane;
use super::points::Point;
use super::transform::Transform;
use super::view::{SIZES, SMALLER, View};
use crate::error::Result;
use crate::ops::simd::{self, Kernel};

/// Maps taken from corners, for each of the plain and the mirrored picture.
const FROM_POINTS: usize = 2;
/// Maps taken from a search over sizes and places, likewise.
const FROM_SEARCH: usize = 3;
/// Fewest corners of such a map.
const FEWEST_CORNERS: usize = 3;
/// Corners of a map that is also tried as it is: text written over a picture draws gray levels away.
const ANCHORED: usize = 6;
/// Corners that keep a map in the running whatever the gray levels say. (Of 4 000 maps between different photographs one in a hundred had
/// more.)
const SURE: usize = 20;
/// How a map is improved and judged at one size of the pictures.
struct Stage {
    /// Of [`View::luma`].
    size: usize,
    /// Gauss-Newton steps, of so many pixels along each side one.
    steps: usize,
    every: usize,
    /// Least correlation, of the whole and of what is finer than [`FINE`]: copies have more, and other pictures of one kind of thing are
    /// alike in the whole only.
    least: f32,
    least_fine: f32,
    /// Maps that go on to the next stage, the best ones.
    most: usize,
}
const STAGES: [Stage; 3] = [
    Stage { size: 1, steps: 4, every: 1, least: 0.4, least_fine: -1.0, most: 8 },
    Stage { size: 1, steps: 8, every: 1, least: 0.45, least_fine: 0.15, most: 6 },
    Stage { size: 0, steps: 6, every: 2, least: 0.0, least_fine: 0.3, most: 3 },
];
/// Smoothing, in pixels, that takes away what is fine.
const FINE: f32 = 1.0;
/// Gauss-Newton steps where a pair is looked at closely.
const STEPS_CLOSELY: usize = 4;
/// The middle of gray levels.
const MIDDLE: f32 = 128.0;
/// Fewest pixels that a correlation is computed from.
const FEWEST: usize = 16;

/// One picture of a pair, plain or mirrored.
struct Side {
    luma: [Plane; SIZES],
    fine: [Plane; SIZES],
}

impl Side {
    fn of(luma: [Plane; SIZES]) -> Self {
        let fine = luma.each_ref().map(|plane| plane.minus(&plane.smoothed(FINE)));
        Self { luma, fine }
    }
}

#[derive(Clone)]
struct Guess {
    map: Transform,
    mirrored: bool,
    inliers: usize,
    quality: f32,
    /// Whether the map stays that of the corners until the last step.
    anchored: bool,
}

/// What speaks for one of the two being an edited copy of the other. `closely` gives the colours of both, where they are needed.
pub(super) fn look(
    first: &View,
    second: &View,
    closely: impl FnOnce() -> Result<(Colours, Colours)>,
) -> Result<Evidence> {
    let fixed = Side::of(first.luma.clone());
    let plain = Side::of(second.luma.clone());
    let mirrored = Side::of(second.luma.each_ref().map(Plane::mirrored));
    let mirrored_points: Vec<_> = second.points.iter().map(|point| point.mirrored(second.width)).collect();
    let mut guesses = guessed(first, &second.points, (&fixed, &plain), false);
    guesses.extend(guessed(first, &mirrored_points, (&fixed, &mirrored), true));
    let side = |guess: &Guess| if guess.mirrored { &mirrored } else { &plain };
    for stage in &STAGES {
        let (at, scale) = (stage.size, SMALLER[stage.size]);
        let mut going_on = Vec::new();
        let (mut luma, mut fine_parts) =
            (Overlap::of(&fixed.luma[at], stage.every), Overlap::of(&fixed.fine[at], stage.every));
        for mut guess in guesses {
            let moving = side(&guess);
            let mut map = guess.map.at_scale(1.0 / scale);
            if !guess.anchored
                && let Some(better) =
                    refined(&fixed.luma[at], &moving.luma[at], &map, stage.steps, stage.every)
            {
                map = better;
                guess.map = map.at_scale(scale);
            }
            let is_sure = guess.inliers >= SURE;
            let whole = correlation(&mut luma, &moving.luma[at], &map, MIDDLE);
            if whole < stage.least && !is_sure {
                continue;
            }
            let fine = correlation(&mut fine_parts, &moving.fine[at], &map, 0.0);
            if fine >= stage.least_fine || is_sure {
                guess.quality = if at == 0 { fine } else { whole };
                going_on.push(guess);
            }
        }
        going_on.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        distinct(&mut going_on);
        going_on.truncate(stage.most);
        guesses = going_on;
    }
    let mut best = Evidence::default();
    if guesses.is_empty() {
        return Ok(best);
    }
    let (ours, theirs) = closely()?;
    let fixed = mixed(&ours, &LUMA);
    let bands = Bands::of(&fixed);
    for guess in &guesses {
        let turned;
        let theirs = match guess.mirrored {
            true => {
                turned = theirs.each_ref().map(Plane::mirrored);
                &turned
            }
            false => &theirs,
        };
        let moving = mixed(theirs, &colour_mix(&fixed, theirs, &guess.map));
        let map = refined(&fixed, &moving, &guess.map, STEPS_CLOSELY, 2).unwrap_or(guess.map);
        let evidence = Evidence::of((&fixed, &bands), &moving, &map, guess.inliers, guess.mirrored);
        if evidence.score() > best.score() {
            best = evidence;
        }
    }
    Ok(best)
}

/// Maps that corners agree on, and those of a search.
fn guessed(first: &View, points: &[Point], (fixed, moving): (&Side, &Side), mirrored: bool) -> Vec<Guess> {
    let mut guesses = Vec::new();
    for found in agreed(&first.points, points, FROM_POINTS) {
        let (map, inliers) = (found.transform, found.inliers);
        let guess = Guess { map, mirrored, inliers, quality: 0.0, anchored: false };
        if inliers >= ANCHORED {
            guesses.push(Guess { anchored: true, ..guess.clone() });
        }
        if inliers >= FEWEST_CORNERS {
            guesses.push(guess);
        }
    }
    const SMALLEST: usize = SIZES - 1;
    for map in searched(&fixed.luma[SMALLEST], &moving.luma[SMALLEST]) {
        let map = map.at_scale(SMALLER[SMALLEST]);
        guesses.push(Guess { map, mirrored, inliers: 0, quality: 0.0, anchored: false });
    }
    guesses
}

/// Leaves out maps that are about the same as a better one, which inherits their corners.
fn distinct(guesses: &mut Vec<Guess>) {
    let mut kept: Vec<Guess> = Vec::new();
    for guess in guesses.drain(..) {
        let same = kept.iter_mut().find(|other| {
            other.mirrored == guess.mirrored
                && [(0.0, 0.0), (127.0, 0.0), (0.0, 127.0), (127.0, 127.0)].iter().all(|&(x, y)| {
                    let (p, q) = (other.map.apply(x, y), guess.map.apply(x, y));
                    (p.0 - q.0).hypot(p.1 - q.1) < 4.0
                })
        });
        match same {
            Some(other) => other.inliers = other.inliers.max(guess.inliers),
            None => kept.push(guess),
        }
    }
    *guesses = kept;
}

/// The correlation of the overlapping parts, whose values are around `middle`; less where little overlaps.
fn correlation(overlap: &mut Overlap, moving: &Plane, map: &Transform, middle: f32) -> f32 {
    let inside = overlap.meet(moving, map);
    if inside < FEWEST {
        return -1.0;
    }
    let correlation = simd::run(Correlation { overlap, middle });
    // Of the smaller of the two pictures, in pixels of the overlap.
    let area = overlap.pixels() as f32;
    let other = moving.values.len() as f32 * area / overlap.area() / map.determinant().max(1e-3);
    correlation * (inside as f32 / area.min(other)).min(1.0).sqrt()
}

struct Correlation<'a> {
    overlap: &'a Overlap,
    middle: f32,
}

impl Kernel for Correlation<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let Overlap { ours, theirs, inside, .. } = self.overlap;
        let (mut x, mut y) = (vec![0.0; inside.len()], vec![0.0; inside.len()]);
        for ((x, ours), inside) in x.iter_mut().zip(ours).zip(inside) {
            *x = (ours - self.middle) * inside;
        }
        for ((y, theirs), inside) in y.iter_mut().zip(theirs).zip(inside) {
            *y = (theirs - self.middle) * inside;
        }
        let (n, sx, sy) = (sum(inside), sum(&x), sum(&y));
        let (xx, yy, xy) = (dot(&x, &x) - sx * sx / n, dot(&y, &y) - sy * sy / n, dot(&x, &y) - sx * sy / n);
        xy / ((xx + n) * (yy + n)).sqrt()
    }
}

/// Maps by trying sizes and places on the coarsest level, for pictures without corners: a crop, a frame, the same extent.
fn searched(fixed: &Plane, moving: &Plane) -> Vec<Transform> {
    const SIZES: [f32; 9] = [0.55, 0.65, 0.75, 0.87, 1.0, 1.15, 1.33, 1.55, 1.8];
    const PLACES: usize = 5;
    let mut found: Vec<(f32, Transform)> = Vec::new();
    let mut overlap = Overlap::of(fixed, 2);
    let (fw, fh) = (fixed.width as f32, fixed.height as f32);
    let (mw, mh) = (moving.width as f32, moving.height as f32);
    // Both pictures have the same longer side; what is tried keeps the aspect of each edit: the whole stretched, or one scale for both.
    let mut candidates = vec![((mw / fw, mh / fh), (0.0, 0.0))];
    for size in SIZES {
        // A crop keeps the scale of its longer side.
        let (rx, ry) = (mw - size * fw, mh - size * fh);
        for i in 0..PLACES {
            for j in 0..PLACES {
                let at = |k: usize, slack: f32| slack * k as f32 / (PLACES - 1) as f32;
                candidates.push(((size, size), (at(i, rx), at(j, ry))));
            }
        }
    }
    for (scale, shift) in candidates {
        let map = Transform::scaled(scale, (shift.0 + 0.5 * scale.0 - 0.5, shift.1 + 0.5 * scale.1 - 0.5));
        found.push((correlation(&mut overlap, moving, &map, MIDDLE), map));
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut kept: Vec<Transform> = Vec::new();
    for (_, map) in found {
        let near = |other: &Transform| {
            [(0.0, 0.0), (31.0, 31.0)].iter().all(|&(x, y)| {
                let (p, q) = (other.apply(x, y), map.apply(x, y));
                (p.0 - q.0).hypot(p.1 - q.1) < 5.0
            })
        };
        if !kept.iter().any(near) {
            kept.push(map);
        }
        if kept.len() == FROM_SEARCH {
            break;
        }
    }
    kept
}
