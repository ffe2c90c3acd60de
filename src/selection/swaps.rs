//! Exchanges of a chosen image for another, until none helps.

use super::greedy::Objective;
use super::limits::LimitState;
use super::worth::Worth;
use crate::error::Result;
use crate::neighbors::COLUMNS;
use crate::progress::{Progress, check_stop};

/// A change below this share of the objective is rounding.
const ROUNDING: f64 = 1e-9;

/// A candidate that takes a slot, and what that adds.
#[derive(Clone, Copy)]
struct Swap {
    row: u32,
    slot: usize,
    gain: f64,
}

/// Swaps members of the set, from slot `fixed` on, for other `rows` until no swap helps. Returns how many swaps there were.
///
/// Candidates are gone through in groups; of each group the best swap is made as long as there is one, and the end is reached when a
/// whole round has none.
///
/// # Errors
/// [`crate::Error::Interrupted`]; what the worth returns.
pub(super) fn swap(
    rows: &[u32],
    members: &mut [u32],
    fixed: usize,
    objective: &Objective,
    worth: &mut dyn Worth,
    state: &mut LimitState,
    progress: &dyn Progress,
) -> Result<usize> {
    let groups: Vec<&[u32]> = rows.chunks(COLUMNS).collect();
    let start_round =
        |round| progress.start(&format!("swapping, round {round}"), rows.len() as u64, "images");
    let (mut swaps, mut without, mut at, mut round) = (0, 0, 0, 1);
    start_round(round);
    while without < groups.len() && members.len() > fixed {
        check_stop(progress, String::new)?;
        let value = |members: &[u32], worth: &dyn Worth| {
            let quality: f64 = members.iter().map(|&row| objective.quality(row)).sum();
            quality + objective.diversity * worth.value()
        };
        let before = value(members, worth);
        let least = ROUNDING * before.abs();
        let candidates: Vec<u32> = groups[at].iter().copied().filter(|row| !members.contains(row)).collect();
        match best(&candidates, members, fixed, objective, worth, state)?.filter(|swap| swap.gain > least) {
            Some(Swap { row, slot, .. }) => {
                let leaving = std::mem::replace(&mut members[slot], row);
                worth.replace(slot, row)?;
                state.release(leaving)?;
                state.admit(row)?;
                swaps += 1;
                without = 0;
                // A gain that was only rounding must not be sought for ever.
                if value(members, worth) <= before {
                    break;
                }
            }
            None => {
                without += 1;
                progress.advance(groups[at].len() as u64);
                at = (at + 1) % groups.len();
                if at == 0 && without < groups.len() {
                    progress.finish();
                    round += 1;
                    start_round(round);
                }
            }
        }
    }
    progress.finish();
    Ok(swaps)
}

/// The best swap that is allowed, the lowest row and slot among equal ones.
fn best(
    candidates: &[u32],
    members: &[u32],
    fixed: usize,
    objective: &Objective,
    worth: &dyn Worth,
    state: &LimitState,
) -> Result<Option<Swap>> {
    let changes = worth.swap_changes(candidates)?;
    let mut best: Option<Swap> = None;
    for (&row, changes) in candidates.iter().zip(changes.chunks_exact(members.len())) {
        for (slot, &change) in changes.iter().enumerate().skip(fixed) {
            let quality = objective.quality(row) - objective.quality(members[slot]);
            let gain = quality + objective.diversity * change;
            // Looking at the limits is dearer than at the gain.
            if best.is_none_or(|best| gain > best.gain) && state.check(row, Some(members[slot])).is_ok() {
                best = Some(Swap { row, slot, gain });
            }
        }
    }
    Ok(best)
}
