//! `grid.png`: each sample in a column, less common above, as it was in the middle, more common below, each with its density.

use crate::images::{RgbImage, labelled_sheet};

/// One sample: its images and their densities, from the less to the more common.
pub(super) type Column = [(RgbImage, f64); 3];

/// What the rows are called.
const ROWS: [&str; 3] = ["less common", "original", "more common"];

/// The grid; `None` without columns.
pub(super) fn grid(columns: &[Column]) -> Option<RgbImage> {
    let cell = |(image, density): &(RgbImage, f64)| (image.clone(), short(*density));
    labelled_sheet(ROWS, &columns.iter().map(|column| column.each_ref().map(cell)).collect::<Vec<_>>())
}

/// A density in few characters.
fn short(density: f64) -> String {
    match density {
        d if d < 100.0 => format!("{d:.2}"),
        d if d < 1e5 => format!("{d:.0}"),
        d => format!("{d:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_of_any_size_are_short() {
        for (density, text) in
            [(0.0, "0.00"), (0.834, "0.83"), (99.9, "99.90"), (1234.5, "1234"), (1e300, "1e300")]
        {
            assert_eq!(short(density), text);
        }
    }
}
