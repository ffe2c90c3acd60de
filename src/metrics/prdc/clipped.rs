//! Clipped density and clipped coverage (Salvy, Talbot and Thirion 2025, arXiv 2507.01761): no sample counts more than once, so
//! that a set with a share `p` of good samples scores about `p`. As in the authors' code, ties are inside for the density and
//! outside for the coverage, whatever convention the other metrics follow.

use super::super::comparison::Comparison;
use super::super::least_rows::LeastRows;
use super::super::manifold::{Boundary, Manifold, clipped_radii};
use super::super::metric::{Better, Measured, Metric, Needs, range};
use super::counts::{clipped, mean_of_clipped, resampled_means};
use crate::error::Result;

/// The registry's entry of clipped density.
pub(crate) const DENSITY: Metric = Metric {
    name: "clipped-density",
    columns: &["clipped_density"],
    about: "density with spheres and contributions clipped, over that of the real set: reads as a share of good samples, 0 to 1",
    better: Better::Higher,
    range: range::SHARE,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    least_rows: LeastRows::RealSpheres(1),
    depends_on_rows: false,
    draws: false,
    compute: density,
    replicates: None,
    caution: |comparison| comparison.caution_of_spheres(comparison.real, comparison.options.k_density),
};

/// The registry's entry of clipped coverage.
pub(crate) const COVERAGE: Metric = Metric {
    name: "clipped-coverage",
    columns: &["clipped_coverage"],
    about: "coverage counting up to k samples a sphere, calibrated: reads as a share of good samples, 0 to 1",
    better: Better::Higher,
    range: range::SHARE,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    least_rows: LeastRows::RealSpheres(1),
    depends_on_rows: false,
    draws: false,
    compute: |comparison| {
        let limit = comparison.options.k_density as u32;
        let mean = mean_of_clipped(&comparison.memberships()?.strict.rows_of_sphere, limit);
        Ok(Measured::value(coverage(mean, comparison)?))
    },
    replicates: Some(|comparison, draws| {
        let limit = comparison.options.k_density as u32;
        let counts = &comparison.memberships()?.strict.rows_of_sphere;
        let means = resampled_means(comparison, Boundary::Excluded, counts, limit, draws)?;
        means.into_iter().map(|mean| coverage(mean, comparison)).collect()
    }),
    caution: |comparison| comparison.caution_of_spheres(comparison.real, comparison.options.k_density),
};

fn density(comparison: &Comparison<'_>) -> Result<Measured> {
    let k = comparison.options.k_density;
    let real = own_clipped_density(comparison.real.manifold()?, k)?;
    let counts = &comparison.memberships()?.clipped.spheres_of_row;
    Ok(Measured::mean(clipped(counts, k as u32), move |mean| (mean / k as f64 / real).min(1.0)))
}

/// The clipped density of the real set in its own spheres, each row being looked for among the k neighbours of the others only:
/// what a perfect generator would reach.
///
/// # Errors
/// As [`Manifold::radii`].
pub(crate) fn own_clipped_density(manifold: &Manifold, k: usize) -> Result<f64> {
    let radii = clipped_radii(&manifold.radii(k)?);
    let mut appearances = vec![0u32; manifold.len()];
    for (row, radius) in radii.iter().enumerate() {
        let (rows, distances) = manifold.neighbors().of(row);
        for (&other, _) in rows.iter().zip(distances).take(k).filter(|(_, distance)| *distance <= radius) {
            appearances[other as usize] += 1;
        }
    }
    Ok(mean_of_clipped(&appearances, k as u32) / k as f64)
}

/// The clipped coverage of spheres that hold `mean` rows, of which up to k are counted.
fn coverage(mean: f64, comparison: &Comparison<'_>) -> Result<f64> {
    let k = comparison.options.k_density;
    let (real, generated) = (comparison.real.features()?.nrows(), comparison.generated.features()?.nrows());
    Ok(calibrated(mean / k as f64, k, real, generated))
}

/// The number of samples of the real distribution that would be expected to reach `coverage`, over `generated + 1`: the inverse of
/// [`expected_coverage`] as the authors' code takes it (fewer than k samples count as reaching 0).
fn calibrated(coverage: f64, k: usize, real: usize, generated: usize) -> f64 {
    let value = |good: usize| if good < k { 0.0 } else { expected_coverage(good, k, real) };
    let (mut low, mut high) = (0, generated + 1);
    while low < high {
        let middle = low.midpoint(high);
        if value(middle) < coverage { low = middle + 1 } else { high = middle }
    }
    low as f64 / (generated + 1) as f64
}

/// The expected share of the k places in a real sphere that `good` samples of the real distribution fill: `E[min(J, k)] / k`, `J`
/// beta-binomial with `good` trials and parameters `k` and `real - k`, whatever the distribution is.
///
/// From `E[min(J, k)] = k - sum_{j<k} (k - j) P(J = j)`, the probabilities by their ratios. With no more than `k` real rows every
/// sphere holds everything.
pub(crate) fn expected_coverage(good: usize, k: usize, real: usize) -> f64 {
    if real <= k {
        return good.min(k) as f64 / k as f64;
    }
    let (trials, k_real, rest) = (good as f64, k as f64, (real - k) as f64);
    let mut probability: f64 = (0..k).map(|t| (rest + t as f64) / (rest + trials + t as f64)).product();
    let mut missing = 0.0;
    for j in 0..k.min(good + 1) {
        let at = j as f64;
        missing += (k_real - at) * probability;
        probability *= (trials - at) / (at + 1.0) * ((k_real + at) / (rest + trials - at - 1.0));
    }
    1.0 - missing / k_real
}

#[cfg(test)]
mod tests {
    use super::super::super::test_support::{Fixture, assert_close, options, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::s;

    #[test]
    fn they_agree_with_values_computed_as_the_authors_code_does() {
        let fixture = Fixture::load();
        let text = include_str!("../../../tests/fixtures/metrics/clipped.json");
        let cases: serde_json::Value = serde_json::from_str(text).unwrap();
        let (real, fake) = (fixture.features("real_2000"), fixture.features("fake_2000"));
        for case in cases.as_array().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let options = options(number("k") as usize, Boundary::Excluded);
            let real = set(real.slice(s![..number("real") as usize, ..]).to_owned(), &options);
            let fake = set(fake.slice(s![..number("generated") as usize, ..]).to_owned(), &options);
            let comparison = Comparison::new(&real, &fake, &options, &Silent).unwrap();
            let found = [&DENSITY, &COVERAGE].map(|metric| (metric.compute)(&comparison).unwrap().values[0]);
            assert_close(&found, &[number("clipped_density"), number("clipped_coverage")], 1e-9);
        }
    }

    #[test]
    fn the_expected_coverage_is_that_of_the_plain_sum() {
        // E[min(J, k)] over all j, with log factorials.
        let plain = |good: usize, k: usize, real: usize| {
            let ln_gamma = |n: usize| (1..n).map(|i| (i as f64).ln()).sum::<f64>();
            let ln_beta = |a: usize, b: usize| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
            let probability = |j: usize| {
                let choose = ln_gamma(good + 1) - ln_gamma(j + 1) - ln_gamma(good - j + 1);
                (choose + ln_beta(k + j, real - k + good - j) - ln_beta(k, real - k)).exp()
            };
            (0..=good).map(|j| j.min(k) as f64 * probability(j)).sum::<f64>() / k as f64
        };
        for (good, k, real) in [(5, 5, 20), (30, 3, 10), (200, 5, 100), (1, 1, 2), (50, 4, 400)] {
            let expected = plain(good, k, real);
            assert!((expected_coverage(good, k, real) - expected).abs() < 1e-10, "{good} {k} {real}");
        }
        assert_eq!(expected_coverage(2, 4, 4), 0.5);
    }

    #[test]
    fn a_set_with_a_share_of_far_samples_scores_about_the_rest() {
        let fixture = Fixture::load();
        let mut features = fixture.features("real_2000").slice(s![1000.., ..]).to_owned();
        features.slice_mut(s![600.., ..]).mapv_inplace(|v| v + 1000.0);
        let options = options(5, Boundary::Excluded);
        let real = set(fixture.features("real_2000").slice(s![..1000, ..]).to_owned(), &options);
        let generated = set(features, &options);
        let comparison = Comparison::new(&real, &generated, &options, &Silent).unwrap();
        for metric in [&DENSITY, &COVERAGE] {
            let value = (metric.compute)(&comparison).unwrap().values[0];
            assert!((value - 0.6).abs() < 0.05, "{value}");
        }
    }
}
