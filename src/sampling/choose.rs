//! Drawing from a pool by weight: without replacement (Efraimidis and Spirakis, *Weighted random sampling with a reservoir*,
//! 2006) or with. Each image's place in the order follows from its own weight and random number.

use super::spacing::{Accepted, Copied, Decision, SpacingFilter};
use crate::candidates::{LOOKED_TOGETHER, Looked};
use crate::density::cumulative_weights;
use crate::error::Result;
use crate::random::{Purpose, uniform};
use ndarray::{ArrayView2, Axis};
use std::collections::VecDeque;

/// Rows of the pool in the order in which they are drawn without replacement: by `u^(1/w)`, the largest first.
pub(crate) fn weighted_order(log_weights: &[f64], seed: u64) -> Vec<usize> {
    let mut keys: Vec<(f64, usize)> = log_weights
        .iter()
        .enumerate()
        .map(|(row, log_weight)| {
            // The logarithm of -ln(u) / w, smallest first.
            ((-uniform(seed, Purpose::Draw, row as u64).ln()).ln() - log_weight, row)
        })
        .collect();
    keys.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    keys.into_iter().map(|(_, row)| row).collect()
}

/// `n` rows drawn with replacement, with probabilities proportional to the weights.
pub(crate) fn with_replacement(log_weights: &[f64], n: usize, seed: u64) -> Vec<usize> {
    let cumulative = cumulative_weights(log_weights);
    let sum = cumulative.last().copied().unwrap_or(0.0);
    let last = log_weights.len().saturating_sub(1);
    (0..n)
        .map(|draw| {
            cumulative.partition_point(|c| *c <= uniform(seed, Purpose::Draw, draw as u64) * sum).min(last)
        })
        .collect()
}

/// Looks at the pictures of rows of a pool, of which these are the features.
pub(crate) type Look<'a> = dyn Fn(&[usize], ArrayView2<f32>) -> Result<Vec<Looked>> + 'a;

/// Goes through `order` until `kept` holds `n`, or to its end, and says what became of each row of the pool, and what it is a copy of.
/// `look` is needed where copies are refused.
///
/// # Errors
/// If the widths of the features differ; what `look` returns.
pub(crate) fn choose(
    order: &[usize],
    features: ArrayView2<f32>,
    nearest_distances: &[f64],
    n: usize,
    kept: &mut SpacingFilter,
    look: Option<&Look>,
) -> Result<(Vec<Decision>, Vec<Option<Copied>>)> {
    let mut decisions = vec![Decision::Rejected; features.nrows()];
    let mut copies = vec![None; features.nrows()];
    let mut ahead = VecDeque::new();
    for (at, &row) in order.iter().enumerate() {
        if kept.count() == n {
            break;
        }
        if let Some(look) = look.filter(|_| ahead.is_empty()) {
            let next = &order[at..][..LOOKED_TOGETHER.min(n - kept.count()).min(order.len() - at)];
            ahead.extend(look(next, features.select(Axis(0), next).view())?);
        }
        let (values, looked) = (features.row(row).to_vec(), ahead.pop_front());
        let candidate = Accepted {
            row,
            features: &values,
            nearest_distance: nearest_distances[row],
            looked: looked.as_ref(),
        };
        (decisions[row], copies[row]) = kept.try_accept(&candidate)?;
    }
    Ok((decisions, copies))
}

#[cfg(test)]
mod tests {
    use super::super::spacing::{RefusedCopies, Spacing};
    use super::*;

    #[test]
    fn the_first_of_the_order_is_drawn_by_weight() {
        let weights = [1.0f64, 2.0, 5.0].map(f64::ln);
        let mut first = [0; 3];
        let rounds = 20_000;
        for seed in 0..rounds {
            first[weighted_order(&weights, seed)[0]] += 1;
        }
        for (count, share) in first.into_iter().zip([0.125, 0.25, 0.625]) {
            let error = f64::from(count) / rounds as f64 - share;
            assert!(error.abs() < 0.015, "{first:?}");
        }
    }

    #[test]
    fn draws_with_replacement_follow_the_weights() {
        let draws = with_replacement(&[-1000.0, 0.0, 3f64.ln()], 20_000, 7);
        let share = |row| draws.iter().filter(|&&d| d == row).count() as f64 / 20_000.0;
        assert_eq!(share(0), 0.0);
        assert!((share(2) - 0.75).abs() < 0.015);
    }

    #[test]
    fn a_pool_that_is_too_small_gives_what_it_can() {
        let features = ndarray::array![[0.0f32], [0.1], [5.0]];
        let all = RefusedCopies::default();
        let mut kept = SpacingFilter::new(Spacing { distinct: 1.0, novel: 0.0 }, all);
        let (decisions, _) = choose(&[0, 1, 2], features.view(), &[1.0; 3], 3, &mut kept, None).unwrap();
        assert_eq!(decisions, [Decision::Kept, Decision::NotDistinct, Decision::Kept]);
        let mut kept = SpacingFilter::new(Spacing::default(), all);
        let (decisions, _) = choose(&[2, 0, 1], features.view(), &[1.0; 3], 2, &mut kept, None).unwrap();
        assert_eq!(decisions, [Decision::Kept, Decision::Rejected, Decision::Kept]);
    }
}
