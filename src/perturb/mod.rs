//! Single samples made more or less typical, by projected gradient descent on their latents (Li et al., TMLR 2024, section 3.3).
//! [`search::Search`] perturbs a batch of latents and returns the best it met; [`run()`] does so for any number and writes what is found.
//! A finished latent is kept at once: a run that was interrupted goes on behind it.
//! Densities are those of the written 8-bit images, so that scoring the files gives the same numbers.

mod ball;
mod batches;
mod direction;
mod finished;
mod grid;
mod options;
mod report;
mod run;
mod search;
mod zero_order;

pub use ball::Norm;
pub use direction::Direction;
pub(crate) use options::EPSILON;
pub use options::{Models, RunOptions};
pub(crate) use report::Report;
pub use run::run;
pub(crate) use run::{PERTURB, PerturbRun, merge_perturbed, perturb_shard};
pub use search::SearchOptions;
