//! A graph of nearest neighbours, built for all rows at once.
//!
//! Two passes improve the lists of nearest rows. The first compares all rows of small cells, which several random partitions of the set
//! give ([`cells`]): most neighbours share a cell in one of them. The second compares the rows of a cell with the neighbours of their
//! neighbours ([`neighborhoods`]), as NN-descent does (Dong, Charikar and Li, *Efficient k-nearest neighbor graph construction for generic
//! similarity measures*, WWW 2011), but for many rows together, so that it is a blocked matrix product ([`compare`]).
//! The second pass is repeated until the recall that is measured on a sample suffices.
//!
//! Where a graph of most of the rows is there already ([`earlier`]), its links are the beginning, and only what joined is compared.

mod build;
mod cells;
mod compare;
mod earlier;
mod lists;
mod neighborhoods;
mod nodes;
mod parameters;

pub(super) use build::{ENOUGH, Sample, build};
pub(super) use earlier::Earlier;
pub use parameters::DescentParameters;
pub(super) use parameters::EXPLORED;
#[cfg(test)]
mod tests;
