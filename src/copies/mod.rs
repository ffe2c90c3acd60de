//! Copies: whether a picture is an edited copy of another. Features find the candidate, the pictures decide.

mod align;
mod descriptor;
mod evidence;
mod look;
mod matching;
mod plane;
mod points;
mod transform;
mod view;

pub(crate) use descriptor::Descriptor;
pub(crate) use evidence::{Evidence, MEASURES};
pub(crate) use look::look;
pub(crate) use view::View;
