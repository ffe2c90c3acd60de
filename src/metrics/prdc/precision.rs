//! Improved precision (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 2).

use super::super::least_rows::LeastRows;
use super::super::metric::{Better, Measured, Metric, Needs, range};
use super::counts::clipped;

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "precision",
    columns: &["precision"],
    about: "share of generated samples inside a real sphere (fidelity); 1 is best",
    better: Better::Higher,
    range: range::SHARE,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    least_rows: LeastRows::RealSpheres(1),
    depends_on_rows: false,
    draws: false,
    compute: |comparison| {
        let counts = &comparison.memberships()?.precision.spheres_of_row;
        Ok(Measured::mean(clipped(counts, 1), |share| share))
    },
    replicates: None,
    caution: |comparison| comparison.caution_of_spheres(comparison.real, comparison.options.k),
};
