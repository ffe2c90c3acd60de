//! Improved recall (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 3).

use super::super::least_rows::LeastRows;
use super::super::metric::{Better, Measured, Metric, Needs, range};
use super::counts::mean_of_clipped;
use super::halves;

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "recall",
    columns: &["recall"],
    about: "share of real samples inside a generated sphere (diversity); 1 is best",
    better: Better::Higher,
    range: range::SHARE,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    least_rows: LeastRows::GeneratedSpheres(1),
    depends_on_rows: true,
    draws: false,
    compute: |comparison| Ok(Measured::value(mean_of_clipped(&comparison.recalled()?.spheres_of_row, 1))),
    replicates: Some(halves::recall),
    caution: |comparison| comparison.caution_of_spheres(comparison.generated, comparison.options.k),
};
