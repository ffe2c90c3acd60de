//! Graphs of neighbours, whoever built them: how they are held, walked and written, and how an answer is made of what walks found.

mod graph;
pub(crate) mod graph_file;
mod search_results;
mod space;
mod visited;

pub(in crate::neighbors) use graph::{Graph, LAYERS, Links, Walk, entry};
pub(in crate::neighbors) use search_results::{SLACK, SearchResults};
pub(in crate::neighbors) use space::{Space, check_rows, prepared, scale};
pub(in crate::neighbors) use visited::Visited;
