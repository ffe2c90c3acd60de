//! What the tests of metrics share: fixtures and comparisons.

use crate::progress::Silent;
use ndarray::Array2;

use super::feature_set::FeatureSet;

use super::manifold::Boundary;
use super::options::Options;

pub(super) use crate::density::test_support::Fixture;

#[track_caller]
pub(super) fn assert_close(found: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= relative * expected.abs() || found.is_nan() && expected.is_nan(),
            "value {i}: {found}, expected {expected}"
        );
    }
}

/// Options with one `k` for everything.
pub(super) fn options(k: usize, boundary: Boundary) -> Options {
    Options { k, k_density: k, boundary, ..Options::default() }
}

pub(super) fn set(features: Array2<f32>, options: &Options) -> FeatureSet<'static> {
    FeatureSet::new(features.into_shared(), options, &Silent).unwrap()
}
