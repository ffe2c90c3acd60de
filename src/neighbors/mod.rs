//! Nearest neighbours in feature space, by Euclidean distance.
//! One trait, [`NeighborIndex`], with two implementations: exact search ([`ExactIndex`]) and HNSW graphs ([`HnswIndex`]).
//! However the candidates were found, the distances that are returned are computed from the rows themselves.

mod any_index;
mod balls;
pub(crate) mod distance;
mod exact;
pub(crate) mod hnsw;
mod in_blocks;
mod index_files;
mod kind;
mod merging;
mod recall;
mod search;

pub(crate) use any_index::{AnyIndex, BuildOptions, build, open, place_graphs, remove_graphs};
pub use exact::ExactIndex;
pub(crate) use exact::products::{COLUMNS, Columns, DistanceProducts};
pub use hnsw::{HnswIndex, HnswParameters};
pub use kind::IndexKind;
pub(crate) use kind::IndexRecord;
pub use search::{NeighborIndex, Search, check_finite};
pub(crate) use search::{Neighbors, standard_layout};

pub(crate) use hnsw::{GraphShard, StreamedGraphs};
pub(crate) use in_blocks::{blocks_of, search_in_blocks};
pub(crate) use merging::Merging;
