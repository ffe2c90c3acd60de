//! The kernel distance (Bińkowski et al. 2018, arXiv 1801.01401): the unbiased squared maximum mean discrepancy with the kernel
//! `(x.y / D + 1)^3`. KID where the features are those of the 2015 Inception network.
//! `kid` takes all pairs; `kid-subsets` averages over random subsets as torch-fidelity does, a noisier estimate of the same value.

use super::kernel::{Kernel, cross_means, discrepancy_of_resampled, own_pairs};
use super::least_rows::LeastRows;
use super::matrix::tree_sum;
use super::metric::{Better, Measured, Metric, Needs, range};
use super::options::Options;
use super::resampling::without_replacement;
use crate::error::{Error, Result};
use crate::generate::RandomState;
use crate::progress::Progress;
use crate::random::Purpose;
use crate::remedy::Remedy;
use ndarray::{ArrayView2, Axis};

/// What the distance is called in spaces other than Inception's.
pub(crate) const KD: &str = "kd";

/// The registry's entry of the estimate from all pairs.
pub(crate) const METRIC: Metric = Metric {
    name: "kid",
    columns: &["kid"],
    about: "kernel distance, all pairs, unbiased at any size (it may be slightly negative); lower is better",
    better: Better::Lower,
    range: range::ANY,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    least_rows: LeastRows::Rows(2, 2),
    depends_on_rows: false,
    draws: false,
    compute: |comparison| {
        let (real, generated) = (comparison.real.features()?, comparison.generated.features()?);
        let cross = cross_means(real, generated, Kernel::Cubic, comparison.progress)?;
        let own = comparison.real.cubic_own()? + comparison.generated.cubic_own()?;
        Ok(Measured::value(own - 2.0 * tree_sum(&cross) / cross.len() as f64))
    },
    replicates: Some(|comparison, draws| {
        let (real, generated) = (comparison.real.features()?, comparison.generated.features()?);
        let real_own = comparison.real.cubic_own()?;
        discrepancy_of_resampled(real, real_own, generated, draws, Kernel::Cubic, comparison.progress)
    }),
    caution: |_| None,
};

/// The registry's entry of the estimate from subsets.
pub(crate) const SUBSETS: Metric = Metric {
    name: "kid-subsets",
    columns: &["kid_subsets", "kid_subsets_std"],
    about: "mean and deviation of the kernel distance over random subsets, as torch-fidelity gives it; lower is better",
    better: Better::Lower,
    range: range::ANY,
    needs: Needs::Features,
    by_default: false,
    alone: false,
    least_rows: LeastRows::Subset,
    depends_on_rows: false,
    draws: true,
    compute: |comparison| {
        let options = comparison.options;
        let (real, generated) = (comparison.real.features()?, comparison.generated.features()?);
        let (count, size) = (options.kid_subsets, options.kid_subset_size);
        let smaller = real.nrows().min(generated.nrows());
        if size > smaller || size < 2 || count == 0 {
            return Err(Error::usage(
                format!("{count} subsets of {size} rows cannot be drawn from {smaller} rows"),
                Remedy::SmallerSubsets(smaller),
            ));
        }
        let subsets = subsets((real.nrows(), generated.nrows()), options);
        let (mean, deviation) = over_subsets(real, generated, &subsets, comparison.progress)?;
        Ok(Measured { values: vec![mean, deviation], mean: None })
    },
    replicates: None,
    caution: |_| None,
};

/// The rows of each subset on both sides.
fn subsets((real, generated): (usize, usize), options: &Options) -> Vec<(Vec<u32>, Vec<u32>)> {
    let size = options.kid_subset_size;
    let Some(seed) = options.numpy_seed else {
        let rows = |rows, purpose, item| without_replacement(rows, size, options.seed, purpose, item);
        let subset =
            |item| (rows(real, Purpose::RealSubset, item), rows(generated, Purpose::GeneratedSubset, item));
        return (0..options.kid_subsets as u64).map(subset).collect();
    };
    let mut random = RandomState::new(seed);
    let mut rows = |rows: usize| {
        let mut all = random.permutation(rows as u32);
        all.truncate(size);
        all
    };
    let mut subset = |_| {
        // The first input of torch-fidelity, by its own examples, is the generated set.
        let generated = rows(generated);
        (rows(real), generated)
    };
    (0..options.kid_subsets).map(&mut subset).collect()
}

/// The unbiased estimate from all pairs of `real` `[N, D]` and `generated` `[M, D]`.
///
/// # Errors
/// [`Error::Data`] for fewer than two rows or other widths; [`Error::Interrupted`].
pub(crate) fn kernel_distance(
    real: ArrayView2<f32>,
    generated: ArrayView2<f32>,
    progress: &dyn Progress,
) -> Result<f64> {
    let cross = cross_means(real, generated, Kernel::Cubic, progress)?;
    let own = own_pairs(real, Kernel::Cubic, progress)? + own_pairs(generated, Kernel::Cubic, progress)?;
    Ok(own - 2.0 * tree_sum(&cross) / cross.len() as f64)
}

/// Mean and population deviation of [`kernel_distance`] over subsets, each given by its rows on both sides.
///
/// # Errors
/// As [`kernel_distance`].
pub(crate) fn over_subsets(
    real: ArrayView2<f32>,
    generated: ArrayView2<f32>,
    subsets: &[(Vec<u32>, Vec<u32>)],
    progress: &dyn Progress,
) -> Result<(f64, f64)> {
    let select = |features: ArrayView2<f32>, rows: &[u32]| {
        let rows: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
        features.select(Axis(0), &rows)
    };
    let values: Vec<f64> = subsets
        .iter()
        .map(|(a, b)| kernel_distance(select(real, a).view(), select(generated, b).view(), progress))
        .collect::<Result<_>>()?;
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    Ok((mean, variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::super::comparison::Comparison;
    use super::super::test_support::{Fixture, assert_close, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::s;

    fn distance(real: ArrayView2<f32>, generated: ArrayView2<f32>) -> Result<f64> {
        kernel_distance(real, generated, &Silent)
    }

    #[test]
    fn it_agrees_with_the_fixture_for_all_pairs_and_for_given_subsets() {
        let fixture = Fixture::load();
        let (real, fake) = (fixture.features("real_2000"), fixture.features("fake_2000"));
        let rows = |side: &str| fixture.rows(&format!("kid_subset_{side}_rows"));
        let subsets: Vec<_> = rows("real").into_iter().zip(rows("fake")).collect();
        let (mean, deviation) = over_subsets(real.view(), fake.view(), &subsets, &Silent).unwrap();
        let constant = fixture.edge_input("constant.30x6");
        let found = [
            distance(real.view(), fake.view()).unwrap(),
            distance(real.view(), fake.slice(s![..500, ..])).unwrap(),
            mean,
            deviation,
            distance(constant.view(), fixture.edge_input("constant_column.50x6").view()).unwrap(),
        ];
        let expected = [
            fixture.number(&["kid", "unbiased_full"]),
            fixture.number(&["kid", "unbiased_unequal_sizes_real2000_fake500"]),
            fixture.number(&["kid", "subsets_4_of_100", "mean"]),
            fixture.number(&["kid", "subsets_4_of_100", "std_ddof0"]),
            fixture.number(&["edge", "constant", "kid_to_constant_column_set"]),
        ];
        assert_close(&found, &expected, 1e-6);
    }

    /// torch-fidelity 0.4.0's `kid_features_to_metric(fake, real, kid_subsets=5, kid_subset_size=1000, rng_seed=2020)` of these in float64.
    #[test]
    fn with_numpys_draws_it_is_the_value_of_torch_fidelity() {
        let fixture = Fixture::load();
        let options = Options { kid_subsets: 5, numpy_seed: Some(2020), ..Options::default() };
        let side = |name: &str| set(fixture.features(name), &options);
        let (real, fake) = (side("real_2000"), side("fake_2000"));
        let comparison = Comparison::new(&real, &fake, &options, &Silent).unwrap();
        let found = (SUBSETS.compute)(&comparison).unwrap().values;
        assert_close(&found, &[0.002_018_638_611_941_625_5, 0.002_490_100_302_183_56], 1e-9);
    }

    #[test]
    fn one_row_and_other_widths_are_refused() {
        let x = Fixture::load().features("real_2000");
        assert!(own_pairs(x.slice(s![..1, ..]), Kernel::Cubic, &Silent).is_err());
        assert!(distance(x.view(), x.slice(s![.., ..3])).is_err());
    }
}
