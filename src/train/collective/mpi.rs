//! Ranks that an MPI launcher has started.

use super::Collective;
use crate::error::{Error, Result};
use crate::ops::all_reduce::AllReduce;
use mpi::Threading;
use mpi::environment::{Universe, initialize_with_threading};
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence};
use std::fmt;

/// Values that are summed at a time: MPI counts in 32 bits.
const MOST: usize = 1 << 28;
/// Up to so many values every rank sends all of them to every other: one message instead of two, and what counts is the time that a
/// message takes.
const SHORT: usize = 1 << 12;
/// What a process exits with after a panic.
const PANICKED: u8 = 101;

/// The ranks of `MPI_COMM_WORLD`. MPI is shut down when this is dropped, which waits for the other ranks.
pub(crate) struct Mpi {
    universe: Universe,
    local_rank: usize,
}

impl Mpi {
    /// Initialises MPI: once in a process.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is initialised already.
    pub(crate) fn start() -> Result<Self> {
        // One thread at a time speaks to the other ranks, not always the first one.
        match initialize_with_threading(Threading::Serialized) {
            Some((universe, _)) => {
                let world = universe.world();
                let local_rank = world.split_shared(world.rank()).rank() as usize;
                Ok(Self { universe, local_rank })
            }
            None => Err(Error::usage("MPI is initialised already", "")),
        }
    }

    /// What the first rank has, to all.
    #[cfg(feature = "nccl")]
    pub(super) fn broadcast(&self, bytes: &mut [u8]) {
        mpi::traits::Root::broadcast_into(&self.universe.world().process_at_rank(0), bytes);
    }

    /// Each rank adds up one block, in the order of ranks, and hands it to all: as little traffic as any way takes, and bits that
    /// depend neither on the library's choice of algorithm nor on the network.
    fn sum<T: Number>(&self, values: &mut [T]) {
        let (world, size) = (self.universe.world(), self.size());
        let added_up = |all: &[T], count: usize| -> Vec<T> {
            (0..count).map(|at| T::sum(all[at..].iter().step_by(count))).collect()
        };
        if values.len() <= SHORT {
            let mut all = vec![T::default(); values.len() * size];
            world.all_gather_into(values, &mut all);
            return values.copy_from_slice(&added_up(&all, values.len()));
        }
        for values in values.chunks_mut(MOST) {
            let block = values.len().div_ceil(size);
            let mut all = values.to_vec();
            all.resize(block * size, T::default());
            let mut own = all.clone();
            world.all_to_all_into(&all, &mut own);
            world.all_gather_into(&added_up(&own, block), &mut all);
            values.copy_from_slice(&all[..values.len()]);
        }
    }
}

/// Numbers that are summed in float64.
trait Number: Equivalence + Copy + Default {
    fn sum<'a>(values: impl Iterator<Item = &'a Self>) -> Self
    where
        Self: 'a;
}

impl Number for f32 {
    fn sum<'a>(values: impl Iterator<Item = &'a Self>) -> Self {
        values.map(|value| f64::from(*value)).sum::<f64>() as f32
    }
}

impl Number for f64 {
    fn sum<'a>(values: impl Iterator<Item = &'a Self>) -> Self {
        values.sum()
    }
}

impl AllReduce for Mpi {
    fn size(&self) -> usize {
        self.universe.world().size() as usize
    }

    fn all_reduce_sum(&self, values: &mut [f32]) {
        self.sum(values);
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) {
        self.sum(values);
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.universe.world().rank() as usize
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn abort(&self, code: u8) {
        self.universe.world().abort(code.into())
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {} (MPI)", self.rank(), self.size())
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // The others wait for what this rank was about to do.
        if std::thread::panicking() {
            self.abort(PANICKED);
        }
    }
}
