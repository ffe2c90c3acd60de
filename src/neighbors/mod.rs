//! Nearest neighbours in feature space, by Euclidean distance.
//! One trait, [`NeighborIndex`], with two implementations: exact search ([`ExactIndex`]) and walks over graphs ([`GraphIndex`]), which
//! [`graph`] builds for all rows at once and [`hnsw`] row by row.
//! However the candidates were found, the distances that are returned are computed from the rows themselves.

mod any_index;
mod approximate;
mod balls;
pub(crate) mod distance;
mod exact;
mod graph;
mod hnsw;
mod in_blocks;
mod index_files;
mod kind;
mod merging;
mod recall;
mod record;
mod search;
pub(crate) mod walk;

pub(crate) use any_index::{AnyIndex, BuildOptions, build, open, place_graphs, remove_graphs};
pub use approximate::{Builder, GraphIndex, Measured};
pub use exact::ExactIndex;
pub(crate) use exact::products::{COLUMNS, Columns, DistanceProducts};
pub use graph::DescentParameters;
pub use hnsw::HnswParameters;
pub(crate) use index_files::set_graphs_aside;
pub use kind::IndexKind;
pub(crate) use record::IndexRecord;
pub use search::{NeighborIndex, Search, check_finite};
pub(crate) use search::{Neighbors, standard_layout};

pub(crate) use approximate::{GraphShard, StreamedGraphs};
pub(crate) use in_blocks::{blocks_of, search_in_blocks};
pub(crate) use merging::Merging;
