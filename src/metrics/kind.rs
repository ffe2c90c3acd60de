//! What the numbers of a feature space are, as far as metrics depend on it.

use super::metric::{Metric, Needs};
use super::registry::METRICS;
use crate::extract::{ARCHITECTURES, INCEPTION_LOGITS, INCEPTION_SPATIAL};

/// What the numbers of a feature space are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpaceKind {
    /// Features of images as wholes.
    Features,
    /// Scores of classes.
    ClassScores,
    /// Features of places.
    Spatial,
    /// Made by another program or by an ONNX file: what they are is for the user to know.
    Unknown,
}

impl SpaceKind {
    /// Of what the extractor of this name gives.
    pub(crate) fn of(extractor: &str) -> Self {
        match extractor {
            INCEPTION_LOGITS => SpaceKind::ClassScores,
            INCEPTION_SPATIAL => SpaceKind::Spatial,
            name if ARCHITECTURES.iter().any(|network| network.name == name) => SpaceKind::Features,
            _ => SpaceKind::Unknown,
        }
    }

    /// Whether a metric that needs this is one of such numbers.
    pub(super) fn serves(self, needs: Needs) -> bool {
        match needs {
            Needs::ClassScores => matches!(self, SpaceKind::ClassScores | SpaceKind::Unknown),
            Needs::SpatialStatistics => matches!(self, SpaceKind::Spatial | SpaceKind::Unknown),
            Needs::Statistics | Needs::Features => matches!(self, SpaceKind::Features | SpaceKind::Unknown),
        }
    }

    /// The metrics that are computed where none is named: those that are for such numbers alone, else the default ones.
    pub(super) fn default_metrics(self) -> impl Iterator<Item = &'static Metric> {
        let is_default = move |metric: &&&Metric| match self {
            SpaceKind::ClassScores | SpaceKind::Spatial => self.serves(metric.needs),
            SpaceKind::Features | SpaceKind::Unknown => metric.by_default,
        };
        METRICS.iter().filter(is_default).copied()
    }
}

impl Needs {
    /// The extractor that gives what only one does, and what to call that.
    pub(super) fn only(self) -> Option<(&'static str, &'static str)> {
        match self {
            Needs::ClassScores => Some((INCEPTION_LOGITS, "class scores")),
            Needs::SpatialStatistics => Some((INCEPTION_SPATIAL, "spatial features")),
            Needs::Statistics | Needs::Features => None,
        }
    }

    /// Whether mean and covariance suffice.
    pub(super) fn is_of_statistics(self) -> bool {
        matches!(self, Needs::Statistics | Needs::SpatialStatistics)
    }
}
