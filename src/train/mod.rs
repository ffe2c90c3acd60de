//! What training shares: the optimiser, its learning rate over time, and data-parallel ranks.

mod adam;
pub mod collective;
mod fused;
mod rank_shard;
mod schedule;

pub use adam::{Adam, AdamConfig};
pub use rank_shard::RankShard;
pub use schedule::warmup_rate;
