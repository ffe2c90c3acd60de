//! Single samples moved towards the common or the unique, by projected gradient steps on their latents
//! (PGD; Li et al., TMLR 2024, section 3.3).
//! [`Search`] moves a batch of latents and returns the best it met; [`run()`] does so for any number and writes what is found.
//! Densities are those of the written 8-bit images, so that scoring the files gives the same numbers.

mod ball;
mod direction;
mod gradient;
mod grid;
mod objective;
mod output;
mod picture;
mod report;
mod run;
mod search;
pub mod sharded;

pub use ball::{Ball, Norm};
pub use direction::Direction;
pub use gradient::{DensityGradient, density_gradient};
pub use objective::{KnnDensity, Objective, PredictedDensity, knn_gradient};
pub use output::Output;
pub use picture::Picture;
pub use report::{Report, SampleRow, StrengthReport};
pub use run::{Models, RunOptions, run};
pub use search::{Found, Latents, Search, SearchOptions, Start};
