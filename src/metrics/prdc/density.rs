//! Density (Naeem et al. 2020, arXiv 2002.09797, eq. 3).

use super::super::least_rows::LeastRows;
use super::super::metric::{Better, Measured, Metric, Needs, range};

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "density",
    columns: &["density"],
    about: "real spheres around a generated sample, over k (fidelity); near 1 for real against real, above 1 where \
            generated samples crowd dense regions",
    better: Better::Higher,
    range: range::NOT_NEGATIVE,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    least_rows: LeastRows::RealSpheres(1),
    depends_on_rows: false,
    draws: false,
    compute: |comparison| {
        let k = comparison.options.k_density as f64;
        let counts = &comparison.memberships()?.density.spheres_of_row;
        Ok(Measured::mean(counts.iter().map(|count| f64::from(*count)).collect(), move |mean| mean / k))
    },
    replicates: None,
    caution: |comparison| comparison.caution_of_spheres(comparison.real, comparison.options.k_density),
};
