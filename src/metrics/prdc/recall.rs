//! Improved recall (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 3).

use super::super::metric::{Better, Measured, Metric, Needs};

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "recall",
    columns: &["recall"],
    about: "share of real samples inside a generated sphere (diversity); 1 is best",
    better: Better::Higher,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    depends_on_rows: true,
    draws: false,
    compute: |comparison| Ok(Measured::share(&comparison.recalled()?.spheres_of_row).of_real_rows()),
    replicates: None,
    caution: |comparison| comparison.too_few_for(comparison.options.k),
};
