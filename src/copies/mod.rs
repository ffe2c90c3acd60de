//! Copies: whether a picture is an edited copy of another. Features find the candidates elsewhere; here the two pictures themselves are
//! looked at ([`compare()`]) and those that belong together are grouped ([`grouped`]).
//! A picture is its [`Descriptor`]: a small JPEG. Corners and gray levels are taken from it when a pair is looked at.

mod align;
mod checks;
mod compare;
mod descriptor;
mod evidence;
mod groups;
mod look;
mod matching;
mod moves;
mod pair_sums;
mod plane;
mod points;
#[cfg(test)]
mod tests;
mod transform;
mod view;

pub(crate) use checks::sharpness;
pub(crate) use compare::{Compared, Level, compare};
pub(crate) use descriptor::Descriptor;
pub(crate) use groups::{Group, grouped};
pub(crate) use moves::{JOURNAL, check_moves, move_files, restore};
