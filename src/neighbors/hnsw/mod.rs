//! Hierarchical navigable small world graphs (Malkov and Yashunin, arXiv 1603.09320), into which `hnsw_rs` inserts the rows.

pub(super) mod insert;
pub(super) mod old_dump;
mod parameters;

pub use parameters::HnswParameters;
pub(super) use parameters::MOST_EXPLORED;
