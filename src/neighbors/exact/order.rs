//! An order of rows in which near ones stand together: halves again and again at the median of the number that varies most (the
//! k-d tree of Friedman, Bentley and Finkel, 1977, of which only the order of the leaves is kept and where a query would be).

use rayon::prelude::*;
use std::cmp::Ordering;

/// Rows that are not divided further.
const LEAF: usize = 256;

/// Where a set was divided.
pub(super) struct Order {
    count: usize,
    /// The root first; the children of node `i` are `2 i + 1` and `2 i + 2`.
    splits: Vec<Split>,
    levels: u32,
}

/// Rows whose value of `component` is below `value` are in the first half; some that are equal to it are too.
#[derive(Clone, Copy, Default)]
struct Split {
    component: u32,
    value: f32,
}

impl Order {
    /// The order of `rows` `[N, m]`, row-major and finite, with the number of the row at each position.
    pub(super) fn of(rows: &[f32], width: usize) -> (Self, Vec<u32>) {
        let count = rows.len() / width;
        let levels = count.div_ceil(LEAF).max(1).next_power_of_two().ilog2();
        let mut numbers: Vec<u32> = (0..count as u32).collect();
        let mut splits = vec![Split::default(); (1 << levels) - 1];
        for level in 0..levels {
            let of_level = &mut splits[(1 << level) - 1..(1 << (level + 1)) - 1];
            let divided: Vec<Split> =
                pieces(&mut numbers, level).into_par_iter().map(|piece| divide(piece, rows, width)).collect();
            of_level.copy_from_slice(&divided);
        }
        (Order { count, splits, levels }, numbers)
    }

    /// Where in the order a row like `query` `[m]` would stand: the first position of its leaf.
    pub(super) fn position(&self, query: &[f32]) -> usize {
        let mut node = 0;
        let (mut first, mut length) = (0, self.count);
        for _ in 0..self.levels {
            let Split { component, value } = self.splits[node];
            let below = query[component as usize] < value;
            let half = length / 2;
            (first, length) = if below { (first, half) } else { (first + half, length - half) };
            node = 2 * node + if below { 1 } else { 2 };
        }
        first
    }
}

/// The pieces that `numbers` are divided into after `levels` levels.
fn pieces<'a>(numbers: &'a mut [u32], levels: u32) -> Vec<&'a mut [u32]> {
    (0..levels).fold(vec![numbers], |pieces, _| {
        let halves = |piece: &'a mut [u32]| <[_; 2]>::from(piece.split_at_mut(piece.len() / 2));
        pieces.into_iter().flat_map(halves).collect()
    })
}

/// Brings the smaller half of `piece` by the value that varies most to its front.
fn divide(piece: &mut [u32], rows: &[f32], width: usize) -> Split {
    let value = |row: u32, component: usize| rows[row as usize * width + component];
    let mut sums = vec![(0.0f64, 0.0f64); width];
    for &row in &*piece {
        for (k, (sum, squares)) in sums.iter_mut().enumerate() {
            let value = f64::from(value(row, k));
            *sum += value;
            *squares += value * value;
        }
    }
    let variance = |&(sum, squares): &(f64, f64)| squares - sum * sum / piece.len() as f64;
    let component = (0..width)
        .max_by(|&a, &b| variance(&sums[a]).total_cmp(&variance(&sums[b])).then(b.cmp(&a)))
        .unwrap_or_default();
    let half = piece.len() / 2;
    let by_value = |&a: &u32, &b: &u32| -> Ordering {
        value(a, component).total_cmp(&value(b, component)).then(a.cmp(&b))
    };
    let (_, &mut middle, _) = piece.select_nth_unstable_by(half, by_value);
    Split { component: component as u32, value: value(middle, component) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::exact::tests::cloud;

    #[test]
    fn an_order_holds_every_row_once_with_near_ones_together() {
        let rows = cloud(3_000, 3, 1);
        let flat = rows.as_slice().unwrap();
        let (order, numbers) = Order::of(flat, 3);
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..3_000).collect::<Vec<u32>>());
        let spread = |rows: &[u32]| -> f64 {
            let mean = |k: usize| {
                rows.iter().map(|&row| f64::from(flat[row as usize * 3 + k])).sum::<f64>() / rows.len() as f64
            };
            let means = [mean(0), mean(1), mean(2)];
            let squared = |row: u32, k: usize| (f64::from(flat[row as usize * 3 + k]) - means[k]).powi(2);
            rows.iter().flat_map(|&row| (0..3).map(move |k| squared(row, k))).sum()
        };
        let apart: f64 = numbers.chunks(187).map(spread).sum();
        assert!(apart < 0.4 * spread(&numbers), "{apart} of {}", spread(&numbers));
        // A row of the set, whose values differ from all others', is found in its leaf.
        for (position, &row) in numbers.iter().enumerate().step_by(97) {
            let first = order.position(&flat[row as usize * 3..][..3]);
            assert!((first..first + 188).contains(&position), "{position} from {first}");
        }
    }

    #[test]
    fn few_rows_and_equal_rows_have_an_order_too() {
        assert_eq!(Order::of(&[3.0, 1.0, 2.0], 1).1, [0, 1, 2]);
        let (equal, mut rows) = Order::of(&[0.5; 2_000], 2);
        rows.sort_unstable();
        assert_eq!(rows, (0..1_000).collect::<Vec<u32>>());
        assert!(equal.position(&[0.5, 0.5]) < 1_000 && equal.position(&[-1.0, 9.0]) == 0);
    }
}
