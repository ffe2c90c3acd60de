//! How the worth of a set changes as the set does.

use crate::error::Result;

/// The worth of a set that starts empty and changes. Rows are those of the features, `[N, D]`; a slot is the place of a row in the set,
/// in the order in which rows were added.
pub(super) trait Worth: Sync {
    /// The worth of the set, in percent.
    fn value(&self) -> f64;

    /// What each of `rows`, none of them in the set, would add.
    ///
    /// # Errors
    /// If the rows do not fit.
    fn gains(&self, rows: &[u32]) -> Result<Vec<f64>>;

    /// Whether what a row adds never rises while the set grows (the worth is submodular), so that an earlier gain bounds a later one.
    fn gains_only_fall(&self) -> bool;

    /// How the worth would change if each of `rows`, none of them in the set, took each slot: `[rows, slots]`.
    ///
    /// # Errors
    /// If the rows do not fit.
    fn swap_changes(&self, rows: &[u32]) -> Result<Vec<f64>>;

    /// Adds a row to the set, in a new slot.
    ///
    /// # Errors
    /// If the row does not fit.
    fn add(&mut self, row: u32) -> Result<()>;

    /// Puts a row in the place of another.
    ///
    /// # Errors
    /// If the row does not fit.
    fn replace(&mut self, slot: usize, row: u32) -> Result<()>;

    /// Empties the set.
    fn clear(&mut self);
}
