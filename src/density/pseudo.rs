//! The pseudo density, made of the mean distance to the K nearest real features (`Neighbors::mean_distances`)
//! (Li et al., *Controlling the Fidelity and Diversity of Deep Generative Models via Pseudo Density*, TMLR 2024, section 3.1).

use crate::error::{Error, Result};
use crate::remedy::Remedy;
use serde::{Deserialize, Serialize};

/// The pseudo density, fitted to a reference: `rho(x) = raw(x) * N / sum_i raw(x_i)` with `raw(x) = (1 / d_K(x))^n`.
///
/// Powers are taken of `floor / d_K` instead of `1 / d_K`: the factor cancels, and no distance, however small or
/// large, leaves the range of a double.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PseudoDensity {
    /// Neighbours per row (K).
    pub k: usize,
    /// The exponent n, above 0.
    pub exponent: f64,
    /// Rows of the reference (N).
    pub rows: usize,
    /// The smallest mean distance of the reference above 0; a row whose mean distance is 0 takes it.
    pub floor: f64,
    /// `sum_i (floor / d_K(x_i))^n` over the reference, between 1 and N.
    pub scaled_sum: f64,
}

impl PseudoDensity {
    /// Fits the model to the leave-one-out mean distances `[N]` of a reference, and returns it with the pseudo density
    /// of every row, `[N]`, whose mean is 1.
    ///
    /// # Errors
    /// [`Error::Usage`] if `k` is 0 or the exponent is not a positive number; [`Error::Data`] if `N <= K`, if a distance
    /// is not finite or is negative, or if all are 0.
    pub fn fit(mean_distances: &[f64], k: usize, exponent: f64) -> Result<(PseudoDensity, Vec<f64>)> {
        let rows = mean_distances.len();
        if k == 0 {
            return Err(Error::usage(
                "k is 0",
                "a row needs at least one neighbour; 10 is the published number",
            ));
        }
        if !(exponent.is_finite() && exponent > 0.0) {
            return Err(Error::usage(
                format!("the exponent {exponent} is not a positive number"),
                "the published exponent is 1",
            ));
        }
        if rows <= k {
            return Err(Error::data(
                format!("{rows} images cannot have {k} neighbours each"),
                Remedy::FewerNeighbours(Some(rows.saturating_sub(1))),
            ));
        }
        if let Some(row) = mean_distances.iter().position(|d| !d.is_finite() || *d < 0.0) {
            return Err(Error::data(
                format!("the mean neighbour distance of row {row} is {}", mean_distances[row]),
                "features must be finite",
            ));
        }
        let floor = mean_distances.iter().copied().filter(|&d| d > 0.0).fold(f64::INFINITY, f64::min);
        if floor == f64::INFINITY {
            return Err(Error::data(
                format!(
                    "all {rows} mean neighbour distances are 0: the features are constant, or every image has {k} or more exact copies"
                ),
                Remedy::CollapseDuplicates,
            ));
        }
        let mut model = PseudoDensity { k, exponent, rows, floor, scaled_sum: 1.0 };
        let mut densities: Vec<f64> = mean_distances.iter().map(|&d| model.scaled_raw(d)).collect();
        model.scaled_sum = densities.iter().sum();
        let scale = model.scale();
        densities.iter_mut().for_each(|density| *density *= scale);
        Ok((model, densities))
    }

    /// The pseudo density of a row with this mean distance to its K nearest reference rows (`d_K >= 0`); finite always.
    pub fn density(&self, mean_distance: f64) -> f64 {
        (self.scaled_raw(mean_distance) * self.scale()).min(f64::MAX)
    }

    /// `sum_i raw(x_i)`, the published normaliser. Infinite or 0 where it leaves the range of a double; [`Self::density`] does not use it.
    pub fn sum_of_raw(&self) -> f64 {
        self.scaled_sum * power(1.0 / self.floor, self.exponent)
    }

    fn scale(&self) -> f64 {
        self.rows as f64 / self.scaled_sum
    }

    /// `(floor / d_K)^n`.
    fn scaled_raw(&self, mean_distance: f64) -> f64 {
        let mean_distance = if mean_distance == 0.0 { self.floor } else { mean_distance };
        power(self.floor / mean_distance, self.exponent)
    }
}

/// `base^exponent`, without the system's `pow` (whose last bit is its own affair) for the published exponent.
fn power(base: f64, exponent: f64) -> f64 {
    if exponent == 1.0 { base } else { base.powf(exponent) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::{Fixture, assert_close, brute_force, brute_force_self};
    use proptest::prelude::*;

    #[test]
    fn both_sets_of_the_fixture_get_the_published_densities_at_k_10_and_20() {
        let fixture = Fixture::load();
        for k in [10, 20] {
            let of_real = brute_force_self(&fixture.features("real_2000"), k).mean_distances();
            assert_close(&of_real, &fixture.per_sample(&format!("mean_distance_real_K{k}")), 1e-9);
            let (model, real) = PseudoDensity::fit(&of_real, k, 1.0).unwrap();
            assert_close(&real, &fixture.per_sample(&format!("density_real_K{k}")), 1e-9);
            let of_fake = brute_force(&fixture.features("real_2000"), &fixture.features("fake_2000"), k)
                .mean_distances();
            let fake: Vec<f64> = of_fake.iter().map(|&d| model.density(d)).collect();
            assert_close(&fake, &fixture.per_sample(&format!("density_fake_K{k}")), 1e-9);

            let expected = &fixture.expected["pseudo_density"][format!("K{k}")];
            assert_close(&[model.sum_of_raw()], &[expected["sum_of_raw"].as_f64().unwrap()], 1e-9);
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            assert_close(&[mean(&real), mean(&fake)], &[1.0, expected["mean_fake"].as_f64().unwrap()], 1e-9);
        }
    }

    #[test]
    fn rows_at_distance_zero_take_the_smallest_distance_above_it() {
        let fixture = Fixture::load();
        let features = fixture.edge_input("duplicates.real");
        for (k, zeros) in [(1, 18), (4, 16), (10, 11), (20, 0)] {
            let distances = brute_force_self(&features, k).mean_distances();
            assert_close(
                &distances,
                &fixture.per_sample(&format!("edge.duplicates.mean_distance_K{k}")),
                1e-9,
            );
            assert_eq!(distances.iter().filter(|&&d| d == 0.0).count(), zeros);
            let (model, densities) = PseudoDensity::fit(&distances, k, 1.0).unwrap();
            assert!(densities.iter().all(|d| d.is_finite() && *d > 0.0));
            let highest = densities.iter().copied().fold(0.0, f64::max);
            for (&distance, &density) in distances.iter().zip(&densities) {
                if distance == 0.0 {
                    assert_eq!(density, highest);
                    assert_eq!(density, model.density(model.floor));
                }
            }
        }
    }

    #[test]
    fn tiny_huge_and_far_off_features_keep_their_densities() {
        let fixture = Fixture::load();
        for name in ["tiny.50x6", "huge.50x6", "large_offset.200x16", "few.11x4", "constant_column.50x6"] {
            let distances = brute_force_self(&fixture.edge_input(name), 10).mean_distances();
            let (_, densities) = PseudoDensity::fit(&distances, 10, 1.0).unwrap();
            let set = name.split('.').next().unwrap();
            let expected = match set {
                "few" => fixture.numbers(&["edge", "few", name, "density_K10"]),
                "constant_column" => fixture.numbers(&["edge", set, "density_K10"]),
                _ => fixture.per_sample(&format!("edge.{set}.density_K10")),
            };
            assert_close(&densities, &expected, 1e-9);
        }
    }

    #[test]
    fn constant_features_are_refused_with_their_cause() {
        let distances = brute_force_self(&Fixture::load().edge_input("constant.30x6"), 10).mean_distances();
        let error = PseudoDensity::fit(&distances, 10, 1.0).unwrap_err();
        assert!(matches!(error, Error::Data { .. }));
        assert!(error.to_string().contains("constant"), "{error}");
        assert!(error.hint().unwrap().contains("CollapseDuplicates"));
    }

    #[test]
    fn as_many_neighbours_as_rows_are_refused_and_one_fewer_is_not() {
        let error = PseudoDensity::fit(&[1.0; 10], 10, 1.0).unwrap_err();
        assert_eq!(error.to_string(), "10 images cannot have 10 neighbours each");
        assert_eq!(error.remedy(), Some(&Remedy::FewerNeighbours(Some(9))));
        assert!(PseudoDensity::fit(&[1.0; 11], 10, 1.0).is_ok());
        assert!(PseudoDensity::fit(&[], 1, 1.0).is_err());
    }

    #[test]
    fn senseless_arguments_are_refused() {
        for exponent in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(PseudoDensity::fit(&[1.0; 9], 3, exponent), Err(Error::Usage { .. })));
        }
        assert!(matches!(PseudoDensity::fit(&[1.0; 9], 0, 1.0), Err(Error::Usage { .. })));
        for distance in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(matches!(PseudoDensity::fit(&[1.0, 1.0, distance], 1, 1.0), Err(Error::Data { .. })));
        }
    }

    #[test]
    fn no_distance_gives_an_infinite_density() {
        let distances = [1e-300, 1e-200, 1.0, 1e200, 1e300, 0.0];
        for exponent in [0.5, 1.0, 7.0, 64.0] {
            let (model, densities) = PseudoDensity::fit(&distances, 2, exponent).unwrap();
            assert!(densities.iter().all(|d| d.is_finite()));
            for query in [0.0, f64::MIN_POSITIVE, 1e-308, 1.0, f64::MAX] {
                assert!(model.density(query).is_finite());
            }
        }
    }

    #[test]
    fn a_model_read_back_from_json_gives_the_same_densities_to_the_bit() {
        let distances: Vec<f64> = (1..2000).map(|i| f64::from(i).sqrt() / 3.0).collect();
        for chunk in distances.chunks(50) {
            let (model, _) = PseudoDensity::fit(chunk, 3, 1.0).unwrap();
            let read: PseudoDensity = serde_json::from_str(&serde_json::to_string(&model).unwrap()).unwrap();
            assert_eq!(read, model);
        }
    }

    proptest! {
        #[test]
        fn densities_follow_the_plain_formula_and_average_to_one(
            distances in prop::collection::vec(1e-3..1e3f64, 3..60),
            exponent in 0.1..8.0f64,
            query in 1e-3..1e3f64,
        ) {
            let (model, densities) = PseudoDensity::fit(&distances, 2, exponent).unwrap();
            let raw = |d: f64| (1.0 / d).powf(exponent);
            let constant = distances.len() as f64 / distances.iter().map(|&d| raw(d)).sum::<f64>();
            let expected: Vec<f64> = distances.iter().map(|&d| raw(d) * constant).collect();
            assert_close(&densities, &expected, 1e-12);
            assert_close(&[model.density(query)], &[raw(query) * constant], 1e-12);
            assert_close(&[densities.iter().sum::<f64>() / distances.len() as f64], &[1.0], 1e-12);
        }

        #[test]
        fn a_change_of_unit_changes_no_density(distances in prop::collection::vec(0.1..10.0f64, 3..40), power in -200..200i32) {
            let unit = 2f64.powi(power);
            let scaled: Vec<f64> = distances.iter().map(|d| d * unit).collect();
            prop_assert_eq!(PseudoDensity::fit(&distances, 2, 1.0).unwrap().1, PseudoDensity::fit(&scaled, 2, 1.0).unwrap().1);
        }
    }
}
