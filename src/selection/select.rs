//! The choice from features and qualities to a set in order.

use super::greedy::{Objective, greedy};
use super::kinds::{SetWorth, empty_set};
use super::limits::{LimitState, Limits, Reason};
use super::quality::standardized;
use super::swaps::swap;
use crate::error::{Error, Result};
use crate::neighbors::{check_finite, standard_layout};
use crate::progress::Progress;
use ndarray::ArcArray2;

/// What is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelectionOptions {
    /// Images wanted.
    pub n: usize,
    /// How the variety of a set is measured.
    pub set: SetWorth,
    /// The weight L of that, in standard deviations of the quality for each percent.
    pub diversity: f64,
    /// Key of the random sample that the median distance is estimated on.
    pub seed: u64,
}

/// A chosen set.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Rows of the chosen candidates, in the order in which greedy choice takes them from this set.
    pub rows: Vec<usize>,
    /// What each added to the objective when it was taken, `[n]`. They sum to the objective, less what images that had to be in
    /// the set are worth alone.
    pub gains: Vec<f64>,
    /// Mean quality, in standard deviations from the candidates' mean, plus L times the worth.
    pub objective: f64,
    /// What the set has together, in percent.
    pub worth: f64,
    /// Swaps that followed the greedy choice.
    pub swaps: usize,
    /// Why each candidate that was not chosen could not be added; `None` for those that could, `[M]`.
    pub left: Vec<Option<Reason>>,
}

/// Chooses the best `n` together. `features` `[M + P, D]` are those of M candidates and, after them, of P images that are in the set
/// already and do not count. `quality` `[M]` is what each candidate is worth. `targets` `[T, D]` are the features of the reference, or
/// of the candidates where there is none. If the limits leave fewer, as many as they leave.
///
/// # Errors
/// [`Error::Data`] if features are not finite or do not fit, or the quality is not finite; [`Error::Interrupted`].
pub fn select(
    features: &ArcArray2<f32>,
    quality: &[f64],
    targets: &ArcArray2<f32>,
    limits: &Limits,
    options: &SelectionOptions,
    progress: &dyn Progress,
) -> Result<Selection> {
    check_finite(features.view())?;
    let features = standard_layout(features.clone());
    let (rows, candidates) = (features.nrows(), quality.len());
    if candidates > rows
        || quality.iter().any(|quality| !quality.is_finite())
        || !options.diversity.is_finite()
    {
        return Err(Error::data("the quality of a candidate is missing or not finite", ""));
    }
    let fixed: Vec<u32> = (candidates as u32..rows as u32).collect();
    let n = options.n.min(candidates);
    let share = 1.0 / n.max(1) as f64;
    let quality: Vec<f64> = standardized(quality).into_iter().map(|quality| quality * share).collect();
    let objective = Objective { quality: &quality, diversity: options.diversity };
    let mut worth = empty_set(options.set, &features, targets, fixed.len() + n, options.seed)?;
    let worth = worth.as_mut();
    let mut state = LimitState::new(limits, rows);
    for &row in &fixed {
        worth.add(row)?;
        state.admit(row)?;
    }
    let all: Vec<u32> =
        (0..candidates as u32).filter(|&row| state.check(row, None) != Err(Reason::Excluded)).collect();
    let chosen = greedy(&all, n, &objective, worth, &mut state, progress)?;
    let mut members = fixed.clone();
    members.extend(chosen.into_iter().map(|(row, _)| row));
    let swaps = swap(&all, &mut members, fixed.len(), &objective, worth, &mut state, progress)?;
    let (value, left) = (worth.value(), left(&members, candidates, &state));

    // The order in which the best of the set come first.
    worth.clear();
    fixed.iter().try_for_each(|&row| worth.add(row))?;
    let nothing = Limits::default();
    let mut free = LimitState::new(&nothing, rows);
    let ordered = greedy(
        &members[fixed.len()..],
        n,
        &objective,
        worth,
        &mut free,
        &crate::progress::Unreported(progress),
    )?;
    let of_quality: f64 = ordered.iter().map(|&(row, _)| objective.quality(row)).sum();
    Ok(Selection {
        rows: ordered.iter().map(|&(row, _)| row as usize).collect(),
        gains: ordered.iter().map(|&(_, gain)| gain).collect(),
        objective: of_quality + options.diversity * value,
        worth: value,
        swaps,
        left,
    })
}

/// Why each candidate that is not a member could not be added.
fn left(members: &[u32], candidates: usize, state: &LimitState) -> Vec<Option<Reason>> {
    let mut is_member = vec![false; candidates];
    for &row in members.iter().filter(|&&row| (row as usize) < candidates) {
        is_member[row as usize] = true;
    }
    let reason = |(row, member): (u32, bool)| if member { None } else { state.check(row, None).err() };
    (0..).zip(is_member).map(reason).collect()
}
