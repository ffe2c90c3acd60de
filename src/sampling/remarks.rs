//! What a user should know of weights and of what they did, where something is likely to be wrong.

use super::spacing::Decision;
use crate::density::Rule;
use crate::progress::Progress;

/// Log weights that differ by less than this are alike: a factor of 1.001.
const ALIKE: f64 = 1e-3;
/// Weights that are worth fewer unweighted images than this say that nearly all candidates are of no use.
const FEW_IMAGES: f64 = 10.0;
/// Or a smaller share of the candidates than this.
const SMALL_SHARE: f64 = 0.01;
/// Standard errors of the mean beyond which a change of the density is no chance.
const CERTAIN: f64 = 2.0;

/// Warns where weights of candidates tell nothing apart, or nearly all of the candidates are of no use: `effective` is their effective
/// sample size.
pub(super) fn warn_of_weights(log_weights: &[f64], effective: f64, progress: &dyn Progress) {
    let images = log_weights.len();
    let highest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lowest = log_weights.iter().copied().fold(f64::INFINITY, f64::min);
    if images < 2 {
        return;
    }
    // Where nothing is accepted for its weight, there is nothing that a bias could change.
    if highest - lowest < ALIKE || !highest.is_finite() {
        progress.warn(&format!(
            "all {images} candidates weigh the same, so that the bias changes nothing: \
             none of them (or each) is beyond the threshold, or the reference is of other pictures than the generator makes"
        ));
    } else if effective < FEW_IMAGES.max(SMALL_SHARE * images as f64) && effective < images as f64 / 2.0 {
        progress.warn(&format!(
            "the weights are worth {effective:.0} of {images} images, so that a few kinds of images will be chosen over and over: \
             the reference may be of other pictures than the generator makes, or the bias is too strong"
        ));
    }
}

/// Warns where most candidates have lower densities than every real image: `lowest` is the lowest density of these.
pub(super) fn warn_of_reference(densities: &[f64], lowest: f64, progress: &dyn Progress) {
    let below = densities.iter().filter(|density| **density < lowest).count();
    if below > densities.len() / 2 {
        progress.warn(&format!(
            "{below} of {} candidates are less typical than every image of the reference: it is likely to be of other pictures than these",
            densities.len()
        ));
    }
}

/// Warns where the kept have a lower density than the candidates although the rule asks for a higher one, or the other way round.
pub(super) fn warn_of_direction(
    rule: Option<Rule>,
    densities: &[f64],
    decisions: &[Decision],
    progress: &dyn Progress,
) {
    let (wanted, way) = match rule {
        Some(Rule::Power { b } | Rule::Ratio { b, .. }) if b != 0.0 => (b.signum(), b > 0.0),
        Some(Rule::TwoLevel { weight, .. }) if weight != 1.0 => ((weight - 1.0).signum(), weight > 1.0),
        _ => return,
    };
    let kept: Vec<f64> = densities
        .iter()
        .zip(decisions)
        .filter(|(_, decision)| **decision == Decision::Kept)
        .map(|(density, _)| *density)
        .collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    if kept.len() < 2 || kept.len() == densities.len() {
        return;
    }
    let (before, after) = (mean(densities), mean(&kept));
    let variance =
        densities.iter().map(|density| (density - before).powi(2)).sum::<f64>() / densities.len() as f64;
    let error = (variance / kept.len() as f64).sqrt();
    if wanted * (after - before) < -CERTAIN * error {
        let (direction, moved) = match way {
            true => ("fidelity", "fell"),
            false => ("diversity", "rose"),
        };
        progress.warn(&format!(
            "the bias was towards {direction}, and the mean density {moved} from {before:.3} to {after:.3}: the generator makes far too \
             much of what is typical for the reference (or far too little), or the reference is of other pictures; the power rule follows the density alone"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::test_support::Warnings;

    fn heard(run: impl Fn(&Warnings)) -> String {
        let warnings = Warnings::default();
        run(&warnings);
        warnings.so_far().join("; ")
    }

    #[test]
    fn weights_that_are_alike_or_worth_a_few_images_are_said() {
        let of = |weights: &[f64], effective| heard(|heard| warn_of_weights(weights, effective, heard));
        assert!(of(&[-3.0; 500], 500.0).contains("all 500 candidates weigh the same"));
        assert!(of(&[f64::NEG_INFINITY; 500], f64::NAN).contains("weigh the same"));
        let spread: Vec<f64> = (0..500).map(|i| f64::from(i) / 100.0).collect();
        assert!(of(&spread, 7.0).contains("worth 7 of 500 images"));
        assert_eq!(of(&spread, 250.0), "");
        assert_eq!(of(&[0.0, 5.0, 1.0], 2.0), "");
    }

    #[test]
    fn candidates_that_lie_beyond_all_real_images_are_said() {
        let densities: Vec<f64> = (0..100).map(f64::from).collect();
        assert!(heard(|heard| warn_of_reference(&densities, 60.0, heard)).contains("60 of 100 candidates"));
        assert_eq!(heard(|heard| warn_of_reference(&densities, 40.0, heard)), "");
        assert_eq!(heard(|heard| warn_of_reference(&[], 40.0, heard)), "");
    }

    #[test]
    fn a_density_that_moved_the_wrong_way_is_said() {
        let densities: Vec<f64> = (0..400).map(|i| f64::from(i) / 400.0).collect();
        let keep = |kept: fn(usize) -> bool| -> Vec<Decision> {
            (0..400).map(|i| if kept(i) { Decision::Kept } else { Decision::Rejected }).collect()
        };
        let said = |rule, decisions: &[Decision]| {
            heard(|heard| warn_of_direction(Some(rule), &densities, decisions, heard))
        };
        let (low, high, some) = (keep(|i| i < 100), keep(|i| i >= 300), keep(|i| i % 4 == 0));
        let ratio = |b| Rule::Ratio { b, dimension: 5.0 };
        assert!(said(ratio(2.0), &low).contains("fidelity"));
        assert!(said(Rule::Power { b: -2.0 }, &high).contains("diversity"));
        assert!(said(Rule::TwoLevel { threshold: 0.5, weight: 33.0 }, &low).contains("fell"));
        for (rule, decisions) in
            [(ratio(2.0), &high), (ratio(2.0), &some), (ratio(0.0), &low), (ratio(-2.0), &low)]
        {
            assert_eq!(said(rule, decisions), "");
        }
    }
}
