//! Random partitions of the nodes into small cells of near ones. Pivots are drawn among the nodes, each node goes to its nearest pivot,
//! and what is still too large is divided again: a tree of Voronoi cells.

use super::nodes::Nodes;
use crate::error::Result;
use crate::neighbors::walk::LAYERS;
use crate::ops::gemm::{MR, NR, ZERO_TILE, multiply_panels};
use crate::progress::{Progress, check_stop};
use crate::random::{Purpose, keyed};
use rayon::prelude::*;

/// The pivots of a division whose cells are divided again.
const BRANCHES: usize = 64;
/// Nodes whose pivots are found together.
const BLOCK: usize = 20 * MR;
/// A cell that keeps more than this share of its nodes is cut without regard to distances: they tell its nodes apart too little.
const KEPT: f64 = 0.9;

/// The most divisions one after the other, fewer than the layers of a graph.
const DEEPEST: usize = LAYERS - 2;

/// How large cells are.
#[derive(Clone, Copy)]
pub(super) struct CellSize {
    /// Nodes aimed at.
    pub aim: usize,
    /// The most nodes.
    pub most: usize,
}

/// A partition of nodes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Partition {
    /// Each of the nodes is in one of them.
    pub cells: Vec<Vec<u32>>,
    /// How they came about: the first division is that of all of them.
    pub divisions: Vec<Division>,
}

/// A cell that was divided.
#[derive(Debug, PartialEq)]
pub(super) struct Division {
    /// How many divisions came before it.
    pub depth: usize,
    /// The pivot of the cell itself; of all nodes the first of `pivots`.
    pub of: u32,
    /// The pivots that its nodes went to.
    pub pivots: Vec<u32>,
}

/// Partition number `number`, of the nodes `of`.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub(super) fn partition(
    nodes: &Nodes,
    of: Vec<u32>,
    size: CellSize,
    number: u64,
    progress: &dyn Progress,
) -> Result<Partition> {
    let all = Cell { nodes: of, pivot: None, depth: 0, key: number << 32 };
    Partitioning { nodes, size, progress }.divide(all)
}

struct Partitioning<'a> {
    nodes: &'a Nodes<'a>,
    size: CellSize,
    progress: &'a dyn Progress,
}

struct Cell {
    nodes: Vec<u32>,
    pivot: Option<u32>,
    depth: usize,
    /// Its own among all cells of all partitions, almost surely.
    key: u64,
}

impl Partitioning<'_> {
    fn divide(&self, cell: Cell) -> Result<Partition> {
        let Cell { nodes: cell, pivot, depth, key } = cell;
        if cell.len() <= self.size.most {
            return Ok(Partition { cells: vec![cell], divisions: Vec::new() });
        }
        check_stop(self.progress, String::new)?;
        if depth == DEEPEST {
            return Ok(self.cut(&cell));
        }
        let wanted = cell.len().div_ceil(self.size.aim);
        let count = if wanted <= 2 * BRANCHES { wanted } else { BRANCHES };
        let mut random = keyed(0, Purpose::NeighborCells, key);
        let mut drawn = rand::seq::index::sample(&mut random, cell.len(), count).into_vec();
        drawn.sort_unstable();
        let pivots: Vec<u32> = drawn.into_iter().map(|at| cell[at]).collect();
        let mut parts = vec![Vec::new(); pivots.len()];
        for (&node, pivot) in cell.iter().zip(self.nearest(&pivots, &cell)) {
            parts[pivot as usize].push(node);
        }
        let most = (cell.len() as f64 * KEPT) as usize;
        drop(cell);
        let divided: Vec<Partition> = parts
            .into_par_iter()
            .zip(&pivots)
            .enumerate()
            .map(|(number, (nodes, &pivot))| {
                if nodes.len() > most {
                    return Ok(self.cut(&nodes));
                }
                let key = key.wrapping_add(number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                self.divide(Cell { nodes, pivot: Some(pivot), depth: depth + 1, key })
            })
            .collect::<Result<_>>()?;
        let of = pivot.unwrap_or(pivots[0]);
        let mut partition = Partition { cells: Vec::new(), divisions: vec![Division { depth, of, pivots }] };
        for part in divided {
            partition.cells.extend(part.cells);
            partition.divisions.extend(part.divisions);
        }
        Ok(partition)
    }

    /// Cells without regard to distances.
    fn cut(&self, nodes: &[u32]) -> Partition {
        let cells = nodes.chunks(self.size.most).map(<[u32]>::to_vec).collect();
        Partition { cells, divisions: Vec::new() }
    }

    /// The number of the nearest pivot of each node of a cell. The first of equally near ones, as float32 has them.
    fn nearest(&self, pivots: &[u32], cell: &[u32]) -> Vec<u32> {
        let depth = self.nodes.width();
        let mut right = Vec::new();
        self.nodes.pack::<NR>(pivots, &mut right);
        let mut half_norms: Vec<f32> = pivots.iter().map(|&pivot| self.nodes.half_norm(pivot)).collect();
        half_norms.resize(pivots.len().next_multiple_of(NR), f32::INFINITY);
        let half_norms = half_norms.as_chunks::<NR>().0;
        let mut nearest = vec![0; cell.len()];
        nearest.par_chunks_mut(BLOCK).zip(cell.par_chunks(BLOCK)).for_each_init(
            Vec::new,
            |left, (nearest, cell)| {
                self.nodes.pack::<MR>(cell, left);
                for (nearest, left) in nearest.chunks_mut(MR).zip(left.chunks_exact(MR * depth)) {
                    let mut best = [f32::INFINITY; MR];
                    for (panel, (half_norms, right)) in
                        half_norms.iter().zip(right.chunks_exact(NR * depth)).enumerate()
                    {
                        let mut tile = ZERO_TILE;
                        multiply_panels(depth, left, right, &mut tile);
                        for ((nearest, best), products) in nearest.iter_mut().zip(&mut best).zip(&tile) {
                            for (j, (half_norm, product)) in half_norms.iter().zip(products).enumerate() {
                                if half_norm - product < *best {
                                    *best = half_norm - product;
                                    *nearest = (panel * NR + j) as u32;
                                }
                            }
                        }
                    }
                }
            },
        );
        nearest
    }
}
