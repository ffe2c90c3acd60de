//! The intrinsic dimension of a reference, the exponent of the ratio rule: Levina and Bickel, *Maximum likelihood estimation of
//! intrinsic dimension* (NIPS 2004), averaged over rows as MacKay and Ghahramani's comment on it does.

use crate::neighbors::Neighbors;

/// The intrinsic dimension m: `1/m = mean over rows of mean_{j<K} ln(d_(K) / d_(j))`, from leave-one-out neighbours that come in
/// groups.
///
/// A neighbour at distance 0 is a copy and says nothing of the dimension: each row uses its neighbours above 0, and a
/// row with fewer than two of them is left out.
#[derive(Debug, Default)]
pub(crate) struct IntrinsicDimension {
    /// Of `1/m`, over the rows that say something.
    sum: f64,
    rows: usize,
}

impl IntrinsicDimension {
    /// Takes the neighbours of further rows, at least two each.
    pub(crate) fn add(&mut self, neighbors: &Neighbors) {
        for distances in neighbors.distances.chunks_exact(neighbors.k.max(1)) {
            let copies = distances.partition_point(|d| *d == 0.0);
            if let [inner @ .., outer] = &distances[copies..]
                && !inner.is_empty()
            {
                let outer = outer.ln();
                self.sum += inner.iter().map(|d| outer - d.ln()).sum::<f64>() / inner.len() as f64;
                self.rows += 1;
            }
        }
    }

    /// m; `None` if no row had two neighbours at different distances above 0.
    pub(crate) fn estimate(&self) -> Option<f64> {
        (self.sum > 0.0).then(|| self.rows as f64 / self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::{brute_force_self, gaussian};
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn intrinsic_dimension(neighbors: &Neighbors) -> Option<f64> {
        let mut dimension = IntrinsicDimension::default();
        dimension.add(neighbors);
        dimension.estimate()
    }

    fn lists(k: usize, distances: &[f64]) -> Neighbors {
        Neighbors { k, rows: (0..distances.len() as u32).collect(), distances: distances.to_vec() }
    }

    #[test]
    fn distances_that_grow_like_a_root_of_the_rank_give_the_closed_form() {
        let k = 12;
        for dimension in [1.0, 3.0, 20.0] {
            let row: Vec<f64> =
                (1..=k).map(|j| (f64::from(j) / f64::from(k)).powf(1.0 / dimension)).collect();
            let found = intrinsic_dimension(&lists(k as usize, &row)).unwrap();
            // mean_{j<K} ln((K/j)^(1/m)) = ln(K^(K-1) / (K-1)!) / (m (K-1))
            let factorial: f64 = (1..k).map(f64::from).product();
            let expected = dimension * f64::from(k - 1) / (f64::from(k).powi(k - 1) / factorial).ln();
            assert!((found - expected).abs() < 1e-12 * expected, "{found} {expected}");
        }
    }

    #[test]
    fn inverse_dimensions_are_averaged_not_dimensions() {
        // Rows of 1/m = ln 2 and ln 8.
        let found = intrinsic_dimension(&lists(2, &[1.0, 2.0, 1.0, 8.0])).unwrap();
        assert!((found - 1.0 / (2.0 * 2f64.ln())).abs() < 1e-15);
    }

    #[test]
    fn a_gaussian_has_the_dimension_it_was_drawn_in() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for dimension in [1, 2, 5] {
            let features = gaussian(2000, dimension, &mut rng);
            let found = intrinsic_dimension(&brute_force_self(&features, 10)).unwrap();
            // The maximum likelihood estimate exceeds m by about 1 / (K - 2) before the edge of the set lowers it.
            assert!((found / dimension as f64 - 1.0).abs() < 0.15, "{dimension}: {found}");
        }
    }

    #[test]
    fn a_plane_in_a_wide_space_keeps_two_dimensions() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let plane = gaussian(1500, 2, &mut rng).dot(&gaussian(2, 64, &mut rng));
        let found = intrinsic_dimension(&brute_force_self(&plane, 10)).unwrap();
        assert!((1.8..2.4).contains(&found), "{found}");
    }

    #[test]
    fn copies_change_nothing() {
        let clean = intrinsic_dimension(&lists(3, &[1.0, 2.0, 4.0])).unwrap();
        let with_copies =
            intrinsic_dimension(&lists(5, &[0.0, 0.0, 1.0, 2.0, 4.0, 0.0, 0.0, 0.0, 0.0, 3.0])).unwrap();
        assert_eq!(clean, with_copies);
    }

    #[test]
    fn in_groups_the_estimate_is_the_same_to_the_bit() {
        let features = gaussian(300, 3, &mut ChaCha8Rng::seed_from_u64(7));
        let whole = brute_force_self(&features, 4);
        let mut dimension = IntrinsicDimension::default();
        for group in [0..1, 1..1, 1..170, 170..300] {
            dimension.add(&lists(4, &whole.distances[4 * group.start..4 * group.end]));
        }
        assert_eq!(dimension.estimate(), intrinsic_dimension(&whole));
    }

    #[test]
    fn sets_without_a_dimension_have_none() {
        let constant = Array2::<f32>::ones((6, 3));
        assert_eq!(intrinsic_dimension(&brute_force_self(&constant, 3)), None);
        assert_eq!(intrinsic_dimension(&lists(3, &[2.0, 2.0, 2.0])), None);
        assert_eq!(intrinsic_dimension(&lists(3, &[])), None);
        assert_eq!(intrinsic_dimension(&lists(1, &[2.0])), None);
    }
}
