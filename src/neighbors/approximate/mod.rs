//! The index of graphs that are walked, in one piece or in shards, in memory and on disk. Two builders make the graphs:
//! [`super::graph`] all rows at once, [`super::hnsw`] row by row.

mod builder;
mod files;
mod index;
mod shards;
mod shares;
mod streamed;
#[cfg(test)]
mod tests;

pub use builder::Builder;
pub(super) use files::read_earlier;
pub use index::{GraphIndex, Measured};
pub(crate) use shards::GraphShard;
pub(crate) use streamed::StreamedGraphs;
