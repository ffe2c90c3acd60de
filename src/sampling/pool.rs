//! Choosing from images that exist already, by the same weights as a generator's candidates.

use super::choose::{Look, choose, weighted_order, with_replacement};
use super::remarks::{warn_of_direction, warn_of_reference, warn_of_weights};
use super::spacing::{Copied, Decision, RefusedCopies, Spacing, SpacingFilter};
use super::weigh::{WeighedImages, weigh};
use crate::candidates::{CandidateScores, LOOKED_TOGETHER, ReferenceDensity};
use crate::density::Rule;
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use crate::remedy::Remedy;
use ndarray::{ArcArray2, Axis};

/// What is chosen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolOptions {
    /// Images wanted.
    pub n: usize,
    /// The rule of the weights; `None` weighs all images the same.
    pub rule: Option<Rule>,
    /// How far the chosen have to be apart.
    pub spacing: Spacing,
    /// Whether an image may be chosen more than once.
    pub replace: bool,
    /// Key of the order of the draws.
    pub seed: u64,
}

impl PoolOptions {
    /// `n` images, of which none is chosen twice, by the weights of `rule`.
    pub fn new(n: usize, rule: Option<Rule>) -> Self {
        Self { n, rule, spacing: Spacing::default(), replace: false, seed: 0 }
    }
}

/// The pool with what became of each image.
pub struct Chosen {
    /// Scores of the whole pool.
    pub scores: CandidateScores,
    /// The weight of each image: w or 1 for the two-level rule, else 1 on average.
    pub weights: Vec<f64>,
    /// What became of each.
    pub decisions: Vec<Decision>,
    /// How often each was chosen: more than once only with replacement.
    pub copies: Vec<usize>,
    /// What each was found to be a copy of; empty where copies are not refused.
    pub(crate) copy_of: Vec<Option<Copied>>,
    /// `(sum w)^2 / sum w^2` over the pool.
    pub effective_sample_size: f64,
}

/// Chooses from a pool of features `[M, D]`. `own[i]` is the row of the reference that is image `i` itself; the pool is its own
/// pilot for the ratio rule.
///
/// Fewer are chosen than were wanted where the pool has no more that are far enough apart.
///
/// # Errors
/// [`Error::Data`] if all images are too near to real ones and may be chosen several times; what scoring returns.
pub fn choose_from_pool(
    features: ArcArray2<f32>,
    own: &[Option<u32>],
    density: &ReferenceDensity,
    options: &PoolOptions,
    progress: &dyn Progress,
) -> Result<Chosen> {
    choose_refusing(features, own, density, options, (RefusedCopies::default(), None), progress)
}

/// As [`choose_from_pool`]. Where copies are refused, `look` looks at pictures.
///
/// # Errors
/// As [`choose_from_pool`]; what `look` returns.
pub(crate) fn choose_refusing(
    features: ArcArray2<f32>,
    own: &[Option<u32>],
    density: &ReferenceDensity,
    options: &PoolOptions,
    (refused, look): (RefusedCopies, Option<&Look>),
    progress: &dyn Progress,
) -> Result<Chosen> {
    let rows = features.nrows();
    // Weights order the draws from a pool: there is no budget.
    let WeighedImages { scores, log_weights, weights, effective_sample_size, .. } =
        weigh(features.clone(), own, density, options.rule, None, options.seed, progress)?;
    let mut copies = vec![0; rows];
    let (decisions, copy_of) = if options.replace {
        let mut allowed: Vec<usize> =
            (0..rows).filter(|&row| scores.scores.nearest_distance[row] >= options.spacing.novel).collect();
        let mut copy_of = vec![None; rows];
        if let Some(look) = look.filter(|_| refused.of_real) {
            for rows in allowed.chunks(LOOKED_TOGETHER) {
                check_stop(progress, String::new)?;
                for (&row, looked) in rows.iter().zip(look(rows, features.select(Axis(0), rows).view())?) {
                    copy_of[row] = looked.real.map(Copied::Real);
                }
            }
            allowed.retain(|&row| copy_of[row].is_none());
        }
        if allowed.is_empty() {
            return Err(Error::data(
                "every image of the pool is a copy of a real one, or too near to one",
                Remedy::SmallerNovelty,
            ));
        }
        let of_allowed: Vec<f64> = allowed.iter().map(|&row| log_weights[row]).collect();
        let mut decisions = vec![Decision::NotNovel; rows];
        allowed.iter().for_each(|&row| decisions[row] = Decision::Rejected);
        for draw in with_replacement(&of_allowed, options.n, options.seed) {
            copies[allowed[draw]] += 1;
            decisions[allowed[draw]] = Decision::Kept;
        }
        (decisions, copy_of)
    } else {
        let order = weighted_order(&log_weights, options.seed);
        let mut kept = SpacingFilter::new(options.spacing, refused);
        let nearest = &scores.scores.nearest_distance;
        let (decisions, copy_of) = choose(&order, features.view(), nearest, options.n, &mut kept, look)?;
        for (copies, decision) in copies.iter_mut().zip(&decisions) {
            *copies = usize::from(*decision == Decision::Kept);
        }
        (decisions, copy_of)
    };
    let copy_of = if look.is_some() { copy_of } else { Vec::new() };
    if options.rule.is_some() {
        let [lowest, _] = density.scorer().distribution().bounds();
        warn_of_reference(scores.densities(), lowest, progress);
        warn_of_weights(&log_weights, effective_sample_size, progress);
    }
    if !options.replace {
        warn_of_direction(options.rule, scores.densities(), &decisions, progress);
    }
    Ok(Chosen { scores, weights, decisions, copies, copy_of, effective_sample_size })
}
