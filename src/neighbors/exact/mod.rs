//! Exact search. Matrix products of blocks of rows in float32 find the candidates ([`blocked`], [`device`]); exact distances and a
//! proof for each query that no neighbour was missed follow in [`index`]. [`products`] are for sums over all pairs.

pub(super) mod blocked;
pub(super) mod candidates;
mod device;
mod direct;
pub(super) mod frame;
pub(super) mod groups;
mod index;
pub(super) mod products;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod thresholds;
pub(super) mod top_k;

pub use index::ExactIndex;
