//! The rows that get a place in a graph: one of each group of equal rows, numbered from 0.

use crate::neighbors::distance::{squared_l2_f32, squared_l2_f32_error};
use crate::neighbors::exact::frame::{Frame, floor_for};
use crate::neighbors::walk::Space;
use crate::ops::simd;
use rayon::prelude::*;

/// Nodes with their content, and the frame in which their products are compared.
pub(super) struct Nodes<'a> {
    space: &'a Space,
    rows: &'a [u32],
    frame: Frame,
    /// See [`Frame::lowered_half_norm`].
    half_norms: Vec<f32>,
    /// What a squared distance of [`Nodes::squared`] is multiplied by to become one of the frame, raised by more than its rounding error:
    /// what is left out by the raised distance can never belong into a list.
    to_frame: f64,
}

impl<'a> Nodes<'a> {
    /// The `rows` of `space`, at least one.
    pub(super) fn new(space: &'a Space, rows: &'a [u32]) -> Self {
        let frame = Frame::of(space.features.view());
        let half_norms =
            rows.par_iter().map(|&row| frame.lowered_half_norm(space.row(row)).unwrap_or(0.0)).collect();
        let width = space.features.ncols();
        let raised = 1.0 + 2.0 * squared_l2_f32_error(width);
        let to_frame = (frame.scale() / f64::from(space.scale)).powi(2) * raised;
        Nodes { space, rows, frame, half_norms, to_frame }
    }

    pub(super) fn count(&self) -> usize {
        self.rows.len()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.count() as u32).collect()
    }

    /// Values of a row.
    pub(super) fn width(&self) -> usize {
        self.space.features.ncols()
    }

    /// The content of a node, `[D]`.
    fn content(&self, node: u32) -> &'a [f32] {
        self.space.row(self.rows[node as usize])
    }

    pub(super) fn half_norm(&self, node: u32) -> f32 {
        self.half_norms[node as usize]
    }

    /// Squared distance in float32, scaled as the [`Space`] is.
    pub(super) fn squared(&self, a: u32, b: u32) -> f32 {
        squared_l2_f32(self.content(a), self.content(b), self.space.scale)
    }

    /// The threshold of products (see [`floor_for`]) under which nothing is as near to `node` as `limit`, a distance of
    /// [`Nodes::squared`] or infinity.
    pub(super) fn floor(&self, node: u32, limit: f32) -> f32 {
        floor_for(self.half_norm(node), f64::from(limit) * self.to_frame, self.width())
    }

    /// Asks for the content of `nodes`, which is soon packed: their rows lie anywhere, and waiting for them takes longer than the products.
    pub(super) fn prefetch(&self, nodes: &[u32]) {
        nodes.iter().for_each(|&node| simd::prefetch(self.content(node)));
    }

    /// Packs the content of `nodes` into panels of `WIDTH` (see [`Frame::pack`]).
    pub(super) fn pack<const WIDTH: usize>(&self, nodes: &[u32], panels: &mut Vec<f32>) {
        self.frame.pack::<WIDTH>(nodes.len(), |i| Some(self.content(nodes[i])), panels);
    }
}
