//! FD-infinity (Chong and Forsyth 2020, arXiv 1911.07023): the Fréchet distance that sets without end would have. The distance of a set of
//! `n` images is too large by about a constant times `1 / n`; a line through the distances of parts of several sizes against `1 / n`
//! meets 0 at the distance without that bias. As in the authors' program, parts of the generated set are compared with the whole real set,
//! and 15 sizes are spaced evenly from a tenth of the set, at most 5 000, to all of it.

use super::comparison::Comparison;
use super::frechet::distance_to_rows;
use super::least_rows::LeastRows;
use super::metric::{Better, Measured, Metric, Needs, range};
use super::resampling::without_replacement;
use crate::error::{Error, Result};
use crate::progress::check_stop;
use crate::random::Purpose;

/// Sizes whose distance is taken.
const SIZES: usize = 15;
/// The smallest part is the set over this.
const SMALLEST_PART: usize = 10;
/// It has so many rows at most, as in the authors' program and in dgm-eval.
const SMALLEST_PART_AT_MOST: usize = 5000;
/// A covariance needs so many rows.
const LEAST_ROWS: usize = 2;

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "fd-infinity",
    columns: &["fd_infinity"],
    about: "Frechet distance extrapolated to endless sets, free of the bias by the generated set's size; lower is better",
    better: Better::Lower,
    range: range::ANY,
    needs: Needs::Features,
    by_default: false,
    alone: false,
    least_rows: LeastRows::Rows(2, LEAST_ROWS * SMALLEST_PART),
    depends_on_rows: false,
    draws: true,
    compute: |comparison| {
        let rows: Vec<u32> = (0..comparison.generated.features()?.nrows() as u32).collect();
        Ok(Measured::value(extrapolated(comparison, &rows)?))
    },
    replicates: Some(|comparison, draws| {
        let rows = comparison.generated.features()?.nrows();
        draws.rows(rows).map(|rows| extrapolated(comparison, &rows)).collect()
    }),
    caution: |comparison| {
        let smallest = smallest_part(comparison.generated.rows()?);
        let width = comparison.generated.width();
        (smallest < width).then(|| {
            format!(
                "the smallest part that FD-infinity is extrapolated from has {smallest} rows for {width} columns: \
                 the distance of so few is no line in 1/n"
            )
        })
    },
};

/// The distance of these rows of the generated set to the real one, extrapolated from those of parts of them.
///
/// # Errors
/// As [`sizes`] and [`distance_to_rows`]; [`Error::Interrupted`].
fn extrapolated(comparison: &Comparison<'_>, rows: &[u32]) -> Result<f64> {
    let features = comparison.generated.features()?;
    let seed = comparison.options.seed;
    let mut points = Vec::with_capacity(SIZES);
    for (item, size) in sizes(rows.len())?.into_iter().enumerate() {
        check_stop(comparison.progress, String::new)?;
        let part = without_replacement(rows.len(), size, seed, Purpose::FrechetPart, item as u64);
        let part: Vec<u32> = part.into_iter().map(|at| rows[at as usize]).collect();
        let distance = distance_to_rows(comparison.real, features, &part, comparison.progress)?;
        points.push((1.0 / size as f64, distance));
    }
    Ok(intercept(&points))
}

fn smallest_part(rows: usize) -> usize {
    (rows / SMALLEST_PART).min(SMALLEST_PART_AT_MOST)
}

/// The sizes of the parts of a set of `rows`, ascending.
///
/// # Errors
/// [`Error::Data`] for a set too small to be cut.
fn sizes(rows: usize) -> Result<Vec<usize>> {
    let smallest = smallest_part(rows);
    if smallest < LEAST_ROWS {
        let needed = LEAST_ROWS * SMALLEST_PART;
        return Err(Error::data(format!("FD-infinity needs at least {needed} rows, there are {rows}"), ""));
    }
    let step = (rows - smallest) as f64 / (SIZES - 1) as f64;
    Ok((0..SIZES).map(|i| (smallest as f64 + step * i as f64) as usize).collect())
}

/// Where the line of least squares through points `(x, y)` meets x = 0.
fn intercept(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    y - x * covariance / variance
}

#[cfg(test)]
mod tests {
    use super::super::frechet;
    use super::super::options::Options;
    use super::super::test_support::{Fixture, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::s;

    #[test]
    fn the_sizes_are_those_of_numpy_linspace() {
        // numpy.linspace(5000, 50000, 15).astype("int32")
        let expected = [
            5000, 8214, 11428, 14642, 17857, 21071, 24285, 27500, 30714, 33928, 37142, 40357, 43571, 46785,
            50000,
        ];
        assert_eq!(sizes(50_000).unwrap(), expected);
        assert_eq!(sizes(90_000).unwrap()[0], 5000);
        assert!(sizes(19).is_err());
    }

    #[test]
    fn a_line_is_met_exactly() {
        let points: Vec<_> = [100.0, 200.0, 350.0, 900.0].map(|n: f64| (1.0 / n, 3.5 + 40.0 / n)).into();
        assert!((intercept(&points) - 3.5).abs() < 1e-12);
    }

    #[test]
    fn halves_of_one_set_are_nearer_than_by_the_plain_distance() {
        let features = Fixture::load().features("real_2000");
        let options = Options::default();
        let real = set(features.slice(s![..1000, ..]).to_owned(), &options);
        let other = set(features.slice(s![1000.., ..]).to_owned(), &options);
        let comparison = Comparison::new(&real, &other, &options, &Silent).unwrap();
        let value = |metric: &Metric| (metric.compute)(&comparison).unwrap().values[0];
        assert!(value(&METRIC).abs() < value(&frechet::METRIC));
    }
}
