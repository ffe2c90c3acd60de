//! Where the corners of one picture are found again in another, and the maps that many of them agree on.

use super::points::{Point, WIDTH};
use super::transform::{Pair, Transform};
use std::cmp::Reverse;

/// A match counts if the next best place for it, elsewhere, is so much further away in squared distance.
const RATIO: f32 = 0.9;
/// Pixels within which two places are the same.
const SAME_PLACE: f32 = 5.0;
/// Matches that maps are made of: pairs of the best.
const SEEDS: usize = 36;
/// Matches that are counted.
const MATCHES: usize = 90;
/// Pixels between where a map puts a corner and where it was found: for a first guess, and for the refined map.
const LOOSE: f32 = 5.0;
const TIGHT: f32 = 3.0;
/// Squared length of a histogram: 512 squared.
const UNIT: f32 = 512.0 * 512.0;

/// A map that corners agree on.
#[derive(Debug, Clone)]
pub(super) struct Agreed {
    pub(super) transform: Transform,
    /// Corners that it puts where they were found, at places of their own.
    pub(super) inliers: usize,
}

struct Match {
    from: (f32, f32),
    to: (f32, f32),
    ratio: f32,
}

fn product(a: &[i16; WIDTH], b: &[i16; WIDTH]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

fn apart(p: (f32, f32), q: (f32, f32)) -> f32 {
    (p.0 - q.0).hypot(p.1 - q.1)
}

fn matches(from: &[Point], to: &[Point]) -> Vec<Match> {
    let mut found = Vec::new();
    let mut products = vec![0; to.len()];
    for point in from {
        for (product_of, other) in products.iter_mut().zip(to) {
            *product_of = product(&point.histogram, &other.histogram);
        }
        let Some((best, other)) = products.iter().zip(to).max_by_key(|(p, _)| **p) else { continue };
        let place = (other.x, other.y);
        let elsewhere = products.iter().zip(to).filter(|(_, o)| apart((o.x, o.y), place) > SAME_PLACE);
        let second = elsewhere.map(|(p, _)| *p).max().unwrap_or(0);
        let distance = |product: i32| (2.0 - 2.0 * product as f32 / UNIT).max(1e-3);
        let ratio = distance(*best) / distance(second);
        if ratio < RATIO {
            found.push(Match { from: (point.x, point.y), to: place, ratio });
        }
    }
    found.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    // A corner that is seen at several scales counts once.
    let mut distinct: Vec<Match> = Vec::new();
    for one in found {
        let known = |other: &Match| apart(one.from, other.from) < 2.0 && apart(one.to, other.to) < 2.0;
        if distinct.len() < MATCHES && !distinct.iter().any(known) {
            distinct.push(one);
        }
    }
    distinct
}

/// The maps from one picture's corners to another's that most matches agree on, the best first; at most `count`.
pub(super) fn agreed(from: &[Point], to: &[Point], count: usize) -> Vec<Agreed> {
    let matches = matches(from, to);
    let mut guesses: Vec<(usize, Transform)> = Vec::new();
    let seeds = &matches[..matches.len().min(SEEDS)];
    for (i, one) in seeds.iter().enumerate() {
        for other in &seeds[..i] {
            if apart(one.from, other.from) < 2.0 * SAME_PLACE {
                continue;
            }
            let Some(guess) = Transform::similarity([one.from, other.from], [one.to, other.to]) else {
                continue;
            };
            if guess.is_plausible() {
                guesses.push((inliers(&guess, &matches, LOOSE).len(), guess));
            }
        }
    }
    guesses.sort_by_key(|guess| Reverse(guess.0));
    let mut kept: Vec<Agreed> = Vec::new();
    for (_, guess) in guesses.into_iter().take(3 * count) {
        let mut transform = guess;
        for limit in [LOOSE, LOOSE, TIGHT] {
            let pairs = inliers(&transform, &matches, limit);
            match Transform::fitted(&pairs, &transform) {
                Some(fitted) if fitted.is_plausible() => transform = fitted,
                _ => break,
            }
        }
        let found = inliers(&transform, &matches, TIGHT).len();
        let known = kept.iter().any(|other| {
            let corners = [(0.0, 0.0), (127.0, 0.0), (0.0, 127.0), (127.0, 127.0)];
            corners.iter().all(|&(x, y)| apart(other.transform.apply(x, y), transform.apply(x, y)) < LOOSE)
        });
        if !known {
            kept.push(Agreed { transform, inliers: found });
        }
    }
    kept.sort_by_key(|agreed| Reverse(agreed.inliers));
    kept.truncate(count);
    kept
}

/// The pairs of places that a map brings together.
fn inliers(transform: &Transform, matches: &[Match], limit: f32) -> Vec<Pair> {
    let fits = |m: &&Match| apart(transform.apply(m.from.0, m.from.1), m.to) < limit;
    matches.iter().filter(fits).map(|m| (m.from, m.to)).collect()
}
