//! Hard limits of a choice: what may not be chosen at all, what may not be chosen together, and how many of each group.

use super::shares::{Counts, Shares};
use crate::error::Result;
use crate::neighbors::distance::squared_l2_within;
use crate::neighbors::standard_layout;
use ndarray::ArcArray2;
use rayon::prelude::*;

/// Says which images may not be in a set together.
pub trait Conflicts: Sync {
    /// The rows that may not be in a set with `row`. Where `a` has `b`, `b` has `a`.
    ///
    /// # Errors
    /// If the images cannot be compared.
    fn with(&self, row: u32) -> Result<Vec<u32>>;
}

/// Rows of `features` `[N, D]` that are nearer than `distance` to each other.
pub struct TooNear {
    features: ArcArray2<f32>,
    distance: f64,
}

impl TooNear {
    /// Rows of `features` `[N, D]`, with the least Euclidean distance of two that are chosen.
    pub fn new(features: &ArcArray2<f32>, distance: f64) -> Self {
        Self { features: standard_layout(features.clone()), distance }
    }
}

impl Conflicts for TooNear {
    fn with(&self, row: u32) -> Result<Vec<u32>> {
        let limit = self.distance * self.distance;
        let width = self.features.ncols().max(1);
        let rows = self.features.as_slice().unwrap_or(&[]);
        let one = &rows[row as usize * width..][..width];
        let near =
            rows.par_chunks_exact(width).with_min_len(256).enumerate().filter_map(|(other, content)| {
                let near = other != row as usize && squared_l2_within(one, content, limit)? < limit;
                near.then_some(other as u32)
            });
        Ok(near.collect())
    }
}

/// What a choice may not do.
#[derive(Default)]
pub struct Limits<'a> {
    /// Candidates that may not be chosen, `[M]`; empty where all may.
    pub excluded: Vec<bool>,
    /// Each says which rows may not be chosen together.
    pub conflicts: Vec<&'a dyn Conflicts>,
    /// How many may be chosen of each group of candidates.
    pub shares: Option<Shares>,
}

/// Why a candidate cannot be added to a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It may not be chosen at all.
    Excluded,
    /// It may not be with one that is chosen.
    Conflict,
    /// Its group has its share.
    Share,
}

/// What is left of the limits beside the images that are chosen so far.
pub(super) struct LimitState<'a> {
    limits: &'a Limits<'a>,
    /// For each row how many of the chosen it may not be with, and these rows joined by exclusive or: of one, its number.
    conflicts: Vec<(u32, u32)>,
    counts: Counts,
}

impl<'a> LimitState<'a> {
    /// Nothing is chosen yet of `rows`.
    pub(super) fn new(limits: &'a Limits<'a>, rows: usize) -> Self {
        let conflicts = if limits.conflicts.is_empty() { Vec::new() } else { vec![(0, 0); rows] };
        Self { limits, conflicts, counts: Counts::default() }
    }

    /// A row is chosen.
    pub(super) fn admit(&mut self, row: u32) -> Result<()> {
        self.change(row, u32::wrapping_add)?;
        if let Some(shares) = &self.limits.shares {
            self.counts.admit(shares, row);
        }
        Ok(())
    }

    /// A row is no longer chosen.
    pub(super) fn release(&mut self, row: u32) -> Result<()> {
        self.change(row, u32::wrapping_sub)?;
        if let Some(shares) = &self.limits.shares {
            self.counts.release(shares, row);
        }
        Ok(())
    }

    fn change(&mut self, row: u32, count: impl Fn(u32, u32) -> u32) -> Result<()> {
        let mut others = Vec::new();
        for conflicts in &self.limits.conflicts {
            others.extend(conflicts.with(row)?);
        }
        others.sort_unstable();
        others.dedup();
        for other in others {
            let (number, rows) = &mut self.conflicts[other as usize];
            (*number, *rows) = (count(*number, 1), *rows ^ row);
        }
        Ok(())
    }

    /// Whether a candidate that is not chosen can be, in the place of `leaving` where that is given; else why not.
    pub(super) fn check(&self, row: u32, leaving: Option<u32>) -> std::result::Result<(), Reason> {
        if self.limits.excluded.get(row as usize) == Some(&true) {
            return Err(Reason::Excluded);
        }
        match self.conflicts.get(row as usize) {
            None | Some((0, _)) => {}
            Some(&(1, other)) if Some(other) == leaving => {}
            Some(_) => return Err(Reason::Conflict),
        }
        match &self.limits.shares {
            Some(shares) if !self.counts.has_room(shares, row, leaving) => Err(Reason::Share),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_nearer_than_the_limit_conflict_both_ways() {
        let features = ndarray::array![[0.0f32], [1.0], [1.5], [9.0]].into_shared();
        let near = TooNear::new(&features, 1.0);
        assert_eq!(near.with(0).unwrap(), [] as [u32; 0]);
        assert_eq!((near.with(1).unwrap(), near.with(2).unwrap()), (vec![2], vec![1]));
    }

    #[test]
    fn a_row_may_take_the_place_of_the_only_one_that_it_may_not_be_with() {
        let features = ndarray::array![[0.0f32], [0.5], [1.0]].into_shared();
        let near = TooNear::new(&features, 0.75);
        let limits = Limits { conflicts: vec![&near], excluded: vec![false, false, true], shares: None };
        let mut state = LimitState::new(&limits, 3);
        assert_eq!(state.check(1, None), Ok(()));
        assert_eq!(state.check(2, None), Err(Reason::Excluded));
        state.admit(0).unwrap();
        assert_eq!(state.check(1, None), Err(Reason::Conflict));
        assert_eq!(state.check(1, Some(0)), Ok(()));
        state.admit(2).unwrap();
        assert_eq!(state.check(1, Some(0)), Err(Reason::Conflict));
        state.release(0).unwrap();
        assert_eq!((state.check(1, None), state.check(1, Some(2))), (Err(Reason::Conflict), Ok(())));
    }
}
