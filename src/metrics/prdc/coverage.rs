//! Coverage (Naeem et al. 2020, arXiv 2002.09797, eq. 4).

use super::super::metric::{Better, Measured, Metric, Needs};

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "coverage",
    columns: &["coverage"],
    about: "share of real spheres that hold a generated sample (diversity); 1 is best, real against real is below it",
    better: Better::Higher,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    depends_on_rows: true,
    draws: false,
    compute: |comparison| {
        Ok(Measured::share(&comparison.memberships()?.density.rows_of_sphere).of_real_rows())
    },
    replicates: None,
    caution: |comparison| comparison.too_few_for(comparison.options.k_density),
};
