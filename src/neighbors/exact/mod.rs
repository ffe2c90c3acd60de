//! Exact search. Matrix products of blocks of rows in float32 find the candidates ([`blocked`], [`device`]); exact distances and a
//! proof for each query that no neighbour was missed follow in [`index`]. Where a few principal components leave nearly all pairs out,
//! these are multiplied instead ([`components`]). [`products`] are for sums over all pairs.

mod axes;
pub(super) mod blocked;
mod by_components;
pub(super) mod candidates;
pub(super) mod components;
mod device;
mod direct;
pub(super) mod frame;
pub(super) mod groups;
mod index;
mod order;
pub(super) mod products;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod thresholds;
pub(super) mod top_k;

pub use index::ExactIndex;
