//! The Vendi score (Friedman and Dieng 2023, arXiv 2210.02410) with the cosine kernel: the effective number of different images, from
//! 1 (all alike) to n.

use super::least_rows::LeastRows;
use super::metric::{Better, Measured, Metric, Needs, range};
use super::spectrum::{nonzero, of_bootstrap_samples};

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "vendi",
    columns: &["vendi"],
    about: "effective number of different generated images (cosine kernel): compare with that of the real set",
    better: Better::Neither,
    range: range::NOT_NEGATIVE,
    needs: Needs::Features,
    by_default: true,
    alone: true,
    least_rows: LeastRows::Rows(1, 1),
    depends_on_rows: true,
    draws: false,
    compute: |comparison| Ok(Measured::value(vendi_score(comparison.generated.spectrum()?))),
    replicates: Some(|comparison, draws| {
        of_bootstrap_samples(comparison.generated.features()?, draws, vendi_score, comparison.progress)
    }),
    caution: |_| None,
};

/// The Vendi score of a spectrum: the exponential of its entropy.
pub(crate) fn vendi_score(spectrum: &[f64]) -> f64 {
    (-nonzero(spectrum).map(|value| value * value.ln()).sum::<f64>()).exp()
}

#[cfg(test)]
mod tests {
    use super::super::rke::rke;
    use super::super::spectrum::spectrum;
    use super::super::test_support::{Fixture, assert_close};
    use super::*;
    use crate::progress::Silent;
    use ndarray::s;

    #[test]
    fn scores_of_order_one_and_two_agree_with_the_fixture() {
        let fixture = Fixture::load();
        for side in ["real", "fake"] {
            let x = fixture.features(&format!("{side}_2000"));
            let spectrum = spectrum(x.slice(s![..500, ..]), &Silent).unwrap();
            let expected = ["q1", "q2"].map(|order| fixture.number(&["vendi_first_500", side, order]));
            assert_close(&[vendi_score(&spectrum), rke(&spectrum)], &expected, 1e-6);
        }
    }

    #[test]
    fn a_constant_set_scores_one_and_a_row_of_zeros_has_no_direction() {
        let fixture = Fixture::load();
        let constant = spectrum(fixture.edge_input("constant.30x6").view(), &Silent).unwrap();
        assert_close(&[vendi_score(&constant), rke(&constant)], &[1.0, 1.0], 1e-9);
        let zero = spectrum(fixture.edge_input("zero_row.25x6").view(), &Silent).unwrap();
        let expected = fixture.number(&["edge", "zero_row", "vendi_zero_row_kept_as_zero"]);
        assert_close(&[vendi_score(&zero), zero.iter().sum()], &[expected, 0.96], 1e-6);
    }

    #[test]
    fn orthogonal_rows_are_counted_and_copies_are_not() {
        let x = ndarray::Array2::from_shape_fn((12, 4), |(i, j)| if i % 3 == j { 2.0f32 } else { 0.0 });
        let spectrum = spectrum(x.view(), &Silent).unwrap();
        assert_close(&[vendi_score(&spectrum), rke(&spectrum)], &[3.0, 3.0], 1e-12);
    }
}
