//! The spheres around the samples of a set, with the distance to the k-th nearest other sample as radius, and the samples inside them.

use crate::density::median;
use crate::error::{Error, Result};
use crate::neighbors::{ExactIndex, NeighborIndex, Neighbors, Search};
use crate::progress::Progress;
use crate::remedy::Remedy;
use ndarray::{ArcArray2, ArrayView2};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Whether a sample whose distance equals the radius is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Boundary {
    /// Outside (distance < radius), as the prdc package counts
    #[default]
    Excluded,
    /// Inside (distance <= radius), as the authors of precision and recall and torch-fidelity count
    Included,
}

impl Boundary {
    pub(super) fn holds(self, distance: f64, radius: f64) -> bool {
        match self {
            Boundary::Excluded => distance < radius,
            Boundary::Included => distance <= radius,
        }
    }

    /// For a summary.
    pub fn describe(self) -> &'static str {
        match self {
            Boundary::Excluded => "a sample on a sphere's boundary is outside (<, as in prdc)",
            Boundary::Included => "a sample on a sphere's boundary is inside (<=, as in torch-fidelity)",
        }
    }
}

/// The samples of a set with their nearest other samples.
///
/// Computed once it serves any number of other sets; it takes `12 k` bytes a row beside the features.
pub struct Manifold {
    features: ArcArray2<f32>,
    neighbors: Neighbors,
}

/// A way to count: the radius of each sphere, and whether its boundary is inside.
#[derive(Debug, Clone)]
pub struct Test {
    /// The radius of each sphere, `[N]`.
    pub radii: Vec<f64>,
    /// Whether the boundary is inside.
    pub boundary: Boundary,
}

/// Which of `M` rows lie in which spheres of a set of `N` samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// How many spheres hold each row, `[M]`: above 0 counts for precision, the mean over k is the density.
    pub spheres_of_row: Vec<u32>,
    /// The smallest radius of those spheres, `[M]`, infinite where there is none: the rarity.
    pub smallest_radius: Vec<f64>,
    /// How many rows each sphere holds, `[N]`: above 0 counts for coverage.
    pub rows_of_sphere: Vec<u32>,
}

/// Radii `[N]`, none above their median.
pub(super) fn clipped_radii(radii: &[f64]) -> Vec<f64> {
    let median = median(radii.to_vec());
    radii.iter().map(|radius| radius.min(median)).collect()
}

impl Manifold {
    /// The spheres of `features` `[N, D]` for every k up to `k`.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not `k` other rows or a value is not finite; [`Error::Usage`] for a `k` of 0.
    pub fn new(features: ArcArray2<f32>, k: usize, progress: &dyn Progress) -> Result<Self> {
        let index = ExactIndex::new(features.clone())?;
        Self::of(features, &index, k, progress)
    }

    /// As [`Manifold::new`], with an index of the same features at hand.
    ///
    /// # Errors
    /// As [`Manifold::new`].
    pub fn of(
        features: ArcArray2<f32>,
        index: &ExactIndex,
        k: usize,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let neighbors = Self::nearest(&features, index, k, progress)?;
        Ok(Self::with(features, neighbors))
    }

    /// With the nearest other rows of each row at hand.
    pub(super) fn with(features: ArcArray2<f32>, neighbors: Neighbors) -> Self {
        Manifold { features, neighbors }
    }

    /// The `k` nearest other rows of each row.
    ///
    /// # Errors
    /// As [`Manifold::new`].
    pub(super) fn nearest(
        features: &ArcArray2<f32>,
        index: &ExactIndex,
        k: usize,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        if features.nrows() <= k {
            return Err(Error::data(
                format!(
                    "spheres of {k} neighbours need at least {} rows, there are {}",
                    k + 1,
                    features.nrows()
                ),
                Remedy::FewerNeighbours(None),
            ));
        }
        index.search_self(Search { k, skip_zero: false }, progress)
    }

    /// How many spheres there are.
    pub fn len(&self) -> usize {
        self.neighbors.len()
    }

    /// Always false, as a manifold has rows.
    pub fn is_empty(&self) -> bool {
        self.neighbors.is_empty()
    }

    /// `[N, D]`
    pub fn features(&self) -> ArrayView2<'_, f32> {
        self.features.view()
    }

    /// The nearest other rows of each row, for the largest k.
    pub fn neighbors(&self) -> &Neighbors {
        &self.neighbors
    }

    /// Distance of each row to its k-th other row, `[N]`.
    ///
    /// # Errors
    /// [`Error::Usage`] if `k` is 0 or above that of [`Manifold::new`].
    pub fn radii(&self, k: usize) -> Result<Vec<f64>> {
        if k == 0 || k > self.neighbors.k {
            return Err(Error::usage(
                format!(
                    "radii of {k} neighbours were asked for, between 1 and {} are known",
                    self.neighbors.k
                ),
                "",
            ));
        }
        Ok((0..self.len()).map(|row| self.neighbors.of(row).1[k - 1]).collect())
    }

    /// Which rows of `others` lie in the spheres, counted in each way of `tests`. One pass over all pairs; memory grows
    /// with the rows only, and counts are exact.
    ///
    /// # Errors
    /// [`Error::Data`] if the widths or the number of radii do not fit; [`Error::Interrupted`].
    pub fn memberships<const N: usize>(
        &self,
        others: &ExactIndex,
        tests: [Test; N],
        progress: &dyn Progress,
    ) -> Result<[Membership; N]> {
        let spheres = self.len();
        if tests.iter().any(|test| test.radii.len() != spheres) {
            return Err(Error::data(format!("every test needs {spheres} radii"), ""));
        }
        let rows = others.rows();
        let widest: Vec<f64> =
            (0..spheres).map(|i| tests.iter().map(|test| test.radii[i]).fold(0.0, f64::max)).collect();
        let counters: [Counters; N] = std::array::from_fn(|_| Counters::new(spheres, rows));
        let visit = |sphere: u32, row: u32, distance: f64| {
            for (test, counters) in tests.iter().zip(&counters) {
                let radius = test.radii[sphere as usize];
                if test.boundary.holds(distance, radius) {
                    counters.add(sphere as usize, row as usize, radius);
                }
            }
        };
        others.visit_within(self.features(), &widest, &visit, progress)?;
        Ok(counters.map(Counters::finish))
    }

    /// [`Manifold::memberships`] for one `k`.
    ///
    /// # Errors
    /// As [`Manifold::radii`] and [`Manifold::memberships`].
    pub fn membership(
        &self,
        others: &ExactIndex,
        k: usize,
        boundary: Boundary,
        progress: &dyn Progress,
    ) -> Result<Membership> {
        let [found] = self.memberships(others, [Test { radii: self.radii(k)?, boundary }], progress)?;
        Ok(found)
    }
}

/// Counts and minima, which do not depend on the order of arrival.
struct Counters {
    spheres_of_row: Vec<AtomicU32>,
    /// Bits of a radius: those of positive numbers have the order of the numbers.
    smallest_radius: Vec<AtomicU64>,
    rows_of_sphere: Vec<AtomicU32>,
}

impl Counters {
    fn new(spheres: usize, rows: usize) -> Self {
        Counters {
            spheres_of_row: (0..rows).map(|_| AtomicU32::new(0)).collect(),
            smallest_radius: (0..rows).map(|_| AtomicU64::new(f64::INFINITY.to_bits())).collect(),
            rows_of_sphere: (0..spheres).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn add(&self, sphere: usize, row: usize, radius: f64) {
        self.spheres_of_row[row].fetch_add(1, Ordering::Relaxed);
        self.rows_of_sphere[sphere].fetch_add(1, Ordering::Relaxed);
        self.smallest_radius[row].fetch_min(radius.to_bits(), Ordering::Relaxed);
    }

    fn finish(self) -> Membership {
        let counts = |atomics: Vec<AtomicU32>| atomics.into_iter().map(AtomicU32::into_inner).collect();
        Membership {
            spheres_of_row: counts(self.spheres_of_row),
            smallest_radius: self
                .smallest_radius
                .into_iter()
                .map(|bits| f64::from_bits(bits.into_inner()))
                .collect(),
            rows_of_sphere: counts(self.rows_of_sphere),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Fixture, assert_close};
    use super::*;
    use crate::progress::Silent;
    use ndarray::Array2;

    fn counts(real: &Array2<f32>, fake: &Array2<f32>, k: usize, boundary: Boundary) -> [f64; 4] {
        let index = |x: &Array2<f32>| ExactIndex::new(x.clone().into_shared()).unwrap();
        let manifold = |x: &Array2<f32>| Manifold::new(x.clone().into_shared(), k, &Silent).unwrap();
        let inside = manifold(real).membership(&index(fake), k, boundary, &Silent).unwrap();
        let recalled = manifold(fake).membership(&index(real), k, boundary, &Silent).unwrap();
        let some = |counts: &[u32]| counts.iter().filter(|count| **count > 0).count() as f64;
        [
            some(&inside.spheres_of_row),
            some(&recalled.spheres_of_row),
            inside.spheres_of_row.iter().map(|count| f64::from(*count)).sum(),
            some(&inside.rows_of_sphere),
        ]
    }

    fn expected(fixture: &Fixture, path: &[&str]) -> [f64; 4] {
        ["precision", "recall", "density", "coverage"].map(|name| {
            let mut path = path.to_vec();
            path.push(name);
            fixture.number(&path)
        })
    }

    #[test]
    fn counts_are_exact_on_the_fixture_for_both_conventions() {
        let fixture = Fixture::load();
        let (real, fake) = (fixture.features("real_2000"), fixture.features("fake_2000"));
        for k in [3, 5] {
            for (boundary, suffix) in [(Boundary::Excluded, ""), (Boundary::Included, "_boundary_included")] {
                let name = format!("k{k}{suffix}");
                assert_eq!(
                    counts(&real, &fake, k, boundary),
                    expected(&fixture, &["prdc", &name, "counts"]),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn counts_are_exact_where_distances_equal_radii_and_rows_repeat() {
        let fixture = Fixture::load();
        let (lattice, other) = (fixture.edge_input("lattice.49x2"), fixture.edge_input("lattice_fake.35x2"));
        let (copies, copied) = (fixture.edge_input("duplicates.real"), fixture.edge_input("duplicates.fake"));
        for (boundary, suffix) in [(Boundary::Excluded, ""), (Boundary::Included, "_boundary_included")] {
            for k in [2, 3, 4] {
                let name = format!("prdc_k{k}{suffix}");
                let path = ["edge", "lattice", &name];
                assert_eq!(counts(&lattice, &other, k, boundary), expected(&fixture, &path), "{name}");
            }
            let name = format!("on_itself_k3{suffix}");
            assert_eq!(
                counts(&lattice, &lattice, 3, boundary),
                expected(&fixture, &["edge", "lattice", &name])
            );
            let name = format!("prdc_k3{suffix}");
            assert_eq!(
                counts(&copies, &copied, 3, boundary),
                expected(&fixture, &["edge", "duplicates", &name])
            );
        }
    }

    #[test]
    fn radii_are_those_of_the_fixture() {
        let fixture = Fixture::load();
        for side in ["real", "fake"] {
            let features = fixture.features(&format!("{side}_2000")).into_shared();
            let manifold = Manifold::new(features, 5, &Silent).unwrap();
            for k in [3, 5] {
                let expected = fixture.per_sample(&format!("radius_{side}_k{k}"));
                assert_close(&manifold.radii(k).unwrap(), &expected, 1e-12);
            }
            assert!(manifold.radii(6).is_err() && manifold.radii(0).is_err());
        }
    }

    #[test]
    fn a_set_of_k_rows_has_no_spheres_and_one_more_suffices() {
        let rows = |n| Array2::from_shape_fn((n, 2), |(i, j)| (i * 3 + j) as f32).into_shared();
        let error = Manifold::new(rows(3), 3, &Silent).err().unwrap();
        assert!(error.to_string().contains("at least 4 rows"), "{error}");
        assert_eq!(Manifold::new(rows(4), 3, &Silent).unwrap().len(), 4);
    }
}
