//! The second look at two pictures: the ways in which one might lie over the other, and how well they agree where they overlap.

use super::align::refined;
use super::evidence::{Bands, Evidence};
use super::matching::agreed;
use super::pair_sums::PairSums;
use super::plane::Plane;
use super::transform::Transform;
use super::view::{LEVELS, LUMA, Mix, View, mixed};

/// Maps taken from corners, for each of the plain and the mirrored picture.
const FROM_POINTS: usize = 2;
/// Maps taken from a search over sizes and places, likewise.
const FROM_SEARCH: usize = 3;
/// Maps that are looked at closely.
const CLOSELY: usize = 3;
/// Of a plane of at most so many pixels, every second one along each side is correlated.
const COARSE: usize = 1_100;
/// Corners that keep a map in the running whatever the gray levels say, and with fewer, the least correlation at 32 and 64 pixels.
const SURE: usize = 6;
const LEAST: [f32; LEVELS] = [0.0, 0.45, 0.3];
/// Gauss-Newton steps at 32, 64 and 128 pixels.
const STEPS: [usize; LEVELS] = [4, 6, 12];

/// One picture of a pair, plain or mirrored, at every level in one mix of its colours.
struct Side {
    levels: Vec<Plane>,
}

#[derive(Clone)]
struct Guess {
    map: Transform,
    mirrored: bool,
    inliers: usize,
    quality: f32,
    /// Whether the map stays that of the corners until the last step: text written over a picture draws gray levels away.
    anchored: bool,
}

/// What speaks for one of the two being an edited copy of the other.
pub(super) fn look(first: &View, second: &View) -> Evidence {
    let luma = Side { levels: second.luma.clone() };
    let mirrored = Side { levels: second.luma.iter().map(Plane::mirrored).collect() };
    let mut guesses = Vec::new();
    for (is_mirrored, side, points) in
        [(false, &luma, &second.points), (true, &mirrored, &second.mirrored_points)]
    {
        for found in agreed(&first.points, points, FROM_POINTS) {
            if found.inliers >= 3 {
                let guess = Guess {
                    map: found.transform,
                    mirrored: is_mirrored,
                    inliers: found.inliers,
                    quality: 0.0,
                    anchored: false,
                };
                if guess.inliers >= SURE {
                    guesses.push(Guess { anchored: true, ..guess.clone() });
                }
                guesses.push(guess);
            }
        }
        for map in searched(&first.luma[LEVELS - 1], &side.levels[LEVELS - 1]) {
            let map = map.at_scale((1 << (LEVELS - 1)) as f32);
            guesses.push(Guess { map, mirrored: is_mirrored, inliers: 0, quality: 0.0, anchored: false });
        }
    }
    let side = |guess: &Guess| if guess.mirrored { &mirrored } else { &luma };
    for level in [2, 1] {
        let scale = 1.0 / (1 << level) as f32;
        for guess in &mut guesses {
            let (fixed, moving) = (&first.luma[level], &side(guess).levels[level]);
            if !guess.anchored
                && let Some(map) = refined(fixed, moving, &guess.map.at_scale(scale), STEPS[level])
            {
                guess.map = map.at_scale(1.0 / scale);
            }
            guess.quality = quality(fixed, moving, &guess.map.at_scale(scale));
        }
        guesses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        distinct(&mut guesses);
        guesses.retain(|guess| guess.inliers >= SURE || guess.quality >= LEAST[level]);
        let most = if level == 2 { 2 * CLOSELY } else { CLOSELY };
        let mut at = 0;
        guesses.retain(|guess| {
            at += 1;
            at <= most || guess.inliers >= SURE
        });
    }
    let ours = Bands::of(&first.luma[0]);
    let mut best = Evidence::default();
    for guess in &guesses {
        let channels: [Plane; 3] = if guess.mirrored {
            second.colours[0].each_ref().map(Plane::mirrored)
        } else {
            second.colours[0].clone()
        };
        let mix = colour_mix(&first.luma[0], &channels, &guess.map);
        let moving = mixed(&channels, &mix);
        let map = refined(&first.luma[0], &moving, &guess.map, STEPS[0]).unwrap_or(guess.map);
        let evidence = Evidence::of((&first.luma[0], &ours), &moving, &map, guess.inliers, guess.mirrored);
        if evidence.score() > best.score() {
            best = evidence;
        }
    }
    best
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

/// The correlation of the overlapping parts, less where little overlaps.
fn quality(fixed: &Plane, moving: &Plane, map: &Transform) -> f32 {
    let every = if fixed.values.len() <= COARSE { 2 } else { 1 };
    let area = (fixed.values.len() / (every * every)) as f32;
    let mut sums = PairSums::default();
    for j in (0..fixed.height).step_by(every) {
        for i in (0..fixed.width).step_by(every) {
            let (u, v) = map.apply(i as f32, j as f32);
            let Some(y) = moving.sample(u, v) else { continue };
            sums.add(fixed.values[j * fixed.width + i] - 128.0, y - 128.0);
        }
    }
    let n = sums.count();
    if n < 16.0 {
        return -1.0;
    }
    let (xx, yy, xy) = sums.scatter();
    let correlation = xy / ((xx + n) * (yy + n)).sqrt();
    // Of the smaller of the two pictures.
    let other = moving.values.len() as f32 / (every * every) as f32 / map.determinant().max(1e-3);
    let smaller = area.min(other);
    correlation * (n / smaller).min(1.0).sqrt()
}

/// Maps by trying sizes and places on the coarsest level, for pictures without corners: a crop, a frame, the same extent.
fn searched(fixed: &Plane, moving: &Plane) -> Vec<Transform> {
    const SIZES: [f32; 9] = [0.55, 0.65, 0.75, 0.87, 1.0, 1.15, 1.33, 1.55, 1.8];
    const PLACES: usize = 5;
    let mut found: Vec<(f32, Transform)> = Vec::new();
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
        found.push((quality(fixed, moving, &map), map));
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

/// The sum of the second picture's channels that is most like the first one's luma where they overlap: a copy whose hue was turned, or
/// that lost its colours, has gray levels of its own. Drawn towards luma, so that a gray picture stays one.
fn colour_mix(fixed: &Plane, channels: &[Plane; 3], map: &Transform) -> Mix {
    const STEP: usize = 3;
    const RIDGE: f32 = 0.02;
    let mut rows: Vec<[f32; 4]> = Vec::new();
    for y in (0..fixed.height).step_by(STEP) {
        for x in (0..fixed.width).step_by(STEP) {
            let (u, v) = map.apply(x as f32, y as f32);
            if let [Some(r), Some(g), Some(b)] = channels.each_ref().map(|c| c.sample(u, v)) {
                rows.push([r, g, b, fixed.values[y * fixed.width + x]]);
            }
        }
    }
    let n = rows.len() as f32;
    if n < 40.0 {
        return LUMA;
    }
    let mean = |i: usize| rows.iter().map(|row| row[i]).sum::<f32>() / n;
    let means = [mean(0), mean(1), mean(2), mean(3)];
    let mut m = [[0.0f32; 4]; 3];
    for row in &rows {
        let mut centred = *row;
        centred.iter_mut().zip(&means).for_each(|(value, mean)| *value -= mean);
        for (sums, one) in m.iter_mut().zip(&centred) {
            sums.iter_mut().zip(&centred).for_each(|(sum, other)| *sum += one * other);
        }
    }
    // The gain of luma alone is what the ridge draws to.
    let luma_row = |j: usize| (0..3).map(|i| LUMA[i] * m[i][j]).sum::<f32>();
    let luma_variance: f32 = (0..3).map(|j| LUMA[j] * luma_row(j)).sum();
    let gain = if luma_variance > 0.0 { (luma_row(3) / luma_variance).clamp(0.2, 5.0) } else { 1.0 };
    let ridge = RIDGE * (m[0][0] + m[1][1] + m[2][2]) + n;
    for (i, row) in m.iter_mut().enumerate() {
        row[i] += ridge;
        row[3] += ridge * gain * LUMA[i];
    }
    let det = |c: [[f32; 3]; 3]| {
        c[0][0] * (c[1][1] * c[2][2] - c[1][2] * c[2][1]) - c[0][1] * (c[1][0] * c[2][2] - c[1][2] * c[2][0])
            + c[0][2] * (c[1][0] * c[2][1] - c[1][1] * c[2][0])
    };
    let whole = m.map(|row| [row[0], row[1], row[2]]);
    let total = det(whole);
    if total.is_nan() || total == 0.0 {
        return LUMA;
    }
    let mut mix = [0.0; 4];
    for k in 0..3 {
        let mut changed = whole;
        changed.iter_mut().zip(&m).for_each(|(row, known)| row[k] = known[3]);
        mix[k] = det(changed) / total;
    }
    mix[3] = means[3] - (0..3).map(|k| mix[k] * means[k]).sum::<f32>();
    if mix.iter().all(|v| v.is_finite()) { mix } else { LUMA }
}
