//! Training whose gradients have gradients: penalties of discriminators and generators, and training over several ranks.

#[path = "../support/paths.rs"]
mod paths;
mod support;

mod discriminators;
mod path_length;
mod penalties_over_ranks;
mod r1;
mod ranks;
mod stylegan;
