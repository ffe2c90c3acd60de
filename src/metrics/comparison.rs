//! Two sets side by side, with everything that several metrics share computed once: neighbours and memberships.

use super::feature_set::{FeatureSet, cached};
use super::manifold::{Boundary, Membership, Test, clipped_radii};
use super::options::Options;
use crate::error::{Error, Result};
use crate::neighbors::{NeighborIndex, Neighbors, Search};
use crate::progress::Progress;
use std::cell::OnceCell;

/// Which generated rows lie in which real spheres, for each convention that a metric uses.
pub(super) struct Memberships {
    /// Radii of k.
    pub precision: Membership,
    /// Radii of k for density.
    pub density: Membership,
    /// The same without ties: what clipped coverage counts.
    pub strict: Membership,
    /// Radii clipped at their median, ties inside: what clipped density counts.
    pub clipped: Membership,
}

/// A real and a generated set.
pub struct Comparison<'a> {
    /// The real set.
    pub real: &'a FeatureSet<'a>,
    /// The generated set.
    pub generated: &'a FeatureSet<'a>,
    /// Parameters of the metrics; both sets were made with them.
    pub options: &'a Options,
    /// What long metrics report to, and ask whether to stop.
    pub(super) progress: &'a dyn Progress,
    memberships: OnceCell<Memberships>,
    recalled: OnceCell<Membership>,
    nearest: OnceCell<Neighbors>,
}

impl<'a> Comparison<'a> {
    /// Puts two sets side by side; nothing is computed yet. Both must have been made with these `options`.
    ///
    /// # Errors
    /// [`Error::Data`] if they differ in width.
    pub fn new(
        real: &'a FeatureSet<'a>,
        generated: &'a FeatureSet<'a>,
        options: &'a Options,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        if real.width() != generated.width() {
            return Err(Error::data(
                format!(
                    "the real features have {} values per row, the generated ones {}",
                    real.width(),
                    generated.width()
                ),
                "both sides have to be made with the same extractor",
            ));
        }
        Ok(Comparison {
            real,
            generated,
            options,
            progress,
            memberships: OnceCell::new(),
            recalled: OnceCell::new(),
            nearest: OnceCell::new(),
        })
    }

    pub(super) fn memberships(&self) -> Result<&Memberships> {
        cached(&self.memberships, || {
            let spheres = self.real.manifold()?;
            let Options { k, k_density, boundary, .. } = *self.options;
            let tests = [
                Test { radii: spheres.radii(k)?, boundary },
                Test { radii: spheres.radii(k_density)?, boundary },
                Test { radii: spheres.radii(k_density)?, boundary: Boundary::Excluded },
                Test { radii: clipped_radii(&spheres.radii(k_density)?), boundary: Boundary::Included },
            ];
            let [precision, density, strict, clipped] =
                spheres.memberships(self.generated.index()?, tests, self.progress)?;
            Ok(Memberships { precision, density, strict, clipped })
        })
    }

    /// Which real rows lie in which generated spheres.
    pub(super) fn recalled(&self) -> Result<&Membership> {
        cached(&self.recalled, || {
            let spheres = self.generated.manifold()?;
            let test = Test { radii: spheres.radii(self.options.k)?, boundary: self.options.boundary };
            let [found] = spheres.memberships(self.real.index()?, [test], self.progress)?;
            Ok(found)
        })
    }

    /// The nearest real row of each generated one.
    ///
    /// # Errors
    /// [`Error::Usage`] if only statistics are known; [`Error::Interrupted`].
    pub fn nearest(&self) -> Result<&Neighbors> {
        cached(&self.nearest, || {
            let search = Search { k: 1, skip_zero: false };
            self.real.index()?.search(self.generated.features()?, None, search, self.progress)
        })
    }

    /// A warning if the spheres of `k` neighbours around the rows of `set` say little: a set has few rows, or many of these are equal.
    pub(super) fn caution_of_spheres(&self, set: &FeatureSet<'_>, k: usize) -> Option<String> {
        let small = [self.real, self.generated].into_iter().filter_map(|set| set.rows()).min()?;
        let needed = ROWS_PER_NEIGHBOR * k;
        if small < needed {
            return Some(format!(
                "{small} rows are few for spheres of {k} neighbours (below {needed} they cover much of the space)"
            ));
        }
        let radii = set.manifold().ok()?.radii(k).ok()?;
        let (count, rows) = (radii.iter().filter(|radius| **radius == 0.0).count(), radii.len());
        if count as f64 <= POINTS * rows as f64 {
            return None;
        }
        Some(format!(
            "{count} of {rows} rows equal {k} others or more, so that their spheres are points: spheres say little of a set of copies"
        ))
    }
}

/// A set is warned about if more than this share of its spheres are points.
const POINTS: f64 = 0.1;
/// A set of fewer rows than this for each neighbour is warned about; prdc itself needs k + 2 rows.
const ROWS_PER_NEIGHBOR: usize = 10;
