//! Rows of tables: in which order, which of them, and how their number is written.

use super::sheet::MOST;
use super::text::count;
use std::cmp::Ordering;

/// Rows in the order of a value, those without a number left out; ties in row order.
pub(super) fn ordered(values: &[f64], descending: bool, rows: impl Iterator<Item = usize>) -> Vec<usize> {
    let number = |row: usize| values.get(row).copied().filter(|v| !v.is_nan());
    let mut rows: Vec<(f64, usize)> = rows.filter_map(|row| Some((number(row)?, row))).collect();
    let compare = |a: &(f64, usize), b: &(f64, usize)| -> Ordering {
        let order = a.0.total_cmp(&b.0);
        (if descending { order.reverse() } else { order }).then(a.1.cmp(&b.1))
    };
    rows.sort_by(compare);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Of rows in an order those that a sheet has room for: all, or as many from both ends; with a sentence where some are left out.
pub(super) fn that_fit(rows: Vec<usize>) -> (Vec<usize>, Option<String>) {
    if rows.len() <= MOST {
        return (rows, None);
    }
    let last = rows.len() - MOST / 2;
    let shown = rows.iter().take(MOST / 2).chain(rows.iter().skip(last)).copied().collect();
    let said = format!(
        "There are {} images, more than a page can hold: these are the {} at each end. The table has all.",
        count(rows.len()),
        count(MOST / 2)
    );
    (shown, Some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_value_and_then_by_row() {
        let values = [2.0, f64::NAN, 1.0, 2.0, 3.0];
        assert_eq!(ordered(&values, true, 0..9), [4, 0, 3, 2]);
        assert_eq!(ordered(&values, false, 0..4), [2, 0, 3]);
    }

    #[test]
    fn of_too_many_rows_both_ends_are_shown() {
        assert_eq!(that_fit((0..MOST).collect()), ((0..MOST).collect(), None));
        let (rows, said) = that_fit((0..MOST + 3).collect());
        assert_eq!((rows.len(), rows[MOST / 2 - 1], rows[MOST / 2]), (MOST, MOST / 2 - 1, MOST / 2 + 3));
        assert!(said.unwrap().contains("4\u{202f}003 images"));
    }
}
