//! A set in its first principal components. A distance between projections on orthonormal axes never exceeds the distance itself (the
//! lower-bounding lemma of Faloutsos, Ranganathan and Manolopoulos, SIGMOD 1994), so that products of these few numbers leave nearly all
//! pairs out. How many components are worth their time is measured on some of the queries.

use super::axes::{ORTHONORMAL, principal_axes, product};
use super::blocked::{Blocking, Operand, Pairs};
use super::frame::{Frame, slack};
use super::order::Order;
use crate::neighbors::distance::{squared_l2_f32, squared_l2_f32_error};
use faer::{Mat, MatRef};
use rayon::prelude::*;

/// Rows of the set that the axes come from, and that the share of pairs left out is measured on.
const SAMPLE: usize = 4096;
/// Queries whose pairs are measured.
pub(super) const PROBES: usize = 64;
/// The numbers of components that are tried.
const TRIED: [usize; 10] = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384];
/// The largest share of the width that is tried: beyond it little can be spared.
const LARGEST_SHARE: f64 = 0.6;
/// Rows that one task projects.
const CHUNK: usize = 256;
/// The share of the time of all products that may go into finding and using the components.
const PREPARING: f64 = 0.05;
// Times in values of a product, found on the clustered features of `benches/clustered.py` with two AVX2 cores.
/// Comparing a product with its thresholds.
const COMPARING: f64 = 8.0;
/// Comparing a pair that products do not leave out by all components; more of them pass while the nearest are still being found.
const KEEPING: f64 = 8_000.0;
/// The same, for each component.
const PER_KEPT_VALUE: f64 = 20.0;
/// Comparing a pair that components do not leave out by whole rows.
const SETTLING: f64 = 15_000.0;
/// The same, for each value of a row.
const PER_SETTLED_VALUE: f64 = 25.0;
/// The time that has to be spared, as a share of that of products of whole rows.
const SPARED: f64 = 0.2;

/// A set `[N, D]` projected on `l` principal axes, of which the first `m` are multiplied.
pub(super) struct Components {
    axes: Mat<f64>,
    /// The frame of what is multiplied: it is in it already.
    frame: Frame,
    multiplied: usize,
    order: Order,
    set: Projected,
}

/// Rows projected on principal axes, in an order in which near ones stand together.
pub(in crate::neighbors) struct Projected {
    /// The number of the row at each position.
    numbers: Vec<u32>,
    /// Float32 `[n, l]`.
    rows: Vec<f32>,
    /// Lowered half norms of the first `m` components.
    half_norms: Vec<f32>,
    /// By how much a projection can differ from the exact one, in the frame.
    errors: Vec<f32>,
    /// Positions of rows outside the frame, ascending.
    outside: Vec<u32>,
}

/// Pairs that are multiplied, of whole rows or of projections.
pub(in crate::neighbors) struct Narrowed<'a> {
    pub pairs: Pairs<'a>,
    projections: Option<(&'a Projected, &'a Projected)>,
}

impl<'a> Narrowed<'a> {
    /// Pairs of whole rows, where they stand.
    pub(super) fn whole(pairs: Pairs<'a>) -> Self {
        Narrowed { pairs, projections: None }
    }

    /// The number of the left row at a position.
    pub(in crate::neighbors) fn left(&self, position: u32) -> u32 {
        self.projections.map_or(position, |(left, _)| left.numbers[position as usize])
    }

    /// The number of the right row at a position.
    pub(in crate::neighbors) fn right(&self, position: u32) -> u32 {
        self.projections.map_or(position, |(_, right)| right.numbers[position as usize])
    }

    /// Whether the rows at two positions are certainly farther apart than `limit`, in the frame, by all their components.
    pub(in crate::neighbors) fn certainly_apart(&self, left: u32, right: u32, limit: f64) -> bool {
        self.projections.is_some_and(|(of_left, of_right)| {
            let (one, other) = (self.pairs.left.row(left as usize), self.pairs.right().row(right as usize));
            let (left, right) = (of_left.errors[left as usize], of_right.errors[right as usize]);
            let raised = limit + f64::from(left) + f64::from(right);
            let error = squared_l2_f32_error(one.len());
            f64::from(squared_l2_f32(one, other, 1.0)) > raised * raised * (1.0 + error)
        })
    }
}

impl Projected {
    fn operand(&self) -> Operand<'_> {
        let width = self.rows.len() / self.numbers.len().max(1);
        Operand { rows: &self.rows, width, half_norms: &self.half_norms, outside: &self.outside }
    }
}

/// Rows `[n, D]`, row-major, and the frame that brings them near 1.
#[derive(Clone, Copy)]
pub(super) struct Framed<'a> {
    pub frame: &'a Frame,
    pub rows: &'a [f32],
    pub width: usize,
}

impl Framed<'_> {
    fn count(&self) -> usize {
        self.rows.len() / self.width
    }

    fn numbers(&self) -> Vec<u32> {
        (0..self.count() as u32).collect()
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.width..][..self.width]
    }

    /// Some of the rows in the frame, in float64, row-major.
    fn exactly(&self, rows: impl ExactSizeIterator<Item = usize>) -> Vec<f64> {
        let mut out = vec![0.0; rows.len() * self.width];
        for (out, row) in out.chunks_exact_mut(self.width).zip(rows) {
            self.frame.project_exactly(self.row(row), out);
        }
        out
    }
}

/// The most components that are tried for rows of `width` values.
fn most(width: usize) -> Option<usize> {
    TRIED.into_iter().rev().find(|&count| count as f64 <= LARGEST_SHARE * width as f64)
}

/// Whether finding the components of `rows` rows takes little of the time of comparing `pairs` of them.
pub(super) fn worthwhile(rows: usize, width: usize, pairs: f64) -> bool {
    let Some(most) = most(width) else { return false };
    // Products in float64 take twice the time: two for each iteration and two after them, on the sample, then one on the set.
    let preparing = 2.0 * most as f64 * (6.0 * SAMPLE.min(rows) as f64 + rows as f64 / 2.0);
    preparing + (PROBES * rows) as f64 <= PREPARING * pairs
}

impl Components {
    /// The components of `set` that take the least time for queries like `probes`, whose `k`-th neighbours lie at `limits` in the
    /// frame; `None` where products of whole rows do as well.
    pub(super) fn measured(set: Framed<'_>, probes: Framed<'_>, limits: &[f64]) -> Option<Self> {
        let width = set.width;
        let count = set.count();
        let sampled = SAMPLE.min(count);
        let sample = set.exactly((0..sampled).map(|at| at * count / sampled));
        let sample = matrix(&sample, width);
        let axes = principal_axes(sample, most(width)?)?;
        let of_sample = product(sample, axes.as_ref());
        let of_probes = product(matrix(&probes.exactly(0..probes.count()), width), axes.as_ref());
        let passing = shares_passing(of_probes.as_ref(), of_sample.as_ref(), limits);
        let time = |(multiplied, kept): (usize, usize)| {
            let first = KEEPING + PER_KEPT_VALUE * kept as f64;
            let second = SETTLING + PER_SETTLED_VALUE * width as f64;
            multiplied as f64 + COMPARING + passing[multiplied - 1] * first + passing[kept - 1] * second
        };
        let tried = || TRIED.into_iter().filter(|&tried| tried <= axes.ncols());
        let pairs = tried().flat_map(|kept| {
            tried().filter(move |&multiplied| multiplied <= kept).map(move |multiplied| (multiplied, kept))
        });
        let best = pairs.min_by(|&a, &b| time(a).total_cmp(&time(b)))?;
        let (multiplied, kept) = best;
        (time(best) <= (1.0 - SPARED) * (width as f64 + COMPARING))
            .then(|| Self::on(set, axes.subcols(0, kept).to_owned(), multiplied))
    }

    /// The first `kept` components of `set`, of which the first half are multiplied.
    #[cfg(test)]
    pub(super) fn first(set: Framed<'_>, kept: usize) -> Option<Self> {
        let sample = set.exactly(0..SAMPLE.min(set.count()));
        principal_axes(matrix(&sample, set.width), kept).map(|axes| Self::on(set, axes, kept.div_ceil(2)))
    }

    fn on(set: Framed<'_>, axes: Mat<f64>, multiplied: usize) -> Self {
        let few = in_order(set, set.numbers(), axes.subcols(0, multiplied), multiplied);
        let (order, numbers) = Order::of(&few.rows, multiplied);
        let set = in_order(set, numbers, axes.as_ref(), multiplied);
        Components { frame: Frame::identity(multiplied), multiplied, order, set, axes }
    }

    /// `queries` projected on the axes, in the order of the rows of the set that are like them; those numbered `outside` are not in its
    /// frame.
    pub(super) fn project(&self, queries: Framed<'_>, outside: &[u32]) -> Projected {
        let multiplied = self.multiplied;
        let few = in_order(queries, queries.numbers(), self.axes.subcols(0, multiplied), multiplied);
        let places = few.rows.par_chunks_exact(multiplied).map(|row| self.order.position(row));
        let mut places: Vec<(usize, u32)> = places.zip(few.numbers).collect();
        places.par_sort_unstable();
        let numbers: Vec<u32> = places.into_iter().map(|(_, query)| query).collect();
        let is_outside = |(row, position)| outside.binary_search(row).is_ok().then_some(position);
        Projected {
            outside: numbers.iter().zip(0..).filter_map(is_outside).collect(),
            ..in_order(queries, numbers, self.axes.as_ref(), multiplied)
        }
    }

    /// The pairs of the set with itself.
    pub(super) fn own_pairs(&self, blocking: Blocking) -> Narrowed<'_> {
        let pairs = self.pairs(self.set.operand(), None, blocking);
        Narrowed { pairs, projections: Some((&self.set, &self.set)) }
    }

    /// The pairs of `queries` with the set.
    pub(super) fn pairs_with<'a>(&'a self, queries: &'a Projected, blocking: Blocking) -> Narrowed<'a> {
        let pairs = self.pairs(queries.operand(), Some(self.set.operand()), blocking);
        Narrowed { pairs, projections: Some((queries, &self.set)) }
    }

    fn pairs<'a>(&'a self, left: Operand<'a>, right: Option<Operand<'a>>, blocking: Blocking) -> Pairs<'a> {
        let firsts = (0..left.half_norms.len()).step_by(blocking.strip * blocking.block);
        let home = |first| if right.is_none() { first } else { self.order.position(left.row(first)) };
        let homes = Some(firsts.map(home).collect());
        Pairs { frame: &self.frame, depth: self.multiplied, left, right, blocking, homes }
    }

    /// How many components are multiplied.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.multiplied
    }
}

/// The share of pairs of a probe and a row of the sample whose distance in the first 1, 2, ... components is at most the probe's limit.
fn shares_passing(probes: MatRef<f64>, sample: MatRef<f64>, limits: &[f64]) -> Vec<f64> {
    let components = probes.ncols();
    let passed = (0..probes.nrows()).into_par_iter().map(|probe| {
        let limit = limits[probe].powi(2);
        let mut passed = vec![0u64; components];
        for row in 0..sample.nrows() {
            let mut squared = 0.0;
            for (k, passed) in passed.iter_mut().enumerate() {
                squared += (probes[(probe, k)] - sample[(row, k)]).powi(2);
                if squared > limit {
                    break;
                }
                *passed += 1;
            }
        }
        passed
    });
    let sum = |a: Vec<u64>, b: Vec<u64>| a.into_iter().zip(b).map(|(a, b)| a + b).collect();
    let pairs = (probes.nrows() * sample.nrows()) as f64;
    passed.reduce(|| vec![0; components], sum).into_iter().map(|passed| passed as f64 / pairs).collect()
}

fn matrix(rows: &[f64], width: usize) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(rows, rows.len() / width, width)
}

/// The rows numbered `numbers`, projected on `axes` `[D, l]`.
fn in_order(rows: Framed<'_>, numbers: Vec<u32>, axes: MatRef<f64>, multiplied: usize) -> Projected {
    let kept = axes.ncols();
    let projecting = projection_error(rows.width, kept);
    let mut out = Projected {
        rows: vec![0.0; numbers.len() * kept],
        half_norms: vec![0.0; numbers.len()],
        errors: vec![0.0; numbers.len()],
        outside: Vec::new(),
        numbers,
    };
    let chunks = out.rows.par_chunks_mut(CHUNK * kept).zip(out.numbers.par_chunks(CHUNK));
    let of_each = out.half_norms.par_chunks_mut(CHUNK).zip(out.errors.par_chunks_mut(CHUNK));
    chunks.zip(of_each).for_each(|((out, numbers), (half_norms, errors))| {
        let exactly = rows.exactly(numbers.iter().map(|&row| row as usize));
        let projected = product(matrix(&exactly, rows.width), axes);
        let each = out.chunks_exact_mut(kept).zip(exactly.chunks_exact(rows.width));
        let of_each = half_norms.iter_mut().zip(errors);
        for (at, ((out, exactly), (half_norm, error))) in each.zip(of_each).enumerate() {
            out.iter_mut().enumerate().for_each(|(k, out)| *out = projected[(at, k)] as f32);
            let squared: f64 = out[..multiplied].iter().map(|&value| f64::from(value).powi(2)).sum();
            let whole: f64 = exactly.iter().map(|value| value.powi(2)).sum();
            *half_norm = lowered(squared, whole, multiplied, projecting);
            *error = ((f64::from(f32::EPSILON) + projecting) * whole.sqrt()) as f32;
        }
    });
    out
}

/// What a projection of a row of length 1 can differ by, in float64 and by axes that are not quite orthonormal: each of `kept` components
/// errs by at most `gamma |x|` (Higham, *Accuracy and Stability of Numerical Algorithms*, 3.1).
fn projection_error(width: usize, kept: usize) -> f64 {
    (kept as f64).sqrt() * (width + 2) as f64 * f64::EPSILON + ORTHONORMAL
}

/// Half the squared norm `squared` of what is multiplied, lowered so that `2 (h_i + h_j - product)` never exceeds the squared distance
/// of the rows. Beside the error of the product ([`slack`]) and of rounding to float32, which are relative to these norms, an error of
/// `e |x|` in each projection of rows of squared norms `whole` changes a squared distance by at most `4 e` of their sum.
fn lowered(squared: f64, whole: f64, multiplied: usize, projecting: f64) -> f32 {
    let half = squared * (1.0 - slack(multiplied)) / 2.0 - 4.0 * projecting * whole;
    (half as f32).next_down()
}
