//! Copies: whether a picture is an edited copy of another. Features find the candidates elsewhere; here the two pictures themselves are
//! looked at ([`Comparer`]) and those that belong together are grouped ([`grouped`]).
//! A picture is its [`Descriptor`]: a small JPEG. Corners and gray levels are taken from it when it is looked at first.

mod align;
mod checks;
mod colours;
mod compare;
mod descriptor;
mod evidence;
mod groups;
mod look;
mod matching;
mod measures;
mod moves;
mod overlap;
mod pair_sums;
mod plane;
mod points;
#[cfg(test)]
mod tests;
mod thumb;
mod transform;
mod view;

/// Nearest pictures in features that a picture is compared with, and again those of it mirrored.
pub(crate) const NEAREST: usize = 3;

pub(crate) use checks::{Checked, Flag, Limit};
pub use compare::Level;
pub(crate) use compare::{Compared, Comparer, best_copies};
pub use descriptor::Descriptor;
pub(crate) use descriptor::{BYTES as DESCRIPTOR_BYTES, Digest};
pub(crate) use groups::{Group, grouped};
pub(crate) use measures::Measures;
pub(crate) use moves::{JOURNAL, check_moves, move_files, restore};
pub(crate) use thumb::{ALIKE, BYTES as THUMB_NUMBERS};
