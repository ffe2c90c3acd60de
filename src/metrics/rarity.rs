//! The rarity score of each generated sample (Han et al. 2023, arXiv 2206.08549): the radius of the smallest real sphere that holds
//! it. Outside all spheres it has none (the authors' code says 0).

use super::comparison::Comparison;
use crate::error::Result;

/// The rarity of each generated row, `[M]`, NaN outside the real spheres.
///
/// # Errors
/// [`crate::Error::Data`] if there are too few real rows; [`crate::Error::Interrupted`].
pub(crate) fn rarity(comparison: &Comparison<'_>) -> Result<Vec<f64>> {
    let smallest = &comparison.memberships()?.precision.smallest_radius;
    Ok(smallest.iter().map(|radius| if radius.is_finite() { *radius } else { f64::NAN }).collect())
}

#[cfg(test)]
mod tests {
    use super::super::manifold::Boundary;
    use super::super::test_support::{Fixture, assert_close, options, set};
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn it_agrees_with_the_fixture() {
        let fixture = Fixture::load();
        let options = options(3, Boundary::Excluded);
        let real = set(fixture.features("real_2000"), &options);
        let fake = set(fixture.features("fake_2000"), &options);
        let comparison = Comparison::new(&real, &fake, &options, &Silent).unwrap();
        let found = rarity(&comparison).unwrap();
        assert_close(&found, &fixture.per_sample("rarity_k3"), 1e-12);
        assert_eq!(
            found.iter().filter(|r| r.is_nan()).count() as f64,
            fixture.number(&["rarity_k3", "outside"])
        );
    }
}
