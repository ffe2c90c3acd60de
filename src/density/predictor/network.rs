//! The network with its weights packed for the register kernel of [`crate::ops::gemm`], and its forward pass.
//!
//! A layer is cut into panels of [`NR`] outputs. Eight rows of a batch pass through all layers together; the result of a
//! row is one fixed chain of operations, whatever lies beside it and however many threads run.

use super::linear::Linear;
use super::standardize::Standardization;
use crate::ops::gemm::{MR, NR, Tile, multiply_panels};
use ndarray::ArrayView2;

/// [`NR`] outputs of one layer.
pub struct Panel {
    /// Weights, `[inputs, NR]`, zero where the layer has no such output.
    pub weights: Vec<f32>,
    /// Biases of the outputs.
    pub bias: [f32; NR],
}

/// One layer: its widths padded with zeros to multiples of [`NR`].
pub struct Layer {
    /// Padded width of the input.
    pub inputs: usize,
    /// The outputs, [`NR`] at a time.
    pub panels: Vec<Panel>,
}

/// A multilayer perceptron with ReLU between its layers and one output.
pub struct Network {
    /// The layers, first to last.
    pub layers: Vec<Layer>,
}

/// What one pass over [`MR`] rows leaves: the input of every layer and the output of the last.
#[derive(Default)]
pub struct Activations {
    /// Input of each layer, row-major `[MR, inputs]`, padded with zeros. Empty unless they were asked for.
    pub rows: Vec<Vec<f32>>,
    /// The network's output for each row.
    pub output: [f32; MR],
    packed: Vec<f32>,
    next: Vec<f32>,
}

impl Network {
    /// Packs plain layers.
    pub fn pack(layers: &[Linear]) -> Network {
        let pack = |linear: &Linear| {
            let inputs = linear.inputs.next_multiple_of(NR);
            let panel = |first: usize| {
                let mut panel = Panel { weights: vec![0.0; inputs * NR], bias: [0.0; NR] };
                for output in first..(first + NR).min(linear.outputs) {
                    panel.bias[output - first] = linear.bias[output];
                    let row = &linear.weight[output * linear.inputs..][..linear.inputs];
                    for (input, &weight) in row.iter().enumerate() {
                        panel.weights[input * NR + output - first] = weight;
                    }
                }
                panel
            };
            Layer { inputs, panels: (0..linear.outputs).step_by(NR).map(panel).collect() }
        };
        Network { layers: layers.iter().map(pack).collect() }
    }

    /// The plain layers again; `like` tells their true widths.
    pub fn unpack(&self, like: &mut [Linear]) {
        for (layer, linear) in self.layers.iter().zip(like) {
            for output in 0..linear.outputs {
                let (panel, lane) = (&layer.panels[output / NR], output % NR);
                linear.bias[output] = panel.bias[lane];
                let row = &mut linear.weight[output * linear.inputs..][..linear.inputs];
                row.iter_mut()
                    .enumerate()
                    .for_each(|(input, weight)| *weight = panel.weights[input * NR + lane]);
            }
        }
    }

    /// Passes up to [`MR`] rows of `features` `[N, D]` through the network. `keep` asks for the activations too.
    pub fn forward(
        &self,
        features: ArrayView2<f32>,
        standardization: &Standardization,
        rows: &[usize],
        keep: bool,
        found: &mut Activations,
    ) {
        let Activations { rows: kept, output, packed, next } = found;
        kept.resize_with(if keep { self.layers.len() } else { 0 }, Vec::new);
        kept.iter_mut().zip(&self.layers).for_each(|(kept, layer)| kept.resize(layer.inputs * MR, 0.0));
        let inputs = self.layers.first().map_or(0, |layer| layer.inputs);
        packed.clear();
        packed.resize(inputs * MR, 0.0);
        for (i, &row) in rows.iter().enumerate() {
            for (column, &value) in features.row(row).iter().enumerate() {
                packed[column * MR + i] = standardization.apply(column, value);
            }
        }
        if let Some(kept) = kept.first_mut() {
            transpose(packed, MR, kept);
        }
        for (number, layer) in self.layers.iter().enumerate() {
            let last = number + 1 == self.layers.len();
            let width = layer.panels.len() * NR;
            next.resize(width * MR, 0.0);
            for (p, (panel, next)) in layer.panels.iter().zip(next.chunks_exact_mut(NR * MR)).enumerate() {
                let mut tile: Tile = [panel.bias; MR];
                multiply_panels(layer.inputs, packed, &panel.weights, &mut tile);
                if last {
                    *output = std::array::from_fn(|row| tile[row][0]);
                    continue;
                }
                tile.as_flattened_mut().iter_mut().for_each(|value| *value = value.max(0.0));
                for (column, next) in next.chunks_exact_mut(MR).enumerate() {
                    next.iter_mut().zip(&tile).for_each(|(next, row)| *next = row[column]);
                }
                if let Some(kept) = kept.get_mut(number + 1) {
                    for (kept, row) in kept.chunks_exact_mut(width).zip(&tile) {
                        kept[p * NR..][..NR].copy_from_slice(row);
                    }
                }
            }
            std::mem::swap(packed, next);
        }
    }
}

/// `[from.len() / columns, columns]` to `[columns, from.len() / columns]`.
pub fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    for (column, to) in to.chunks_exact_mut(rows).enumerate() {
        to.iter_mut().enumerate().for_each(|(row, to)| *to = from[row * columns + column]);
    }
}
