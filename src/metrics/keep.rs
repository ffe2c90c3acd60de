//! What is long to compute of a set alone, kept for a later comparison with the same set.

use super::statistics::{RootedStatistics, Statistics};
use crate::neighbors::Neighbors;
use ndarray::{Array1, Array2, ArrayD, ArrayView1, ArrayView2, Ix0, Ix1, Ix2, arr0};

/// Keeps arrays by name. What is read belongs to the same features as what was written; what is not kept is computed again.
pub(crate) trait Keep: Send + Sync {
    /// So many arrays of a name, if they are there.
    fn read(&self, name: &str, count: usize) -> Option<Vec<ArrayD<f64>>>;

    /// Keeps arrays, as far as that is possible.
    fn write(&self, name: &str, arrays: &[ArrayD<f64>]);
}

/// A number or table that is kept, of a set of `rows` x `columns`.
pub(super) trait Kept: Sized {
    /// How many arrays.
    const COUNT: usize;

    /// As arrays.
    fn arrays(&self) -> Vec<ArrayD<f64>>;

    /// From arrays; `None` if they do not fit.
    fn from_arrays(arrays: Vec<ArrayD<f64>>, shape: (usize, usize)) -> Option<Self>;
}

impl Kept for f64 {
    const COUNT: usize = 1;

    fn arrays(&self) -> Vec<ArrayD<f64>> {
        vec![arr0(*self).into_dyn()]
    }

    fn from_arrays(arrays: Vec<ArrayD<f64>>, _: (usize, usize)) -> Option<Self> {
        let [value] = <[ArrayD<f64>; 1]>::try_from(arrays).ok()?;
        Some(value.into_dimensionality::<Ix0>().ok()?.into_scalar())
    }
}

impl Kept for Vec<f64> {
    const COUNT: usize = 1;

    fn arrays(&self) -> Vec<ArrayD<f64>> {
        vec![ArrayView1::from(&self[..]).to_owned().into_dyn()]
    }

    fn from_arrays(arrays: Vec<ArrayD<f64>>, _: (usize, usize)) -> Option<Self> {
        let [values] = <[ArrayD<f64>; 1]>::try_from(arrays).ok()?;
        Some(values.into_dimensionality::<Ix1>().ok()?.to_vec())
    }
}

impl Kept for RootedStatistics {
    const COUNT: usize = 3;

    fn arrays(&self) -> Vec<ArrayD<f64>> {
        let Statistics { mean, covariance, .. } = &self.statistics;
        vec![mean.clone().into_dyn(), covariance.clone().into_dyn(), self.root.clone().into_dyn()]
    }

    fn from_arrays(arrays: Vec<ArrayD<f64>>, (rows, width): (usize, usize)) -> Option<Self> {
        let [mean, covariance, root] = <[ArrayD<f64>; 3]>::try_from(arrays).ok()?;
        let mean: Array1<f64> = mean.into_dimensionality::<Ix1>().ok()?;
        let square = |array: ArrayD<f64>| {
            let array: Array2<f64> = array.into_dimensionality::<Ix2>().ok()?;
            (array.dim() == (width, width)).then_some(array)
        };
        let statistics = Statistics { mean, covariance: square(covariance)?, rows: Some(rows) };
        (statistics.width() == width).then_some(RootedStatistics { statistics, root: square(root)? })
    }
}

impl Kept for Neighbors {
    const COUNT: usize = 2;

    fn arrays(&self) -> Vec<ArrayD<f64>> {
        let shape = (self.len(), self.k);
        let table = |values: &[f64]| {
            ArrayView2::from_shape(shape, values)
                .map_or_else(|_| ArrayD::default(vec![0]), |t| t.to_owned().into_dyn())
        };
        let rows: Vec<f64> = self.rows.iter().map(|&row| f64::from(row)).collect();
        vec![table(&rows), table(&self.distances)]
    }

    fn from_arrays(arrays: Vec<ArrayD<f64>>, (rows, _): (usize, usize)) -> Option<Self> {
        let [of_rows, distances] = <[ArrayD<f64>; 2]>::try_from(arrays).ok()?;
        let (of_rows, distances) =
            (of_rows.into_dimensionality::<Ix2>().ok()?, distances.into_dimensionality::<Ix2>().ok()?);
        let is_row = |value: &f64| (0.0..rows as f64).contains(value) && value.fract() == 0.0;
        let is_whole =
            of_rows.nrows() == rows && of_rows.dim() == distances.dim() && of_rows.iter().all(is_row);
        let k = of_rows.ncols();
        is_whole.then(|| Neighbors {
            k,
            rows: of_rows.iter().map(|&row| row as u32).collect(),
            distances: distances.iter().copied().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_exactly_and_what_does_not_fit_is_refused() {
        let root = Array2::from_shape_fn((2, 2), |(i, j)| 0.1 + (i * j) as f64);
        let statistics =
            Statistics { mean: Array1::from(vec![0.5, -1.0]), covariance: root.clone(), rows: Some(9) };
        let rooted = RootedStatistics { statistics, root };
        let read = RootedStatistics::from_arrays(rooted.arrays(), (9, 2)).unwrap();
        assert_eq!((read.statistics(), &read.root), (rooted.statistics(), &rooted.root));
        assert!(RootedStatistics::from_arrays(rooted.arrays(), (9, 3)).is_none());
        let neighbors =
            Neighbors { k: 2, rows: vec![1, 2, 0, 2, 0, 1], distances: vec![0.5, 1.0, 0.5, 2.0, 1.0, 2.0] };
        let read = Neighbors::from_arrays(neighbors.arrays(), (3, 7)).unwrap();
        assert_eq!(
            (read.k, read.rows, read.distances),
            (2, neighbors.rows.clone(), neighbors.distances.clone())
        );
        assert!(Neighbors::from_arrays(neighbors.arrays(), (2, 7)).is_none());
        assert_eq!(f64::from_arrays(0.1f64.arrays(), (0, 0)), Some(0.1));
        assert_eq!(Vec::from_arrays(vec![0.1, 0.2].arrays(), (0, 0)), Some(vec![0.1, 0.2]));
        assert_eq!(f64::from_arrays(vec![0.1, 0.2].arrays(), (0, 0)), None);
    }
}
