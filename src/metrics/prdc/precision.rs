//! Improved precision (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 2).

use super::super::metric::{Better, Measured, Metric, Needs};

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "precision",
    columns: &["precision"],
    about: "share of generated samples inside a real sphere (fidelity); 1 is best",
    better: Better::Higher,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    depends_on_rows: false,
    draws: false,
    compute: |comparison| Ok(Measured::share(&comparison.memberships()?.precision.spheres_of_row)),
    replicates: None,
    caution: |comparison| comparison.too_few_for(comparison.options.k),
};
