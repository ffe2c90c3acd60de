//! Rank correlation (Spearman 1904), with ties sharing their mean rank as `scipy.stats.spearmanr` has it.

/// The rank of each value, 1 to N; equal values share the mean of their ranks.
pub(super) fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let last = first + tied.len();
        let rank = (first + 1 + last) as f64 / 2.0;
        tied.iter().for_each(|&row| ranks[row] = rank);
        first = last;
    }
    ranks
}

/// Spearman's rank correlation, -1 to 1; `None` where it is not defined: fewer than two values, or one side constant.
///
/// # Panics
/// If the sides differ in length.
pub(crate) fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "correlation of two lengths");
    pearson(&average_ranks(a), &average_ranks(b))
}

fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    (aa > 0.0 && bb > 0.0).then(|| (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, 2.0, -0.0, 0.0]), [5.5, 3.0, 5.5, 4.0, 1.5, 1.5]);
    }

    #[test]
    fn known_tables_give_their_coefficient() {
        // Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)); the textbook table of IQ against hours of television, -29/165.
        let iq = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let hours = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        assert!((spearman(&iq, &hours).unwrap() + 29.0 / 165.0).abs() < 1e-15);
        // Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5 over sqrt(4.5 * 5).
        let tied = spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((tied - 4.5 / (4.5f64 * 5.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn nothing_and_constants_have_no_correlation() {
        assert_eq!(spearman(&[], &[]), None);
        assert_eq!(spearman(&[1.0], &[2.0]), None);
        assert_eq!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
    }

    proptest! {
        #[test]
        fn only_the_order_matters(values in prop::collection::vec(-10.0..10.0f64, 2..40), other in prop::collection::vec(-10.0..10.0f64, 40)) {
            let other = &other[..values.len()];
            let stretched: Vec<f64> = values.iter().map(|v| v.exp()).collect();
            prop_assert_eq!(spearman(&values, other), spearman(&stretched, other));
            let turned: Vec<f64> = values.iter().map(|v| -v).collect();
            if let (Some(a), Some(b)) = (spearman(&values, other), spearman(&turned, other)) {
                prop_assert!((a + b).abs() < 1e-12);
            }
        }
    }
}
