//! Groups of copies. A group is held together by one member of which all others are copies: a chain of loose links does not make one
//! group of everything.

use super::compare::{Compared, Level};
use crate::error::Result;
use std::collections::BTreeMap;

/// Copies that belong together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// Rows, in order; at least two.
    pub(crate) rows: Vec<usize>,
    /// What ties each row to the best of the others, in the order of `rows`.
    pub(crate) links: Vec<Compared>,
}

/// Groups by the pairs that count at `level`. Within a chain of links the member with the most, and the strongest, is taken; pairs of it
/// that nothing is known of are handed to `look`, and what is no copy of it forms groups of its own.
///
/// # Errors
/// What `look` returns.
pub(crate) fn grouped(
    pairs: &[Compared],
    level: Level,
    mut look: impl FnMut(&[(usize, usize)]) -> Result<Vec<Compared>>,
) -> Result<Vec<Group>> {
    let mut known: BTreeMap<(usize, usize), Compared> = BTreeMap::new();
    let key = |a: usize, b: usize| (a.min(b), a.max(b));
    for pair in pairs.iter().filter(|pair| pair.row != pair.other) {
        known.insert(key(pair.row, pair.other), *pair);
    }
    let mut open: Vec<Vec<usize>> = chains(known.values().filter(|pair| pair.is(level)));
    let mut groups = Vec::new();
    while let Some(rows) = open.pop() {
        let strength = |row: usize| -> f64 {
            let links = rows.iter().filter_map(|&other| known.get(&key(row, other)));
            links.filter(|link| link.is(level)).map(|link| link.score).sum()
        };
        let best = rows.iter().copied().map(|row| (row, strength(row)));
        let Some((centre, _)) = best.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))) else { continue };
        let others = rows.iter().copied().filter(|&row| row != centre);
        let unknown: Vec<(usize, usize)> =
            others.map(|row| key(centre, row)).filter(|pair| !known.contains_key(pair)).collect();
        for found in look(&unknown)? {
            known.insert(key(found.row, found.other), found);
        }
        let is_tied = |row: usize| known.get(&key(centre, row)).is_some_and(|link| link.is(level));
        let (mut tied, left): (Vec<usize>, Vec<usize>) =
            rows.iter().copied().filter(|&row| row != centre).partition(|&row| is_tied(row));
        let among: Vec<&Compared> = known
            .iter()
            .filter(|((a, b), link)| left.contains(a) && left.contains(b) && link.is(level))
            .map(|(_, link)| link)
            .collect();
        open.extend(chains(among.into_iter()));
        if tied.is_empty() {
            continue;
        }
        tied.push(centre);
        tied.sort_unstable();
        let link = |&row: &usize| {
            let of = tied.iter().filter_map(|&other| known.get(&key(row, other)));
            of.copied().filter(|link| link.is(level)).max_by(|a, b| {
                a.score.total_cmp(&b.score).then(key(b.row, b.other).cmp(&key(a.row, a.other)))
            })
        };
        let links = tied.iter().filter_map(link).collect();
        groups.push(Group { rows: tied, links });
    }
    groups.sort_by(|a, b| a.rows.cmp(&b.rows));
    Ok(groups)
}

/// The rows of each chain of links, in order.
fn chains<'a>(links: impl Iterator<Item = &'a Compared>) -> Vec<Vec<usize>> {
    let mut parents: BTreeMap<usize, usize> = BTreeMap::new();
    fn root(parents: &BTreeMap<usize, usize>, mut row: usize) -> usize {
        while let Some(&parent) = parents.get(&row).filter(|&&parent| parent != row) {
            row = parent;
        }
        row
    }
    for link in links {
        for row in [link.row, link.other] {
            parents.entry(row).or_insert(row);
        }
        let (a, b) = (root(&parents, link.row), root(&parents, link.other));
        parents.insert(a.max(b), a.min(b));
    }
    let mut chains: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &row in parents.keys() {
        chains.entry(root(&parents, row)).or_default().push(row);
    }
    chains.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(row: usize, other: usize, score: f64) -> Compared {
        let level = if score >= 0.5 { Some(Level::Edited) } else { None };
        Compared { row, other, score, level, mirrored: false }
    }

    #[test]
    fn a_chain_of_links_falls_into_groups_around_their_best_member() {
        // 0 - 1 - 2 - 3 - 4, of which 1 is a copy of 0 and 2 only, and 3 of 2 and 4 only.
        let pairs: Vec<Compared> = (0..4).map(|i| pair(i, i + 1, 0.9)).collect();
        let mut asked = Vec::new();
        let groups = grouped(&pairs, Level::Edited, |pairs| {
            asked.extend_from_slice(pairs);
            Ok(pairs.iter().map(|&(a, b)| pair(a, b, 0.1)).collect())
        })
        .unwrap();
        assert_eq!(groups.iter().map(|g| g.rows.clone()).collect::<Vec<_>>(), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(asked, [(1, 3), (1, 4)]);
    }

    #[test]
    fn copies_that_no_search_brought_together_are_looked_at() {
        // 9 copies of row 0, each known to be one of its neighbour only.
        let pairs: Vec<Compared> = (0..9).map(|i| pair(i, i + 1, 0.9)).collect();
        let look = |pairs: &[(usize, usize)]| Ok(pairs.iter().map(|&(a, b)| pair(a, b, 0.8)).collect());
        let groups = grouped(&pairs, Level::Edited, look).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].rows, (0..10).collect::<Vec<_>>());
        assert!(groups[0].links.iter().all(|link| link.score == 0.9));
    }

    #[test]
    fn what_is_no_copy_at_the_level_forms_no_group() {
        let look = |pairs: &[(usize, usize)]| Ok(pairs.iter().map(|&(a, b)| pair(a, b, 0.0)).collect());
        assert!(grouped(&[pair(0, 1, 0.3)], Level::Edited, look).unwrap().is_empty());
        assert!(grouped(&[pair(0, 1, 0.8)], Level::Exact, look).unwrap().is_empty());
    }
}
