//! The ranks of a data-parallel run: one process each, which do the same to their part of a batch and add up what they found.
//! [`Single`] is a run of one process; with the feature `mpi`, `Mpi` is one that `mpirun` or `srun --mpi=pmix` has started, and with
//! `nccl` its GPUs add up among themselves. Sums are taken in the order of ranks: every rank gets the same bits, and the same ones each time.

#[cfg(any(test, feature = "nccl"))]
mod blocks;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;

#[cfg(feature = "mpi")]
pub(crate) use self::mpi::Mpi;
#[cfg(feature = "nccl")]
pub(crate) use self::nccl::Nccl;

use crate::error::{Error, Result};
use crate::ops::all_reduce::AllReduce;
use crate::runs::{RankSource, Shard};
use std::sync::Arc;

/// The ranks of this run, as everything that reduces over them holds them.
pub type Ranks = Arc<dyn Collective>;

/// What the ranks do together: sums, and what a run needs beside them. Every rank has to call the same methods in the same order, with as many values.
///
/// Nothing here returns an error: a rank that cannot reach the others is ended by MPI.
pub trait Collective: AllReduce {
    /// The number of this one, from 0.
    fn rank(&self) -> usize;

    /// The number of this one among those on the same machine, from 0.
    fn local_rank(&self) -> usize {
        0
    }

    /// Ends the processes of the other ranks, which wait for this one. MPI ends this process too, and then it does not return.
    fn abort(&self, code: u8);

    /// Whether this is the rank that writes and speaks.
    fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// Each value becomes its mean over all ranks.
    fn all_reduce_mean_f64(&self, values: &mut [f64]) {
        self.all_reduce_sum_f64(values);
        values.iter_mut().for_each(|value| *value /= self.size() as f64);
    }

    /// Returns once every rank has come here.
    fn barrier(&self) {
        self.all_reduce_sum_f64(&mut [0.0]);
    }
}

/// One process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Single;

impl AllReduce for Single {
    fn size(&self) -> usize {
        1
    }

    fn all_reduce_sum(&self, _: &mut [f32]) {}

    fn all_reduce_sum_f64(&self, _: &mut [f64]) {}
}

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn abort(&self, _: u8) {}
}

/// A run of one process.
pub fn single() -> Ranks {
    Arc::new(Single)
}

/// Set by SLURM where a step was started with `--mpi=pmix`.
const PMIX_RANK: &str = "PMIX_RANK";

/// The ranks that this process was started as one of, by the variables that `environment` gives: [`Single`] unless `mpirun` or
/// `srun --mpi=pmix` has started several.
///
/// # Errors
/// [`Error::Usage`] if there are several ranks and this program cannot speak MPI, or MPI knows of others; if what has started
/// several gives them no way to reach each other.
pub(crate) fn open(environment: impl Fn(&str) -> Option<String>) -> Result<Ranks> {
    for source in [RankSource::OpenMpi, RankSource::Slurm, RankSource::Torchrun] {
        let Some(Shard { count, .. }) = source.started(&environment)? else { continue };
        if count == 1 {
            break;
        }
        let instead = match source {
            RankSource::Slurm if environment(PMIX_RANK).is_none() => {
                "srun --mpi=pmix, with a pd built with `--features mpi`; or srun -n 1"
            }
            RankSource::Torchrun => {
                "mpirun or srun --mpi=pmix, with a pd built with `--features mpi`; or unset WORLD_SIZE, if there is one process"
            }
            _ => return several(source, count),
        };
        return Err(Error::usage(
            format!(
                "{count} processes were started ({}) that cannot reach each other: each would do the whole run, in one directory",
                source.size()
            ),
            instead,
        ));
    }
    Ok(single())
}

#[cfg(feature = "mpi")]
fn several(source: RankSource, count: usize) -> Result<Ranks> {
    let mpi = Mpi::start()?;
    if mpi.size() != count {
        return Err(Error::usage(
            format!("{} says that there are {count} ranks, MPI knows {}", source.size(), mpi.size()),
            "was pd built with the MPI that started it?",
        ));
    }
    #[cfg(feature = "nccl")]
    return Ok(Arc::new(Nccl::new(mpi)));
    #[cfg(not(feature = "nccl"))]
    Ok(Arc::new(mpi))
}

#[cfg(not(feature = "mpi"))]
fn several(source: RankSource, count: usize) -> Result<Ranks> {
    Err(Error::usage(
        format!(
            "{count} ranks were started ({}), but this pd was built without MPI: each would do the whole run",
            source.size()
        ),
        "build it with `cargo build --release --features mpi`, or start one process",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(variables: &[(&str, &str)]) -> Result<Ranks> {
        open(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn a_process_is_alone_unless_several_ranks_were_started_by_mpi() {
        let daemon_of_mpirun = [
            ("OMPI_COMM_WORLD_RANK", "0"),
            ("OMPI_COMM_WORLD_SIZE", "1"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_PROCID", "1"),
            ("SLURM_STEP_NUM_TASKS", "2"),
        ];
        for variables in [
            &[][..],
            &[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")],
            &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")],
            &[("RANK", "0"), ("WORLD_SIZE", "1")],
            &[("WORLD_SIZE", "4")],
            &[("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")],
            &daemon_of_mpirun,
        ] {
            assert_eq!(opened(variables).unwrap().size(), 1, "{variables:?}");
        }
    }

    #[test]
    fn processes_that_cannot_reach_each_other_are_refused_with_what_to_do() {
        let step = [("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2")];
        let torchrun = [("RANK", "1"), ("WORLD_SIZE", "4")];
        for (variables, named) in [
            (&step[..], "2 processes were started (SLURM_STEP_NUM_TASKS)"),
            (&torchrun, "4 processes were started (WORLD_SIZE)"),
        ] {
            let error = opened(variables).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert!(matches!(error, Error::Usage { .. }) && error.hint().unwrap().contains("--mpi=pmix"));
        }
    }

    #[cfg(not(feature = "mpi"))]
    #[test]
    fn several_ranks_are_refused_by_name_without_mpi() {
        let by_mpirun = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")];
        let step = [
            ("SLURM_STEP_ID", "0"),
            ("SLURM_PROCID", "1"),
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("PMIX_RANK", "1"),
        ];
        for (variables, named) in
            [(&by_mpirun[..], "2 ranks were started (OMPI_COMM_WORLD_SIZE)"), (&step, "SLURM_STEP_NUM_TASKS")]
        {
            let error = opened(variables).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert!(matches!(error, Error::Usage { .. }) && error.hint().unwrap().contains("--features mpi"));
        }
    }
}
