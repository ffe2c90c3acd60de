//! Galleries: an image, the real one nearest to it, and their numbers.

use super::page::{Card, Shown};
use super::pictures::{Pictures, Thumbnail};
use rayon::prelude::*;
use std::cmp::Ordering;

/// Cards of a gallery, at most.
pub(super) const SHOWN: usize = 18;

/// An image with the one that is nearest to it.
pub(super) struct Pair<'a> {
    /// Its path among the first pictures.
    pub path: &'a str,
    /// What the first is.
    pub role: &'static str,
    /// The path of the other among the second pictures; none if it is empty.
    pub nearest: &'a str,
    /// Lines below them.
    pub lines: Vec<String>,
}

/// A card for each pair.
pub(super) fn pair_cards(pairs: Vec<Pair>, first: &Pictures, second: &Pictures) -> Vec<Card> {
    let card = |pair: Pair| {
        let show = |role: &'static str, path: &str, pictures: &Pictures| Shown {
            role,
            name: path.to_owned(),
            thumbnail: pictures.thumbnail(path),
        };
        let mut pictures = vec![show(pair.role, pair.path, first)];
        if !pair.nearest.is_empty() {
            pictures.push(show("nearest", pair.nearest, second));
        }
        Card { pictures, lines: pair.lines }
    };
    pairs.into_par_iter().map(card).collect()
}

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

/// One picture with a role, for cards of other kinds.
pub(super) fn shown(role: &'static str, name: &str, thumbnail: Option<Thumbnail>) -> Shown {
    Shown { role, name: name.to_owned(), thumbnail }
}

/// A count with a thin space between thousands.
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
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
    fn counts_are_grouped_by_thousands() {
        assert_eq!([7, 1797, 100_000].map(count), ["7", "1\u{202f}797", "100\u{202f}000"]);
    }
}
