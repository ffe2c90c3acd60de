//! `--checks`: what may be wrong with each picture, as columns of a table and in a summary.

use crate::copies::{Checked, Flag, Limit, Measures};
use crate::error::Result;
use crate::formats::table::{Table, Values};
use std::fmt::Write;

/// Adds the numbers and the flags of some pictures to a table of them; `rows` are their places among those that were checked.
///
/// # Errors
/// If the lengths do not fit.
pub(super) fn push_columns(
    table: &mut Table,
    measures: &[Measures],
    checked: &Checked,
    rows: &[usize],
) -> Result<()> {
    let of = |number: fn(&Measures) -> f64| {
        Values::Float(rows.iter().map(|&row| measures.get(row).map_or(f64::NAN, number)).collect())
    };
    let pixels = |side: fn(&Measures) -> u32| {
        Values::Int(rows.iter().map(|&row| measures.get(row).map_or(0, side).into()).collect())
    };
    table.push("sharpness", of(|m| m.sharpness))?;
    table.push("brightness", of(|m| m.brightness))?;
    table.push("contrast", of(|m| m.contrast))?;
    table.push("entropy", of(|m| m.entropy))?;
    table.push("colour", of(|m| m.colour))?;
    table.push("width", pixels(|m| m.width))?;
    table.push("height", pixels(|m| m.height))?;
    table.push("flags", Values::Text(rows.iter().map(|&row| checked.cell(row)).collect()))
}

/// What was found, for a person.
pub(super) fn text(limits: &[Limit]) -> String {
    let mut out = String::from("\nmay be wrong, by limits that this set has taught\n");
    let mut flags: Vec<Flag> = limits.iter().map(|limit| limit.flag).collect();
    flags.sort_unstable();
    flags.dedup();
    for flag in flags {
        let of_flag: Vec<&Limit> = limits.iter().filter(|limit| limit.flag == flag).collect();
        let images: usize = of_flag.iter().map(|limit| limit.images).sum();
        let bound = |limit: &Limit| match (limit.below, limit.above) {
            (Some(below), _) => format!("below {below:.3}"),
            (_, Some(above)) => format!("above {above:.3}"),
            _ => String::new(),
        };
        let bounds: Vec<String> = of_flag.iter().map(|limit| bound(limit)).collect();
        let number = of_flag.first().map_or("", |limit| limit.number);
        let _ = writeln!(out, "  {images:6}  {:15}  {number} {}", flag.name(), bounds.join(" or "));
    }
    out
}
