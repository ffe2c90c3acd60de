//! Shards: which part of the work a process does, as typed or as a scheduler says.

use crate::error::{Error, Result};
use crate::remedy::Remedy;
use std::ops::Range;
use std::str::FromStr;

/// Most parts that work is cut into.
const MOST: usize = 100_000;
/// Places of the decimal numbers in the name of a part.
const PLACES: usize = 5;

/// Part `index` (from 0) of `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: usize,
    /// Parts in all.
    pub count: usize,
}

impl Shard {
    /// All of the work.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// # Errors
    /// [`Error::Usage`] unless `index` is below `count`.
    pub fn new(index: usize, count: usize) -> Result<Self> {
        if count == 0 || count > MOST || index >= count {
            return Err(Error::usage(
                format!("there is no shard {index} of {count}"),
                format!("shards are numbered from 0; at most {MOST}"),
            ));
        }
        Ok(Self { index, count })
    }

    /// Its contiguous range of `items`; the ranges of all shards cover every item once and differ in length by at most one.
    pub fn range(self, items: usize) -> Range<usize> {
        let bound = |i: usize| (i as u128 * items as u128 / self.count as u128) as usize;
        bound(self.index)..bound(self.index + 1)
    }

    /// The name of its directory: `00003-of-00016`.
    pub fn name(self) -> String {
        format!("{:0PLACES$}-of-{:0PLACES$}", self.index, self.count)
    }

    /// The shard of a directory's name.
    pub fn of_name(name: &str) -> Option<Self> {
        let (index, count) = name.split_once("-of-")?;
        let shard = Self::new(index.parse().ok()?, count.parse().ok()?).ok()?;
        (shard.name() == name).then_some(shard)
    }
}

/// Which shard is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShardRequest {
    /// `I/N`.
    Given(Shard),
    /// `auto/N`: the index of an array task or of an indexed job, of `N`.
    Index(usize),
    /// `auto`: rank and number of ranks of a parallel step.
    Rank,
}

impl FromStr for ShardRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::usage(
                format!("`{text}` is no shard"),
                "I/N with I from 0 (3/16), auto/N (array tasks, indexed jobs) or auto (srun, mpirun, torchrun)",
            )
        };
        match text.split_once('/') {
            None if text == "auto" => Ok(Self::Rank),
            None => Err(wrong()),
            Some((index, count)) => {
                let count = count.parse().map_err(|_| wrong())?;
                match index {
                    "auto" => Shard::new(0, count).map(|_| Self::Index(count)),
                    _ => Shard::new(index.parse().map_err(|_| wrong())?, count).map(Self::Given),
                }
            }
        }
    }
}

/// Array tasks and indexed jobs. How many tasks an array has says nothing: a retry has fewer.
const INDICES: [&str; 2] = ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"];
/// Set inside a step of SLURM only.
const STEP: &str = "SLURM_STEP_ID";

/// What starts several processes at once and tells each its rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RankSource {
    /// `srun`.
    Slurm,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `torchrun`, and what does as it does.
    Torchrun,
}

impl RankSource {
    const ALL: [RankSource; 3] = [RankSource::Slurm, RankSource::OpenMpi, RankSource::Torchrun];

    /// The variable that holds the rank.
    pub(crate) fn rank(self) -> &'static str {
        match self {
            RankSource::Slurm => "SLURM_PROCID",
            RankSource::OpenMpi => "OMPI_COMM_WORLD_RANK",
            RankSource::Torchrun => "RANK",
        }
    }

    /// The variable that holds the number of ranks. SLURM's is that of a step: a batch script has another.
    pub(crate) fn size(self) -> &'static str {
        match self {
            RankSource::Slurm => "SLURM_STEP_NUM_TASKS",
            RankSource::OpenMpi => "OMPI_COMM_WORLD_SIZE",
            RankSource::Torchrun => "WORLD_SIZE",
        }
    }

    /// Rank and number of ranks, if it has started this process.
    ///
    /// # Errors
    /// [`Error::Usage`] for a variable that is no number, or a rank beyond their number.
    pub(crate) fn started(self, environment: &impl Fn(&str) -> Option<String>) -> Result<Option<Shard>> {
        if self == RankSource::Slurm && environment(STEP).is_none() {
            return Ok(None);
        }
        match (number(self.rank(), environment)?, number(self.size(), environment)?) {
            (Some(index), Some(count)) => Shard::new(index, count).map(Some),
            _ => Ok(None),
        }
    }
}

impl ShardRequest {
    /// The shard, where needed by the variables that `environment` gives.
    ///
    /// # Errors
    /// [`Error::Usage`] if no scheduler has said, or two say different things.
    pub(crate) fn resolve(self, environment: impl Fn(&str) -> Option<String>) -> Result<Shard> {
        match self {
            Self::Given(shard) => Ok(shard),
            Self::Index(count) => {
                let mut found = Vec::new();
                for name in INDICES {
                    if let Some(index) = number(name, &environment)? {
                        found.push((name.to_owned(), Shard::new(index, count)?));
                    }
                }
                if let (Some(_), Some(tasks)) =
                    (environment(STEP), number(RankSource::Slurm.size(), &environment)?)
                    && tasks > 1
                {
                    return Err(Error::usage(
                        format!("srun has started {tasks} tasks, which would all do the same shard"),
                        Remedy::OneTaskOrRankShards,
                    ));
                }
                agreed(found, "auto/N", &INDICES.join(", "))
            }
            Self::Rank => {
                let mut found = Vec::new();
                for source in RankSource::ALL {
                    if let Some(shard) = source.started(&environment)? {
                        found.push((source.rank().to_owned(), shard));
                    }
                }
                let tasks = number("SLURM_NTASKS", &environment)?.unwrap_or(1);
                if found.is_empty() && tasks > 1 && environment(STEP).is_none() {
                    return Err(Error::usage(
                        format!(
                            "this batch script has {tasks} tasks (SLURM_NTASKS) but runs once: {STEP} is not set"
                        ),
                        "start it by srun",
                    ));
                }
                let names = RankSource::ALL.map(|s| format!("{} with {}", s.rank(), s.size())).join(", ");
                agreed(found, "auto", &names)
            }
        }
    }
}

fn number(name: &str, environment: &impl Fn(&str) -> Option<String>) -> Result<Option<usize>> {
    let Some(text) = environment(name) else { return Ok(None) };
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| Error::usage(format!("{name} is `{text}`, which is no number"), Remedy::GiveShard))
}

fn agreed(found: Vec<(String, Shard)>, request: &str, names: &str) -> Result<Shard> {
    let Some((first, shard)) = found.first() else {
        return Err(Error::usage(
            format!("no scheduler has said which shard `{request}` is"),
            Remedy::GiveShardOrScheduler(names.into()),
        ));
    };
    match found.iter().find(|(_, other)| other != shard) {
        None => Ok(*shard),
        Some((second, other)) => Err(Error::usage(
            format!("{first} says shard {}, {second} says {}", shard.name(), other.name()),
            Remedy::GiveShard,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolve(request: &str, variables: &[(&str, &str)]) -> Result<Shard> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        request.parse::<ShardRequest>()?.resolve(value)
    }

    fn shard(index: usize, count: usize) -> Shard {
        Shard { index, count }
    }

    proptest! {
        #[test]
        fn shards_cover_every_item_once_and_evenly(items in 0usize..5000, count in 1usize..200) {
            let ranges: Vec<_> = (0..count).map(|i| shard(i, count).range(items)).collect();
            let all: Vec<usize> = ranges.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..items).collect::<Vec<_>>());
            let lengths = ranges.iter().map(|r| r.len());
            prop_assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
        }

        #[test]
        fn names_read_back(count in 1usize..100_000, seed in 0usize..100_000) {
            let shard = shard(seed % count, count);
            prop_assert_eq!(Shard::of_name(&shard.name()), Some(shard));
        }
    }

    #[test]
    fn a_shard_is_typed_as_index_and_count() {
        assert_eq!(resolve("3/16", &[]).unwrap(), shard(3, 16));
        for wrong in ["16/16", "1", "1/0", "-1/4", "a/4", "auto/x", "auto/0", "1/2/3", ""] {
            assert!(matches!(resolve(wrong, &[]).unwrap_err(), Error::Usage { .. }), "{wrong}");
        }
    }

    #[test]
    fn an_array_task_or_an_indexed_job_says_which() {
        let retry = [("SLURM_ARRAY_TASK_ID", "17"), ("SLURM_ARRAY_TASK_COUNT", "2")];
        assert_eq!(resolve("auto/32", &retry).unwrap(), shard(17, 32));
        assert_eq!(resolve("auto/4", &[("JOB_COMPLETION_INDEX", "3")]).unwrap(), shard(3, 4));
        assert!(resolve("auto/16", &retry).is_err());
        let two = [("SLURM_ARRAY_TASK_ID", "1"), ("JOB_COMPLETION_INDEX", "2")];
        let message = resolve("auto/4", &two).unwrap_err().to_string();
        assert!(INDICES.iter().all(|name| message.contains(name)), "{message}");
        assert!(resolve("auto/4", &[]).is_err());
    }

    #[test]
    fn several_tasks_of_a_step_in_an_array_task_are_refused() {
        let variables = [("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4")];
        assert!(resolve("auto/4", &variables).unwrap_err().to_string().contains("4 tasks"));
        assert!(resolve("auto/4", &[variables[0], variables[1], ("SLURM_STEP_NUM_TASKS", "1")]).is_ok());
    }

    #[test]
    fn a_step_says_rank_and_size_and_a_batch_script_does_not() {
        let batch = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")];
        assert!(resolve("auto", &batch).unwrap_err().to_string().contains("SLURM_NTASKS"));
        let step = [("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "2"), ("SLURM_STEP_NUM_TASKS", "4")];
        assert_eq!(resolve("auto", &step).unwrap(), shard(2, 4));
        let mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2"), batch[0], batch[1]];
        assert_eq!(resolve("auto", &mpi).unwrap(), shard(1, 2));
        assert_eq!(resolve("auto", &[("RANK", "0"), ("WORLD_SIZE", "3")]).unwrap(), shard(0, 3));
        let both = [step[0], step[1], step[2], ("RANK", "1"), ("WORLD_SIZE", "4")];
        let message = resolve("auto", &both).unwrap_err().to_string();
        assert!(message.contains("SLURM_PROCID") && message.contains("RANK"), "{message}");
        assert!(resolve("auto", &[]).is_err());
        assert!(resolve("auto", &[("RANK", "x"), ("WORLD_SIZE", "4")]).is_err());
    }
}
