//! What training shares: the optimiser, its learning rate over time, and data-parallel ranks.

mod adam;
pub(crate) mod collective;
mod fused;
mod rank_shard;
mod schedule;

pub(crate) use adam::Adam;
pub use adam::AdamConfig;
pub(crate) use rank_shard::RankShard;
pub(crate) use schedule::warmup_rate;
