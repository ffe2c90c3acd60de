//! Coverage (Naeem et al. 2020, arXiv 2002.09797, eq. 4).

use super::super::least_rows::LeastRows;
use super::super::metric::{Better, Measured, Metric, Needs, range};
use super::counts::{mean_of_clipped, resampled_means};

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "coverage",
    columns: &["coverage"],
    about: "share of real spheres that hold a generated sample (diversity); 1 is best, real against real is below it",
    better: Better::Higher,
    range: range::SHARE,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    least_rows: LeastRows::RealSpheres(1),
    depends_on_rows: true,
    draws: false,
    compute: |comparison| {
        Ok(Measured::value(mean_of_clipped(&comparison.memberships()?.density.rows_of_sphere, 1)))
    },
    replicates: Some(|comparison, draws| {
        let counts = &comparison.memberships()?.density.rows_of_sphere;
        resampled_means(comparison, comparison.options.boundary, counts, 1, draws)
    }),
    caution: |comparison| comparison.caution_of_spheres(comparison.real, comparison.options.k_density),
};
