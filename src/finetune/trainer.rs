//! What the loop knows of a training objective.

use crate::error::{Error, Result};
use crate::generate::{Discriminator, Generator, Snapshot, Variables};
use crate::train::Adam;
use crate::train::collective::{Collective, Ranks};

/// Named numbers of a step, for the log.
pub type Scalars = Vec<(&'static str, f64)>;

/// An objective with its networks, optimisers and batches; one step at a time.
///
/// Everything random is keyed by the number of the step: networks, averages and moments are the whole state.
pub trait Trainer {
    /// Makes step `step`, counted from 0. What it measured comes back only if `report`: reading it waits for the device.
    ///
    /// # Errors
    /// What the networks return.
    fn step(&mut self, step: u64, report: bool) -> Result<Scalars>;

    /// Images that a step sees, on all ranks together.
    fn batch(&self) -> usize;

    /// Steps among which each lazy penalty comes once: what a mean time has to be taken over.
    fn cycle(&self) -> u64 {
        1
    }

    /// The ranks that make each step together.
    fn ranks(&self) -> &Ranks;

    /// The generator that is trained.
    fn generator(&self) -> &dyn Generator;

    /// The running average of its weights (EMA), which images are made with.
    fn ema(&self) -> &dyn Generator;

    /// The discriminator, where there is one.
    fn discriminator(&self) -> Option<&dyn Discriminator>;

    /// The optimisers, named.
    fn optimizers(&mut self) -> Vec<(&'static str, &mut Adam)>;

    /// The networks, named as in a generator directory.
    ///
    /// # Errors
    /// [`Error::Usage`] for a generator without weights.
    fn networks(&self) -> Result<Vec<(&'static str, &Variables)>> {
        let mut networks = vec![("g", self.generator().weights()?), ("g_ema", self.ema().weights()?)];
        networks.extend(self.discriminator().map(|d| ("d", d.variables())));
        Ok(networks)
    }

    /// The networks as a generator directory.
    fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            generator: Some(self.generator()),
            ema: Some(self.ema()),
            discriminator: self.discriminator(),
        }
    }

    /// Refuses networks with numbers that are not finite.
    ///
    /// # Errors
    /// [`Error::Data`] naming the first.
    fn check_finite(&self) -> Result<()> {
        for (network, variables) in self.networks()? {
            for (name, variable) in variables.parameters().chain(variables.buffers()) {
                let sum = variable.to_dtype(candle_core::DType::F64)?.sum_all()?.to_scalar::<f64>()?;
                if !sum.is_finite() {
                    return Err(Error::data(format!("`{name}` of {network} is no longer finite"), ""));
                }
            }
        }
        Ok(())
    }
}

/// Each number becomes its mean over the ranks.
pub fn mean_over_ranks(scalars: &mut Scalars, ranks: &dyn Collective) {
    let mut values: Vec<f64> = scalars.iter().map(|(_, value)| *value).collect();
    ranks.all_reduce_mean_f64(&mut values);
    scalars.iter_mut().zip(values).for_each(|((_, value), mean)| *value = mean);
}
