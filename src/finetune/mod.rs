//! Fine-tuning with importance sampling (Li et al., TMLR 2024, section 3.5): GANs and diffusion models on real images drawn by their pseudo density.
//! A [`Trainer`] makes one step at a time; [`run()`] is the loop around it: log, sheets, snapshots, state, evaluations.
//! Every draw is keyed by (seed, purpose, step), so that networks, averages and moments are the whole state of a run. The ranks of a
//! data-parallel run deal each batch among them ([`RankShard`](crate::train::RankShard)) and average gradients; the first of them alone runs the loop, the others
//! [`run_worker()`].

mod agreement;
mod batches;
mod data;
mod densities;
mod diffusion;
mod ema;
mod evaluate;
mod events;
mod frechet;
mod gan;
mod labels;
mod latents;
mod log;
mod losses;
mod outside_steps;
mod path_length;
mod ratio_weights;
mod run;
mod sheet;
mod state;
mod trainer;
mod weighted_rows;

pub(crate) use batches::KeptImages;
pub use batches::{RealBatches, Rejection};
pub use data::{MEMORY_BYTES, RealImages};
pub(crate) use densities::{Measured, Origin, measure, training_features};
pub use diffusion::{DiffusionConfig, DiffusionTrainer};
pub use ema::EmaConfig;
pub(crate) use evaluate::Evaluator;
pub(crate) use frechet::{FrechetConfig, FrechetTerm};
pub use gan::{GanConfig, GanNetworks, GanTrainer, R1};
pub(crate) use labels::classes;
pub(crate) use log::last_in_log;
pub use losses::{SECOND_ORDER_VARIABLE, check_second_order, r1_penalty};
pub use path_length::{PathLength, PathLengthConfig, Paths, check_layers};
pub(crate) use ratio_weights::RatioWeights;
pub(crate) use run::{Course, Finished};
pub use run::{Schedule, run, run_worker};
pub use sheet::Sheet;
pub use state::finetune_run;
pub(crate) use state::snapshot_name;
pub use trainer::{Scalars, Trainer};
pub use weighted_rows::WeightedRows;
