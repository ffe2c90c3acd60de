//! Pictures of results for people: SVG that stands alone, without scripts or fonts of its own.
//! Everything here turns numbers into text; nothing here computes a number.
//! Colours are readable on light and dark ground.

mod frontier;

pub use frontier::{Point, frontier_plot};
