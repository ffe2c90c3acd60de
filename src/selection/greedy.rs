//! One image after the other, always the one that adds most.

use super::limits::LimitState;
use super::worth::Worth;
use crate::error::Result;
use crate::neighbors::COLUMNS;
use crate::progress::{Progress, check_stop};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Candidates whose gain is found anew at first when one is chosen: often the best is among them.
const FIRST_LOOK: usize = COLUMNS / 3;

/// What is maximised: the sum of `quality` and `diversity` times the worth of the set.
pub(super) struct Objective<'a> {
    /// What each candidate adds by itself, `[M]`.
    pub quality: &'a [f64],
    /// The weight L of the worth.
    pub diversity: f64,
}

impl Objective<'_> {
    /// The quality of a candidate; an image that must be in the set has none.
    pub(super) fn quality(&self, row: u32) -> f64 {
        self.quality.get(row as usize).copied().unwrap_or(0.0)
    }

    fn gain(&self, row: u32, of_worth: f64) -> f64 {
        self.quality(row) + self.diversity * of_worth
    }
}

/// A candidate with what it adds, or added when `step` images were chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    gain: f64,
    row: u32,
    step: usize,
}

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The largest gain first, then the lowest row.
impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then(other.row.cmp(&self.row))
    }
}

/// Adds up to `n` of `rows` to the set, each with what it adds, until none is left that may be chosen.
///
/// # Errors
/// [`crate::Error::Interrupted`]; what the worth returns.
pub(super) fn greedy(
    rows: &[u32],
    n: usize,
    objective: &Objective,
    worth: &mut dyn Worth,
    state: &mut LimitState,
    progress: &dyn Progress,
) -> Result<Vec<(u32, f64)>> {
    let mut chosen = Vec::with_capacity(n);
    let mut candidates = Candidates { bounds: BinaryHeap::new(), objective, progress };
    progress.start("comparing candidates", rows.len() as u64, "images");
    candidates.look_at(rows.to_vec(), 0, worth)?;
    progress.finish();
    progress.start("choosing", n as u64, "images");
    candidates.choose(n, &mut chosen, worth, state)?;
    progress.finish();
    Ok(chosen)
}

/// Candidates by a bound of what each would add.
struct Candidates<'a> {
    bounds: BinaryHeap<Bound>,
    objective: &'a Objective<'a>,
    progress: &'a dyn Progress,
}

impl Candidates<'_> {
    /// Adds the best one after the other to the set and to `chosen`, with what each adds, until there are `n` or none may be added.
    fn choose(
        &mut self,
        n: usize,
        chosen: &mut Vec<(u32, f64)>,
        worth: &mut dyn Worth,
        state: &mut LimitState,
    ) -> Result<()> {
        while chosen.len() < n
            && let Some(best) = self.best(chosen.len(), worth, state)?
        {
            chosen.push((best.row, best.gain));
            worth.add(best.row)?;
            state.admit(best.row)?;
            self.progress.advance(1);
            if !worth.gains_only_fall() {
                let rows = self.bounds.drain().map(|bound| bound.row).collect();
                self.look_at(rows, chosen.len(), worth)?;
            }
        }
        Ok(())
    }

    /// Finds what each of `rows` adds to a set of `step` images.
    fn look_at(&mut self, mut rows: Vec<u32>, step: usize, worth: &dyn Worth) -> Result<()> {
        // In the order of rows, so that what is read lies together.
        rows.sort_unstable();
        for rows in rows.chunks(COLUMNS) {
            check_stop(self.progress, String::new)?;
            for (&row, gain) in rows.iter().zip(worth.gains(rows)?) {
                self.bounds.push(Bound { gain: self.objective.gain(row, gain), row, step });
            }
            if step == 0 {
                self.progress.advance(rows.len() as u64);
            }
        }
        Ok(())
    }

    /// Takes out the candidate that adds most to the set of `step` images, of those that may be chosen. Bounds of earlier steps are
    /// renewed from the top until one of this step is the largest (Minoux 1978).
    fn best(&mut self, step: usize, worth: &dyn Worth, state: &LimitState) -> Result<Option<Bound>> {
        let mut look = FIRST_LOOK;
        loop {
            let mut old = Vec::new();
            while old.len() < look
                && let Some(&top) = self.bounds.peek()
            {
                // What may not be chosen now may not be chosen later either.
                if state.check(top.row, None).is_ok() {
                    if top.step == step {
                        break;
                    }
                    old.push(top.row);
                }
                self.bounds.pop();
            }
            if old.is_empty() {
                return Ok(self.bounds.pop());
            }
            self.look_at(old, step, worth)?;
            look = COLUMNS;
        }
    }
}
