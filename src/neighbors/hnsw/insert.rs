//! The insertion of rows by `hnsw_rs`, whose graph is then held as flat lists.
//! `hnsw_rs` keeps every link behind two shared pointers and visits through a hash map; walking flat lists is several times faster.
//! A row is inserted after all rows before it: the same graph every time.

use crate::error::Result;
use crate::neighbors::walk::{Graph, LAYERS, Links, Space, entry};
use hnsw_rs::prelude::{Distance, Hnsw};

/// Rows inserted between two reports.
const CHUNK: usize = 256;

/// The distance that `hnsw_rs` inserts by. It is given the number of a row as the bits of a float; the values stay in the features.
struct RowDistance(Space);

impl Distance<f32> for RowDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        match (a, b) {
            ([a], [b]) => self.0.squared(a.to_bits(), b.to_bits()),
            _ => f32::INFINITY,
        }
    }
}

/// A graph of `rows` (ascending, not empty, numbers below 2^30) with `m` connections; `inserted` is told of rows as they go in.
pub(in crate::neighbors) fn build(
    rows: Vec<u32>,
    m: usize,
    ef_construction: usize,
    space: Space,
    inserted: impl Fn(usize) -> Result<()>,
) -> Result<Graph> {
    let hnsw = Hnsw::<f32, RowDistance>::new(m, rows.len(), LAYERS, ef_construction, RowDistance(space));
    for chunk in rows.chunks(CHUNK) {
        for &row in chunk {
            hnsw.insert_slice((&[f32::from_bits(row)], row as usize));
        }
        inserted(chunk.len())?;
    }
    Ok(flatten(&hnsw, rows))
}

fn flatten(hnsw: &Hnsw<f32, RowDistance>, rows: Vec<u32>) -> Graph {
    let node = |row: usize| rows.binary_search(&(row as u32)).unwrap_or(0);
    let mut links: Vec<Vec<(u8, u32)>> = vec![Vec::new(); rows.len()];
    let mut levels = vec![0; rows.len()];
    for layer in 0..LAYERS {
        for point in hnsw.get_point_indexation().get_layer_iterator(layer) {
            let from = node(point.get_origin_id());
            levels[from] = layer as u8;
            for (layer, linked) in point.get_neighborhood_id().iter().enumerate() {
                links[from].extend(linked.iter().map(|to| (layer as u8, node(to.d_id) as u32)));
            }
        }
    }
    let mut graph =
        Graph { entry: entry(&levels), rows, levels, lowest: Links::empty(), upper: Links::empty() };
    links.iter().for_each(|links| graph.push_links(links));
    graph
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::exact::tests::cloud;
    use crate::neighbors::walk::Walk;

    fn space(rows: usize, width: usize) -> Space {
        Space { features: cloud(rows, width, 11).into_shared(), first: 0, scale: 1.0 }
    }

    #[test]
    fn a_graph_is_the_same_each_time_and_a_walk_finds_what_hnsw_rs_finds() {
        let space = space(800, 12);
        let rows: Vec<u32> = (0..800).filter(|row| row % 3 != 1).collect();
        let built = || build(rows.clone(), 8, 60, space.clone(), |_| Ok(())).unwrap();
        let graph = built();
        assert_eq!(graph, built());
        let hnsw = Hnsw::<f32, RowDistance>::new(8, rows.len(), LAYERS, 60, RowDistance(space.clone()));
        rows.iter().for_each(|&row| hnsw.insert_slice((&[f32::from_bits(row)], row as usize)));
        let mut same = 0;
        for &row in &rows {
            let theirs: Vec<u32> =
                hnsw.search(&[f32::from_bits(row)], 5, 60).iter().map(|found| found.d_id as u32).collect();
            let walked = graph.search(space.row(row), &space, None, 60, &mut Walk::default())[..5].to_vec();
            assert!(walked.iter().all(|&(distance, found)| distance == space.squared(row, found)));
            same += usize::from(walked.iter().map(|found| found.1).eq(theirs));
        }
        assert!(same * 100 > rows.len() * 97, "{same} of {}", rows.len());
    }

    #[test]
    fn a_walk_from_a_row_itself_finds_it_first() {
        let space = space(300, 6);
        let graph = build((0..300).collect(), 8, 40, space.clone(), |_| Ok(())).unwrap();
        let mut walk = Walk::default();
        for row in 0..300 {
            let found = graph.search(space.row(row), &space, graph.node(row), 10, &mut walk);
            assert_eq!(found[0], (0.0, row));
            assert_eq!(found.len(), 10);
        }
    }

    #[test]
    fn a_graph_of_one_row_answers() {
        let space = space(1, 3);
        let graph = build(vec![0], 4, 10, space.clone(), |_| Ok(())).unwrap();
        assert_eq!(graph.search(space.row(0), &space, None, 5, &mut Walk::default()), [(0.0, 0)]);
    }
}
