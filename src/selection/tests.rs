//! The choice against brute force on small pools, and laws that hold on any.

use super::kinds::empty_set;
use super::worth::Worth;
use super::*;
use crate::error::Error;
use crate::neighbors::distance::squared_l2;
use crate::progress::test_support::StopsAfter;
use crate::progress::{Progress, Silent};
use ndarray::{ArcArray2, Array2};
use proptest::prelude::*;
use std::sync::Mutex;

const KINDS: [SetWorth; 3] = [SetWorth::Facility, SetWorth::Spread, SetWorth::Rke];

fn features(rows: usize, width: usize, seed: u64) -> ArcArray2<f32> {
    let value = |(i, k): (usize, usize)| {
        let draw = |item: usize| crate::random::uniform(seed, crate::random::Purpose::Noise, item as u64);
        // Clusters of unlike size, so that sets differ in worth.
        let centre = (i % 7).min(4) as f64 * if k % 2 == 0 { 1.0 } else { -0.5 };
        (centre + draw(i * width + k)) as f32
    };
    Array2::from_shape_fn((rows, width), value).into_shared()
}

fn quality(rows: usize, seed: u64) -> Vec<f64> {
    (0..rows).map(|row| crate::random::uniform(seed, crate::random::Purpose::Draw, row as u64)).collect()
}

fn distance(features: &ArcArray2<f32>, a: usize, b: usize) -> f64 {
    squared_l2(features.row(a).to_slice().unwrap(), features.row(b).to_slice().unwrap()).sqrt()
}

/// The worth by its plain formula in plain loops.
fn plain_worth(
    kind: SetWorth,
    features: &ArcArray2<f32>,
    targets: &ArcArray2<f32>,
    set: &[usize],
    size: usize,
) -> f64 {
    let median = crate::density::median_pair_distance(&mut targets.clone(), 0).unwrap();
    match kind {
        SetWorth::Facility => {
            let of_target = |target: ndarray::ArrayView1<f32>| {
                let to = |&row: &usize| {
                    squared_l2(target.to_slice().unwrap(), features.row(row).to_slice().unwrap())
                };
                let nearest = set.iter().map(to).fold(f64::INFINITY, f64::min);
                (1.0 - nearest / (median * median)).max(0.0)
            };
            100.0 * targets.outer_iter().map(of_target).sum::<f64>() / targets.nrows() as f64
        }
        SetWorth::Spread => {
            let pairs = set.iter().enumerate().flat_map(|(i, &a)| set[..i].iter().map(move |&b| (a, b)));
            let smallest = pairs.map(|(a, b)| distance(features, a, b)).fold(f64::INFINITY, f64::min);
            if smallest.is_finite() { 100.0 * smallest / median } else { 0.0 }
        }
        SetWorth::Rke => {
            let kernel = |a: usize, b: usize| (-(distance(features, a, b) / (0.3 * median)).powi(2)).exp();
            let sum: f64 =
                set.iter().flat_map(|&a| set.iter().map(move |&b| (a, b))).map(|(a, b)| kernel(a, b)).sum();
            if set.is_empty() {
                0.0
            } else {
                -100.0 * (sum / (set.len() as f64).powi(2)).ln() / (size.max(2) as f64).ln()
            }
        }
    }
}

fn plain_objective(
    kind: SetWorth,
    features: &ArcArray2<f32>,
    quality: &[f64],
    targets: &ArcArray2<f32>,
    diversity: f64,
    set: &[usize],
) -> f64 {
    let standard = super::quality::standardized(quality);
    let mean = set.iter().map(|&row| standard[row]).sum::<f64>() / set.len() as f64;
    mean + diversity * plain_worth(kind, features, targets, set, set.len())
}

/// All subsets of `n` of `rows`.
fn subsets(rows: usize, n: usize) -> Vec<Vec<usize>> {
    (0u32..1 << rows)
        .filter(|bits| bits.count_ones() as usize == n)
        .map(|bits| (0..rows).filter(|row| bits >> row & 1 == 1).collect())
        .collect()
}

fn options(n: usize, set: SetWorth, diversity: f64) -> SelectionOptions {
    SelectionOptions { n, set, diversity, seed: 0 }
}

fn chosen(
    features: &ArcArray2<f32>,
    quality: &[f64],
    targets: &ArcArray2<f32>,
    limits: &Limits,
    options: SelectionOptions,
) -> Selection {
    select(features, quality, targets, limits, &options, &Silent).unwrap()
}

#[test]
fn a_worth_and_its_changes_are_those_of_the_plain_formula() {
    let (features, targets) = (features(23, 5, 1), features(40, 5, 2));
    for kind in KINDS {
        let size = 4;
        let mut worth: Box<dyn Worth> = empty_set(kind, &features, &targets, size, 0).unwrap();
        let plain = |set: &[usize]| plain_worth(kind, &features, &targets, set, size);
        let mut set: Vec<usize> = Vec::new();
        let check = |worth: &dyn Worth, set: &[usize]| {
            assert!((worth.value() - plain(set)).abs() < 1e-3, "{kind:?} {set:?}");
            let others: Vec<u32> = (0..23).filter(|row| !set.contains(&(*row as usize))).collect();
            let gains = worth.gains(&others).unwrap();
            for (&row, gain) in others.iter().zip(gains) {
                let with = plain(&[set, &[row as usize]].concat());
                assert!((with - plain(set) - gain).abs() < 1e-3, "{kind:?} {set:?} {row}: {gain}");
            }
            let changes = worth.swap_changes(&others).unwrap();
            for (at, change) in changes.into_iter().enumerate() {
                let mut swapped = set.to_vec();
                swapped[at % set.len()] = others[at / set.len()] as usize;
                assert!(
                    (plain(&swapped) - plain(set) - change).abs() < 1e-3,
                    "{kind:?} {set:?} {swapped:?}: {change}"
                );
            }
        };
        for row in [5, 20, 11, 2] {
            worth.add(row).unwrap();
            set.push(row as usize);
            check(worth.as_ref(), &set);
        }
        for (slot, row) in [(1, 7), (0, 19), (3, 20), (0, 5)] {
            worth.replace(slot, row).unwrap();
            set[slot] = row as usize;
            check(worth.as_ref(), &set);
        }
        worth.clear();
        assert_eq!(worth.value(), 0.0);
    }
}

#[test]
fn small_pools_are_chosen_from_as_by_brute_force() {
    let mut best_found = 0;
    let mut tried = 0;
    for (kind, diversity) in [(SetWorth::Facility, 1.0), (SetWorth::Spread, 0.02), (SetWorth::Rke, 0.1)] {
        for (rows, n, seed) in
            [(8, 3, 1), (10, 5, 2), (12, 1, 3), (12, 7, 4), (16, 4, 5), (16, 16, 6), (16, 12, 7)]
        {
            let (features, targets, quality) =
                (features(rows, 4, seed), features(50, 4, seed + 100), quality(rows, seed));
            let found =
                chosen(&features, &quality, &targets, &Limits::default(), options(n, kind, diversity));
            let plain = |set: &[usize]| plain_objective(kind, &features, &quality, &targets, diversity, set);
            assert!(
                (plain(&found.rows) - found.objective).abs() < 1e-3,
                "{kind:?}: {} {}",
                plain(&found.rows),
                found.objective
            );
            let sets = subsets(rows, n);
            let best = sets.iter().map(|set| plain(set)).fold(f64::NEG_INFINITY, f64::max);
            let worst = sets.iter().map(|set| plain(set)).fold(f64::INFINITY, f64::min);
            assert!(found.objective <= best + 1e-3);
            // Where no single swap helps there may still be a better set, but not a much better one.
            assert!(
                found.objective >= best - 0.1 * (best - worst) - 1e-3,
                "{kind:?} {rows} {n}: {} of {best}",
                found.objective
            );
            tried += 1;
            best_found += usize::from(found.objective >= best - 1e-3);
        }
    }
    assert!(best_found * 10 >= tried * 8, "{best_found} of {tried}");
}

#[test]
fn greedy_choice_is_within_its_bound() {
    for seed in 0..8 {
        let (features, targets) = (features(14, 3, seed), features(30, 3, seed + 50));
        let mut worth = empty_set(SetWorth::Facility, &features, &targets, 5, 0).unwrap();
        let nothing = Limits::default();
        let objective = super::greedy::Objective { quality: &[0.0; 14], diversity: 1.0 };
        let rows: Vec<u32> = (0..14).collect();
        let mut state = super::limits::LimitState::new(&nothing, 14);
        let taken = super::greedy::greedy(&rows, 5, &objective, worth.as_mut(), &mut state, &Silent).unwrap();
        let sum: f64 = taken.iter().map(|(_, gain)| gain).sum();
        assert!((sum - worth.value()).abs() < 1e-6);
        assert!(taken.windows(2).all(|pair| pair[0].1 >= pair[1].1 - 1e-9), "gains fall: {taken:?}");
        let best = subsets(14, 5)
            .iter()
            .map(|set| plain_worth(SetWorth::Facility, &features, &targets, set, 5))
            .fold(0.0, f64::max);
        assert!(worth.value() >= (1.0 - (-1f64).exp()) * best, "{} of {best}", worth.value());
    }
}

#[test]
fn lazy_evaluation_takes_what_looking_at_all_would_take() {
    let (features, targets) = (features(300, 6, 3), features(500, 6, 4));
    let quality: Vec<f64> = quality(300, 3).iter().map(|quality| quality * 0.05).collect();
    let mut worth = empty_set(SetWorth::Facility, &features, &targets, 20, 0).unwrap();
    let nothing = Limits::default();
    let objective = super::greedy::Objective { quality: &quality, diversity: 0.02 };
    let rows: Vec<u32> = (0..300).collect();
    let mut state = super::limits::LimitState::new(&nothing, 300);
    let taken = super::greedy::greedy(&rows, 20, &objective, worth.as_mut(), &mut state, &Silent).unwrap();
    worth.clear();
    let mut left = rows;
    for (row, gain) in taken {
        let all = worth.gains(&left).unwrap();
        let total = |at: usize| quality[left[at] as usize] + 0.02 * all[at];
        let best = (0..left.len()).max_by(|&a, &b| total(a).total_cmp(&total(b)).then(b.cmp(&a))).unwrap();
        assert_eq!((left[best], total(best)), (row, gain));
        worth.add(row).unwrap();
        left.remove(best);
    }
}

#[test]
fn images_that_must_be_in_the_set_count_for_it_and_are_not_chosen() {
    // Two far groups; one of them is served already.
    let rows = ndarray::array![[0.0f32], [0.1], [0.2], [9.0], [9.1], [0.1]].into_shared();
    let targets = ndarray::array![[0.0f32], [0.1], [0.2], [9.0], [9.1]].into_shared();
    for kind in KINDS {
        let found = chosen(&rows, &[0.0; 5], &targets, &Limits::default(), options(1, kind, 1.0));
        assert!(found.rows[0] >= 3, "{kind:?}: {found:?}");
    }
}

#[test]
fn limits_hold_and_what_they_left_is_said() {
    let features = features(60, 4, 9);
    let quality = quality(60, 9);
    let labels: Vec<String> = (0..60).map(|row| (row % 3).to_string()).collect();
    let near = TooNear::new(&features, 0.6);
    for kind in KINDS {
        let excluded: Vec<bool> = (0..60).map(|row| row % 5 == 0).collect();
        let allowed: Vec<bool> = excluded.iter().map(|excluded| !excluded).collect();
        let shares = Some(Shares::of_whole(&labels, &allowed, 12));
        let limits = Limits { excluded, conflicts: vec![&near], shares };
        let found =
            chosen(&features, &quality, &features, &limits, options(12, kind, kind.default_diversity()));
        assert_eq!(found.rows.len(), 12, "{kind:?}");
        for group in 0..3 {
            assert_eq!(found.rows.iter().filter(|&&row| row % 3 == group).count(), 4);
        }
        for (at, &row) in found.rows.iter().enumerate() {
            assert_ne!(row % 5, 0);
            assert!(found.rows[..at].iter().all(|&other| distance(&features, row, other) >= 0.6));
        }
        assert_eq!(found.left[0], Some(Reason::Excluded));
    }
    let far = TooNear::new(&features, 1e3);
    let limits = Limits { conflicts: vec![&far], ..Limits::default() };
    let found = chosen(&features, &quality, &features, &limits, options(5, SetWorth::Facility, 1.0));
    assert_eq!(found.rows.len(), 1);
    assert_eq!(found.left.iter().flatten().filter(|reason| **reason == Reason::Conflict).count(), 59);
}

#[test]
fn what_cannot_be_used_is_an_error_and_a_stop_is_followed() {
    let (few, targets) = (features(6, 3, 1), features(9, 3, 2));
    let all = |features: &ArcArray2<f32>, quality: &[f64], targets: &ArcArray2<f32>| {
        select(features, quality, targets, &Limits::default(), &options(2, SetWorth::Facility, 1.0), &Silent)
    };
    assert!(all(&few, &[0.0; 7], &targets).is_err());
    assert!(all(&few, &[f64::NAN; 6], &targets).is_err());
    assert!(all(&few, &[0.0; 6], &features(9, 4, 2)).is_err());
    assert!(all(&few.mapv(|_| f32::NAN).into_shared(), &[0.0; 6], &targets).is_err());
    let stops = StopsAfter::new(1);
    let options = options(2, SetWorth::Facility, 1.0);
    let error = select(&few, &[0.0; 6], &targets, &Limits::default(), &options, &stops).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }));
}

#[test]
fn the_number_of_threads_and_the_instruction_set_change_nothing() {
    let (features, targets, quality) = (features(260, 7, 5), features(1500, 7, 6), quality(260, 5));
    for kind in KINDS {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let options = options(17, kind, kind.default_diversity());
            pool.install(|| chosen(&features, &quality, &targets, &Limits::default(), options))
        };
        let first = run(1);
        assert_eq!(run(3), first);
        crate::ops::simd::testing::with_each_isa(|isa| assert_eq!(run(2), first, "{isa:?}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_choice_has_n_different_rows_is_no_worse_than_greedy_and_adds_up(
        rows in 2usize..40, n in 1usize..12, seed in 0u64..1000, kind in 0usize..3, times in 0.0f64..3.0,
    ) {
        let n = n.min(rows);
        let (features, quality) = (features(rows, 3, seed), quality(rows, seed));
        let kind = KINDS[kind];
        let diversity = times * kind.default_diversity();
        let found = chosen(&features, &quality, &features, &Limits::default(), options(n, kind, diversity));
        let mut sorted = found.rows.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), n);
        prop_assert!((found.gains.iter().sum::<f64>() - found.objective).abs() < 1e-9);
        prop_assert!((plain_objective(kind, &features, &quality, &features, diversity, &found.rows) - found.objective).abs() < 2e-3);
        // No single swap helps.
        for slot in 0..n {
            for row in (0..rows).filter(|row| !found.rows.contains(row)) {
                let mut swapped = found.rows.clone();
                swapped[slot] = row;
                let other = plain_objective(kind, &features, &quality, &features, diversity, &swapped);
                prop_assert!(other <= found.objective + 2e-3, "{other} {}", found.objective);
            }
        }
    }
}

/// The steps that were reported: the name, the units in all and the units that are done, and whether it is over.
#[derive(Default)]
struct Steps(Mutex<Vec<(String, u64, u64, bool)>>);

impl Progress for Steps {
    fn start(&self, step: &str, total: u64, _: &'static str) {
        self.0.lock().unwrap().push((step.into(), total, 0, false));
    }
    fn advance(&self, done: u64) {
        self.0.lock().unwrap().last_mut().unwrap().2 += done;
    }
    fn finish(&self) {
        self.0.lock().unwrap().last_mut().unwrap().3 = true;
    }
    fn warn(&self, _: &str) {}
    fn stop_requested(&self) -> bool {
        false
    }
}

#[test]
fn each_part_of_a_choice_reports_how_far_it_is() {
    let features = features(300, 4, 1);
    let steps = Steps::default();
    let options = SelectionOptions { n: 9, set: SetWorth::Facility, diversity: 1.0, seed: 0 };
    select(&features, &quality(300, 2), &features, &Limits::default(), &options, &steps).unwrap();
    let steps = steps.0.into_inner().unwrap();
    let names: Vec<&str> = steps.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names[..3], ["comparing candidates", "choosing", "swapping, round 1"]);
    assert!(steps.iter().all(|(.., over)| *over));
    let last = steps.len() - 1;
    for (at, (name, total, done, _)) in steps.iter().enumerate() {
        assert_eq!(*total, if name == "choosing" { 9 } else { 300 });
        assert!(done == total || at == last && done <= total, "{name}: {done} of {total}");
    }
}
