//! CMMD (Jayasumana et al. 2024, arXiv 2401.09603): the squared maximum mean discrepancy of CLIP embeddings with a Gaussian kernel, as
//! the authors' program computes it. The kernel's width is theirs, pairs of a row with itself are in (the estimate of least variance,
//! never negative), and the value is multiplied by 1 000.

use super::comparison::Comparison;

use super::feature_set::FeatureSet;
use super::kernel::{Kernel, cross_means, discrepancy_of_resampled};
use super::least_rows::LeastRows;
use super::matrix::tree_sum;
use super::metric::{Better, Measured, Metric, Needs, range};
use crate::error::Result;

/// What the authors multiply the discrepancy by.
const SCALE: f64 = 1000.0;
/// How far from 1 the length of an embedding may be.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "cmmd",
    columns: &["cmmd"],
    about: "maximum mean discrepancy with a Gaussian kernel, made for CLIP features of length 1; lower is better",
    better: Better::Lower,
    range: range::NOT_NEGATIVE,
    needs: Needs::Features,
    by_default: false,
    alone: false,
    least_rows: LeastRows::Rows(2, 2),
    depends_on_rows: true,
    draws: false,
    compute: |comparison| {
        let (real, generated) = (comparison.real.features()?, comparison.generated.features()?);
        let cross = cross_means(real, generated, Kernel::CMMD, comparison.progress)?;
        let own = with_itself(comparison.real)? + with_itself(comparison.generated)?;
        Ok(Measured::value(SCALE * (own - 2.0 * tree_sum(&cross) / cross.len() as f64)))
    },
    replicates: Some(|comparison, draws| {
        let (real, generated) = (comparison.real.features()?, comparison.generated.features()?);
        let real_own = comparison.real.gaussian_own()?;
        let values =
            discrepancy_of_resampled(real, real_own, generated, draws, Kernel::CMMD, comparison.progress)?;
        Ok(values.into_iter().map(|value| SCALE * value).collect())
    }),
    caution,
};

/// The mean kernel over all pairs of rows, where a row with itself has 1.
fn with_itself(set: &FeatureSet<'_>) -> Result<f64> {
    let rows = set.features()?.nrows() as f64;
    Ok((set.gaussian_own()? * (rows - 1.0) + 1.0) / rows)
}

fn caution(comparison: &Comparison<'_>) -> Option<String> {
    let sets = [comparison.real, comparison.generated];
    let rows = sets.into_iter().flat_map(|set| set.features().into_iter().flat_map(|f| f.into_outer_iter()));
    let length =
        |row: ndarray::ArrayView1<f32>| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let other = rows.map(length).find(|length| (length - 1.0).abs() > LENGTH_TOLERANCE)?;
    Some(format!(
        "CMMD is defined for CLIP features of length 1, one of these has the length {other:.3}: \
         the value is not comparable with published ones"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::super::test_support::{Fixture, assert_close, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::{Array2, s};

    /// The authors' `distance.py`, pair by pair.
    fn plain(x: &Array2<f32>, y: &Array2<f32>) -> f64 {
        let mean = |a: &Array2<f32>, b: &Array2<f32>| {
            let mut sum = 0.0;
            for a in a.outer_iter() {
                for b in b.outer_iter() {
                    let squared: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                    sum += (-1.0 / (2.0 * 10.0 * 10.0) * squared).exp();
                }
            }
            sum / (a.nrows() * b.nrows()) as f64
        };
        1000.0 * (mean(x, x) + mean(y, y) - 2.0 * mean(x, y))
    }

    #[test]
    fn it_is_the_authors_formula_and_warns_of_other_features() {
        let fixture = Fixture::load();
        let real = fixture.features("real_2000").slice(s![..300, ..]).to_owned();
        let fake = fixture.features("fake_2000").slice(s![..270, ..]).to_owned();
        let options = Options::default();
        let (a, b) = (set(real.clone(), &options), set(fake.clone(), &options));
        let comparison = Comparison::new(&a, &b, &options, &Silent).unwrap();
        let found = (METRIC.compute)(&comparison).unwrap().values;
        assert_close(&found, &[plain(&real, &fake)], 1e-6);
        assert!(caution(&comparison).is_some());
        let unit = Array2::<f32>::eye(6);
        let (a, b) = (set(unit.clone(), &options), set(unit, &options));
        let same = Comparison::new(&a, &b, &options, &Silent).unwrap();
        assert!(caution(&same).is_none());
        assert!((METRIC.compute)(&same).unwrap().values[0].abs() < 1e-9);
    }
}
