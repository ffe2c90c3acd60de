//! Single samples made more or less typical, by projected gradient descent on their latents (Li et al., TMLR 2024, section 3.3).
//! [`search::Search`] perturbs a batch of latents and returns the best it met; [`run()`] does so for any number and writes what is found.
//! Densities are those of the written 8-bit images, so that scoring the files gives the same numbers.

mod ball;
mod direction;
mod grid;
mod output;
mod report;
mod run;
mod search;
pub(crate) mod sharded;

pub use ball::Norm;
pub use direction::Direction;
pub use output::{Output, perturb_run};
pub(crate) use report::Report;
pub use run::{Models, RunOptions, run};
pub use search::SearchOptions;
