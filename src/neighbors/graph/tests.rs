//! Each step of the building held against a plain version of it, and the whole against exact search.

use super::cells::{CellSize, partition};
use super::compare::{Scratch, compare};
use super::lists::{ABSENT, Lists};
use super::neighborhoods::{Neighborhoods, around};
use super::nodes::Nodes;
use super::{Sample, build};
use crate::neighbors::exact::tests::cloud;
use crate::neighbors::walk::{Space, Visited, Walk, prepared};
use crate::neighbors::{ExactIndex, NeighborIndex, Search};
use crate::progress::Silent;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn space(rows: usize, width: usize) -> Space {
    prepared(cloud(rows, width, 7).into_shared()).unwrap().0
}

fn all(rows: usize) -> Vec<u32> {
    (0..rows as u32).collect()
}

#[test]
fn every_partition_holds_each_node_once_in_cells_of_near_ones() {
    let (space, rows) = (space(3_000, 6), all(3_000));
    let nodes = Nodes::new(&space, &rows);
    let size = CellSize { aim: 20, most: 40 };
    let cut = |number| partition(&nodes, all(3_000), size, number, &Silent).unwrap();
    let whole = cut(1);
    let first = &whole.cells;
    let mut held: Vec<u32> = first.concat();
    held.sort_unstable();
    assert_eq!(held, rows);
    assert!(first.iter().all(|cell| cell.len() <= size.most));
    assert_eq!(cut(1), whole);
    assert_ne!(cut(2), whole);
    // Every pivot but those of the first division lies in a cell that one of the division before was the pivot of.
    assert_eq!((whole.divisions[0].depth, whole.divisions[0].of), (0, whole.divisions[0].pivots[0]));
    for division in &whole.divisions[1..] {
        let above = whole.divisions.iter().filter(|above| above.depth + 1 == division.depth);
        assert!(above.into_iter().any(|above| above.pivots.contains(&division.of)));
    }
    let mean = |pairs: Vec<(u32, u32)>| {
        pairs.iter().map(|&(a, b)| f64::from(nodes.squared(a, b))).sum::<f64>() / pairs.len() as f64
    };
    let within =
        first.iter().filter(|cell| cell.len() > 1).map(|cell| (cell[0], cell[cell.len() - 1])).collect();
    assert!(mean(within) * 2.0 < mean((0..1_500).map(|a| (a, a + 1_500)).collect()));
}

#[test]
fn rows_that_pivots_tell_apart_too_little_are_cut_all_the_same() {
    // All but a few rows lie at one place, up to the last bits.
    let features = ndarray::Array2::from_shape_fn((2_000, 2), |(i, k)| {
        if i < 20 { (i * 100 + k) as f32 } else { 1.0 + i as f32 * f32::EPSILON }
    });
    let (space, rows) = (prepared(features.into_shared()).unwrap().0, all(2_000));
    let nodes = Nodes::new(&space, &rows);
    let cells = partition(&nodes, all(2_000), CellSize { aim: 10, most: 30 }, 1, &Silent).unwrap().cells;
    assert!(cells.iter().all(|cell| cell.len() <= 30));
    assert_eq!(cells.iter().map(Vec::len).sum::<usize>(), 2_000);
}

/// The lists that comparing all of `pairs` one by one gives.
fn plain(nodes: &Nodes, width: usize, pairs: impl Iterator<Item = (u32, u32)>) -> Vec<u32> {
    let lists = Lists::new(nodes.count(), width);
    for (a, b) in pairs.filter(|(a, b)| a != b) {
        lists.offer(a, &[(b, nodes.squared(a, b))]);
        lists.offer(b, &[(a, nodes.squared(a, b))]);
    }
    lists.nodes()
}

proptest! {
    #[test]
    fn a_blocked_comparison_finds_what_comparing_one_by_one_finds(
        own in prop::collection::btree_set(0u32..150, 1..90),
        others in prop::collection::btree_set(0u32..150, 1..90),
        before in prop::collection::btree_set(0u32..150, 1..90),
        width in 1usize..8,
        depth in 1usize..70,
    ) {
        let (space, rows) = (space(150, depth), all(150));
        let nodes = Nodes::new(&space, &rows);
        let sets = [own, others, before].map(|set: BTreeSet<u32>| set.into_iter().collect::<Vec<u32>>());
        let [own, others, before] = &sets;
        let lists = Lists::new(150, width);
        let mut scratch = Scratch::default();
        // Lists that hold something already have thresholds.
        compare(&nodes, before, before, &lists, &mut scratch);
        compare(&nodes, own, others, &lists, &mut scratch);
        let pairs = |left: &[u32], right: &[u32]| -> Vec<(u32, u32)> {
            left.iter().flat_map(|&a| right.iter().map(move |&b| (a, b))).collect()
        };
        let expected = plain(&nodes, width, pairs(before, before).into_iter().chain(pairs(own, others)));
        prop_assert_eq!(lists.nodes(), expected);
    }

    #[test]
    fn around_a_group_is_what_two_steps_reach(
        links in prop::collection::vec(prop::collection::vec(0u32..40, 3), 40),
        group in prop::collection::btree_set(0u32..40, 1..6),
        most_reverse in 0usize..4,
        most in 1usize..5,
    ) {
        let forward: Vec<u32> = links.concat();
        let neighborhoods = Neighborhoods::new(forward.clone(), 3, most_reverse);
        for node in 0..40u32 {
            let mut named: Vec<(usize, u32)> = (0..40u32)
                .flat_map(|other| (0..3).map(move |rank| (rank, other)))
                .filter(|&(rank, other)| links[other as usize][rank] == node)
                .collect();
            named.sort_unstable();
            let expected: Vec<u32> = named.into_iter().map(|(_, other)| other).take(most_reverse).collect();
            prop_assert_eq!(neighborhoods.reverse(node), &expected[..]);
        }
        let group: Vec<u32> = group.into_iter().collect();
        let mut reached: BTreeSet<u32> = group.iter().copied().collect();
        for _ in 0..2 {
            let further: Vec<u32> = reached
                .iter()
                .flat_map(|&node| neighborhoods.nearest(node, most).chain(neighborhoods.reverse(node).iter().copied()))
                .collect();
            reached.extend(further);
        }
        let (mut visited, mut found) = (Visited::default(), vec![99]);
        for _ in 0..2 {
            around(&group, &neighborhoods, most, &mut visited, &mut found);
            prop_assert!(found.iter().eq(&reached));
        }
    }
}

#[test]
fn a_graph_links_each_row_to_its_nearest_and_a_walk_from_the_top_finds_them() {
    let features = cloud(2_500, 10, 3).into_shared();
    let (space, groups) = prepared(features.clone()).unwrap();
    let exact = ExactIndex::new(features).unwrap();
    let neighbors = exact.search_self(Search { k: 10, skip_zero: false }, &Silent).unwrap();
    let sample = Sample { rows: (0..2_500).collect(), exact: neighbors };
    let (graph, recall) =
        build(&space, &groups, all(2_500), 16, std::slice::from_ref(&sample), None, &Silent).unwrap();
    assert!(recall > 0.999, "{recall}");
    let hits: usize = (0..2_500)
        .map(|row| {
            let linked = &graph.lowest.of(row as u32)[..10];
            sample.exact.of(row).0.iter().filter(|near| linked.contains(near)).count()
        })
        .sum();
    assert!((hits as f64 / 25_000.0 - recall).abs() < 1e-3, "{hits}");
    let mut walk = Walk::default();
    let walked: usize = (0..2_500u32)
        .map(|row| {
            let found: Vec<u32> = graph
                .search(space.row(row), &space, None, 64, &mut walk)
                .iter()
                .map(|found| found.1)
                .collect();
            sample.exact.of(row as usize).0.iter().filter(|near| found.contains(near)).count()
        })
        .sum();
    assert!(walked > 24_900, "{walked}");
    for node in 0..2_500 {
        let links = graph.lowest.of(node);
        assert_eq!(links.iter().collect::<BTreeSet<_>>().len(), links.len());
        assert!(!links.contains(&node) && !links.contains(&ABSENT));
    }
}

#[test]
fn sets_with_fewer_rows_than_a_list_has_places_are_linked_completely() {
    for rows in [1usize, 2, 9] {
        let (space, groups) = prepared(cloud(rows, 3, 5).into_shared()).unwrap();
        let index = ExactIndex::new(space.features.clone()).unwrap();
        let k = (rows - 1).max(1);
        let sample = match index.search_self(Search { k, skip_zero: false }, &Silent) {
            Ok(exact) => Sample { rows: (0..rows).collect(), exact },
            Err(_) => continue,
        };
        let (graph, recall) = build(&space, &groups, all(rows), 16, &[sample], None, &Silent).unwrap();
        assert_eq!(recall, 1.0);
        assert!((0..rows as u32).all(|node| graph.lowest.of(node).len() == rows - 1));
    }
}
