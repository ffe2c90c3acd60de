//! A choice without copies: pictures are looked at once they are chosen, and the choice is made again without the copies that were found,
//! until there are none.

use super::limits::Conflicts;
use super::select::Selection;
use crate::error::Result;
use std::collections::BTreeMap;

/// Copies among chosen candidates.
#[derive(Debug, Default)]
pub(crate) struct FoundCopies {
    /// Copies of real images, or of those that are in the set already.
    pub of_others: Vec<usize>,
    /// Candidates that are copies of each other.
    pub pairs: Vec<(usize, usize)>,
}

/// Candidates that are known to be copies of each other.
#[derive(Debug, Default)]
pub(crate) struct CopyPairs(BTreeMap<u32, Vec<u32>>);

impl CopyPairs {
    fn add(&mut self, one: usize, other: usize) {
        self.0.entry(one as u32).or_default().push(other as u32);
        self.0.entry(other as u32).or_default().push(one as u32);
    }

    /// How many candidates are a copy of one before them.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().filter(|(row, others)| others.iter().any(|other| other < *row)).count()
    }
}

impl Conflicts for CopyPairs {
    fn with(&self, row: u32) -> Result<Vec<u32>> {
        Ok(self.0.get(&row).cloned().unwrap_or_default())
    }
}

/// Chooses with `choose` among what is not `excluded` `[M]`, and looks with `look` at what was chosen. Returns the choice, what is excluded
/// in the end, and the pairs that were found.
///
/// # Errors
/// What `choose` and `look` return.
pub(crate) fn select_without_copies(
    mut excluded: Vec<bool>,
    choose: &mut dyn FnMut(&[bool], &CopyPairs) -> Result<Selection>,
    look: &mut dyn FnMut(&[usize]) -> Result<FoundCopies>,
) -> Result<(Selection, Vec<bool>, CopyPairs)> {
    let mut pairs = CopyPairs::default();
    loop {
        let selection = choose(&excluded, &pairs)?;
        let found = look(&selection.rows)?;
        if found.of_others.is_empty() && found.pairs.is_empty() {
            return Ok((selection, excluded, pairs));
        }
        for row in found.of_others {
            excluded[row] = true;
        }
        for (one, other) in found.pairs {
            pairs.add(one, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two that may be chosen.
    fn first_two(excluded: &[bool], pairs: &CopyPairs) -> Result<Selection> {
        let mut rows: Vec<usize> = Vec::new();
        for row in (0..excluded.len()).filter(|&row| !excluded[row]) {
            let others = pairs.with(row as u32)?;
            if rows.len() < 2 && !rows.iter().any(|&chosen| others.contains(&(chosen as u32))) {
                rows.push(row);
            }
        }
        let gains = vec![0.0; rows.len()];
        Ok(Selection { rows, gains, objective: 0.0, worth: 0.0, swaps: 0, left: Vec::new() })
    }

    #[test]
    fn what_is_found_to_be_a_copy_makes_room_for_others() {
        // 0 is a copy of a real image; 1, 2 and 3 are copies of each other.
        let mut looked = Vec::new();
        let mut look = |rows: &[usize]| {
            looked.push(rows.to_vec());
            let of_others = rows.iter().copied().filter(|&row| row == 0).collect();
            let pairs = match rows {
                [a, b] if (1..4).contains(a) && (1..4).contains(b) => vec![(*a, *b)],
                _ => Vec::new(),
            };
            Ok(FoundCopies { of_others, pairs })
        };
        let (selection, excluded, pairs) =
            select_without_copies(vec![false; 6], &mut first_two, &mut look).unwrap();
        assert_eq!(selection.rows, [1, 4]);
        assert_eq!(excluded, [true, false, false, false, false, false]);
        assert_eq!(pairs.count(), 2);
        assert_eq!(looked, [[0, 1], [1, 2], [1, 3], [1, 4]]);
    }
}
