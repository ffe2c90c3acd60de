//! Means of counts of which none is taken above a limit, and how far chance moves those over real spheres.

use super::super::comparison::Comparison;
use super::super::manifold::Boundary;
use super::super::resampling::Draws;
use crate::error::Result;
use std::sync::atomic::{AtomicU32, Ordering};

/// The counts, none above `limit`.
pub(super) fn clipped(counts: &[u32], limit: u32) -> Vec<f64> {
    counts.iter().map(|count| f64::from((*count).min(limit))).collect()
}

/// Their mean.
pub(super) fn mean_of_clipped(counts: &[u32], limit: u32) -> f64 {
    clipped(counts, limit).iter().sum::<f64>() / counts.len() as f64
}

/// The mean over real spheres of radius `k_density` of how many generated rows each holds (`counts` `[N]`), up to `limit`, as it moves
/// with the generated rows: what the mean loses without a row is resampled. The deviation of these is that of the jackknife, which on
/// average is not below the true one (Efron and Stein 1981, Annals of Statistics 9, 586). A bootstrap sample itself would hold fewer
/// different rows, so that the counts of spheres with few rows would fall.
///
/// # Errors
/// As [`Manifold::radii`](super::super::manifold::Manifold::radii); [`Error::Interrupted`](crate::Error::Interrupted).
pub(super) fn resampled_means(
    comparison: &Comparison<'_>,
    boundary: Boundary,
    counts: &[u32],
    limit: u32,
    draws: &Draws,
) -> Result<Vec<f64>> {
    let losses = losses(comparison, boundary, counts, limit)?;
    let (spheres, rows) = (counts.len() as f64, losses.len() as f64);
    let value = mean_of_clipped(counts, limit);
    let total = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
    let moved = |drawn: Vec<u32>| drawn.into_iter().map(|row| f64::from(losses[row as usize])).sum::<f64>();
    Ok(draws.rows(rows as usize).map(|drawn| value + (moved(drawn) - total) / spheres).collect())
}

/// How many of the spheres around each generated row, `[M]`, hold no more than `limit` rows: by so much the sum of the clipped counts is
/// less without the row.
fn losses(comparison: &Comparison<'_>, boundary: Boundary, counts: &[u32], limit: u32) -> Result<Vec<u32>> {
    let manifold = comparison.real.manifold()?;
    let radii = manifold.radii(comparison.options.k_density)?;
    let others = comparison.generated.index()?;
    let losses: Vec<AtomicU32> = (0..others.rows()).map(|_| AtomicU32::new(0)).collect();
    let visit = |sphere: u32, row: u32, distance: f64| {
        let sphere = sphere as usize;
        if counts[sphere] <= limit && boundary.holds(distance, radii[sphere]) {
            losses[row as usize].fetch_add(1, Ordering::Relaxed);
        }
    };
    others.visit_within(manifold.features(), &radii, &visit, comparison.progress)?;
    Ok(losses.into_iter().map(AtomicU32::into_inner).collect())
}

#[cfg(test)]
mod tests {
    use super::super::super::test_support::{Fixture, options, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::{Axis, s};

    #[test]
    fn a_loss_is_what_the_clipped_counts_lose_without_the_row() {
        let fixture = Fixture::load();
        let real = fixture.features("real_2000").slice(s![..150, ..]).to_owned();
        let fake = fixture.features("fake_2000").slice(s![..40, ..]).to_owned();
        for boundary in [Boundary::Excluded, Boundary::Included] {
            let options = options(4, boundary);
            let sum = |fake: ndarray::Array2<f32>, limit| {
                let (real, fake) = (set(real.clone(), &options), set(fake, &options));
                let comparison = Comparison::new(&real, &fake, &options, &Silent).unwrap();
                let counts = &comparison.memberships().unwrap().density.rows_of_sphere;
                let losses = losses(&comparison, boundary, counts, limit).unwrap();
                (clipped(counts, limit).iter().sum::<f64>(), losses)
            };
            for limit in [1, 4] {
                let (whole, losses) = sum(fake.clone(), limit);
                assert!(losses.iter().any(|loss| *loss > 0));
                for (row, loss) in losses.iter().enumerate() {
                    let others: Vec<usize> = (0..fake.nrows()).filter(|other| *other != row).collect();
                    let (without, _) = sum(fake.select(Axis(0), &others), limit);
                    assert_eq!(whole - without, f64::from(*loss), "{boundary:?}, limit {limit}, row {row}");
                }
            }
        }
    }
}
