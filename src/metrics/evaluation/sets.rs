//! The sets that are compared, as they were read.

use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::metrics::feature_set::FeatureSet;
use crate::metrics::keep::Keep;
use crate::metrics::options::Options;
use crate::metrics::statistics::Statistics;
use crate::progress::Progress;
use crate::reference::row_name;
use ndarray::ArcArray2;
use std::sync::Arc;

/// A real or generated set.
pub struct EvaluationSet {
    /// What the results call it.
    pub name: String,
    /// What is known of it.
    pub content: SetContent,
    /// The group of each image, `[N]`, where groups are compared too.
    pub groups: Option<Vec<String>>,
    /// Mean and covariance of more images than there are features, which the Fréchet distance is then of.
    pub statistics: Option<Statistics>,
    /// Where what is computed of its features alone is kept.
    pub(crate) kept: Option<Arc<dyn Keep>>,
}

/// What is known of a set.
pub enum SetContent {
    /// The features of each image.
    Features {
        /// `[N, D]`
        features: ArcArray2<f32>,
        /// The name of each image, `[N]`.
        paths: Vec<String>,
        /// What the features were made with.
        identity: Identity,
    },
    /// Mean and covariance only, enough for the Fréchet distance.
    Statistics(Statistics),
}

impl EvaluationSet {
    /// A set that is compared as a whole.
    pub fn new(name: impl Into<String>, content: SetContent) -> Self {
        Self { name: name.into(), content, groups: None, statistics: None, kept: None }
    }

    /// A set of features `[N, D]` that another program made.
    pub fn of_features(name: &str, features: ArcArray2<f32>) -> Self {
        let paths = (0..features.nrows()).map(row_name).collect();
        let identity = Identity::external(features.ncols(), false);
        Self::new(name, SetContent::Features { features, paths, identity })
    }

    /// What the features were made with, where that is known.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.content {
            SetContent::Features { identity, .. } => Some(identity),
            SetContent::Statistics(_) => None,
        }
    }

    pub(super) fn feature_set<'p>(
        &self,
        options: &Options,
        progress: &'p dyn Progress,
    ) -> Result<FeatureSet<'p>> {
        let set = match &self.content {
            SetContent::Features { features, .. } => FeatureSet::new(features.clone(), options, progress)
                .map_err(|error| error.about(&self.name))?,
            SetContent::Statistics(statistics) => FeatureSet::from_statistics(statistics.clone(), progress),
        };
        let set = set.with_statistics(self.statistics.clone()).map_err(|error| error.about(&self.name))?;
        Ok(set.named(&self.name).keeping(self.kept.clone()))
    }
}

/// Whether the set `name` was made like the sets before it. The first that has an identity is the one that others are held to.
///
/// # Errors
/// [`Error::Usage`] if it was made with another extractor, other weights or another preprocessing.
pub(crate) fn check_same(identity: &mut Option<Identity>, name: &str, own: Option<&Identity>) -> Result<()> {
    let Some(own) = own else { return Ok(()) };
    match identity.get_or_insert_with(|| own.clone()).difference(own) {
        Some(difference) => Err(Error::usage(
            format!("{name} does not fit the sets before it: {difference}"),
            "all sets have to be made with the same extractor, weights and preprocessing",
        )),
        None => Ok(()),
    }
}
