//! The Fréchet distance of two Gaussians fitted to features (Heusel et al. 2017): FID where the features are those of the
//! 2015 Inception network, `fd` in any other space.

use super::comparison::Comparison;
use super::factored::Factored;
use super::feature_set::FeatureSet;
use super::least_rows::LeastRows;
use super::matrix::{eigenvalues, multiply};
use super::metric::{Better, Measured, Metric, Needs, range};
use super::resampling::Draws;
use super::statistics::{RootedStatistics, Statistics, check_widths};
use crate::error::Result;
use crate::extract::{INCEPTION_FEATURES, Identity};
use crate::progress::Progress;
use ndarray::ArrayView2;

/// Rows below this multiple of the width make the estimate mostly bias.
const ROWS_PER_COLUMN: usize = 2;

/// What the distance is called in the feature space of the 2015 Inception network, and only there.
pub(crate) const FID: &str = "fid";
/// The extractor of that space.
pub(crate) const FID_EXTRACTOR: &str = INCEPTION_FEATURES;

/// Whether the distance of features made like this is the FID.
pub(super) fn is_fid(identity: &Identity) -> bool {
    identity.extractor == FID_EXTRACTOR && !identity.normalize
}

/// The registry's entry of the distance of spatial features (Nash et al. 2021, arXiv 2103.03841): sFID, which sees how images are
/// composed.
pub(crate) const SPATIAL: Metric = Metric {
    name: "sfid",
    columns: &["sfid"],
    about: "Frechet distance of spatial features, of ADM's evaluator; of the extractor inception-spatial; lower is better",
    needs: Needs::SpatialStatistics,
    by_default: false,
    ..METRIC
};

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "fd",
    columns: &["fd"],
    about: "Frechet distance of the two sets' Gaussians; lower is better, and it grows as sets shrink: compare equal sizes",
    better: Better::Lower,
    range: range::NOT_NEGATIVE,
    needs: Needs::Statistics,
    by_default: true,
    alone: false,
    least_rows: LeastRows::Rows(2, 2),
    depends_on_rows: true,
    draws: false,
    compute: |comparison| {
        let Comparison { real, generated, .. } = comparison;
        let distance = match real.has_few_rows() || generated.has_few_rows() {
            true => real.factored()?.distance(&generated.factored()?)?,
            false => frechet_distance(real.rooted()?, generated.statistics()?)?,
        };
        Ok(Measured::value(distance))
    },
    replicates: Some(replicates),
    caution: |comparison| {
        let sets = [(comparison.generated, ""), (comparison.real, "the real set's ")];
        let rows_of = |(set, whose): (&FeatureSet<'_>, _)| Some((set.rows_of_statistics()?, whose));
        let (rows, whose) = sets.into_iter().filter_map(rows_of).min_by_key(|(rows, _)| *rows)?;
        let width = comparison.generated.width();
        (rows < ROWS_PER_COLUMN * width).then(|| {
            format!(
                "{whose}{rows} rows are fewer than {ROWS_PER_COLUMN} for each of {width} columns: \
                 the Frechet distance is then mostly an effect of the size"
            )
        })
    },
};

/// The squared Fréchet distance `|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))`, with the last trace from the eigenvalues
/// of the symmetric `S1^(1/2) S2 S1^(1/2)`. It may come out negative by rounding where the sets are equal.
///
/// # Errors
/// [`crate::Error::Data`] if the widths differ or the statistics are not finite.
pub(crate) fn frechet_distance(real: &RootedStatistics, generated: &Statistics) -> Result<f64> {
    let first = &real.statistics;
    check_widths(first.width(), generated.width())?;
    let mean_term: f64 = first.mean.iter().zip(&generated.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let product = multiply(multiply(real.root.view(), generated.covariance.view()).view(), real.root.view());
    let cross: f64 = eigenvalues(product.view())?.iter().map(|value| value.max(0.0).sqrt()).sum();
    Ok(mean_term + first.covariance.diag().sum() + generated.covariance.diag().sum() - 2.0 * cross)
}

/// The squared Fréchet distance of a `real` set and chosen rows of `features` `[N, D]`; a row named twice counts twice.
///
/// # Errors
/// As [`frechet_distance`] and [`Statistics::of_rows`].
pub(super) fn distance_to_rows(
    real: &FeatureSet<'_>,
    features: ArrayView2<f32>,
    rows: &[u32],
    progress: &dyn Progress,
) -> Result<f64> {
    if rows.len() <= features.ncols() {
        return real.factored()?.distance(&Factored::of_rows(features, rows.len(), |at| rows[at] as usize)?);
    }
    let generated = Statistics::of_rows(features, rows, progress)?;
    match real.has_few_rows() {
        true => real.factored()?.distance(&Factored::from(&generated.rooted()?)),
        false => frechet_distance(real.rooted()?, &generated),
    }
}

/// The distance of resampled generated sets to the same real one.
fn replicates(comparison: &Comparison<'_>, draws: &Draws) -> Result<Vec<f64>> {
    let features = comparison.generated.features()?;
    draws
        .rows(features.nrows())
        .map(|rows| distance_to_rows(comparison.real, features, &rows, comparison.progress))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Fixture, assert_close};
    use super::*;
    use crate::progress::Silent;
    use ndarray::{Array1, Array2, s};

    fn distance(a: ArrayView2<f32>, b: ArrayView2<f32>) -> f64 {
        let of = |x| Statistics::of(x, &Silent).unwrap();
        frechet_distance(&of(a).rooted().unwrap(), &of(b)).unwrap()
    }

    #[test]
    fn it_agrees_with_the_fixture_also_where_covariances_are_singular() {
        let fixture = Fixture::load();
        let (real, fake) = (fixture.features("real_2000"), fixture.features("fake_2000"));
        let few = s![..50, ..];
        let column = fixture.edge_input("constant_column.50x6");
        let found = [
            distance(real.view(), fake.view()),
            distance(real.slice(few), fake.slice(few)),
            distance(column.slice(s![..25, ..]), column.slice(s![25.., ..])),
            distance(fixture.edge_input("constant.30x6").view(), column.view()),
        ];
        let expected = [
            fixture.number(&["fid", "fid"]),
            fixture.number(&["fid_50_rows", "fid"]),
            fixture.number(&["edge", "constant_column", "fid_first25_last25"]),
            fixture.number(&["edge", "constant", "fid_to_constant_column_set"]),
        ];
        assert_close(&found, &expected, 1e-6);
        assert!(distance(real.view(), real.view()).abs() < 1e-9);
    }

    #[test]
    fn diagonal_gaussians_have_the_closed_form() {
        let diagonal = |mean: f64, deviations: [f64; 3]| Statistics {
            mean: Array1::from_elem(3, mean),
            covariance: Array2::from_diag(&Array1::from_iter(deviations.map(|d| d * d))),
            rows: None,
        };
        let (a, b) = (diagonal(1.0, [1.0, 2.0, 0.0]), diagonal(3.0, [2.0, 5.0, 1.0]));
        let expected = 3.0 * 4.0 + 1.0 + 9.0 + 1.0;
        assert!((frechet_distance(&a.rooted().unwrap(), &b).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn sets_of_few_rows_are_compared_by_their_rows_whichever_side_they_are_on() {
        use super::super::resampling::Draws;
        use super::super::test_support::set;
        let fixture = Fixture::load();
        let (real, fake) = (fixture.features("real_2000"), fixture.features("fake_2000"));
        let options = super::super::Options::default();
        let part =
            |features: &Array2<f32>, rows: usize| set(features.slice(s![..rows, ..]).to_owned(), &options);
        // 64 numbers: 64 rows are few, 65 are not.
        for (rows, generated) in [(40, 50), (40, 64), (40, 65), (65, 64), (300, 30)] {
            let (first, second) = (part(&real, rows), part(&fake, generated));
            assert_eq!((first.has_few_rows(), second.has_few_rows()), (rows < 65, generated < 65));
            let comparison = Comparison::new(&first, &second, &options, &Silent).unwrap();
            let found = (METRIC.compute)(&comparison).unwrap().values[0];
            let rows_of =
                |features: &Array2<f32>, rows| Factored::of_rows(features.view(), rows, |at| at).unwrap();
            let expected = rows_of(&real, rows).distance(&rows_of(&fake, generated)).unwrap();
            assert_close(&[found], &[expected], 1e-9);
            let all: Vec<u32> = (0..generated as u32).collect();
            let chosen = distance_to_rows(&first, fake.view(), &all, &Silent).unwrap();
            assert_close(&[chosen], &[expected], 1e-9);
            let draws = Draws { count: 3, seed: 1 };
            let replicates = replicates(&comparison, &draws).unwrap();
            for (replicate, rows) in replicates.iter().zip(draws.rows(generated)) {
                let sample = Factored::of_rows(fake.view(), generated, |at| rows[at] as usize).unwrap();
                let real = Factored::of_rows(real.view(), first.rows().unwrap(), |at| at).unwrap();
                assert_close(&[*replicate], &[real.distance(&sample).unwrap()], 1e-6);
            }
        }
    }

    #[test]
    fn other_widths_are_refused() {
        let of = |width| Statistics::of(Array2::<f32>::eye(width).view(), &Silent).unwrap();
        assert!(frechet_distance(&of(3).rooted().unwrap(), &of(4)).is_err());
    }
}
