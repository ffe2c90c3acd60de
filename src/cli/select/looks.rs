//! The second look at the pictures that `pd select` chooses.

use super::pool::Pool;
use crate::candidates::{KeptPictures, LOOKED_TOGETHER, Looked, PoolSource, SecondLook};
use crate::error::Result;
use crate::images::ImageSet;
use crate::sampling::RefusedCopies;
use crate::selection::FoundCopies;
use ndarray::Axis;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Looks at candidates, each once.
pub(super) struct Looks<'a> {
    pool: &'a Pool,
    second: &'a SecondLook<'a>,
    refused: RefusedCopies,
    candidates: &'a PoolSource<'a>,
    own: &'a [Option<u32>],
    /// What is known of rows of the pool, candidates and images that are in the set already.
    looked: HashMap<usize, Looked>,
    /// Candidates of the last choice that are no copies, of each other either.
    clean: HashSet<usize>,
}

impl<'a> Looks<'a> {
    /// `must` holds the pictures that are in the set already. `own` is the row of the reference that a candidate itself is.
    ///
    /// # Errors
    /// If a picture of `must` cannot be read.
    pub(super) fn new(
        pool: &'a Pool,
        (second, refused): (&'a SecondLook<'a>, RefusedCopies),
        candidates: &'a PoolSource<'a>,
        must: Option<(&ImageSet, &Path)>,
        own: &'a [Option<u32>],
    ) -> Result<Self> {
        let mut looks =
            Self { pool, second, refused, candidates, own, looked: HashMap::new(), clean: HashSet::new() };
        if let Some((set, place)) = must {
            let source = PoolSource::new(set, place, &pool.must_paths);
            let rows: Vec<usize> = (0..pool.must_paths.len()).collect();
            looks.look(&source, &rows, pool.paths.len())?;
        }
        Ok(looks)
    }

    /// Looks at rows of a source, which are the rows of the pool from `first` on.
    fn look(&mut self, source: &PoolSource, rows: &[usize], first: usize) -> Result<()> {
        for rows in rows.chunks(LOOKED_TOGETHER) {
            let of_pool: Vec<usize> = rows.iter().map(|row| first + row).collect();
            let features = self.pool.features.select(Axis(0), &of_pool);
            let own: Vec<Option<u32>> =
                of_pool.iter().map(|&row| self.own.get(row).copied().flatten()).collect();
            let pictures = source.pictures(rows, self.second.alpha())?;
            let found = self.second.look(&pictures, features.view(), Some(&own))?;
            self.looked.extend(of_pool.into_iter().zip(found));
        }
        Ok(())
    }

    /// Finds the copies among chosen candidates.
    ///
    /// # Errors
    /// If a picture cannot be read.
    pub(super) fn at(&mut self, chosen: &[usize]) -> Result<FoundCopies> {
        let new: Vec<usize> = chosen.iter().copied().filter(|row| !self.looked.contains_key(row)).collect();
        self.look(self.candidates, &new, 0)?;
        let mut found = FoundCopies::default();
        let mut kept = KeptPictures::new(self.refused.level);
        let count = self.pool.paths.len();
        let (old, new): (Vec<usize>, Vec<usize>) = chosen.iter().partition(|row| self.clean.contains(row));
        for row in (count..count + self.pool.must_paths.len()).chain(old.iter().copied()) {
            if let Some(looked) = self.looked.get(&row) {
                kept.add(row, &self.pool.features.row(row).to_vec(), looked);
            }
        }
        self.clean = old.into_iter().collect();
        for row in new {
            let Some(looked) = self.looked.get(&row) else { continue };
            let features = self.pool.features.row(row).to_vec();
            if self.refused.of_real && looked.real.is_some() {
                found.of_others.push(row);
                continue;
            }
            let copied = match self.refused.of_kept {
                true => kept.copied_by(&features, looked)?,
                false => None,
            };
            match copied {
                Some(copy) if copy.row >= count => found.of_others.push(row),
                Some(copy) => found.pairs.push((copy.row, row)),
                None => {
                    kept.add(row, &features, looked);
                    self.clean.insert(row);
                }
            }
        }
        Ok(found)
    }
}
