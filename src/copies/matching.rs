//! Where the corners of one picture are found again in another, and the maps that many of them agree on.

use super::points::{LENGTH, Point, WIDTH};
use super::transform::{Pair, Transform};
use crate::ops::simd::{self, Kernel};
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

/// The products of one histogram with each of some points.
struct Products<'a> {
    of: &'a [u8; WIDTH],
    with: &'a [Point],
    out: &'a mut [i32],
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (out, point) in self.out.iter_mut().zip(self.with) {
            *out = self.of.iter().zip(&point.histogram).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        }
    }
}

/// Whether two places are less than `limit` apart.
#[inline(always)]
fn is_near(p: (f32, f32), q: (f32, f32), limit: f32) -> bool {
    let (dx, dy) = (p.0 - q.0, p.1 - q.1);
    dx * dx + dy * dy < limit * limit
}

fn matches(from: &[Point], to: &[Point]) -> Vec<Match> {
    let mut found = Vec::new();
    let mut products = vec![0; to.len()];
    for point in from {
        simd::run(Products { of: &point.histogram, with: to, out: &mut products });
        let Some((&best, other)) = products.iter().zip(to).max_by_key(|(p, _)| **p) else { continue };
        let place = (other.x, other.y);
        let distance = |product: i32| (2.0 - 2.0 * product as f32 / (LENGTH * LENGTH)).max(1e-3);
        let elsewhere = products.iter().zip(to).filter(|(_, o)| !is_near((o.x, o.y), place, SAME_PLACE));
        let second = elsewhere.map(|(p, _)| *p).max().unwrap_or(0);
        let ratio = distance(best) / distance(second);
        if ratio < RATIO {
            found.push(Match { from: (point.x, point.y), to: place, ratio });
        }
    }
    found.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    // A corner that is seen at several scales counts once.
    let mut distinct: Vec<Match> = Vec::new();
    for one in found {
        let known = |other: &Match| is_near(one.from, other.from, 2.0) && is_near(one.to, other.to, 2.0);
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
            if is_near(one.from, other.from, 2.0 * SAME_PLACE) {
                continue;
            }
            let Some(guess) = Transform::similarity([one.from, other.from], [one.to, other.to]) else {
                continue;
            };
            if guess.is_plausible() {
                guesses.push((matches.iter().filter(|m| fits(&guess, m, LOOSE)).count(), guess));
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
            corners.iter().all(|&(x, y)| is_near(other.transform.apply(x, y), transform.apply(x, y), LOOSE))
        });
        if !known {
            kept.push(Agreed { transform, inliers: found });
        }
    }
    kept.sort_by_key(|agreed| Reverse(agreed.inliers));
    kept.truncate(count);
    kept
}

#[inline(always)]
fn fits(transform: &Transform, of: &Match, limit: f32) -> bool {
    is_near(transform.apply(of.from.0, of.from.1), of.to, limit)
}

/// The pairs of places that a map brings together.
fn inliers(transform: &Transform, matches: &[Match], limit: f32) -> Vec<Pair> {
    matches.iter().filter(|m| fits(transform, m, limit)).map(|m| (m.from, m.to)).collect()
}
