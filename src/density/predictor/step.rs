//! One training step: mean squared error, its gradient by back-propagation, and Adam.
//!
//! Two parallel stages. Eight rows of the batch pass forward and back through all layers on their own, which leaves the
//! input of every layer and the loss gradient at its output. Then every panel of [`NR`] outputs multiplies the two into the gradient
//! of its weights and updates them. Sums run in a fixed order, so no bit depends on the threads.

use super::adam::{Adam, AdamStep, Moments};
use super::network::{Activations, Network, Panel, transpose};
use super::standardize::Standardization;
use crate::ops::gemm::{MR, NR, ZERO_TILE, multiply_panels};
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Trains a network on batches of one size.
pub struct Trainer {
    /// The network being trained.
    pub network: Network,
    adam: Adam,
    /// Steps made.
    steps: u64,
    /// One per panel of the network, in order.
    panels: Vec<PanelState>,
    groups: Vec<Group>,
}

/// What training adds to a panel.
struct PanelState {
    layer: usize,
    /// First output of the panel.
    first: usize,
    weights: Moments,
    bias: Moments,
    /// The panel's weights for the way back, `[inputs / NR, NR outputs, NR inputs]`; empty in the first layer.
    transposed: Vec<f32>,
}

/// [`MR`] rows of a batch.
#[derive(Default)]
struct Group {
    activations: Activations,
    /// Gradient of the loss at the output of each layer, row-major `[MR, padded outputs]`.
    deltas: Vec<Vec<f32>>,
    packed: Vec<f32>,
}

impl Trainer {
    /// Prepares to train `network` on batches of at most `batch` rows.
    pub fn new(network: Network, adam: Adam, batch: usize) -> Trainer {
        let mut panels = Vec::new();
        for (number, layer) in network.layers.iter().enumerate() {
            for (p, panel) in layer.panels.iter().enumerate() {
                let mut state = PanelState {
                    layer: number,
                    first: p * NR,
                    weights: Moments::zeros(panel.weights.len()),
                    bias: Moments::zeros(NR),
                    transposed: vec![0.0; if number == 0 { 0 } else { panel.weights.len() }],
                };
                for (i, block) in panel.weights.chunks(NR * MR).enumerate() {
                    state.transpose_block(i, block);
                }
                panels.push(state);
            }
        }
        let groups = std::iter::repeat_with(Group::default).take(batch.div_ceil(MR)).collect();
        Trainer { network, adam, steps: 0, panels, groups }
    }

    /// One step on the given rows of `features` `[N, D]`, whose targets are `targets[row]`.
    pub fn step(
        &mut self,
        features: ArrayView2<f32>,
        standardization: &Standardization,
        targets: &[f32],
        batch: &[usize],
    ) {
        let used = batch.len().div_ceil(MR);
        let (network, panels) = (&self.network, &self.panels);
        self.groups[..used].par_iter_mut().zip(batch.par_chunks(MR)).with_max_len(1).for_each(
            |(group, rows)| {
                network.forward(features, standardization, rows, true, &mut group.activations);
                group.backward(network, panels, rows.iter().map(|&row| targets[row]), batch.len());
            },
        );
        self.steps += 1;
        let step = self.adam.step(self.steps);
        let groups = &self.groups[..used];
        let panels: Vec<&mut Panel> =
            self.network.layers.iter_mut().flat_map(|layer| layer.panels.iter_mut()).collect();
        self.panels
            .par_iter_mut()
            .zip(panels)
            .with_max_len(1)
            .for_each(|(state, panel)| state.update(panel, groups, step));
    }
}

impl Group {
    fn backward(
        &mut self,
        network: &Network,
        panels: &[PanelState],
        targets: impl Iterator<Item = f32>,
        batch: usize,
    ) {
        self.deltas.resize_with(network.layers.len(), Vec::new);
        let Some(output) = self.deltas.last_mut() else { return };
        output.clear();
        output.resize(NR * MR, 0.0);
        for (row, target) in targets.enumerate() {
            output[row * NR] = 2.0 * (self.activations.output[row] - target) / batch as f32;
        }
        for layer in (1..network.layers.len()).rev() {
            let inputs = network.layers[layer].inputs;
            let (before, after) = self.deltas.split_at_mut(layer);
            let (before, delta) = (&mut before[layer - 1], &after[0]);
            self.packed.resize(delta.len(), 0.0);
            transpose(delta, delta.len() / MR, &mut self.packed);
            before.resize(inputs * MR, 0.0);
            let activations = &self.activations.rows[layer];
            for q in 0..inputs / NR {
                let mut tile = ZERO_TILE;
                let states = panels.iter().filter(|state| state.layer == layer);
                for (state, packed) in states.zip(self.packed.chunks_exact(NR * MR)) {
                    multiply_panels(NR, packed, &state.transposed[q * NR * NR..], &mut tile);
                }
                for (row, tile) in tile.iter().enumerate() {
                    let place = row * inputs + q * NR;
                    let activations = &activations[place..][..NR];
                    for ((delta, &gradient), &active) in
                        before[place..][..NR].iter_mut().zip(tile).zip(activations)
                    {
                        *delta = if active > 0.0 { gradient } else { 0.0 };
                    }
                }
            }
        }
    }
}

impl PanelState {
    fn update(&mut self, panel: &mut Panel, groups: &[Group], step: AdamStep) {
        let depth = groups.len() * MR;
        let mut deltas = Vec::with_capacity(depth * NR);
        let mut bias_gradient = [0.0; NR];
        for group in groups {
            let delta = &group.deltas[self.layer];
            for row in delta.chunks_exact(delta.len() / MR) {
                let row = &row[self.first..][..NR];
                deltas.extend_from_slice(row);
                bias_gradient.iter_mut().zip(row).for_each(|(sum, delta)| *sum += delta);
            }
        }
        step.apply(&mut panel.bias, &bias_gradient, &mut self.bias.first, &mut self.bias.second);

        let mut inputs = Vec::with_capacity(depth * MR);
        for (i, weights) in panel.weights.chunks_mut(MR * NR).enumerate() {
            let count = weights.len() / NR;
            inputs.clear();
            for group in groups {
                let rows = &group.activations.rows[self.layer];
                for row in rows.chunks_exact(rows.len() / MR) {
                    inputs.extend_from_slice(&row[i * MR..][..count]);
                    inputs.extend(std::iter::repeat_n(0.0, MR - count));
                }
            }
            let mut gradient = ZERO_TILE;
            multiply_panels(depth, &inputs, &deltas, &mut gradient);
            let block = i * MR * NR..i * MR * NR + weights.len();
            let (first, second) = (&mut self.weights.first[block.clone()], &mut self.weights.second[block]);
            step.apply(weights, &gradient.as_flattened()[..weights.len()], first, second);
            self.transpose_block(i, weights);
        }
    }

    /// Keeps the transposed copy in step with block `i` of the panel's weights, `[up to MR inputs, NR]`.
    fn transpose_block(&mut self, i: usize, block: &[f32]) {
        if self.transposed.is_empty() {
            return;
        }
        for (input, weights) in block.chunks_exact(NR).enumerate().map(|(j, row)| (i * MR + j, row)) {
            let (square, lane) = (input / NR, input % NR);
            let lines = self.transposed[square * NR * NR..].chunks_exact_mut(NR);
            lines.zip(weights).for_each(|(line, weight)| line[lane] = *weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::Linear;
    use super::*;
    use crate::random::{Purpose, keyed};
    use crate::density::test_support::gaussian;
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const WIDTHS: [usize; 5] = [13, 64, 96, 32, 1];

    fn layers() -> Vec<Linear> {
        let layer =
            |(i, w): (usize, &[usize])| Linear::random(w[0], w[1], &mut keyed(3, Purpose::PredictorWeights, i as u64));
        WIDTHS.windows(2).enumerate().map(layer).collect()
    }

    /// A parameter moved by some amount: weight or bias (the last "input") of an output of a layer.
    #[derive(Clone, Copy, Default)]
    struct Move {
        layer: usize,
        output: usize,
        input: usize,
        by: f64,
    }

    /// The mean squared error in double precision, written plainly.
    fn loss(layers: &[Linear], moved: Move, x: &Array2<f32>, targets: &[f32], batch: &[usize]) -> f64 {
        let mut sum = 0.0;
        for &row in batch {
            let mut values: Vec<f64> = x.row(row).iter().map(|x| f64::from(*x)).collect();
            for (number, layer) in layers.iter().enumerate() {
                values.push(1.0);
                let mut outputs = Vec::new();
                for output in 0..layer.outputs {
                    let weights = layer.weight[output * layer.inputs..][..layer.inputs]
                        .iter()
                        .chain([&layer.bias[output]]);
                    let mut y: f64 = weights.zip(&values).map(|(w, v)| f64::from(*w) * v).sum();
                    if (number, output) == (moved.layer, moved.output) {
                        y += moved.by * values[moved.input];
                    }
                    outputs.push(if number + 1 < layers.len() { y.max(0.0) } else { y });
                }
                values = outputs;
            }
            sum += (values[0] - f64::from(targets[row])).powi(2);
        }
        sum / batch.len() as f64
    }

    fn identity(width: usize) -> Standardization {
        Standardization { mean: vec![0.0; width], std: vec![1.0; width] }
    }

    #[test]
    fn the_gradient_of_a_step_is_that_of_finite_differences() {
        let x = gaussian(40, WIDTHS[0], &mut ChaCha8Rng::seed_from_u64(8));
        let targets: Vec<f32> = (0..40).map(|i| (i as f32).sin()).collect();
        let layers = layers();
        for batch in [(0..37).collect::<Vec<_>>(), vec![5, 3, 39], vec![7]] {
            let adam = Adam::default();
            let mut trainer = Trainer::new(Network::pack(&layers), adam, 40);
            trainer.step(x.view(), &identity(WIDTHS[0]), &targets, &batch);
            // After the first step the first moment is (1 - beta1) times the gradient.
            let gradient = |m: f32| f64::from(m) / (1.0 - f64::from(adam.beta1));
            let mut checked = 0;
            for (layer, linear) in layers.iter().enumerate() {
                let states: Vec<_> = trainer.panels.iter().filter(|state| state.layer == layer).collect();
                for place in (0..linear.outputs * (linear.inputs + 1)).step_by(19) {
                    let (output, input) = (place / (linear.inputs + 1), place % (linear.inputs + 1));
                    let state = states[output / NR];
                    let found = gradient(match input < linear.inputs {
                        true => state.weights.first[input * NR + output % NR],
                        false => state.bias.first[output % NR],
                    });
                    let at = |by| loss(&layers, Move { layer, output, input, by }, &x, &targets, &batch);
                    let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                    let error = (found - expected).abs();
                    assert!(
                        error < 1e-6 + 1e-4 * expected.abs(),
                        "{layer} {output} {input}: {found} {expected}"
                    );
                    checked += usize::from(expected != 0.0);
                }
            }
            assert!(checked > 100, "{checked}");
        }
    }

    #[test]
    fn a_step_lowers_the_loss_and_keeps_the_padding_at_zero() {
        let x = gaussian(64, WIDTHS[0], &mut ChaCha8Rng::seed_from_u64(9));
        let targets: Vec<f32> = x.rows().into_iter().map(|row| row[0] + 0.5 * row[1]).collect();
        let batch: Vec<usize> = (0..64).collect();
        let mut layers = layers();
        let before = loss(&layers, Move::default(), &x, &targets, &batch);
        let mut trainer = Trainer::new(Network::pack(&layers), Adam::default(), 64);
        for _ in 0..100 {
            trainer.step(x.view(), &identity(WIDTHS[0]), &targets, &batch);
        }
        trainer.network.unpack(&mut layers);
        let after = loss(&layers, Move::default(), &x, &targets, &batch);
        assert!(after < 0.1 * before, "{before} {after}");
        let last = &trainer.network.layers[3].panels[0];
        assert!(last.weights.iter().enumerate().all(|(i, w)| i % NR == 0 || *w == 0.0));
        let padded_inputs = &trainer.network.layers[0].panels[0].weights[13 * NR..];
        assert!(padded_inputs.iter().all(|w| *w == 0.0));
    }

    #[test]
    fn packing_and_unpacking_give_the_layers_back() {
        let layers = layers();
        let mut found = layers.clone();
        for linear in &mut found {
            linear.weight.fill(9.0);
            linear.bias.fill(9.0);
        }
        Network::pack(&layers).unpack(&mut found);
        assert_eq!(found, layers);
    }
}
