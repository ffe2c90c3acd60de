//! Sums of importance weights that are kept as logarithms: a power of a ratio of densities leaves the range of a double long before
//! it stops to make sense.

/// `ln(mean(exp(l)))` of weights given as logarithms; 0 where none is finite.
pub(crate) fn log_mean_weight(log_weights: &[f64]) -> f64 {
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return 0.0;
    }
    largest + (log_weights.iter().map(|l| (l - largest).exp()).sum::<f64>() / log_weights.len() as f64).ln()
}

/// Sums of the weights up to each row, relative to the largest: what rows are drawn from by bisection.
pub(crate) fn cumulative_weights(log_weights: &[f64]) -> Vec<f64> {
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    log_weights
        .iter()
        .map(|l| {
            sum += (l - largest).exp();
            sum
        })
        .collect()
}

/// Effective sample size `(sum w)^2 / sum w^2` of weights given as logarithms: as many unweighted draws would be worth as much.
pub(crate) fn effective_sample_size(log_weights: &[f64]) -> f64 {
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return 0.0;
    }
    let (mut sum, mut squares) = (0.0, 0.0);
    for w in log_weights.iter().map(|l| (l - largest).exp()) {
        sum += w;
        squares += w * w;
    }
    sum * sum / squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_effective_sample_size_lies_between_one_and_the_number_and_ignores_the_scale(
            weights in prop::collection::vec(-300f64..300.0, 1..50), shift in -500f64..500.0
        ) {
            let size = effective_sample_size(&weights);
            prop_assert!((1.0 - 1e-9..=weights.len() as f64 + 1e-9).contains(&size));
            let shifted: Vec<f64> = weights.iter().map(|w| w + shift).collect();
            prop_assert!((effective_sample_size(&shifted) - size).abs() < 1e-6 * size);
        }

        #[test]
        fn equal_weights_are_worth_their_number(n in 1usize..200, weight in -1e3f64..1e3) {
            prop_assert!((effective_sample_size(&vec![weight; n]) - n as f64).abs() < 1e-9 * n as f64);
        }
    }
}
