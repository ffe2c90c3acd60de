//! The smallest distance between two images of a set, in percent of the median distance of two targets.

use super::nearest_two::NearestTwo;
use super::worth::Worth;
use crate::error::Result;
use crate::neighbors::distance::squared_l2;
use ndarray::ArcArray2;
use rayon::prelude::*;

/// Exact Euclidean distances of all rows of `features` `[N, D]` to one of them.
pub(super) fn squared_distances(features: &ArcArray2<f32>, row: usize) -> Vec<f64> {
    let width = features.ncols().max(1);
    let rows = features.as_slice().unwrap_or(&[]);
    let one = &rows[row * width..][..width];
    rows.par_chunks_exact(width).with_min_len(256).map(|other| squared_l2(one, other)).collect()
}

/// The set, and the two nearest members of every row, itself not counted.
pub(super) struct Spread {
    features: ArcArray2<f32>,
    percent: f64,
    members: Vec<u32>,
    near: NearestTwo<f64>,
}

impl Spread {
    /// No member yet; `median` is the distance that counts as 100 percent.
    pub(super) fn new(features: ArcArray2<f32>, median: f64) -> Self {
        let near = NearestTwo::new(features.nrows(), f64::INFINITY);
        let percent = if median > 0.0 { 100.0 / median } else { 0.0 };
        Self { features, percent, members: Vec::new(), near }
    }

    /// The worth of a set with this smallest distance: that of a single image is 0.
    fn worth(&self, smallest: f64) -> f64 {
        if smallest.is_finite() { smallest * self.percent } else { 0.0 }
    }

    fn smallest(&self) -> f64 {
        self.members.iter().map(|&row| self.near.first[row as usize]).fold(f64::INFINITY, f64::min)
    }

    /// The smallest distance between two members, each left out in turn.
    fn smallest_without_each(&self) -> Vec<f64> {
        let smallest = self.smallest();
        let without = |slot: usize| {
            let others = self.members.iter().enumerate().filter(|(other, _)| *other != slot);
            others.map(|(_, &row)| self.near.without(row as usize, slot as u32)).fold(f64::INFINITY, f64::min)
        };
        let slots = self.members.iter().enumerate();
        // Only the loss of one of the nearest two changes the smallest distance.
        slots
            .map(
                |(slot, &row)| {
                    if self.near.first[row as usize] > smallest { smallest } else { without(slot) }
                },
            )
            .collect()
    }
}

impl Worth for Spread {
    fn value(&self) -> f64 {
        self.worth(self.smallest())
    }

    fn gains(&self, rows: &[u32]) -> Result<Vec<f64>> {
        let (smallest, before) = (self.smallest(), self.value());
        let gain = |&row: &u32| self.worth(smallest.min(self.near.first[row as usize])) - before;
        Ok(rows.iter().map(gain).collect())
    }

    fn gains_only_fall(&self) -> bool {
        false
    }

    fn swap_changes(&self, rows: &[u32]) -> Result<Vec<f64>> {
        let (without, before) = (self.smallest_without_each(), self.value());
        let change = |row: u32, slot: usize| {
            let nearest = self.near.without(row as usize, slot as u32);
            self.worth(without[slot].min(nearest)) - before
        };
        Ok(rows
            .iter()
            .flat_map(|&row| (0..without.len()).map(move |slot| (row, slot)))
            .map(|(row, slot)| change(row, slot))
            .collect())
    }

    fn add(&mut self, row: u32) -> Result<()> {
        let slot = self.members.len() as u32;
        self.members.push(row);
        for (other, distance) in squared_distances(&self.features, row as usize).into_iter().enumerate() {
            if other != row as usize {
                self.near.offer(other, distance.sqrt(), slot);
            }
        }
        Ok(())
    }

    fn replace(&mut self, slot: usize, row: u32) -> Result<()> {
        self.members[slot] = row;
        let forgotten = self.near.forget(slot as u32);
        let distances = squared_distances(&self.features, row as usize);
        for (other, distance) in distances.into_iter().enumerate() {
            if !forgotten[other] && other != row as usize {
                self.near.offer(other, distance.sqrt(), slot as u32);
            }
        }
        let again: Vec<usize> = (0..forgotten.len()).filter(|&other| forgotten[other]).collect();
        let features = &self.features;
        let members = &self.members;
        let found: Vec<Vec<f64>> = again
            .par_iter()
            .map(|&other| {
                let one = features.row(other);
                let to = |&member: &u32| match (one.to_slice(), features.row(member as usize).to_slice()) {
                    (Some(one), Some(member)) => squared_l2(one, member).sqrt(),
                    _ => f64::INFINITY,
                };
                members.iter().map(to).collect()
            })
            .collect();
        for (other, distances) in again.into_iter().zip(found) {
            for (slot, (distance, &member)) in distances.into_iter().zip(&self.members).enumerate() {
                if member as usize != other {
                    self.near.offer(other, distance, slot as u32);
                }
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.members.clear();
        self.near = NearestTwo::new(self.features.nrows(), f64::INFINITY);
    }
}
