//! Approximate search with hierarchical navigable small world graphs (Malkov and Yashunin, arXiv 1603.09320).
//! `hnsw_rs` inserts the rows; walking the graphs, exact distances and files are done here.

mod files;
mod graph;
pub(crate) mod graph_file;
mod index;
mod old_dump;
mod parameters;
mod search_results;
mod shards;
mod shares;
mod space;
mod streamed;
#[cfg(test)]
mod tests;

pub use index::HnswIndex;
pub use parameters::HnswParameters;
pub(crate) use shards::GraphShard;
pub(crate) use streamed::StreamedGraphs;
