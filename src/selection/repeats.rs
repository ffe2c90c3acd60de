//! Whole repeats: how often each image of a training set is to be there, so that a trainer that goes through the set evenly meets each as
//! often as its weight says.
//!
//! The images of one number of repeats are a level. Each image gets its weight, scaled so that the largest weight becomes a number M of
//! repeats, rounded to the nearest whole number and at least 1. A level whose frequency is too far from what its weights say is joined with
//! the next one. The smallest M whose frequencies are near enough to the weights is taken: a longer set is a longer epoch.

use crate::density::effective_sample_size;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How far the frequency of a level may be from what the weights say, in parts of it, and which share of all draws may go to other images
/// than the weights say.
pub(crate) const PROMISED: f64 = 0.05;
/// Largest number of repeats that may be asked for.
pub(crate) const MOST_REPEATS: u32 = 10_000;
/// Of the numbers of repeats up to so many times the smallest that keeps the promise, the most exact one is taken: 33 instead of 31.
const SLACK: f64 = 1.1;
/// From here on an image is rounded up to two repeats.
const ROUNDS_UP: f64 = 1.5;
/// Below this an image may yet stay at one, where the others of that level have less.
const NEVER_ONE: f64 = 2.0;
/// Numbers of repeats that are tried at once.
const TRIED_TOGETHER: usize = 64;
/// Levels among which some are joined, at most: more of them need no joining.
const MOST_JOINED: usize = 200;
/// Factor between the numbers of repeats that are tried beyond those that were allowed.
const STEP: f64 = 1.05;

/// The images of one number of repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RepeatLevel {
    /// How often each of them is in the set.
    pub repeats: u32,
    /// How many they are.
    pub images: usize,
    /// The share of all draws that their weights say, 0 to 1.
    pub wanted: f64,
    /// The share that they have, 0 to 1.
    pub share: f64,
}

impl RepeatLevel {
    /// How far the share is from what was wanted, in parts of that.
    pub(crate) fn error(&self) -> f64 {
        self.share / self.wanted - 1.0
    }
}

/// How often each image is in the set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Repeats {
    /// At least 1 each, `[N]`.
    pub of_images: Vec<u32>,
    /// From few repeats to many.
    pub levels: Vec<RepeatLevel>,
    /// The share of all draws that go to other images than the weights say, 0 to 1: half the sum of the differences.
    pub misplaced: f64,
}

impl Repeats {
    /// Repeats of images of these weights, given as logarithms, with at most `most` of an image. Where none of them are near enough to the
    /// weights, the nearest are returned.
    pub(crate) fn of(log_weights: &[f64], most: u32) -> Self {
        let weights = Sorted::new(log_weights);
        let mut best: Option<Fit> = None;
        let mut end = most;
        let mut next = 1;
        while next <= end {
            let last = end.min(next.saturating_add(TRIED_TOGETHER as u32 - 1));
            let found: Vec<Fit> = (next..=last).into_par_iter().map(|most| weights.fit(most)).collect();
            for fit in found {
                if fit.keeps_promise() && best.as_ref().is_none_or(|best| !best.keeps_promise()) {
                    end = most.min((f64::from(fit.most) * SLACK).ceil() as u32);
                }
                if fit.most <= end && best.as_ref().is_none_or(|best| fit.is_better_than(best)) {
                    best = Some(fit);
                }
            }
            next = last.saturating_add(1);
        }
        weights.repeats(best.map_or(1, |fit| fit.most))
    }

    /// Whether the frequencies are as near to the weights as [`PROMISED`].
    pub(crate) fn keep_promise(&self) -> bool {
        self.largest_error() <= PROMISED && self.misplaced <= PROMISED
    }

    /// The largest error of a level, in parts of its share.
    pub(crate) fn largest_error(&self) -> f64 {
        largest_error(&self.levels)
    }

    /// Images of the set, each as often as it is there.
    pub(crate) fn total(&self) -> u64 {
        self.of_images.iter().map(|&repeats| u64::from(repeats)).sum()
    }

    /// As many unweighted images would be worth as much as the set.
    pub(crate) fn effective_sample_size(&self) -> f64 {
        let logs: Vec<f64> = self.of_images.iter().map(|&repeats| f64::from(repeats).ln()).collect();
        effective_sample_size(&logs)
    }
}

/// How many repeats of an image, more than `most`, would be enough; `None` if [`MOST_REPEATS`] are not.
pub(crate) fn enough_repeats(log_weights: &[f64], most: u32) -> Option<u32> {
    let weights = Sorted::new(log_weights);
    let longer = |most: &u32| Some(((f64::from(*most) * STEP).ceil() as u32).max(most + 1));
    let tried = std::iter::successors(longer(&most), longer).take_while(|most| *most <= MOST_REPEATS);
    tried.chain([MOST_REPEATS]).find(|&most| weights.fit(most).keeps_promise())
}

/// How near repeats are to the weights.
#[derive(Debug, Clone, Copy)]
struct Fit {
    most: u32,
    largest_error: f64,
    misplaced: f64,
}

impl Fit {
    fn keeps_promise(&self) -> bool {
        self.largest_error <= PROMISED && self.misplaced <= PROMISED
    }

    /// Those that keep the promise come first, the most exact of them; of the others those of which the fewest draws are misplaced.
    fn is_better_than(&self, other: &Self) -> bool {
        match (self.keeps_promise(), other.keeps_promise()) {
            (true, true) => self.largest_error.max(self.misplaced) < other.largest_error.max(other.misplaced),
            (false, false) => self.misplaced < other.misplaced,
            (keeps, _) => keeps,
        }
    }
}

/// Weights in parts of the largest, in rising order.
struct Sorted {
    weights: Vec<f64>,
    /// The image of each.
    rows: Vec<usize>,
    total: f64,
}

impl Sorted {
    fn new(log_weights: &[f64]) -> Self {
        let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut rows: Vec<usize> = (0..log_weights.len()).collect();
        rows.sort_by(|&a, &b| log_weights[a].total_cmp(&log_weights[b]).then(a.cmp(&b)));
        let weights: Vec<f64> = rows.iter().map(|&row| (log_weights[row] - largest).exp()).collect();
        Self { total: weights.iter().sum(), weights, rows }
    }

    /// Repeats in rising order, where the largest weight has `most`.
    fn rounded(&self, most: u32) -> Vec<u32> {
        // What the images of one repeat would have, and how many they are.
        let (mut sum, mut count) = (0.0, 0.0);
        let mut before: Option<(f64, u32)> = None;
        let mut round = |&weight: &f64| {
            let scaled = weight * f64::from(most);
            let stays = scaled < ROUNDS_UP || scaled < NEVER_ONE && sum < count;
            let repeats = match before {
                // Images of one weight come equally often.
                Some((same, repeats)) if same == weight => repeats,
                _ if stays => 1,
                _ => scaled.round() as u32,
            };
            if repeats == 1 {
                (sum, count) = (sum + scaled, count + 1.0);
            }
            before = Some((weight, repeats));
            repeats
        };
        self.weights.iter().map(&mut round).collect()
    }

    /// The levels of repeats in rising order, and the share of draws that go elsewhere.
    fn levels(&self, repeats: &[u32]) -> (Vec<RepeatLevel>, f64) {
        let total: f64 = repeats.iter().map(|&repeats| f64::from(repeats)).sum();
        let mut levels: Vec<RepeatLevel> = Vec::new();
        let mut misplaced = 0.0;
        for (&repeats, weight) in repeats.iter().zip(&self.weights) {
            let (share, wanted) = (f64::from(repeats) / total, weight / self.total);
            misplaced += 0.5 * (share - wanted).abs();
            match levels.last_mut().filter(|level| level.repeats == repeats) {
                Some(level) => {
                    level.images += 1;
                    level.wanted += wanted;
                    level.share += share;
                }
                None => levels.push(RepeatLevel { repeats, images: 1, wanted, share }),
            }
        }
        (levels, misplaced)
    }

    /// Repeats in rising order with their levels, where the largest weight has about `most`.
    fn best(&self, most: u32) -> (Vec<u32>, Vec<RepeatLevel>, f64) {
        let plain = self.rounded(most);
        let (levels, misplaced) = self.levels(&plain);
        if largest_error(&levels) > PROMISED && levels.len() <= MOST_JOINED {
            let joined = joined(levels.clone());
            let repeats: Vec<u32> =
                joined.iter().flat_map(|level| vec![level.repeats; level.images]).collect();
            let (levels, misplaced) = self.levels(&repeats);
            if largest_error(&levels) <= PROMISED && misplaced <= PROMISED {
                return (repeats, levels, misplaced);
            }
        }
        (plain, levels, misplaced)
    }

    fn fit(&self, most: u32) -> Fit {
        let (_, levels, misplaced) = self.best(most);
        Fit { most, largest_error: largest_error(&levels), misplaced }
    }

    fn repeats(&self, most: u32) -> Repeats {
        let (sorted, levels, misplaced) = self.best(most);
        let mut of_images = vec![1; sorted.len()];
        self.rows.iter().zip(sorted).for_each(|(&row, repeats)| of_images[row] = repeats);
        Repeats { of_images, levels, misplaced }
    }
}

fn largest_error(levels: &[RepeatLevel]) -> f64 {
    levels.iter().map(|level| level.error().abs()).fold(0.0, f64::max)
}

/// Joins the level of the largest error with the one whose repeats are nearest, until no error is above [`PROMISED`]. A joined level gets the
/// repeats that its weights say. Shares are not kept up to date.
fn joined(mut levels: Vec<RepeatLevel>) -> Vec<RepeatLevel> {
    // Repeats for each part of all draws.
    let scale: f64 = levels.iter().map(|level| f64::from(level.repeats) * level.images as f64).sum();
    while levels.len() > 1 {
        let total: f64 = levels.iter().map(|level| f64::from(level.repeats) * level.images as f64).sum();
        let error = |level: &RepeatLevel| {
            (f64::from(level.repeats) * level.images as f64 / total / level.wanted - 1.0).abs()
        };
        let errors = levels.iter().map(error).enumerate();
        let Some((worst, error)) = errors.max_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        if error <= PROMISED {
            break;
        }
        let apart = |at: usize| levels[at + 1].repeats - levels[at].repeats;
        let is_with_before = worst + 1 == levels.len() || worst > 0 && apart(worst - 1) <= apart(worst);
        let at = if is_with_before { worst - 1 } else { worst };
        let after = levels.remove(at + 1);
        let level = &mut levels[at];
        level.images += after.images;
        level.wanted += after.wanted;
        let repeats = (level.wanted * scale / level.images as f64).round() as u32;
        level.repeats = repeats.clamp(level.repeats, after.repeats);
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn logs(weights: &[f64]) -> Vec<f64> {
        weights.iter().map(|weight| weight.ln()).collect()
    }

    /// `low` images of the weight 1, `high` ones of the weight `w`, in turn.
    fn two_levels((low, high): (usize, usize), w: f64) -> Vec<f64> {
        let mut weights = vec![1.0; low];
        weights.extend(vec![w; high]);
        weights.reverse();
        logs(&weights)
    }

    #[test]
    fn the_published_weights_are_repeats_as_they_are() {
        let fidelity = Repeats::of(&two_levels((90, 10), 33.0), 100);
        assert_eq!((fidelity.of_images[0], fidelity.of_images[99]), (33, 1));
        assert!(fidelity.largest_error() < 1e-12 && fidelity.misplaced < 1e-12, "{fidelity:?}");
        assert_eq!(fidelity.total(), 90 + 330);
        // 420^2 / (90 + 10 * 33^2).
        assert!((fidelity.effective_sample_size() - 176_400.0 / 10_980.0).abs() < 1e-9);
        let diversity = Repeats::of(&two_levels((20, 80), 0.03), 100);
        assert_eq!((diversity.of_images[0], diversity.of_images[99]), (1, 33));
        // 20 images of weight 1 and 80 of 0.03: 20 / 22.4 of the draws are wanted, 660 / 740 are had.
        let error = (660.0 / 740.0) / (20.0 / 22.4) - 1.0;
        assert!((diversity.levels[1].error() - error).abs() < 1e-12);
        assert!(diversity.keep_promise());
    }

    #[test]
    fn too_few_repeats_are_told_with_those_that_are_enough() {
        let weights = two_levels((90, 10), 33.0);
        let few = Repeats::of(&weights, 10);
        assert_eq!((few.of_images[0], few.of_images[99]), (10, 1));
        assert!(!few.keep_promise());
        let enough = enough_repeats(&weights, 10).unwrap();
        assert!((31..=33).contains(&enough), "{enough}");
        assert!(Repeats::of(&weights, enough).keep_promise());
        assert_eq!(enough_repeats(&two_levels((9, 9), 1e9), 10), None);
    }

    #[test]
    fn equal_weights_are_the_set_itself() {
        let all = Repeats::of(&logs(&[0.3; 7]), 100);
        assert_eq!((all.of_images, all.levels.len(), all.misplaced < 1e-12), (vec![1; 7], 1, true));
        assert!(Repeats::of(&[], 5).of_images.is_empty());
    }

    #[test]
    fn images_of_nearly_no_weight_share_their_level_with_others_so_that_its_frequency_is_right() {
        // A weight of almost 0 beside many even ones.
        let mut weights: Vec<f64> = (1..400).map(|i| f64::from(i) / 100.0).collect();
        weights.push(1e-9);
        let found = Repeats::of(&logs(&weights), 100);
        assert!(found.keep_promise(), "{} {}", found.largest_error(), found.misplaced);
        assert_eq!(found.of_images.last(), found.of_images.iter().min());
    }

    #[test]
    fn few_images_between_the_levels_join_one_of_them_instead_of_asking_for_more_repeats() {
        // Even weights, and a lonely one half-way between two numbers of repeats.
        let mut weights: Vec<f64> = (0..300).map(|i| 1.0 + f64::from(i % 10) / 9.0).collect();
        weights.extend([0.31, 7.4]);
        let found = Repeats::of(&logs(&weights), 40);
        assert!(found.keep_promise(), "{} {}", found.largest_error(), found.misplaced);
        assert!(found.of_images[301] < 25 && found.levels.len() < 12, "{:?}", found.levels);
    }

    proptest! {
        #[test]
        fn repeats_rise_with_weights_and_what_is_told_of_them_is_true(
            logs in prop::collection::vec(-4f64..4.0, 1..60), most in 1u32..60
        ) {
            let found = Repeats::of(&logs, most);
            prop_assert!(found.of_images.iter().all(|repeats| (1..=most).contains(repeats)));
            for i in 0..logs.len() {
                for j in 0..logs.len() {
                    prop_assert!(logs[i] > logs[j] || found.of_images[i] <= found.of_images[j]);
                }
            }
            let (all, sum) = (found.total() as f64, logs.iter().map(|log| log.exp()).sum::<f64>());
            for level in &found.levels {
                let of_level = |row: &usize| found.of_images[*row] == level.repeats;
                let rows: Vec<usize> = (0..logs.len()).filter(of_level).collect();
                let wanted = rows.iter().map(|&row| logs[row].exp()).sum::<f64>() / sum;
                prop_assert_eq!(level.images, rows.len());
                prop_assert!((level.wanted - wanted).abs() < 1e-9);
                prop_assert!((level.share - rows.len() as f64 * f64::from(level.repeats) / all).abs() < 1e-9);
            }
            prop_assert_eq!(found.levels.iter().map(|level| level.images).sum::<usize>(), logs.len());
        }
    }
}
