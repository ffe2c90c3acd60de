//! Order-2 kernel entropy of a set (Jalali, Li and Farnia 2023, arXiv 2305.19297) with a Gaussian kernel:
//! `-ln(mean over pairs i, j of k(x_i, x_j)^2)`, in percent of that of images that have nothing in common.

use super::spread::squared_distances;
use super::worth::Worth;
use crate::error::Result;
use crate::neighbors::distance::squared_l2;
use ndarray::ArcArray2;
use rayon::prelude::*;

/// The bandwidth of the kernel as a share of the median distance of two targets.
const BANDWIDTH: f64 = 0.3;

/// The set, and the sum of squared kernels of every row with its members.
pub(super) struct Entropy {
    features: ArcArray2<f32>,
    /// `k(x, y)^2 = exp(-|x - y|^2 * rate)`.
    rate: f64,
    percent: f64,
    members: Vec<u32>,
    /// For each row, itself counted where it is a member.
    sums: Vec<f64>,
    /// Over pairs of members, each with itself as well.
    total: f64,
}

impl Entropy {
    /// No member yet; `size` is how many there will be.
    pub(super) fn new(features: ArcArray2<f32>, median: f64, size: usize) -> Self {
        let bandwidth = BANDWIDTH * median;
        let rate = if bandwidth > 0.0 { 1.0 / (bandwidth * bandwidth) } else { 0.0 };
        let sums = vec![0.0; features.nrows()];
        let percent = 100.0 / (size.max(2) as f64).ln();
        Self { features, rate, percent, members: Vec::new(), sums, total: 0.0 }
    }

    fn worth(&self, total: f64, members: usize) -> f64 {
        let members = members as f64;
        if members > 0.0 { -(total / (members * members)).ln() * self.percent } else { 0.0 }
    }

    /// Squared kernels of all rows with one.
    fn kernels(&self, row: u32) -> Vec<f64> {
        let mut values = squared_distances(&self.features, row as usize);
        values.par_iter_mut().for_each(|value| *value = (-*value * self.rate).exp());
        values
    }

    fn sum_up(&mut self) {
        self.total = self.members.iter().map(|&row| self.sums[row as usize]).sum();
    }
}

impl Worth for Entropy {
    fn value(&self) -> f64 {
        self.worth(self.total, self.members.len())
    }

    fn gains(&self, rows: &[u32]) -> Result<Vec<f64>> {
        let before = self.value();
        let with = |&row: &u32| {
            let total = self.total + 2.0 * self.sums[row as usize] + 1.0;
            self.worth(total, self.members.len() + 1) - before
        };
        Ok(rows.iter().map(with).collect())
    }

    fn gains_only_fall(&self) -> bool {
        false
    }

    fn swap_changes(&self, rows: &[u32]) -> Result<Vec<f64>> {
        let before = self.value();
        let changes = rows.par_iter().flat_map_iter(|&row| {
            let one = self.features.row(row as usize);
            self.members.iter().map(move |&member| {
                let kernel = match (one.to_slice(), self.features.row(member as usize).to_slice()) {
                    (Some(one), Some(member)) => (-squared_l2(one, member) * self.rate).exp(),
                    _ => 0.0,
                };
                let without = self.total - 2.0 * self.sums[member as usize] + 1.0;
                let total = without + 2.0 * (self.sums[row as usize] - kernel) + 1.0;
                self.worth(total, self.members.len()) - before
            })
        });
        Ok(changes.collect())
    }

    fn add(&mut self, row: u32) -> Result<()> {
        self.members.push(row);
        let kernels = self.kernels(row);
        self.sums.iter_mut().zip(kernels).for_each(|(sum, kernel)| *sum += kernel);
        self.sum_up();
        Ok(())
    }

    fn replace(&mut self, slot: usize, row: u32) -> Result<()> {
        let (lost, won) = (self.kernels(self.members[slot]), self.kernels(row));
        self.members[slot] = row;
        for ((sum, lost), won) in self.sums.iter_mut().zip(lost).zip(won) {
            *sum += won - lost;
        }
        self.sum_up();
        Ok(())
    }

    fn clear(&mut self) {
        self.members.clear();
        self.sums.fill(0.0);
        self.total = 0.0;
    }
}
