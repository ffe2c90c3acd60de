//! Facility location: how near every target has a member of the set. A target at distance `d` from its nearest member counts
//! `1 - (d / r)^2`, and 0 from `r` on, the median distance of two targets; the worth is the mean over the targets, in percent.

use super::nearest_two::{NONE, NearestTwo};
use super::worth::Worth;
use crate::error::Result;
use crate::neighbors::{COLUMNS, Columns, DistanceProducts};
use ndarray::ArcArray2;
use rayon::prelude::*;

/// Parts in which the targets are summed for swaps, whatever the machine: each holds a sum for each slot and column.
const PARTS: usize = 32;
/// Numbers that all parts hold together, at most.
const PART_NUMBERS: usize = 1 << 24;

/// The set, and the two nearest members of every target.
pub(super) struct Facility {
    products: DistanceProducts,
    features: ArcArray2<f32>,
    members: Vec<u32>,
    /// Squared distances in the frame of the products, no larger than the reach.
    near: NearestTwo<f32>,
    reach: f32,
}

impl Facility {
    /// No member yet. `median` is the distance from which a member is worth nothing to a target.
    ///
    /// # Errors
    /// As [`DistanceProducts::new`].
    pub(super) fn new(features: ArcArray2<f32>, targets: &ArcArray2<f32>, median: f64) -> Result<Self> {
        let products = DistanceProducts::new(targets.view())?;
        let reach = (median * median * products.scale()) as f32;
        let near = NearestTwo::new(products.rows(), reach);
        Ok(Self { products, features, members: Vec::new(), near, reach })
    }

    /// From a sum of squared distances in the frame to percent.
    fn percent(&self) -> f64 {
        let whole = f64::from(self.reach) * self.products.rows() as f64;
        if whole > 0.0 { 100.0 / whole } else { 0.0 }
    }

    fn columns(&self, rows: &[u32]) -> Result<Columns> {
        self.products.columns(self.features.view(), rows)
    }

    /// The squared distance of every target to one row.
    fn distances(&self, row: u32) -> Result<Vec<f32>> {
        let column = self.columns(&[row])?;
        let of_block = |block: usize| {
            let mut distances = Vec::with_capacity(self.products.block(block).len());
            self.products.visit(
                block,
                &column,
                |_| true,
                |rows, _, tile| {
                    distances.extend(tile.iter().take(rows.len()).map(|distances| distances[0]));
                },
            );
            distances
        };
        Ok((0..self.products.blocks()).into_par_iter().map(of_block).collect::<Vec<_>>().concat())
    }

    /// Finds the members near those targets that are `forgotten`.
    fn look_again(&mut self, forgotten: &[bool]) -> Result<()> {
        for (part, members) in self.members.chunks(COLUMNS).enumerate() {
            let columns = self.columns(members)?;
            let first_slot = part * COLUMNS;
            let of_block = |block: usize| {
                let mut found: Vec<(usize, f32, usize)> = Vec::new();
                let wanted = |rows: std::ops::Range<usize>| forgotten[rows].contains(&true);
                self.products.visit(block, &columns, wanted, |rows, first, tile| {
                    for (row, distances) in rows.zip(tile).filter(|(row, _)| forgotten[*row]) {
                        let near =
                            distances.iter().enumerate().filter(|(_, distance)| **distance < self.reach);
                        found.extend(
                            near.map(|(column, &distance)| (row, distance, first_slot + first + column)),
                        );
                    }
                });
                found
            };
            let found: Vec<_> = (0..self.products.blocks()).into_par_iter().map(of_block).collect();
            for (row, distance, slot) in found.into_iter().flatten() {
                self.near.offer(row, distance, slot as u32);
            }
        }
        Ok(())
    }

    /// How much would be lost with each slot, as a sum of squared distances.
    fn losses(&self) -> Vec<f64> {
        let mut losses = vec![0.0; self.members.len()];
        for (row, &slot) in self.near.first_slot.iter().enumerate().filter(|(_, slot)| **slot != NONE) {
            losses[slot as usize] += difference(self.near.second[row], self.near.first[row]);
        }
        losses
    }
}

/// Without rounding, so that what members add sums to the worth of the set.
#[inline(always)]
fn difference(larger: f32, smaller: f32) -> f64 {
    f64::from(larger) - f64::from(smaller)
}

/// What a row adds to a sum for the columns of a panel: how far each is below `limit`.
#[inline(always)]
fn add_below(sums: &mut [f64], distances: &[f32], limit: f32) {
    for (sum, &distance) in sums.iter_mut().zip(distances) {
        *sum += difference(limit, distance).max(0.0);
    }
}

impl Worth for Facility {
    fn value(&self) -> f64 {
        let won = self.near.first.iter().map(|&first| difference(self.reach, first)).sum::<f64>();
        won * self.percent()
    }

    fn gains(&self, rows: &[u32]) -> Result<Vec<f64>> {
        let mut gains = Vec::with_capacity(rows.len());
        for rows in rows.chunks(COLUMNS) {
            let columns = self.columns(rows)?;
            let of_block = |block: usize| {
                let mut sums = vec![0.0; COLUMNS];
                self.products.visit(
                    block,
                    &columns,
                    |_| true,
                    |targets, first, tile| {
                        for (target, distances) in targets.zip(tile) {
                            add_below(&mut sums[first..], distances, self.near.first[target]);
                        }
                    },
                );
                sums
            };
            let blocks: Vec<Vec<f64>> = (0..self.products.blocks()).into_par_iter().map(of_block).collect();
            gains.extend(
                (0..rows.len()).map(|at| blocks.iter().map(|sums| sums[at]).sum::<f64>() * self.percent()),
            );
        }
        Ok(gains)
    }

    fn gains_only_fall(&self) -> bool {
        true
    }

    /// Schubert and Rousseeuw's decomposition (*Faster k-medoids clustering*, 2019): what a row adds whoever leaves, and what it makes
    /// good of the loss of each slot, in one pass over the targets.
    fn swap_changes(&self, rows: &[u32]) -> Result<Vec<f64>> {
        let slots = self.members.len();
        let losses = self.losses();
        let blocks = self.products.blocks();
        let parts = (PART_NUMBERS / (COLUMNS * slots.max(1))).clamp(1, PARTS).min(blocks);
        let mut changes = Vec::with_capacity(rows.len() * slots);
        for rows in rows.chunks(COLUMNS) {
            let columns = self.columns(rows)?;
            let of_part = |part: usize| {
                let mut added = vec![0.0; COLUMNS];
                let mut made_good = vec![0.0; slots * COLUMNS];
                for block in part * blocks / parts..(part + 1) * blocks / parts {
                    self.products.visit(
                        block,
                        &columns,
                        |_| true,
                        |targets, at, tile| {
                            for (target, distances) in targets.zip(tile) {
                                let (first, second) = (self.near.first[target], self.near.second[target]);
                                if !distances.iter().any(|&distance| distance < second) {
                                    continue;
                                }
                                add_below(&mut added[at..], distances, first);
                                let slot = self.near.first_slot[target];
                                if slot != NONE {
                                    let sums = &mut made_good[slot as usize * COLUMNS + at..];
                                    for (sum, &distance) in sums.iter_mut().zip(distances) {
                                        *sum += difference(second, distance.max(first)).max(0.0);
                                    }
                                }
                            }
                        },
                    );
                }
                (added, made_good)
            };
            let parts: Vec<(Vec<f64>, Vec<f64>)> = (0..parts).into_par_iter().map(of_part).collect();
            for at in 0..rows.len() {
                let added = parts.iter().map(|(added, _)| added[at]).sum::<f64>();
                for (slot, loss) in losses.iter().enumerate() {
                    let made_good = parts.iter().map(|(_, sums)| sums[slot * COLUMNS + at]).sum::<f64>();
                    changes.push((added + made_good - loss) * self.percent());
                }
            }
        }
        Ok(changes)
    }

    fn add(&mut self, row: u32) -> Result<()> {
        let slot = self.members.len() as u32;
        self.members.push(row);
        for (target, distance) in self.distances(row)?.into_iter().enumerate() {
            self.near.offer(target, distance, slot);
        }
        Ok(())
    }

    fn replace(&mut self, slot: usize, row: u32) -> Result<()> {
        self.members[slot] = row;
        let forgotten = self.near.forget(slot as u32);
        for (target, distance) in self.distances(row)?.into_iter().enumerate() {
            if !forgotten[target] {
                self.near.offer(target, distance, slot as u32);
            }
        }
        self.look_again(&forgotten)
    }

    fn clear(&mut self) {
        self.members.clear();
        self.near = NearestTwo::new(self.products.rows(), self.reach);
    }
}
