//! Which images of a set are copies, found by looking at pictures: of each other, or of real images. Candidates are the nearest in features
//! and those that look alike from afar; nothing is said of pairs that were not looked at.

use super::descriptors::Descriptors;
use super::lookalikes::ThumbIndex;
use super::manifest::LookRecord;
use super::scorer::Scorer;
use crate::copies::{Compared, Comparer, Descriptor, Digest, Level, NEAREST, best_copies};
use crate::error::Result;
use crate::formats::FeatureRows;
use crate::formats::table::{Table, Values};
use crate::neighbors::distance::squared_l2;
use crate::progress::{Progress, Unreported, check_stop};
use ndarray::ArrayView2;
use std::collections::{BTreeMap, HashMap};

/// Pairs of a set that are looked at, at most: a minute or two on two cores. Those most alike come first.
const MOST_PAIRS: usize = 50_000;
/// Images of a set up to which those that look alike from afar are found: each is compared with all others.
const MOST_ALIKE: usize = 100_000;
/// Images whose thumbnails are looked up together, and pairs whose descriptors are in memory together.
const TOGETHER: usize = 2048;

/// A pair of copies, `row < other`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CopyPair {
    pub(crate) row: u32,
    pub(crate) other: u32,
    /// How sure that is, from 0.5 to 1.
    pub(crate) score: f64,
    /// Of their features.
    pub(crate) distance: f64,
}

/// The copies among the images of a set.
#[derive(Debug)]
pub(crate) struct Copies {
    pub(crate) record: LookRecord,
    /// The surest first.
    pub(crate) pairs: Vec<CopyPair>,
    /// Of each image the one that it is the surest copy of.
    pub(crate) of: Vec<Option<u32>>,
}

/// Looks for copies among `rows` images. `near` lists the few nearest in features of each row, `[rows, n]`.
///
/// # Errors
/// [`crate::error::Error::Interrupted`]; what reading descriptors or features returns.
pub(crate) fn among(
    rows: usize,
    near: &[u32],
    descriptors: &mut dyn Descriptors,
    features: &mut dyn FeatureRows,
    progress: &dyn Progress,
) -> Result<Copies> {
    let seen = Seen::of(rows, descriptors, progress)?;
    let mut pairs = seen.same.clone();
    let candidates = seen.candidates(near, descriptors, progress)?;
    let left = candidates.len().saturating_sub(MOST_PAIRS);
    let looked_at = candidates.len() - left + pairs.len();
    let looked = compared(&candidates[..candidates.len() - left], descriptors, progress)?;
    pairs.extend(
        looked
            .into_iter()
            .filter(|pair| pair.is(Level::Edited))
            .map(|pair| (pair.row, pair.other, pair.score)),
    );
    pairs.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
    let mut of = vec![None; rows];
    for &(row, other, _) in &pairs {
        for (row, other) in [(row, other), (other, row)] {
            if let Some(of @ None) = of.get_mut(row) {
                *of = Some(other as u32);
            }
        }
    }
    let record = LookRecord { images: of.iter().flatten().count(), pairs: pairs.len(), looked_at, left };
    let mut found = Vec::with_capacity(pairs.len());
    for pairs in pairs.chunks(TOGETHER) {
        let wanted: Vec<usize> = pairs.iter().flat_map(|&(row, other, _)| [row, other]).collect();
        let content = features.select(&wanted)?;
        for (&(row, other, score), two) in
            pairs.iter().zip(content.outer_iter().collect::<Vec<_>>().chunks_exact(2))
        {
            let distance = squared_l2(&two[0].to_vec(), &two[1].to_vec()).sqrt();
            found.push(CopyPair { row: row as u32, other: other as u32, score, distance });
        }
    }
    Ok(Copies { record, pairs: found, of })
}

/// What is known of the images of a set before pairs are looked at.
struct Seen {
    /// Whether an image is large enough for edited copies to be told.
    large: Vec<bool>,
    /// Pairs of the same pixels: each image with the first that has them. The score is 1.
    same: Vec<(usize, usize, f64)>,
    thumbs: Option<ThumbIndex>,
}

impl Seen {
    fn of(rows: usize, descriptors: &mut dyn Descriptors, progress: &dyn Progress) -> Result<Self> {
        let mut first: HashMap<Digest, usize> = HashMap::new();
        let (mut large, mut same, mut numbers) = (Vec::with_capacity(rows), Vec::new(), Vec::new());
        for row in 0..rows {
            if row % TOGETHER == 0 {
                check_stop(progress, String::new)?;
            }
            let descriptor = descriptors.descriptor(row)?;
            match first.get(&descriptor.pixels()) {
                Some(&first) => same.push((first, row, 1.0)),
                None => _ = first.insert(descriptor.pixels(), row),
            }
            large.push(descriptor.is_large());
            if rows <= MOST_ALIKE {
                numbers.push(descriptor.thumb().numbers());
            }
        }
        let any = large.iter().any(|&large| large) && rows > 1 && !numbers.is_empty();
        let thumbs = if any { Some(ThumbIndex::new(numbers)?) } else { None };
        Ok(Self { large, same, thumbs })
    }

    /// Pairs that are to be looked at, the most alike first: nearest in features, alike from afar, next in features.
    fn candidates(
        &self,
        near: &[u32],
        descriptors: &mut dyn Descriptors,
        progress: &dyn Progress,
    ) -> Result<Vec<(usize, usize)>> {
        let rows = self.large.len();
        let each = near.len() / rows.max(1);
        let mut ranks: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut add = |row: usize, other: usize, rank: usize| {
            let is_large = |row: usize| self.large.get(row).copied().unwrap_or_default();
            if row != other && is_large(row) && is_large(other) {
                let known = ranks.entry((row.min(other), row.max(other))).or_insert(rank);
                *known = rank.min(*known);
            }
        };
        for (row, near) in near.chunks(each.max(1)).enumerate() {
            for (place, &other) in near.iter().take(NEAREST).enumerate() {
                add(row, other as usize, 2 * place);
            }
        }
        if let Some(thumbs) = &self.thumbs {
            progress.start("pictures that look alike", rows as u64, "images");
            for first in (0..rows).step_by(TOGETHER) {
                check_stop(progress, String::new)?;
                let own: Vec<usize> = (first..(first + TOGETHER).min(rows)).collect();
                let pictures =
                    own.iter().map(|&row| descriptors.descriptor(row)).collect::<Result<Vec<_>>>()?;
                let itself: Vec<Option<u32>> = own.iter().map(|&row| Some(row as u32)).collect();
                for (place, other) in thumbs.alike(&pictures, Some(&itself))? {
                    add(first + place, other, 1);
                }
                progress.advance(own.len() as u64);
            }
            progress.finish();
        }
        let same = |pair: &(usize, usize)| {
            self.same
                .binary_search_by(|&(_, row, _)| row.cmp(&pair.1))
                .ok()
                .is_some_and(|at| self.same[at].0 == pair.0)
        };
        let mut pairs: Vec<_> = ranks.into_iter().filter(|(pair, _)| !same(pair)).collect();
        pairs.sort_by_key(|&(pair, rank)| (rank, pair));
        Ok(pairs.into_iter().map(|(pair, _)| pair).collect())
    }
}

/// Looks at pairs of rows.
fn compared(
    pairs: &[(usize, usize)],
    descriptors: &mut dyn Descriptors,
    progress: &dyn Progress,
) -> Result<Vec<Compared>> {
    let mut comparer = Comparer::default();
    let mut all = Vec::with_capacity(pairs.len());
    progress.start("comparing pictures", pairs.len() as u64, "pairs");
    for pairs in pairs.chunks(TOGETHER) {
        let mut rows: Vec<usize> = pairs.iter().flat_map(|&(row, other)| [row, other]).collect();
        rows.sort_unstable();
        rows.dedup();
        let pictures = rows.iter().map(|&row| descriptors.descriptor(row)).collect::<Result<Vec<_>>>()?;
        let place = |row: usize| rows.partition_point(|&other| other < row);
        let places: Vec<(usize, usize)> =
            pairs.iter().map(|&(row, other)| (place(row), place(other))).collect();
        let found = comparer.compare(&pictures, &pictures, &places, &Unreported(progress))?;
        all.extend(found.into_iter().zip(pairs).map(|(found, &(row, other))| Compared {
            row,
            other,
            ..found
        }));
        progress.advance(pairs.len() as u64);
    }
    progress.finish();
    Ok(all)
}

/// Of each of some images, with features `[N, D]`, the real image that it is a copy of; its own path in the reference is no other image.
/// `descriptors` are those of the reference.
///
/// # Errors
/// As [`among`].
pub(crate) fn of_real(
    scorer: &Scorer,
    descriptors: &mut dyn Descriptors,
    images: &[Descriptor],
    features: ArrayView2<f32>,
    paths: &[String],
    progress: &dyn Progress,
) -> Result<Vec<Option<u32>>> {
    let rows = scorer.paths().len();
    let own = scorer.own_rows(features, paths);
    let mut exact: HashMap<Digest, Vec<usize>> = HashMap::new();
    let mut numbers = Vec::with_capacity(rows);
    for row in 0..rows {
        let descriptor = descriptors.descriptor(row)?;
        exact.entry(descriptor.pixels()).or_default().push(row);
        numbers.push(descriptor.thumb().numbers());
    }
    let thumbs = ThumbIndex::new(numbers)?;
    let mut comparer = Comparer::default();
    let mut all = Vec::with_capacity(images.len());
    progress.start("looking for copies of real images", images.len() as u64, "images");
    for (first, images) in (0..).step_by(TOGETHER).zip(images.chunks(TOGETHER)) {
        check_stop(progress, String::new)?;
        let here = first..first + images.len();
        let own = own.get(here.clone()).unwrap_or_default();
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for (place, (image, own)) in images.iter().zip(own).enumerate() {
            let same = exact.get(&image.pixels()).map_or(&[][..], Vec::as_slice);
            pairs.extend(
                same.iter().filter(|&&row| Some(row as u32) != *own).take(1).map(|&row| (place, row)),
            );
        }
        if images.iter().any(Descriptor::is_large) {
            let queries = features.slice(ndarray::s![here, ..]);
            pairs.extend(thumbs.pairs(
                images,
                &[queries],
                scorer.index(),
                Some(own),
                &Unreported(progress),
            )?);
        }
        let best =
            copies_among(images, pairs, |row| descriptors.descriptor(row), &mut comparer, Level::Edited)?;
        all.extend(best.into_iter().map(|found| found.map(|found| found.other as u32)));
        progress.advance(images.len() as u64);
    }
    progress.finish();
    Ok(all)
}

/// For each of `ours` the best of those `pairs` (of a row of ours and one of theirs) that are copies at `level`.
///
/// # Errors
/// As [`Comparer::compare`], and what `theirs` returns.
pub(crate) fn copies_among(
    ours: &[Descriptor],
    mut pairs: Vec<(usize, usize)>,
    mut theirs: impl FnMut(usize) -> Result<Descriptor>,
    comparer: &mut Comparer,
    level: Level,
) -> Result<Vec<Option<Compared>>> {
    pairs.sort_unstable();
    pairs.dedup();
    let mut rows: Vec<usize> = pairs.iter().map(|&(_, other)| other).collect();
    rows.sort_unstable();
    rows.dedup();
    let others = rows.iter().map(|&row| theirs(row)).collect::<Result<Vec<_>>>()?;
    let place = |row: usize| rows.partition_point(|&other| other < row);
    let pairs: Vec<(usize, usize)> = pairs.into_iter().map(|(row, other)| (row, place(other))).collect();
    let best =
        best_copies(comparer.compare(ours, &others, &pairs, &crate::progress::Silent)?, ours.len(), level);
    let named = |found: Compared| Compared { other: rows[found.other], ..found };
    Ok(best.into_iter().map(|found| found.map(named)).collect())
}

/// Pairs of copies as (path, other, score, distance).
///
/// # Errors
/// If the lengths do not fit.
pub(super) fn copy_table(pairs: &[CopyPair], paths: &[String]) -> Result<Table> {
    let name = |row: u32| paths.get(row as usize).cloned().unwrap_or_default();
    let mut table = Table::new();
    table.push("path", Values::Text(pairs.iter().map(|pair| name(pair.row)).collect()))?;
    table.push("other", Values::Text(pairs.iter().map(|pair| name(pair.other)).collect()))?;
    table.push("score", Values::Float(pairs.iter().map(|pair| pair.score).collect()))?;
    table.push("distance", Values::Float(pairs.iter().map(|pair| pair.distance).collect()))?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::RgbImage;
    use crate::progress::Silent;
    use ndarray::{ArcArray2, Array2};

    /// A plain picture with a square, of `side` pixels.
    fn picture(side: u32, level: u8) -> Descriptor {
        let pixel = |i: u32| if (i % side) < side / 3 && i / side < side / 2 { [level; 3] } else { [200; 3] };
        let pixels = (0..side * side).flat_map(pixel).collect();
        Descriptor::of(&RgbImage { width: side, height: side, pixels }).unwrap()
    }

    #[test]
    fn small_pictures_are_paired_by_their_pixels_and_no_others_are_looked_at() {
        let levels = [10, 20, 10, 30, 10];
        let mut descriptors: Vec<Descriptor> = levels.iter().map(|&level| picture(12, level)).collect();
        let mut features: ArcArray2<f32> =
            Array2::from_shape_fn((5, 2), |(i, j)| (i * (j + 1)) as f32).into_shared();
        let near: Vec<u32> = (0..5).flat_map(|i| [(i + 1) % 5, (i + 2) % 5]).collect();
        let found = among(5, &near, &mut descriptors, &mut features, &Silent).unwrap();
        assert_eq!(found.record, LookRecord { images: 3, pairs: 2, looked_at: 2, left: 0 });
        assert_eq!(found.of, [Some(2), None, Some(0), None, Some(0)]);
        let pairs: Vec<_> = found.pairs.iter().map(|pair| (pair.row, pair.other, pair.score)).collect();
        assert_eq!(pairs, [(0, 2, 1.0), (0, 4, 1.0)]);
        // Of (0, 0) and (2, 4).
        assert!((found.pairs[0].distance - 20f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn candidates_are_the_nearest_first_each_pair_once() {
        let mut descriptors: Vec<Descriptor> = (0..4).map(|i| picture(40, 40 * i)).collect();
        let seen = Seen::of(4, &mut descriptors, &Silent).unwrap();
        let near = [1, 2, 0, 3, 3, 0, 2, 1];
        let pairs = Seen { thumbs: None, ..seen }.candidates(&near, &mut descriptors, &Silent).unwrap();
        assert_eq!(pairs, [(0, 1), (2, 3), (0, 2), (1, 3)]);
    }

    #[test]
    fn a_set_without_rows_or_with_one_has_no_copies() {
        let mut features: ArcArray2<f32> = Array2::zeros((1, 2)).into_shared();
        let found = among(1, &[], &mut vec![picture(40, 9)], &mut features, &Silent).unwrap();
        assert_eq!((found.record, found.of), (LookRecord::default(), vec![None]));
        let found = among(0, &[], &mut Vec::new(), &mut features, &Silent).unwrap();
        assert!(found.pairs.is_empty() && found.of.is_empty());
    }
}
