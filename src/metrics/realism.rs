//! The realism score of each generated sample (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 4): the largest ratio of a real
//! sphere's radius to the sample's distance from its centre, over the spheres below the median radius. At least 1 is inside one.
//! (The authors' code gives the square of this.)

use super::comparison::Comparison;
use super::matrix::product_with_transpose;
use crate::density::median;
use crate::error::Result;
use crate::neighbors::distance::squared_l2;
use crate::progress::{Progress, check_stop};
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Rows multiplied at a time.
const BLOCK: usize = 256;

/// The realism of each generated row, `[M]`: infinite on the centre of a sphere, NaN where no sphere is below the median.
///
/// # Errors
/// [`crate::Error::Data`] if there are too few real rows; [`crate::Error::Interrupted`].
pub(crate) fn realism(comparison: &Comparison<'_>) -> Result<Vec<f64>> {
    let manifold = comparison.real.manifold()?;
    let radii = manifold.radii(comparison.options.k)?;
    let generated = comparison.generated.features()?;
    let median = median(radii.to_vec());
    let kept: Vec<usize> = (0..radii.len()).filter(|row| radii[*row] < median).collect();
    if kept.is_empty() {
        return Ok(vec![f64::NAN; generated.nrows()]);
    }
    let (real, progress) = (manifold.features(), comparison.progress);
    let spheres = Spheres {
        centres: real,
        rows: kept,
        radii: &radii,
        shift: comparison.real.statistics()?.mean.to_vec(),
    };
    let blocks: Vec<Vec<f64>> = (0..generated.nrows().div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| {
            let rows: Vec<usize> = (block * BLOCK..generated.nrows().min((block + 1) * BLOCK)).collect();
            spheres.largest_ratios(generated, &rows, progress)
        })
        .collect::<Result<_>>()?;
    Ok(blocks.into_iter().flatten().collect())
}

/// Spheres, and the vector that is subtracted from all rows before products, so that a common offset costs no precision.
struct Spheres<'a> {
    centres: ArrayView2<'a, f32>,
    rows: Vec<usize>,
    radii: &'a [f64],
    shift: Vec<f64>,
}

impl Spheres<'_> {
    /// Rows of `features` less the shift, and their squared norms.
    fn shifted(&self, features: ArrayView2<f32>, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
        let values: Vec<f64> = rows
            .iter()
            .flat_map(|row| features.row(*row).into_iter().zip(&self.shift).map(|(v, s)| f64::from(*v) - s))
            .collect();
        let norms =
            values.chunks_exact(self.shift.len()).map(|row| row.iter().map(|v| v * v).sum()).collect();
        (values, norms)
    }

    /// A product gives a bound of each ratio; where it exceeds the best known ratio the pair is computed from the rows themselves. The
    /// result is the exact maximum, in whatever order pairs come.
    fn largest_ratios(
        &self,
        features: ArrayView2<f32>,
        rows: &[usize],
        progress: &dyn Progress,
    ) -> Result<Vec<f64>> {
        let depth = self.shift.len();
        // Twice the bound of a float64 product of this depth (Higham, 3.1), and what the sums and the shift add.
        let error = 4.0 * (depth + 8) as f64 * f64::EPSILON;
        let (own, own_norms) = self.shifted(features, rows);
        let own_rows: Vec<Vec<f32>> = rows.iter().map(|row| features.row(*row).to_vec()).collect();
        let mut best = vec![0.0f64; rows.len()];
        let mut products = Vec::new();
        for spheres in self.rows.chunks(BLOCK) {
            check_stop(progress, String::new)?;
            let (centres, norms) = self.shifted(self.centres, spheres);
            product_with_transpose(&own, &centres, depth, &mut products);
            for (((best, own_norm), products), own) in
                best.iter_mut().zip(&own_norms).zip(products.chunks_exact(spheres.len())).zip(&own_rows)
            {
                for ((product, norm), &sphere) in products.iter().zip(&norms).zip(spheres) {
                    let radius = self.radii[sphere];
                    let both = own_norm + norm;
                    let least = (both - 2.0 * product - error * both).max(0.0);
                    if radius > 0.0 && radius * radius > *best * *best * least {
                        let centre = self.centres.row(sphere);
                        let squared = match centre.to_slice() {
                            Some(centre) => squared_l2(own, centre),
                            None => squared_l2(own, &centre.to_vec()),
                        };
                        *best = best.max(radius / squared.sqrt());
                    }
                }
            }
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifold::Boundary;
    use super::super::test_support::{Fixture, assert_close, options, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::Array2;

    fn scores(real: Array2<f32>, fake: Array2<f32>) -> Vec<f64> {
        let options = options(3, Boundary::Excluded);
        let (real, fake) = (set(real, &options), set(fake, &options));
        realism(&Comparison::new(&real, &fake, &options, &Silent).unwrap()).unwrap()
    }

    #[test]
    fn it_agrees_with_the_fixture_also_far_from_the_origin() {
        let fixture = Fixture::load();
        let (real, fake) = (fixture.features("real_2000"), fixture.features("fake_2000"));
        assert_close(&scores(real.clone(), fake.clone()), &fixture.per_sample("realism_k3"), 1e-12);
        let grid = |x: Array2<f32>, offset: f32| x.mapv(|v| (v * 64.0).round() / 64.0 + offset);
        let near = scores(grid(real.clone(), 0.0), grid(fake.clone(), 0.0));
        assert_close(&scores(grid(real, 4096.0), grid(fake, 4096.0)), &near, 1e-12);
    }

    #[test]
    fn a_copy_of_a_centre_is_infinitely_real_and_equal_radii_leave_no_sphere() {
        let real = Fixture::load().features("real_2000");
        let found = scores(real.clone(), real);
        assert_eq!(found.iter().filter(|score| score.is_infinite()).count(), 1000);
        let line = Array2::from_shape_fn((4, 4), |(i, j)| f32::from(u8::from(i == j)));
        assert!(scores(line.clone(), line).iter().all(|score| score.is_nan()));
    }
}
