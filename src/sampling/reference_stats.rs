//! What drawing must know of a reference, small enough to go into the record of a part.

use super::spacing::{RefusedCopies, Spacing};
use crate::density::PseudoDensity;
use crate::reference::Scorer;
use serde::{Deserialize, Serialize};

/// What weights and distances are measured by. It knows no percentiles: thresholds are resolved before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReferenceStats {
    /// The pseudo density with the constants of the reference.
    pub model: PseudoDensity,
    /// The lowest and the highest density of the reference.
    pub bounds: [f64; 2],
    /// How far the kept images have to be apart.
    pub spacing: Spacing,
    /// Whose copies are refused.
    #[serde(default)]
    pub copies: RefusedCopies,
    /// D, the width of the features.
    pub width: usize,
}

impl ReferenceStats {
    /// Of a reference.
    pub(crate) fn new(scorer: &Scorer, spacing: Spacing, copies: RefusedCopies) -> Self {
        Self {
            model: scorer.model().clone(),
            bounds: scorer.distribution().bounds(),
            spacing,
            copies,
            width: scorer.features().ncols(),
        }
    }
}
