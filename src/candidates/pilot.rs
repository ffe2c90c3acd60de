//! The pilot: generated images that tell how dense the generator's own output is around an image.

use crate::density::{PseudoDensity, Rule};
use crate::error::{Error, Result};
use crate::neighbors::{self, AnyIndex, BuildOptions, NeighborIndex, Search};
use crate::progress::Progress;
use crate::remedy::Remedy;
use ndarray::{ArcArray2, ArrayView2};

/// The generated images as a set of their own: the pilot that `raw_gen` of the ratio rule is measured
/// against.
pub(crate) struct Pilot {
    index: AnyIndex,
    model: PseudoDensity,
    /// The pilot's own densities, leave-one-out.
    own: Vec<f64>,
}

impl Pilot {
    /// From features `[M, D]` of generated images, with K and exponent of the reference; `index` says how they are indexed, but for K.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not more images than neighbours, or all are alike.
    pub(crate) fn new(
        features: ArcArray2<f32>,
        reference: &PseudoDensity,
        index: &BuildOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if features.nrows() <= reference.k {
            return Err(Error::data(
                format!(
                    "a pilot of {} images cannot have {} neighbours each, as the ratio rule needs",
                    features.nrows(),
                    reference.k
                ),
                Remedy::LargerPilot,
            ));
        }
        let index = BuildOptions { k: reference.k, ..index.clone() };
        let (index, _) = neighbors::build(features, &index, progress)?;
        let found = index.search_self(Search { k: reference.k, skip_zero: false }, progress)?;
        let (model, own) = PseudoDensity::fit(&found.mean_distances(), reference.k, reference.exponent)?;
        Ok(Self { index, model, own })
    }

    /// The pilot that a rule needs, from its features as in [`Pilot::new`]; `None` if it needs none.
    ///
    /// # Errors
    /// As [`Pilot::new`].
    pub(crate) fn for_rule(
        rule: Option<Rule>,
        features: impl FnOnce() -> ArcArray2<f32>,
        reference: &PseudoDensity,
        index: &BuildOptions,
        progress: &dyn Progress,
    ) -> Result<Option<Self>> {
        match rule.is_some_and(|rule| rule.needs_generated_density()) {
            true => Self::new(features(), reference, index, progress).map(Some),
            false => Ok(None),
        }
    }

    /// Densities of the pilot's own images among the others, `[M]`.
    pub(crate) fn own(&self) -> &[f64] {
        &self.own
    }

    /// Densities of further images `[Q, D]` among the pilot.
    ///
    /// # Errors
    /// If the features do not fit.
    pub(crate) fn densities(&self, features: ArrayView2<f32>, progress: &dyn Progress) -> Result<Vec<f64>> {
        let search = Search { k: self.model.k, skip_zero: false };
        let found = self.index.search(features, None, search, progress)?;
        Ok(found.mean_distances().iter().map(|&d| self.model.density(d)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pilot_scores_its_own_images_without_themselves_and_others_with_all() {
        let features = ndarray::Array2::from_shape_fn((40, 1), |(i, _)| (i * i) as f32).into_shared();
        let real = PseudoDensity { k: 1, exponent: 1.0, rows: 10, floor: 1.0, scaled_sum: 1.0 };
        let pilot =
            Pilot::new(features.clone(), &real, &BuildOptions::default(), &crate::progress::Silent).unwrap();
        // Nearest distances are 1, 1, 3, 5, ... 2i - 1: raw is their inverse.
        let ratio = pilot.own()[5] / pilot.own()[2];
        assert!((ratio - 3.0 / 9.0).abs() < 1e-12, "{ratio}");
        let query = ndarray::array![[4.5f32]];
        let found = pilot.densities(query.view(), &crate::progress::Silent).unwrap();
        assert!((found[0] / pilot.own()[1] - 2.0).abs() < 1e-12);
        let one = features.slice_move(ndarray::s![..1, ..]);
        assert!(Pilot::new(one, &real, &BuildOptions::default(), &crate::progress::Silent).is_err());
    }
}
