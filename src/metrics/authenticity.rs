//! Authenticity (Alaa et al. 2022, arXiv 2102.08921, section 4.3): the share of generated samples that are farther from their
//! nearest real sample than that one is from its own nearest. Copies of real samples are not authentic.

use super::comparison::Comparison;
use super::least_rows::LeastRows;
use super::metric::{Better, Measured, Metric, Needs, range};
use crate::error::Result;

/// The registry's entry.
pub(super) const METRIC: Metric = Metric {
    name: "authenticity",
    columns: &["authenticity"],
    about: "share of generated samples farther from their nearest real one than that is from its own nearest; near 0 where \
            the generator copies",
    better: Better::Neither,
    range: range::SHARE,
    needs: Needs::Features,
    by_default: true,
    alone: false,
    least_rows: LeastRows::RealSpheres(1),
    depends_on_rows: true,
    draws: false,
    compute: |comparison| {
        let authentic = authenticity(comparison)?.authentic;
        Ok(Measured::mean(authentic.iter().map(|yes| f64::from(u8::from(*yes))).collect(), |mean| mean))
    },
    replicates: None,
    caution: |_| None,
};

/// The nearest real row of each generated one, and whether it looks copied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Authenticity {
    /// Real rows, `[M]`; of several at one distance the first.
    pub nearest: Vec<u32>,
    /// Their distances, `[M]`.
    pub nearest_distance: Vec<f64>,
    /// Whether that is more than the distance of the real row to its nearest other real row, `[M]`.
    pub authentic: Vec<bool>,
}

/// Which generated rows are authentic.
///
/// # Errors
/// [`crate::Error::Data`] if there are too few real rows; [`crate::Error::Interrupted`].
pub(crate) fn authenticity(comparison: &Comparison<'_>) -> Result<Authenticity> {
    let own = comparison.real.manifold()?.radii(1)?;
    let found = comparison.nearest()?;
    let authentic = found
        .rows
        .iter()
        .zip(&found.distances)
        .map(|(row, distance)| own[*row as usize] < *distance)
        .collect();
    Ok(Authenticity { nearest: found.rows.clone(), nearest_distance: found.distances.clone(), authentic })
}

#[cfg(test)]
mod tests {
    use super::super::manifold::Boundary;
    use super::super::test_support::{Fixture, options, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::{Array2, s};

    fn shares(real: &Array2<f32>, generated: &Array2<f32>) -> (f64, Vec<bool>) {
        let options = options(3, Boundary::Excluded);
        let (real, generated) = (set(real.clone(), &options), set(generated.clone(), &options));
        let comparison = Comparison::new(&real, &generated, &options, &Silent).unwrap();
        let value = (METRIC.compute)(&comparison).unwrap().values[0];
        (value, authenticity(&comparison).unwrap().authentic)
    }

    #[test]
    fn it_is_the_plain_double_loop() {
        let fixture = Fixture::load();
        let real = fixture.features("real_2000").slice(s![..300, ..]).to_owned();
        let fake = fixture.features("fake_2000").slice(s![..200, ..]).to_owned();
        let distance = |a: ndarray::ArrayView1<f32>, b: ndarray::ArrayView1<f32>| {
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
        };
        let nearest = |x: ndarray::ArrayView1<f32>, skip: Option<usize>| {
            (0..real.nrows())
                .filter(|row| Some(*row) != skip)
                .map(|row| (distance(x, real.row(row)), row))
                .fold((f64::INFINITY, 0), |best, next| if next.0 < best.0 { next } else { best })
        };
        let expected: Vec<bool> = fake
            .rows()
            .into_iter()
            .map(|x| {
                let (own, row) = nearest(x, None);
                nearest(real.row(row), Some(row)).0 < own
            })
            .collect();
        let (value, authentic) = shares(&real, &fake);
        assert_eq!(authentic, expected);
        assert_eq!(value, expected.iter().filter(|yes| **yes).count() as f64 / 200.0);
    }

    #[test]
    fn copies_are_not_authentic() {
        let real = Fixture::load().features("real_2000").slice(s![..300, ..]).to_owned();
        assert_eq!(shares(&real, &real).0, 0.0);
    }
}
