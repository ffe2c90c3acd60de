//! Acceptance of candidates by their weight under a budget: optimal budgeted rejection sampling
//! (Verine et al., *Optimal Budgeted Rejection Sampling for Generative Models*, AISTATS 2024).

/// Accepts with probability `min(1, c * weight)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Acceptance {
    /// `ln c`; infinite where everything is accepted.
    log_factor: f64,
}

impl Acceptance {
    /// The factor `c` at which the mean acceptance over a pilot's log weights is `1 / budget`.
    /// With a budget of 1 or less everything is accepted.
    pub(super) fn solve(log_weights: &[f64], budget: f64) -> Self {
        let mut descending = log_weights.to_vec();
        descending.sort_unstable_by(|a, b| b.total_cmp(a));
        let wanted = descending.len() as f64 / budget;
        let Some(&largest) = descending.first().filter(|largest| budget > 1.0 && largest.is_finite()) else {
            return Self { log_factor: f64::INFINITY };
        };
        // The weights from each place on, relative to the largest of them, so that none underflows where it matters.
        let mut tails = vec![0.0; descending.len() + 1];
        for i in (0..descending.len()).rev() {
            let step = match descending.get(i + 1) {
                Some(next) => (next - descending[i]).exp(),
                None => 0.0,
            };
            tails[i] = 1.0 + step * tails[i + 1];
        }
        // With the `i` largest accepted for certain, the rest shares what is wanted beyond them.
        for (i, log_weight) in descending.iter().enumerate() {
            let log_factor = ((wanted - i as f64) / tails[i]).ln() - log_weight;
            if log_factor + log_weight <= 0.0 {
                return Self { log_factor };
            }
        }
        Self { log_factor: -largest }
    }

    /// The probability of accepting a candidate of this log weight.
    pub(super) fn probability(&self, log_weight: f64) -> f64 {
        if self.log_factor == f64::INFINITY {
            return 1.0;
        }
        (self.log_factor + log_weight).exp().min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_weight_above_all_is_accepted_and_the_rest_shares() {
        // Weights 9, 1, 1, 1 and two to accept: 1 + 3 c = 2.
        let weights = [9f64.ln(), 0.0, 0.0, 0.0];
        let acceptance = Acceptance::solve(&weights, 2.0);
        assert_eq!(acceptance.probability(weights[0]), 1.0);
        assert!((acceptance.probability(0.0) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_budget_of_one_accepts_everything() {
        assert_eq!(Acceptance::solve(&[0.0, -700.0], 1.0).probability(-1e9), 1.0);
    }

    proptest! {
        #[test]
        fn the_mean_acceptance_is_one_in_the_budget(
            weights in prop::collection::vec(-400f64..400.0, 1..200), budget in 1.001f64..50.0
        ) {
            let acceptance = Acceptance::solve(&weights, budget);
            let mean = weights.iter().map(|&w| acceptance.probability(w)).sum::<f64>() / weights.len() as f64;
            prop_assert!((mean * budget - 1.0).abs() < 1e-9, "{mean} for {budget}");
        }
    }
}
