//! Probabilistic precision and recall (Park and Kim 2023, arXiv 2309.01590). A sample at distance `d` of a point of the other set belongs
//! to that point's support with the probability `1 - d / R`, and to the whole support with `1 - prod (1 - max(0, 1 - d_i / R))`.
//! `R` is one radius for the whole set: 1.2 times the mean distance to the 4th nearest neighbour.

use super::super::comparison::Comparison;
use super::super::feature_set::FeatureSet;
use super::super::least_rows::LeastRows;
use super::super::manifold::Manifold;
use super::super::metric::{Better, Measured, Metric, Needs, range};
use super::super::resampling::Draws;
use super::halves::{self, bits};
use crate::error::Result;
use crate::progress::Progress;
use std::sync::atomic::{AtomicU64, Ordering};

/// The neighbour whose mean distance sets the radius, as the authors choose it.
const NEIGHBOUR: usize = 4;
/// The radius is that distance times this.
const SCALE: f64 = 1.2;
/// Logarithms are added up as whole numbers of this size, so that the sum does not depend on their order.
const UNIT: f64 = 1.0 / (1u64 << 32) as f64;
/// `exp` of less is 0 for any purpose here.
const LARGEST_LOGARITHM: f64 = 700.0;

/// The registry's entry of precision.
pub(crate) const PRECISION: Metric = Metric {
    name: "p-precision",
    columns: &["p_precision"],
    about: "mean probability that a generated sample is in the support of the real set; 1 is best",
    better: Better::Higher,
    range: range::SHARE,
    needs: Needs::Features,
    by_default: false,
    alone: false,
    least_rows: LeastRows::RealSpheres(NEIGHBOUR),
    depends_on_rows: false,
    draws: false,
    compute: |comparison| {
        let probabilities = in_support(comparison.real, comparison.generated, comparison)?;
        Ok(Measured::mean(probabilities, |mean| mean))
    },
    replicates: None,
    caution: |comparison| comparison.caution_of_spheres(comparison.real, NEIGHBOUR),
};

/// The registry's entry of recall.
pub(crate) const RECALL: Metric = Metric {
    name: "p-recall",
    columns: &["p_recall"],
    about: "mean probability that a real sample is in the support of the generated set; 1 is best",
    better: Better::Higher,
    range: range::SHARE,
    needs: Needs::Features,
    by_default: false,
    alone: false,
    least_rows: LeastRows::GeneratedSpheres(NEIGHBOUR),
    depends_on_rows: true,
    draws: false,
    compute: |comparison| {
        let probabilities = in_support(comparison.generated, comparison.real, comparison)?;
        Ok(Measured::value(probabilities.iter().sum::<f64>() / probabilities.len() as f64))
    },
    replicates: Some(recall_of_halves),
    caution: |comparison| comparison.caution_of_spheres(comparison.generated, NEIGHBOUR),
};

/// The probability that each row of `others` is in the support of each of several parts of `set`, `[others, parts]`: of each part the
/// radius, and of each row of the set a bit for each part that it is in.
fn probabilities(
    set: &FeatureSet<'_>,
    others: &FeatureSet<'_>,
    radii: &[f64],
    parts_of: impl Fn(usize) -> u64 + Sync,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let parts = radii.len();
    let others = others.index()?;
    // Of each row and part, minus the sum of ln(d / R).
    let outside: Vec<AtomicU64> = (0..others.rows() * parts).map(|_| AtomicU64::new(0)).collect();
    let most = (LARGEST_LOGARITHM / UNIT) as u64;
    let visit = |centre: u32, row: u32, distance: f64| {
        for part in bits(parts_of(centre as usize)) {
            let logarithm = match distance > 0.0 {
                true => (radii[part] / distance).ln().clamp(0.0, LARGEST_LOGARITHM),
                false => LARGEST_LOGARITHM,
            };
            let counter = &outside[row as usize * parts + part];
            if counter.load(Ordering::Relaxed) < most {
                counter.fetch_add((logarithm / UNIT) as u64, Ordering::Relaxed);
            }
        }
    };
    let centres = set.features()?;
    let widest = radii.iter().copied().fold(0.0, f64::max);
    others.visit_within(centres, &vec![widest; centres.nrows()], &visit, progress)?;
    let probability = |sum: AtomicU64| -(-(sum.into_inner().min(most) as f64) * UNIT).exp_m1();
    Ok(outside.into_iter().map(probability).collect())
}

/// The probability that each row of `others` is in the support of `set`.
fn in_support(
    set: &FeatureSet<'_>,
    others: &FeatureSet<'_>,
    comparison: &Comparison<'_>,
) -> Result<Vec<f64>> {
    probabilities(set, others, &[radius(set, comparison)?], |_| 1, comparison.progress)
}

/// The recall of as many random halves of the generated rows as there are draws.
fn recall_of_halves(comparison: &Comparison<'_>, draws: &Draws) -> Result<Vec<f64>> {
    let Comparison { real, generated, progress, .. } = *comparison;
    let Some(nearest) = halves::nearest(comparison, NEIGHBOUR)? else { return Ok(Vec::new()) };
    let rows = nearest.len();
    let mut values = Vec::new();
    for halves in halves::halves(rows, draws) {
        let mut radii = vec![0.0; halves.count];
        for row in 0..rows {
            let (others, distances) = nearest.of(row);
            let places = halves.kth(others, NEIGHBOUR);
            for half in bits(halves.holding[row]) {
                let place = (places[half] as usize).min(distances.len() - 1);
                radii[half] += SCALE * distances[place] / (rows / 2) as f64;
            }
        }
        let inside = probabilities(generated, real, &radii, |row| halves.holding[row], progress)?;
        let mean = |half| {
            let of_half = inside.iter().skip(half).step_by(halves.count);
            of_half.sum::<f64>() / (inside.len() / halves.count) as f64
        };
        values.extend((0..halves.count).map(mean));
    }
    Ok(values)
}

/// The radius `R` of a set.
fn radius(set: &FeatureSet<'_>, comparison: &Comparison<'_>) -> Result<f64> {
    let manifold = set.manifold()?;
    let radii = match manifold.neighbors().k {
        k if k >= NEIGHBOUR => manifold.radii(NEIGHBOUR)?,
        _ => {
            let features = set.shared()?.clone();
            Manifold::of(features, set.index()?, NEIGHBOUR, comparison.progress)?.radii(NEIGHBOUR)?
        }
    };
    Ok(SCALE * radii.iter().sum::<f64>() / radii.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::super::manifold::Boundary;
    use super::super::super::test_support::{Fixture, assert_close, options, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::{Array2, s};

    /// The paper's formula, pair by pair.
    fn plain(support: &Array2<f32>, others: &Array2<f32>) -> f64 {
        let distance = |a: ndarray::ArrayView1<f32>, b: ndarray::ArrayView1<f32>| {
            a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
        };
        let fourth = support.outer_iter().map(|a| {
            let mut all: Vec<f64> = support.outer_iter().map(|b| distance(a, b)).collect();
            all.sort_by(f64::total_cmp);
            all[4]
        });
        let radius = 1.2 * fourth.sum::<f64>() / support.nrows() as f64;
        let probability = |x: ndarray::ArrayView1<f32>| {
            let outside = support.outer_iter().map(|s| 1.0 - (1.0 - distance(s, x) / radius).max(0.0));
            1.0 - outside.product::<f64>()
        };
        others.outer_iter().map(probability).sum::<f64>() / others.nrows() as f64
    }

    #[test]
    fn they_are_the_formula_of_the_paper_at_any_k() {
        let fixture = Fixture::load();
        let real = fixture.features("real_2000").slice(s![..400, ..]).to_owned();
        let fake = fixture.features("fake_2000").slice(s![..300, ..]).to_owned();
        for k in [2, 5] {
            let options = options(k, Boundary::Excluded);
            let (a, b) = (set(real.clone(), &options), set(fake.clone(), &options));
            let comparison = Comparison::new(&a, &b, &options, &Silent).unwrap();
            let value = |metric: &Metric| (metric.compute)(&comparison).unwrap().values[0];
            let expected = [plain(&real, &fake), plain(&fake, &real)];
            assert!(expected.iter().all(|value| (0.05..0.95).contains(value)), "{expected:?}");
            assert_close(&[value(&PRECISION), value(&RECALL)], &expected, 1e-7);
        }
    }

    #[test]
    fn samples_of_the_support_itself_are_in_it() {
        let features = Fixture::load().features("real_2000").slice(s![..50, ..]).to_owned();
        let options = options(3, Boundary::Excluded);
        let (a, b) = (set(features.clone(), &options), set(features, &options));
        let comparison = Comparison::new(&a, &b, &options, &Silent).unwrap();
        assert_eq!((PRECISION.compute)(&comparison).unwrap().values, [1.0]);
    }
}
