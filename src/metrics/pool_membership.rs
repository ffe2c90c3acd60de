//! Precision, density and coverage of any choice from a pool, without looking at a distance again.
//! One pass finds the pairs (real sphere, pool row inside it); they are few, about k for each row.
//! Recall has no such short cut: the spheres of a choice are its own (see [`Manifold`]).

use super::manifold::{Manifold, Test};
use crate::error::{Error, Result};
use crate::neighbors::ExactIndex;
use crate::progress::Progress;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The spheres of a real set that hold each row of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolMembership {
    spheres: usize,
    /// Where the spheres of row `i` start in `inside`, `[M + 1]`.
    starts: Vec<usize>,
    inside: Vec<u32>,
}

impl PoolMembership {
    /// Finds the pairs of `real` spheres, counted as `test` says, and rows of `pool`. At most `limit` pairs are kept, 8 bytes each.
    ///
    /// # Errors
    /// [`Error::Data`] if there are more than `limit` pairs (most rows are copies) or the test does not fit; [`Error::Interrupted`].
    pub fn new(
        real: &Manifold,
        pool: &ExactIndex,
        test: &Test,
        limit: usize,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let pairs = Mutex::new(Vec::new());
        let full = AtomicBool::new(false);
        let visit = |sphere: u32, row: u32, distance: f64| {
            if test.boundary.holds(distance, test.radii[sphere as usize]) && !full.load(Ordering::Relaxed) {
                let mut pairs = pairs.lock().unwrap_or_else(PoisonError::into_inner);
                if pairs.len() < limit {
                    pairs.push((row, sphere));
                } else {
                    full.store(true, Ordering::Relaxed);
                }
            }
        };
        pool.visit_within(real.features(), &test.radii, &visit, progress)?;
        if full.into_inner() {
            return Err(Error::data(
                format!("more than {limit} pairs of a pool row and a real sphere around it"),
                "remove copies, or use smaller k",
            ));
        }
        let mut pairs = pairs.into_inner().unwrap_or_else(PoisonError::into_inner);
        pairs.sort_unstable();
        let starts =
            (0..=pool.rows()).map(|row| pairs.partition_point(|pair| (pair.0 as usize) < row)).collect();
        let inside = pairs.into_iter().map(|(_, sphere)| sphere).collect();
        Ok(PoolMembership { spheres: real.len(), starts, inside })
    }

    /// How many rows the pool has.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The spheres that hold `row`, ascending.
    ///
    /// # Panics
    /// If the pool has no such row.
    pub fn spheres_of(&self, row: usize) -> &[u32] {
        &self.inside[self.starts[row]..self.starts[row + 1]]
    }

    /// Precision of the chosen rows; a row chosen twice counts twice. NaN for none.
    ///
    /// # Panics
    /// If the pool lacks a chosen row; so do the other two.
    pub fn precision(&self, chosen: &[u32]) -> f64 {
        let inside = chosen.iter().filter(|row| !self.spheres_of(**row as usize).is_empty()).count();
        inside as f64 / chosen.len() as f64
    }

    /// Density of the chosen rows, for the k of the radii.
    pub fn density(&self, chosen: &[u32], k: usize) -> f64 {
        let pairs: usize = chosen.iter().map(|row| self.spheres_of(*row as usize).len()).sum();
        pairs as f64 / (k * chosen.len()) as f64
    }

    /// Coverage of the real set by the chosen rows.
    pub fn coverage(&self, chosen: &[u32]) -> f64 {
        let mut covered = vec![false; self.spheres];
        for row in chosen {
            self.spheres_of(*row as usize).iter().for_each(|sphere| covered[*sphere as usize] = true);
        }
        covered.iter().filter(|yes| **yes).count() as f64 / self.spheres as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifold::Boundary;
    use super::super::test_support::Fixture;
    use super::*;
    use crate::progress::Silent;
    use ndarray::{Axis, s};

    #[test]
    fn a_choice_from_a_pool_scores_as_the_set_that_it_is() {
        let fixture = Fixture::load();
        let real = fixture.features("real_2000").slice(s![..500, ..]).to_owned();
        let fake = fixture.features("fake_2000").slice(s![..600, ..]).to_owned();
        let real = Manifold::new(real.into_shared(), 5, &Silent).unwrap();
        let test = Test { radii: real.radii(5).unwrap(), boundary: Boundary::Excluded };
        let pool = ExactIndex::new(fake.clone().into_shared()).unwrap();
        let found = PoolMembership::new(&real, &pool, &test, 100_000, &Silent).unwrap();
        let chosen: Vec<u32> = (0..300).map(|i| (i * i) % 599).collect();
        let rows: Vec<usize> = chosen.iter().map(|row| *row as usize).collect();
        let set = ExactIndex::new(fake.select(Axis(0), &rows).into_shared()).unwrap();
        let direct = real.membership(&set, 5, Boundary::Excluded, &Silent).unwrap();
        let some = |counts: &[u32]| counts.iter().filter(|c| **c > 0).count() as f64;
        assert_eq!(found.precision(&chosen), some(&direct.spheres_of_row) / 300.0);
        assert_eq!(found.coverage(&chosen), some(&direct.rows_of_sphere) / 500.0);
        let pairs: u32 = direct.spheres_of_row.iter().sum();
        assert_eq!(found.density(&chosen, 5), f64::from(pairs) / 1500.0);
        assert_eq!(found.rows(), 600);
        assert!(PoolMembership::new(&real, &pool, &test, 100, &Silent).is_err());
    }
}
