//! Pseudo density within groups (class, product line): each has its own neighbours and its own normalising constant.

use super::pseudo::PseudoDensity;
use super::quantiles::Distribution;
use crate::error::{Error, Result};
use crate::neighbors::{NeighborIndex, Search};
use crate::progress::Progress;
use crate::remedy::Remedy;
use ndarray::{ArrayView2, Axis};
use std::collections::BTreeMap;

/// The scores of one row within its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowScore {
    /// Pseudo density; its mean over the group is 1.
    pub pseudo_density: f64,
    /// Share of the group at or below it, 0 to 100.
    pub percentile: f64,
    /// Mean distance to the K nearest other rows of the group.
    pub mean_knn_distance: f64,
    /// The nearest other row of the group, as a row of the whole set.
    pub nearest: u32,
    /// Its distance.
    pub nearest_distance: f64,
}

/// A group that was scored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScoredGroup {
    /// Its name.
    pub name: String,
    /// The model of its densities.
    pub model: PseudoDensity,
}

/// A group that could not be scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnscoredGroup {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: usize,
    /// Why: too few rows for K neighbours, or constant features.
    pub reason: String,
}

/// What [`score_groups`] found; groups are ordered by name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupScores {
    /// One entry per row of the set, `[N]`; `None` in a group that could not be scored.
    pub rows: Vec<Option<RowScore>>,
    /// The groups that were scored.
    pub scored: Vec<ScoredGroup>,
    /// The groups that were not.
    pub unscored: Vec<UnscoredGroup>,
}

/// Scores every row of `features` `[N, D]` within its group `[N]`, one group at a time, so that no more than the largest
/// group is copied. `build` makes the index of a group's features `[n, D]`.
///
/// # Errors
/// [`Error::Data`] if there is not one group per row, or no group could be scored; [`Error::Usage`] for `k` 0 or a senseless
/// exponent; what `build` and the search return, except for data that a single group makes unusable.
pub(crate) fn score_groups<'s, B>(
    features: ArrayView2<f32>,
    groups: &'s [String],
    search: Search,
    exponent: f64,
    progress: &dyn Progress,
    build: B,
) -> Result<GroupScores>
where
    B: for<'a> Fn(ArrayView2<'a, f32>) -> Result<Box<dyn NeighborIndex + 'a>>,
{
    if groups.len() != features.nrows() {
        return Err(Error::data(format!("{} groups for {} images", groups.len(), features.nrows()), ""));
    }
    let mut members: BTreeMap<&'s str, Vec<usize>> = BTreeMap::new();
    for (row, group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(row);
    }
    let mut found =
        GroupScores { rows: vec![None; features.nrows()], scored: Vec::new(), unscored: Vec::new() };
    for (name, rows) in members {
        match score_group(features, &rows, search, exponent, progress, &build, &mut found.rows) {
            Ok(model) => found.scored.push(ScoredGroup { name: name.to_string(), model }),
            Err(Error::Data { reason, .. }) => {
                found.unscored.push(UnscoredGroup { name: name.to_string(), rows: rows.len(), reason });
            }
            Err(error) => return Err(error),
        }
    }
    if let (true, Some(first)) = (found.scored.is_empty(), found.unscored.first()) {
        return Err(Error::data(
            format!("no group could be scored; {}: {}", first.name, first.reason),
            Remedy::FewerNeighbours(None),
        ));
    }
    Ok(found)
}

fn score_group<B>(
    features: ArrayView2<f32>,
    rows: &[usize],
    search: Search,
    exponent: f64,
    progress: &dyn Progress,
    build: &B,
    scores: &mut [Option<RowScore>],
) -> Result<PseudoDensity>
where
    B: for<'a> Fn(ArrayView2<'a, f32>) -> Result<Box<dyn NeighborIndex + 'a>>,
{
    if rows.len() <= search.k {
        return Err(Error::data(
            format!("{} images cannot have {} neighbours each", rows.len(), search.k),
            "",
        ));
    }
    let subset = features.select(Axis(0), rows);
    let neighbors = build(subset.view())?.search_self(search, progress)?;
    let distances = neighbors.mean_distances();
    let (model, densities) = PseudoDensity::fit(&distances, search.k, exponent)?;
    let distribution = Distribution::new(&densities)?;
    for (i, (&row, &density)) in rows.iter().zip(&densities).enumerate() {
        let (nearest, nearest_distance) = neighbors.of(i);
        scores[row] = Some(RowScore {
            pseudo_density: density,
            percentile: distribution.percentile(density),
            mean_knn_distance: distances[i],
            nearest: rows[nearest[0] as usize] as u32,
            nearest_distance: nearest_distance[0],
        });
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::{BruteForce, brute_force_self, gaussian};
    use crate::progress::Silent;
    use ndarray::{Array2, s};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn brute<'a>(features: ArrayView2<'a, f32>) -> Result<Box<dyn NeighborIndex + 'a>> {
        Ok(Box::new(BruteForce(features)))
    }

    fn names(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|label| label.to_string()).collect()
    }

    fn search(k: usize) -> Search {
        Search { k, skip_zero: false }
    }

    #[test]
    fn a_group_is_scored_as_if_it_were_alone() {
        let features = gaussian(60, 4, &mut ChaCha8Rng::seed_from_u64(1));
        let groups: Vec<String> = (0..60).map(|row| format!("g{}", row % 3)).collect();
        let found = score_groups(features.view(), &groups, search(5), 1.0, &Silent, brute).unwrap();
        assert_eq!(
            found.scored.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(),
            ["g0", "g1", "g2"]
        );
        for (group, scored) in found.scored.iter().enumerate() {
            let alone = features.slice(s![group..;3, ..]).to_owned();
            let neighbors = brute_force_self(&alone, 5);
            let (model, densities) = PseudoDensity::fit(&neighbors.mean_distances(), 5, 1.0).unwrap();
            assert_eq!(scored.model, model);
            let distribution = Distribution::new(&densities).unwrap();
            for (i, &density) in densities.iter().enumerate() {
                let row = found.rows[3 * i + group].unwrap();
                assert_eq!(row.pseudo_density, density);
                assert_eq!(row.percentile, distribution.percentile(density));
                assert_eq!(row.nearest as usize, 3 * neighbors.of(i).0[0] as usize + group);
                assert_eq!(row.nearest_distance, neighbors.of(i).1[0]);
            }
        }
    }

    #[test]
    fn groups_that_are_too_small_or_constant_are_named_and_the_rest_is_scored() {
        let mut features = gaussian(16, 2, &mut ChaCha8Rng::seed_from_u64(2));
        features.slice_mut(s![9..13, ..]).fill(1.0);
        let labels = [vec!["fine"; 6], vec!["few"; 3], vec!["same"; 4], vec!["fine"; 3]].concat();
        let found = score_groups(features.view(), &names(&labels), search(3), 1.0, &Silent, brute).unwrap();
        let unscored: Vec<_> = found.unscored.iter().map(|group| (group.name.as_str(), group.rows)).collect();
        assert_eq!(unscored, [("few", 3), ("same", 4)]);
        assert_eq!(found.unscored[0].reason, "3 images cannot have 3 neighbours each");
        assert!(found.unscored[1].reason.contains("constant"));
        for (row, label) in found.rows.iter().zip(&labels) {
            assert_eq!(row.is_some(), *label == "fine");
        }
    }

    #[test]
    fn groups_of_copies_have_too_few_neighbours_above_zero_and_are_named() {
        let mut features = gaussian(12, 2, &mut ChaCha8Rng::seed_from_u64(2));
        features.slice_mut(s![..5, ..]).fill(1.0);
        let labels = [vec!["copies"; 6], vec!["fine"; 6]].concat();
        let found = score_groups(
            features.view(),
            &names(&labels),
            Search { k: 2, skip_zero: true },
            1.0,
            &Silent,
            brute,
        );
        let found = found.unwrap();
        assert_eq!(found.unscored[0].name, "copies");
        assert_eq!(found.scored[0].name, "fine");
    }

    #[test]
    fn nothing_scored_is_an_error_with_the_reason() {
        let features = Array2::zeros((4, 2));
        let error =
            score_groups(features.view(), &names(&["a", "a", "b", "b"]), search(2), 1.0, &Silent, brute);
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "no group could be scored; a: 2 images cannot have 2 neighbours each");
        assert!(score_groups(features.view(), &names(&["a"]), search(1), 1.0, &Silent, brute).is_err());
        let zero =
            score_groups(features.view(), &names(&["a"; 4]), search(1), 0.0, &Silent, brute).unwrap_err();
        assert!(matches!(zero, Error::Usage { .. }), "{zero}");
    }
}
