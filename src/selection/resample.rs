//! From the densities of photographs to how often each is in a training set (Li et al., TMLR 2024, section 3.5, and the ratio rule).

use super::repeats::{Repeats, enough_repeats};
use crate::candidates::{Pilot, ReferenceDensity};
use crate::density::{Rule, Truncation, effective_sample_size, log_mean_weight};
use crate::error::Result;
use crate::neighbors::BuildOptions;
use crate::progress::Progress;
use ndarray::{ArcArray2, ArrayView2};

/// How photographs are weighed, and how often one may be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResampleOptions {
    /// The rule of the weights.
    pub rule: Rule,
    /// How weights are cut; `None` for the two-level rule, which has no large ones but those that were asked for.
    pub truncation: Option<Truncation>,
    /// Most repeats of an image.
    pub most: u32,
}

/// A training set before it is written.
pub(crate) struct Resampled {
    /// Pseudo density of each photograph, `[N]`.
    pub densities: Vec<f64>,
    /// Weight of each: w or 1 for the two-level rule, else 1 on average.
    pub weights: Vec<f64>,
    /// Where the effective sample size asked for a lower cut than was allowed: that cut, in means of the weights.
    pub lowered_clip: Option<f64>,
    /// As many unweighted images would be worth as much as the weights.
    pub effective_sample_size: f64,
    /// How often each is there.
    pub repeats: Repeats,
    /// Where the frequencies are too far from the weights: how many repeats of an image would be enough; `None` if too many.
    pub enough: Option<u32>,
}

/// Weighs photographs of these features `[N, D]`, of which `own[i]` is the row of the reference that is the image itself. `pool` are
/// features `[M, D]` of generated images, for the ratio rule.
///
/// # Errors
/// [`crate::Error::Usage`] and [`crate::Error::Data`] for a rule that does not fit the reference, densities of which no weight can be made, or
/// a pool of fewer images than neighbours.
pub(crate) fn resample(
    features: ArrayView2<f32>,
    own: &[Option<u32>],
    density: &ReferenceDensity,
    pool: Option<ArcArray2<f32>>,
    options: &ResampleOptions,
    progress: &dyn Progress,
) -> Result<Resampled> {
    let scorer = density.scorer();
    options.rule.check(scorer.distribution().bounds())?;
    let densities = density.scores(features, Some(own), progress)?.densities().to_vec();
    let generated = match pool {
        Some(pool) => {
            let index = BuildOptions { device: scorer.device().clone(), ..BuildOptions::default() };
            Pilot::new(pool, scorer.model(), &index, progress)?.densities(features, progress)?
        }
        None => Vec::new(),
    };
    let mut logs = options.rule.log_weights(&densities, &generated)?;
    let lowered_clip = options.truncation.and_then(|truncation| {
        let cut = truncation.apply(&mut logs);
        (cut < truncation.clip).then_some(cut)
    });
    let repeats = Repeats::of(&logs, options.most);
    let enough = if repeats.keep_promise() { None } else { enough_repeats(&logs, options.most) };
    let shift = match options.rule {
        Rule::TwoLevel { .. } => 0.0,
        Rule::Power { .. } | Rule::Ratio { .. } => log_mean_weight(&logs),
    };
    Ok(Resampled {
        densities,
        weights: logs.iter().map(|log| (log - shift).exp()).collect(),
        lowered_clip,
        effective_sample_size: effective_sample_size(&logs),
        repeats,
        enough,
    })
}
