//! What the loop knows of a training objective.

use crate::error::{Error, Result};
use crate::formats::StateDict;
use crate::generate::{Discriminator, Generator, Snapshot, Variables};
use crate::progress::Progress;
use crate::train::Adam;
use crate::train::collective::{Collective, Ranks};
use std::path::Path;

/// Named numbers of a step, for the log.
pub type Scalars = Vec<(&'static str, f64)>;

/// Tensors that a run goes on from, under a name of their own.
pub struct NamedState {
    /// Of the file that they are kept in.
    pub name: String,
    /// The tensors by name.
    pub tensors: StateDict,
    /// Of an optimiser, the steps that it has made.
    pub steps: Option<u64>,
}

/// An objective with its networks, optimisers and batches; one step at a time.
///
/// Everything random is keyed by the number of the step: networks, averages and moments are the whole state.
pub trait Trainer {
    /// Makes step `step`, counted from 0. What it measured comes back only if `report`: reading it waits for the device.
    ///
    /// # Errors
    /// What the networks return.
    fn step(&mut self, step: u64, report: bool) -> Result<Scalars>;

    /// Whether something has to be done before this step that is done before few: [`Trainer::prepare`] would do nothing otherwise.
    fn prepares(&self, _step: u64) -> bool {
        false
    }

    /// Does what is due before a step, on every rank.
    ///
    /// # Errors
    /// [`Error::Interrupted`], and nothing has changed; what the networks return.
    fn prepare(&mut self, _step: u64, _progress: &dyn Progress) -> Result<()> {
        Ok(())
    }

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

    /// Gives everything that a run goes on from to `keep`, one after the other: networks and optimisers, and what else a trainer has.
    ///
    /// # Errors
    /// What `keep` and reading from the device return.
    fn hand_out_state(&mut self, keep: &mut dyn FnMut(NamedState) -> Result<()>) -> Result<()> {
        for (name, variables) in self.networks()? {
            keep(NamedState { name: name.into(), tensors: variables.state_dict(name)?, steps: None })?;
        }
        for (name, adam) in self.optimizers() {
            let (tensors, steps) = (adam.state_dict(Path::new(name))?, Some(adam.steps()));
            keep(NamedState { name: name.into(), tensors, steps })?;
        }
        self.other_state().into_iter().try_for_each(keep)
    }

    /// State beside networks and optimisers.
    fn other_state(&self) -> Vec<NamedState> {
        Vec::new()
    }

    /// Goes on from [`Trainer::other_state`], which `find` gives by name.
    ///
    /// # Errors
    /// What `find` returns; [`Error::Malformed`] for the state of something else.
    fn take_other_state(&mut self, _find: &dyn Fn(&str) -> Result<NamedState>) -> Result<()> {
        Ok(())
    }

    /// Goes on from what was handed out, which `find` gives by name.
    ///
    /// # Errors
    /// What `find` returns; [`Error::Malformed`] for the state of other networks.
    fn take_state(&mut self, find: &dyn Fn(&str) -> Result<NamedState>) -> Result<()> {
        for (name, variables) in self.networks()? {
            variables.load(&find(name)?.tensors)?;
        }
        for (name, adam) in self.optimizers() {
            let NamedState { tensors, steps, .. } = find(name)?;
            let steps = steps.ok_or_else(|| {
                let reason = format!("nothing says how many steps {name} has made");
                Error::malformed(tensors.path(), reason, "remove the state to begin anew")
            })?;
            adam.load(&tensors, steps)?;
        }
        self.take_other_state(find)
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
pub(super) fn mean_over_ranks(scalars: &mut Scalars, ranks: &dyn Collective) {
    let mut values: Vec<f64> = scalars.iter().map(|(_, value)| *value).collect();
    ranks.all_reduce_mean_f64(&mut values);
    scalars.iter_mut().zip(values).for_each(|((_, value), mean)| *value = mean);
}
