//! The fewest rows that a metric can be computed of, so that too small a set is refused before its features are made.

use super::metric::Metric;
use super::options::Options;
use crate::error::{Error, Result};
use crate::remedy::Remedy;

/// The fewest rows that a metric can be computed of.
#[derive(Debug, Clone, Copy)]
pub enum LeastRows {
    /// So many real and so many generated ones.
    Rows(usize, usize),
    /// Enough real ones for spheres of as many neighbours as the options say, and of as many as this.
    RealSpheres(usize),
    /// Enough generated ones for such spheres.
    GeneratedSpheres(usize),
    /// On both sides those of a subset.
    Subset,
    /// So many generated ones, unless the options cut parts by size.
    Parts(usize),
}

/// A side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The real set.
    Real,
    /// A generated set.
    Generated,
}

impl LeastRows {
    /// The number on one side.
    fn on(self, side: Side, options: &Options) -> usize {
        let spheres = |neighbours: usize| 1 + neighbours.max(options.k).max(options.k_density);
        let (real, generated) = match self {
            LeastRows::Rows(real, generated) => (real, generated),
            LeastRows::RealSpheres(neighbours) => (spheres(neighbours), 1),
            LeastRows::GeneratedSpheres(neighbours) => (1, spheres(neighbours)),
            LeastRows::Subset => (options.kid_subset_size, options.kid_subset_size),
            LeastRows::Parts(count) => (1, if options.inception_part.is_some() { 1 } else { count }),
        };
        if side == Side::Real { real } else { generated }
    }

    fn remedy(self, rows: usize) -> Remedy {
        match self {
            LeastRows::RealSpheres(_) | LeastRows::GeneratedSpheres(_) => Remedy::FewerNeighbours(None),
            LeastRows::Subset if rows >= 2 => Remedy::SmallerSubsets(rows),
            _ => "add images, or leave the metric out".into(),
        }
    }
}

/// Whether the set `name` of `rows` images is large enough for each of `metrics`. `settled` says that a protocol settles the options, so
/// that only its other metrics are a way out.
///
/// # Errors
/// [`Error::Data`] if it is not; [`Error::Usage`] if subsets are asked for that are larger than it.
pub(super) fn check_rows(
    metrics: &[&'static Metric],
    (name, rows, side): (&str, usize, Side),
    options: &Options,
    settled: bool,
) -> Result<()> {
    let lacks = |metric: &&&Metric| rows < metric.least_rows.on(side, options);
    let Some(metric) = metrics.iter().find(lacks) else { return Ok(()) };
    let needed = metric.least_rows.on(side, options);
    let others: Vec<&str> = metrics.iter().filter(|other| !lacks(other)).map(|other| other.name).collect();
    let remedy = match settled && !others.is_empty() {
        true => format!("take more images, or only the metrics {}", others.join(",")).into(),
        false => metric.least_rows.remedy(rows),
    };
    let images = if rows == 1 { "image" } else { "images" };
    let reason = format!("{} needs at least {needed} images, and {name} has {rows} {images}", metric.name);
    Err(match metric.least_rows {
        LeastRows::Subset => Error::usage(reason, remedy),
        _ => Error::data(reason, remedy),
    })
}

#[cfg(test)]
mod tests {
    use super::super::comparison::Comparison;
    use super::super::registry::METRICS;
    use super::super::test_support::{Fixture, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::s;

    #[test]
    fn every_metric_is_computed_of_its_fewest_rows_and_of_no_fewer() {
        let fixture = Fixture::load();
        let options = [
            Options { kid_subset_size: 7, ..Options::default() },
            Options { k: 2, k_density: 1, kid_subset_size: 3, inception_part: Some(4), ..Options::default() },
        ];
        for options in &options {
            let computes = |metric: &Metric, real: usize, generated: usize| {
                let rows = |name: &str, count| fixture.features(name).slice(s![..count, ..]).to_owned();
                let (real, generated) =
                    (set(rows("real_2000", real), options), set(rows("fake_2000", generated), options));
                let comparison = Comparison::new(&real, &generated, options, &Silent).unwrap();
                (metric.compute)(&comparison).is_ok()
            };
            for metric in METRICS {
                let [real, generated] =
                    [Side::Real, Side::Generated].map(|side| metric.least_rows.on(side, options));
                assert!(computes(metric, real, generated), "{}: {real}, {generated}", metric.name);
                let fewer = [(real - 1, generated, Side::Real), (real, generated - 1, Side::Generated)];
                for (real, generated, side) in
                    fewer.into_iter().filter(|(real, generated, _)| real.min(generated) > &0)
                {
                    assert!(!computes(metric, real, generated), "{}: {real}, {generated}", metric.name);
                    let rows = if side == Side::Real { real } else { generated };
                    let error =
                        check_rows(&[metric], ("a", rows, side), options, false).unwrap_err().to_string();
                    assert!(
                        error.contains(metric.name) && error.contains(&format!("{} images", rows + 1)),
                        "{error}"
                    );
                    check_rows(&[metric], ("a", rows + 1, side), options, false).unwrap();
                }
            }
        }
    }
}
