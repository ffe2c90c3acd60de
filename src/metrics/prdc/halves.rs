//! Random halves of the generated rows, whose recall shows how far chance moves that of all rows.
//!
//! Drawn without replacement, halves deviate from each other as whole sets would: for a mean over rows the two variances are equal, and
//! for recall they were within a fifth in simulations (subsampling: Politis and Romano 1994, Annals of Statistics 22, 2031). A bootstrap
//! sample does not serve: it holds rows twice, and their spheres are points.

use super::super::comparison::Comparison;
use super::super::manifold::Manifold;
use super::super::options::Options;
use super::super::resampling::{Draws, without_replacement};
use crate::error::Result;
use crate::neighbors::Neighbors;
use crate::random::Purpose;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Halves that are looked at in one pass over all pairs: a bit for each.
const AT_ONCE: usize = u64::BITS as usize;

/// Some halves of a set.
pub(super) struct Halves {
    /// Of each row, a bit for each half that it is in.
    pub(super) holding: Vec<u64>,
    /// How many halves there are, up to 64.
    pub(super) count: usize,
}

/// As many halves of `rows` rows as there are draws, some at a time.
pub(super) fn halves(rows: usize, draws: &Draws) -> impl Iterator<Item = Halves> {
    let Draws { count, seed } = *draws;
    (0..count).step_by(AT_ONCE).map(move |first| {
        let count = AT_ONCE.min(count - first);
        let mut holding = vec![0; rows];
        for half in 0..count {
            let item = (first + half) as u64;
            for row in without_replacement(rows, rows / 2, seed, Purpose::HalfSamples, item) {
                holding[row as usize] |= 1 << half;
            }
        }
        Halves { holding, count }
    })
}

/// The numbers of the bits that are set.
pub(super) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        bit
    })
}

impl Halves {
    /// The place of the `k`-th nearest row in each half among the `nearest` of all rows; after the last where they do not hold so many.
    pub(super) fn kth(&self, nearest: &[u32], k: usize) -> [u32; AT_ONCE] {
        let mut places = [nearest.len() as u32; AT_ONCE];
        let mut counts = [0; AT_ONCE];
        for (place, &row) in (0..).zip(nearest) {
            for half in bits(self.holding[row as usize]) {
                counts[half] += 1;
                if counts[half] == k {
                    places[half] = place;
                }
            }
        }
        places
    }
}

/// The nearest other generated rows of each, so many that a half holds `k` of them: of 4 k + 24 it holds fewer once in some 10^8 times.
/// `None` if a half has no `k` other rows.
pub(super) fn nearest(comparison: &Comparison<'_>, k: usize) -> Result<Option<Neighbors>> {
    let generated = comparison.generated;
    let features = generated.shared()?;
    if features.nrows() / 2 <= k {
        return Ok(None);
    }
    let listed = (4 * k + 24).min(features.nrows() - 1);
    Manifold::nearest(features, generated.index()?, listed, comparison.progress).map(Some)
}

/// The improved recall of as many random halves as there are draws.
///
/// # Errors
/// As [`Manifold::nearest`]; [`Error::Interrupted`](crate::Error::Interrupted).
pub(super) fn recall(comparison: &Comparison<'_>, draws: &Draws) -> Result<Vec<f64>> {
    let Options { k, boundary, .. } = *comparison.options;
    let Some(nearest) = nearest(comparison, k)? else { return Ok(Vec::new()) };
    let centres = comparison.generated.features()?;
    let others = comparison.real.index()?;
    let spheres = || (0..nearest.len()).into_par_iter().map(|sphere| nearest.of(sphere));
    let widest: Vec<f64> = spheres().map(|(_, distances)| distances.last().copied().unwrap_or(0.0)).collect();
    let mut values = Vec::new();
    for halves in halves(nearest.len(), draws) {
        let kth: Vec<_> = spheres().map(|(rows, _)| halves.kth(rows, k)).collect();
        let recalled: Vec<AtomicU64> = (0..others.rows()).map(|_| AtomicU64::new(0)).collect();
        let visit = |sphere: u32, row: u32, distance: f64| {
            let (sphere, recalled) = (sphere as usize, &recalled[row as usize]);
            let unknown = halves.holding[sphere] & !recalled.load(Ordering::Relaxed);
            if unknown == 0 {
                return;
            }
            let (_, distances) = nearest.of(sphere);
            let closer = distances.partition_point(|radius| !boundary.holds(distance, *radius)) as u32;
            let inside = bits(unknown).filter(|half| kth[sphere][*half] >= closer);
            recalled.fetch_or(inside.fold(0, |found, half| found | 1 << half), Ordering::Relaxed);
        };
        others.visit_within(centres, &widest, &visit, comparison.progress)?;
        let recalled: Vec<u64> = recalled.into_iter().map(AtomicU64::into_inner).collect();
        let share = |half| recalled.iter().filter(|row| **row >> half & 1 == 1).count() as f64;
        values.extend((0..halves.count).map(|half| share(half) / recalled.len() as f64));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::super::super::manifold::Boundary;
    use super::super::super::test_support::{Fixture, options, set};
    use super::super::{probabilistic, recall};
    use super::*;
    use crate::metrics::metric::Metric;
    use crate::progress::Silent;
    use ndarray::{Axis, s};

    /// The values of a metric of the rows of each half, taken as a set of their own.
    fn of_sets(metric: &Metric, comparison: &Comparison<'_>, draws: &Draws) -> Vec<f64> {
        let features = comparison.generated.features().unwrap();
        let mut values = Vec::new();
        for halves in halves(features.nrows(), draws) {
            for half in 0..halves.count {
                let rows: Vec<usize> =
                    (0..features.nrows()).filter(|row| halves.holding[*row] >> half & 1 == 1).collect();
                assert_eq!(rows.len(), features.nrows() / 2);
                let part = set(features.select(Axis(0), &rows), comparison.options);
                let comparison =
                    Comparison::new(comparison.real, &part, comparison.options, &Silent).unwrap();
                values.push((metric.compute)(&comparison).unwrap().values[0]);
            }
        }
        values
    }

    #[test]
    fn the_recalls_of_halves_are_those_of_the_halves_as_sets() {
        let fixture = Fixture::load();
        let real = fixture.features("real_2000").slice(s![..300, ..]).to_owned();
        let draws = Draws { count: 70, seed: 3 };
        for (k, boundary) in [(1, Boundary::Excluded), (3, Boundary::Included), (8, Boundary::Excluded)] {
            let options = options(k, boundary);
            // A set that is listed whole, and a larger one.
            for rows in [21, 150] {
                let fake = fixture.features("fake_2000").slice(s![..rows, ..]).to_owned();
                let (real, fake) = (set(real.clone(), &options), set(fake, &options));
                let comparison = Comparison::new(&real, &fake, &options, &Silent).unwrap();
                for metric in [&recall::METRIC, &probabilistic::RECALL] {
                    let found = metric.replicates.unwrap()(&comparison, &draws).unwrap();
                    let expected = of_sets(metric, &comparison, &draws);
                    assert_eq!(found.len(), expected.len());
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!(
                            (found - expected).abs() < 1e-7,
                            "{}, k {k}: {found}, {expected}",
                            metric.name
                        );
                    }
                    assert!(expected.iter().any(|value| (0.05..1.0).contains(value)), "{expected:?}");
                }
            }
        }
    }

    #[test]
    fn halves_with_too_few_rows_for_a_sphere_have_no_recall() {
        let options = options(3, Boundary::Excluded);
        let features = Fixture::load().features("real_2000").slice(s![..7, ..]).to_owned();
        let (real, fake) = (set(features.clone(), &options), set(features, &options));
        let comparison = Comparison::new(&real, &fake, &options, &Silent).unwrap();
        assert!(recall(&comparison, &Draws { count: 5, seed: 0 }).unwrap().is_empty());
    }
}
