//! The Rényi kernel entropy score of order 2 (Jalali, Li and Farnia 2023, arXiv 2305.19297) with the cosine kernel: the Vendi score of
//! order 2, which is less moved by rare images than that of order 1.

use super::least_rows::LeastRows;
use super::metric::{Better, Measured, Metric, Needs, range};
use super::spectrum::{nonzero, of_bootstrap_samples};

/// The registry's entry.
pub(super) const METRIC: Metric = Metric {
    name: "rke",
    columns: &["rke"],
    about: "Vendi score of order 2: effective number of modes, rare images weigh less",
    better: Better::Neither,
    range: range::NOT_NEGATIVE,
    needs: Needs::Features,
    by_default: true,
    alone: true,
    least_rows: LeastRows::Rows(1, 1),
    depends_on_rows: true,
    draws: false,
    compute: |comparison| Ok(Measured::value(rke(comparison.generated.spectrum()?))),
    replicates: Some(|comparison, draws| {
        of_bootstrap_samples(comparison.generated.features()?, draws, rke, comparison.progress)
    }),
    caution: |_| None,
};

/// The score of a spectrum (see [`super::spectrum::spectrum`]): one over the sum of its squares.
pub(super) fn rke(spectrum: &[f64]) -> f64 {
    1.0 / nonzero(spectrum).map(|value| value * value).sum::<f64>()
}
