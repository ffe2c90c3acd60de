//! `--distinct` and `--novel`: how far the kept images have to be from each other and from the real ones.

use crate::density::Distribution;
use crate::error::{Error, Result};
use crate::neighbors::distance::squared_l2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Least distances, in feature space; 0 where none is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spacing {
    /// Between any two kept images.
    pub distinct: f64,
    /// Between a kept image and its nearest real one.
    pub novel: f64,
}

impl Spacing {
    /// From percentiles (0 to 100) of the distances of the real images to their nearest neighbours.
    ///
    /// # Errors
    /// [`Error::Data`] if there are no such distances.
    pub fn of_percentiles(
        distinct: Option<f64>,
        novel: Option<f64>,
        nearest_distances: &[f64],
    ) -> Result<Self> {
        if distinct.is_none() && novel.is_none() {
            return Ok(Self::default());
        }
        let real = Distribution::new(nearest_distances)?;
        let at = |percentile: Option<f64>| percentile.map_or(0.0, |p| real.at_percentile(p));
        Ok(Self { distinct: at(distinct), novel: at(novel) })
    }
}

/// What becomes of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is part of the result.
    Kept,
    /// Its weight did not suffice this time.
    Rejected,
    /// It is too near to one kept before.
    NotDistinct,
    /// It is too near to a real image.
    NotNovel,
}

impl Decision {
    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Decision::Kept => "kept",
            Decision::Rejected => "rejected",
            Decision::NotDistinct => "not_distinct",
            Decision::NotNovel => "not_novel",
        }
    }
}

/// Refuses images that are too near to one kept before, or to a real one.
pub(crate) struct SpacingFilter {
    spacing: Spacing,
    features: Vec<f32>,
    count: usize,
}

impl SpacingFilter {
    /// Nothing kept yet.
    pub(crate) fn new(spacing: Spacing) -> Self {
        Self { spacing, features: Vec::new(), count: 0 }
    }

    /// How many are kept.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Keeps an accepted candidate of these features `[D]` and distance to its nearest real image, or says why not.
    ///
    /// # Errors
    /// [`Error::Data`] if a distance is not a number.
    pub(crate) fn try_accept(&mut self, features: &[f32], nearest_distance: f64) -> Result<Decision> {
        if nearest_distance.is_nan() {
            return Err(Error::data("a candidate has no distance to the real images", ""));
        }
        if nearest_distance < self.spacing.novel {
            return Ok(Decision::NotNovel);
        }
        if self.spacing.distinct > 0.0 {
            let limit = self.spacing.distinct * self.spacing.distinct;
            let near = |other: &[f32]| squared_l2(features, other) < limit;
            if self.features.par_chunks_exact(features.len().max(1)).any(near) {
                return Ok(Decision::NotDistinct);
            }
            self.features.extend_from_slice(features);
        }
        self.count += 1;
        Ok(Decision::Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_real_nearest_distances() {
        let real = [4.0, 1.0, 3.0, 2.0, 5.0];
        let spacing = Spacing::of_percentiles(Some(25.0), Some(100.0), &real).unwrap();
        assert_eq!(spacing, Spacing { distinct: 2.0, novel: 5.0 });
        assert_eq!(Spacing::of_percentiles(None, None, &[]).unwrap(), Spacing::default());
        assert!(Spacing::of_percentiles(Some(10.0), None, &[]).is_err());
    }

    #[test]
    fn the_kept_stay_apart_from_each_other_and_from_the_real() {
        let mut kept = SpacingFilter::new(Spacing { distinct: 2.0, novel: 0.5 });
        assert_eq!(kept.try_accept(&[0.0, 0.0], 0.4).unwrap(), Decision::NotNovel);
        assert_eq!(kept.try_accept(&[0.0, 0.0], 0.5).unwrap(), Decision::Kept);
        assert_eq!(kept.try_accept(&[1.9, 0.0], 9.0).unwrap(), Decision::NotDistinct);
        assert_eq!(kept.try_accept(&[2.0, 0.0], 9.0).unwrap(), Decision::Kept);
        assert_eq!(kept.count(), 2);
        assert!(kept.try_accept(&[9.0, 9.0], f64::NAN).is_err());
    }

    #[test]
    fn without_spacing_copies_are_kept() {
        let mut kept = SpacingFilter::new(Spacing::default());
        for _ in 0..3 {
            assert_eq!(kept.try_accept(&[1.0], 0.0).unwrap(), Decision::Kept);
        }
    }
}
