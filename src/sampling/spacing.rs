//! Kept images are no copies of each other and of the real ones, and as far from them as was asked for.

use crate::candidates::{CopyOf, KeptPictures, Looked};
use crate::copies::Level;
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

/// Whose copies are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct RefusedCopies {
    /// Those of images that were kept before.
    pub of_kept: bool,
    /// Those of real images.
    pub of_real: bool,
    /// What counts as a copy.
    pub level: Level,
}

impl RefusedCopies {
    /// Whether any are.
    pub(crate) fn any(self) -> bool {
        self.of_kept || self.of_real
    }
}

/// What a refused candidate is a copy of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Copied {
    /// A row of the candidates.
    Kept(CopyOf),
    /// A row of the reference.
    Real(CopyOf),
}

/// What becomes of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is part of the result.
    Kept,
    /// Its weight did not suffice this time.
    Rejected,
    /// It is a copy of one kept before, or too near to it.
    NotDistinct,
    /// It is a copy of a real image, or too near to it.
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

/// A candidate that its weight has let through.
pub(crate) struct Accepted<'a> {
    /// Its row.
    pub row: usize,
    /// `[D]`
    pub features: &'a [f32],
    /// The distance to its nearest real image.
    pub nearest_distance: f64,
    /// What the second look says; needed where copies are refused.
    pub looked: Option<&'a Looked>,
}

/// Refuses images that are copies of one kept before or of a real one, or too near to it.
pub(crate) struct SpacingFilter {
    spacing: Spacing,
    copies: RefusedCopies,
    features: Vec<f32>,
    pictures: KeptPictures,
    count: usize,
}

impl SpacingFilter {
    /// Nothing kept yet.
    pub(crate) fn new(spacing: Spacing, copies: RefusedCopies) -> Self {
        Self { spacing, copies, features: Vec::new(), pictures: KeptPictures::new(copies.level), count: 0 }
    }

    /// How many are kept.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Keeps an accepted candidate, or says why not, and what it is a copy of.
    ///
    /// # Errors
    /// [`Error::Data`] if a distance is not a number, or nobody has looked at a picture that has to be looked at.
    pub(crate) fn try_accept(&mut self, candidate: &Accepted) -> Result<(Decision, Option<Copied>)> {
        let Accepted { row, features, nearest_distance, looked } = *candidate;
        if nearest_distance.is_nan() {
            return Err(Error::data("a candidate has no distance to the real images", ""));
        }
        if nearest_distance < self.spacing.novel {
            return Ok((Decision::NotNovel, None));
        }
        if self.spacing.distinct > 0.0 {
            let limit = self.spacing.distinct * self.spacing.distinct;
            let near = |other: &[f32]| squared_l2(features, other) < limit;
            if self.features.par_chunks_exact(features.len().max(1)).any(near) {
                return Ok((Decision::NotDistinct, None));
            }
        }
        if self.copies.any() {
            let looked = looked.ok_or_else(|| Error::data("a candidate has no picture", ""))?;
            if let Some(real) = looked.real.filter(|_| self.copies.of_real) {
                return Ok((Decision::NotNovel, Some(Copied::Real(real))));
            }
            if self.copies.of_kept {
                if let Some(kept) = self.pictures.copied_by(features, looked)? {
                    return Ok((Decision::NotDistinct, Some(Copied::Kept(kept))));
                }
                self.pictures.add(row, features, looked);
            }
        }
        if self.spacing.distinct > 0.0 {
            self.features.extend_from_slice(features);
        }
        self.count += 1;
        Ok((Decision::Kept, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(kept: &mut SpacingFilter, features: &[f32], nearest_distance: f64) -> Result<Decision> {
        let candidate = Accepted { row: 0, features, nearest_distance, looked: None };
        Ok(kept.try_accept(&candidate)?.0)
    }

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
        let mut kept = SpacingFilter::new(Spacing { distinct: 2.0, novel: 0.5 }, RefusedCopies::default());
        assert_eq!(decided(&mut kept, &[0.0, 0.0], 0.4).unwrap(), Decision::NotNovel);
        assert_eq!(decided(&mut kept, &[0.0, 0.0], 0.5).unwrap(), Decision::Kept);
        assert_eq!(decided(&mut kept, &[1.9, 0.0], 9.0).unwrap(), Decision::NotDistinct);
        assert_eq!(decided(&mut kept, &[2.0, 0.0], 9.0).unwrap(), Decision::Kept);
        assert_eq!(kept.count(), 2);
        assert!(decided(&mut kept, &[9.0, 9.0], f64::NAN).is_err());
    }

    #[test]
    fn without_spacing_copies_are_kept() {
        let mut kept = SpacingFilter::new(Spacing::default(), RefusedCopies::default());
        for _ in 0..3 {
            assert_eq!(decided(&mut kept, &[1.0], 0.0).unwrap(), Decision::Kept);
        }
    }
}
