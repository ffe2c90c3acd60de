//! What a forward pass is asked for beside its latents or images.

use crate::error::Result;
use crate::ops::all_reduce::{self, Reducer};
use candle_core::Tensor;

/// How a network is run.
#[derive(Debug, Clone, Copy, Default)]
pub enum Mode<'a> {
    /// Stored statistics; parameters are constants; an image never depends on its batch.
    #[default]
    Eval,
    /// Statistics of the batch, which also move the stored ones.
    Train(TrainContext<'a>),
}

/// What a training pass is differentiated for, and which processes hold the rest of its batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrainContext<'a> {
    /// What gradients are taken with respect to.
    pub gradients: Gradients,
    /// Adds up over the processes that hold one batch together, which its statistics are taken over; `None` where this process holds
    /// the whole batch.
    pub reducer: Option<&'a Reducer>,
}

/// What the gradients of a training pass reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gradients {
    /// Parameters and inputs, once.
    #[default]
    FirstOrder,
    /// The same on operations that can be differentiated once more: for penalties on a gradient, such as R1.
    SecondOrder,
    /// Inputs alone; parameters are constants: a discriminator that the generator's step goes through.
    InputsOnly,
}

impl<'a> Mode<'a> {
    /// A training pass over a batch that this process holds whole.
    pub const fn train() -> Self {
        Mode::Train(TrainContext { gradients: Gradients::FirstOrder, reducer: None })
    }

    /// The same pass on operations that can be differentiated twice: see [`Gradients::SecondOrder`].
    pub fn second_order(self) -> Self {
        self.with(Gradients::SecondOrder)
    }

    /// The same pass with constant parameters: see [`Gradients::InputsOnly`].
    pub fn inputs_only(self) -> Self {
        self.with(Gradients::InputsOnly)
    }

    /// In [`Mode::Eval`] the pass becomes one of training, over a batch that this process holds whole.
    fn with(self, gradients: Gradients) -> Self {
        Mode::Train(TrainContext { gradients, reducer: self.reducer() })
    }

    /// Whether normalisation takes its statistics from the batch.
    pub fn batch_statistics(self) -> bool {
        matches!(self, Mode::Train(_))
    }

    /// Whether gradients reach the parameters.
    pub fn trains(self) -> bool {
        matches!(
            self,
            Mode::Train(TrainContext { gradients: Gradients::FirstOrder | Gradients::SecondOrder, .. })
        )
    }

    /// Whether this is the main pass of a training step, rather than one for a penalty or through a constant network: StyleGAN moves
    /// its running averages, and dropout drops values, in this pass alone.
    pub fn is_first_order(self) -> bool {
        matches!(self, Mode::Train(TrainContext { gradients: Gradients::FirstOrder, .. }))
    }

    /// Whether operations have to be differentiable twice.
    pub fn is_second_order(self) -> bool {
        matches!(self, Mode::Train(TrainContext { gradients: Gradients::SecondOrder, .. }))
    }

    /// Adds up over the processes that hold the rest of the batch, if there are any.
    pub fn reducer(self) -> Option<&'a Reducer> {
        match self {
            Mode::Eval => None,
            Mode::Train(context) => context.reducer,
        }
    }

    /// The mean over the processes of what each has found on its equal share of the batch.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn mean_over_processes(self, x: &Tensor) -> Result<Tensor> {
        Ok(all_reduce::mean(x, self.reducer())?)
    }
}

/// Moves latents towards the middle of their distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truncation {
    /// What is left of the distance from the middle: 1 changes nothing, 0 gives the middle.
    pub psi: f64,
    /// How many layers it concerns, where a latent has several.
    pub cutoff: Option<usize>,
}

impl Truncation {
    /// For a space whose middle is 0: `psi` times the latents.
    pub(super) fn scale(truncation: Option<Truncation>, latents: &Tensor) -> Result<Tensor> {
        match truncation {
            Some(Truncation { psi, .. }) => Ok((latents * psi)?),
            None => Ok(latents.clone()),
        }
    }
}

/// Noise that enters between the layers of some generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoiseMode {
    /// Stored with the weights.
    #[default]
    Const,
    /// None.
    None,
    /// Drawn for each image, keyed by [`ForwardOptions::keys`].
    Random,
}

/// Everything but latents that an image depends on. The default is an unconditional image in eval mode.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ForwardOptions<'a> {
    /// One class for each row.
    pub classes: Option<&'a [u32]>,
    /// Name of the space that the latents are in; the first of [`super::GeneratorInfo::spaces`] if not given.
    pub space: Option<&'a str>,
    /// Truncation.
    pub truncation: Option<Truncation>,
    /// Noise between the layers.
    pub noise: NoiseMode,
    /// For each row what its own random streams are keyed by (its seed): needed where noise is drawn. A discriminator that augments
    /// its images in training does so by them.
    pub keys: Option<&'a [u64]>,
    /// How the network is run.
    pub mode: Mode<'a>,
}

impl<'a> ForwardOptions<'a> {
    /// Of a network that is run in `mode`.
    pub fn in_mode(mode: Mode<'a>) -> Self {
        Self { mode, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::all_reduce::AllReduce;
    use candle_core::Device;
    use std::sync::Arc;

    /// Two processes, of which the other one has 1 wherever it is asked.
    #[derive(Debug)]
    struct Pair;

    impl AllReduce for Pair {
        fn size(&self) -> usize {
            2
        }
        fn all_reduce_sum(&self, values: &mut [f32]) {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        fn all_reduce_sum_f64(&self, values: &mut [f64]) {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
    }

    #[test]
    fn every_pass_of_a_training_step_is_taken_over_the_same_processes() {
        let reducer: Reducer = Arc::new(Pair);
        let step = Mode::Train(TrainContext { reducer: Some(&reducer), ..TrainContext::default() });
        let x = Tensor::new(&[3f32, -1.0], &Device::Cpu).unwrap();
        let mean = |mode: Mode| mode.mean_over_processes(&x).unwrap().to_vec1::<f32>().unwrap();
        for mode in [step, step.second_order(), step.inputs_only(), step.second_order().inputs_only()] {
            assert_eq!(mean(mode), [2.0, 0.0]);
        }
        for mode in [Mode::Eval, Mode::train(), Mode::Eval.second_order()] {
            assert_eq!(mean(mode), [3.0, -1.0]);
        }
    }

    #[test]
    fn gradients_reach_the_parameters_in_training_and_averages_move_in_its_main_pass_alone() {
        let of = |mode: Mode| {
            [mode.batch_statistics(), mode.trains(), mode.is_first_order(), mode.is_second_order()]
        };
        assert_eq!(of(Mode::Eval), [false; 4]);
        assert_eq!(of(Mode::train()), [true, true, true, false]);
        assert_eq!(of(Mode::train().second_order()), [true, true, false, true]);
        assert_eq!(of(Mode::train().inputs_only()), [true, false, false, false]);
    }
}
