//! `upfirdn2d`: zero-insertion, FIR filter and decimation of each channel in one pass (Karras et al. 2020 and 2021;
//! <https://github.com/NVlabs/stylegan3/blob/main/torch_utils/ops/upfirdn2d.py>). The transpose of such a map is another one, so that
//! it differentiates to any order.

use super::host::floats;
use super::simd::{self, Kernel};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::Arc;

/// A FIR filter as a sum of products of a column and a row.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    terms: Arc<[(Vec<f64>, Vec<f64>)]>,
    height: usize,
    width: usize,
}

/// Largest deviation from a product of column and row, as a share of the largest tap, at which a filter counts as one.
const SEPARABLE: f64 = 1e-6;

impl Filter {
    /// From `[k]` (applied along both axes) or `[kh, kw]`.
    ///
    /// # Errors
    /// If it has other dimensions.
    pub(crate) fn new(filter: &Tensor) -> Result<Self> {
        let values = |t: &Tensor| t.detach().to_dtype(DType::F64);
        match filter.rank() {
            1 => {
                let taps = values(filter)?.to_vec1::<f64>()?;
                let length = taps.len();
                Ok(Self { terms: [(taps.clone(), taps)].into(), height: length, width: length })
            }
            2 => Ok(Self::of_rows(&values(filter)?.to_vec2()?)),
            _ => bail!("a filter of shape {:?} is neither a line nor a plane", filter.shape()),
        }
    }

    /// One tap of 1.
    pub(crate) fn identity() -> Self {
        Self { terms: [(vec![1.0], vec![1.0])].into(), height: 1, width: 1 }
    }

    fn of_rows(rows: &[Vec<f64>]) -> Self {
        let (height, width) = (rows.len(), rows.first().map_or(0, Vec::len));
        let (mut y, mut x, mut largest) = (0, 0, 0.0);
        for (i, row) in rows.iter().enumerate() {
            for (j, tap) in row.iter().enumerate() {
                if tap.abs() > largest {
                    (y, x, largest) = (i, j, tap.abs());
                }
            }
        }
        let separable = largest > 0.0
            && rows.iter().all(|row| {
                let rest = row.iter().zip(&rows[y]);
                rest.clone().all(|(tap, top)| (tap - row[x] * top / rows[y][x]).abs() <= SEPARABLE * largest)
            });
        let terms: Vec<(Vec<f64>, Vec<f64>)> = match separable {
            true => {
                let column = rows.iter().map(|row| row[x]).collect();
                vec![(column, rows[y].iter().map(|tap| tap / rows[y][x]).collect())]
            }
            // Each row with the column that picks it.
            false => (0..height)
                .map(|i| ((0..height).map(|j| f64::from(u8::from(i == j))).collect(), rows[i].clone()))
                .collect(),
        };
        Self { terms: terms.into(), height, width }
    }
}

/// How a filter is applied, the same along both axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Resample {
    /// Each pixel becomes this many, the new ones zero.
    pub up: usize,
    /// Every how many-th filtered pixel is kept.
    pub down: usize,
    /// Zeros before and after, beside the inserted ones; negative to cut off.
    pub padding: (isize, isize),
    /// Factor of the result.
    pub gain: f64,
}

/// `[B, C, H, W]` with each channel up-sampled, convolved with the filter and down-sampled.
///
/// # Errors
/// If nothing is left.
pub(crate) fn upfirdn2d(x: &Tensor, filter: &Filter, resample: Resample) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let axis = |length, taps| match Axis::new(length, taps, resample) {
        Some(axis) => Ok(axis),
        None => bail!("{:?} is too small for a filter of {taps} taps", x.shape()),
    };
    let (rows, columns) = (axis(height, filter.height)?, axis(width, filter.width)?);
    // A convolution is the correlation with the reversed filter.
    let reversed = |taps: &[f64], gain: f64| taps.iter().rev().map(|tap| tap * gain).collect();
    let terms = filter.terms.iter().map(|(c, r)| (reversed(c, resample.gain), reversed(r, 1.0))).collect();
    Map { rows, columns, terms }.apply(x)
}

/// One axis: `y[o] = sum over t of taps[t] * inserted[o * down + t - before]`, zero where there is no pixel.
#[derive(Debug, Clone, Copy)]
struct Axis {
    ins: usize,
    outs: usize,
    up: usize,
    down: usize,
    before: isize,
}

/// Taps of one phase of the output (its place modulo `up`): each with the input of the phase's first output.
type Phase = Vec<(f32, isize)>;

impl Axis {
    fn new(
        ins: usize,
        taps: usize,
        Resample { up, down, padding: (before, after), .. }: Resample,
    ) -> Option<Self> {
        let padded = isize::try_from(ins.checked_mul(up)?).ok()?.checked_add(before)?.checked_add(after)?;
        let steps = usize::try_from(padded.checked_sub(isize::try_from(taps).ok()?)?).ok()?;
        (taps > 0 && down > 0).then_some(Self { ins, outs: steps / down + 1, up, down, before })
    }

    /// Of the transposed map, whose taps are reversed.
    fn transposed(self, taps: usize) -> Self {
        let before = taps as isize - 1 - self.before;
        Self { ins: self.outs, outs: self.ins, up: self.down, down: self.up, before }
    }

    /// Which input pixel tap `t` of output `o` falls on, if on any.
    fn source(self, o: usize, t: usize) -> Option<isize> {
        let place = (o * self.down + t) as isize - self.before;
        let up = self.up as isize;
        (place.rem_euclid(up) == 0).then(|| place.div_euclid(up))
    }

    fn phases(self, taps: &[f64]) -> Vec<Phase> {
        let phase =
            |p| taps.iter().enumerate().filter_map(move |(t, &tap)| Some((tap as f32, self.source(p, t)?)));
        (0..self.up).map(|p| phase(p).filter(|(tap, _)| *tap != 0.0).collect()).collect()
    }

    /// The map as a banded matrix `[ins, outs]`.
    fn matrix(self, taps: &[f64], like: &Tensor) -> Result<Tensor> {
        let mut matrix = vec![0f64; self.ins * self.outs];
        for o in 0..self.outs {
            for (t, tap) in taps.iter().enumerate() {
                if let Some(i) =
                    self.source(o, t).and_then(|i| usize::try_from(i).ok()).filter(|i| *i < self.ins)
                {
                    matrix[i * self.outs + o] += tap;
                }
            }
        }
        Tensor::from_vec(matrix, (self.ins, self.outs), &candle_core::Device::Cpu)?
            .to_dtype(like.dtype())?
            .to_device(like.device())
    }
}

struct Map {
    rows: Axis,
    columns: Axis,
    /// Taps of column and row of each term, in the order of a correlation.
    terms: Vec<(Vec<f64>, Vec<f64>)>,
}

impl Map {
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        match x.device().is_cpu() && x.dtype() == DType::F32 {
            true => x.contiguous()?.apply_op1(self),
            false => self.plain(x),
        }
    }

    /// Products with banded matrices.
    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (column, row) in &self.terms {
            let columns = self.columns.matrix(row, x)?;
            let rows = self.rows.matrix(column, x)?;
            let y = x.broadcast_matmul(&columns)?.transpose(2, 3)?.contiguous()?;
            let y = y.broadcast_matmul(&rows)?.transpose(2, 3)?.contiguous()?;
            sum = Some(match sum {
                Some(sum) => (sum + y)?,
                None => y,
            });
        }
        sum.map_or_else(|| bail!("the filter is empty"), Ok)
    }

    fn transposed(&self) -> Self {
        let reversed = |taps: &[f64]| taps.iter().rev().copied().collect::<Vec<_>>();
        let (height, width) = self.terms.first().map_or((0, 0), |(column, row)| (column.len(), row.len()));
        Self {
            rows: self.rows.transposed(height),
            columns: self.columns.transposed(width),
            terms: self.terms.iter().map(|(column, row)| (reversed(column), reversed(row))).collect(),
        }
    }
}

impl CustomOp1 for Map {
    fn name(&self) -> &'static str {
        "upfirdn2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        if (height, width) != (self.rows.ins, self.columns.ins) {
            bail!("upfirdn2d: {:?} is not what it was made for", layout.shape());
        }
        let x = floats(x, layout)?;
        let (in_plane, out_plane) = (height * width, self.rows.outs * self.columns.outs);
        let mut out = vec![0f32; batch * channels * out_plane];
        let terms: Vec<(Vec<Phase>, Vec<Phase>)> =
            self.terms.iter().map(|(c, r)| (self.rows.phases(c), self.columns.phases(r))).collect();
        out.par_chunks_exact_mut(out_plane.max(1)).zip(x.par_chunks_exact(in_plane.max(1))).for_each_init(
            || Scratch::new(&self.columns),
            |scratch, (out, x)| {
                simd::run(Plane { rows: &self.rows, columns: &self.columns, terms: &terms, x, out, scratch });
            },
        );
        Ok((CpuStorage::F32(out), Shape::from((batch, channels, self.rows.outs, self.columns.outs))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        self.transposed().apply(dy).map(Some)
    }
}

/// Rows that are in work.
struct Scratch {
    /// An input row after the vertical filter.
    row: Vec<f32>,
    /// Every `down`-th pixel of it, one after the other.
    split: Vec<f32>,
    /// The output's phases.
    phases: Vec<f32>,
}

impl Scratch {
    fn new(columns: &Axis) -> Self {
        let (ins, outs) = (columns.ins.div_ceil(columns.down), columns.outs.div_ceil(columns.up));
        Self {
            row: vec![0.0; columns.ins],
            split: vec![0.0; ins * columns.down],
            phases: vec![0.0; outs * columns.up],
        }
    }
}

/// `y[q] += tap * x[q + shift]` wherever both are.
#[inline(always)]
fn add_shifted(y: &mut [f32], x: &[f32], tap: f32, shift: isize) {
    let start = usize::try_from(-shift).unwrap_or(0).min(y.len());
    let from = usize::try_from(shift).unwrap_or(0).min(x.len());
    for (y, x) in y[start..].iter_mut().zip(&x[from..]) {
        *y += tap * x;
    }
}

/// One channel of one image.
struct Plane<'a> {
    rows: &'a Axis,
    columns: &'a Axis,
    terms: &'a [(Vec<Phase>, Vec<Phase>)],
    x: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl Kernel for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        filter_plane(self);
    }
}

#[inline(always)]
fn filter_plane(Plane { rows, columns, terms, x, out, scratch }: Plane) {
    let (width, up, down) = (columns.ins, columns.up, columns.down);
    let (split_length, phase_length) = (scratch.split.len() / down, scratch.phases.len() / up);
    for (o, out) in out.chunks_exact_mut(columns.outs).enumerate() {
        let first = (o / rows.up * rows.down) as isize;
        scratch.phases.fill(0.0);
        for (vertical, horizontal) in terms {
            scratch.row.fill(0.0);
            let mut empty = true;
            for &(tap, source) in &vertical[o % rows.up] {
                if let Some(source) = usize::try_from(first + source).ok().filter(|&source| source < rows.ins)
                {
                    empty = false;
                    add_shifted(&mut scratch.row, &x[source * width..(source + 1) * width], tap, 0);
                }
            }
            if empty {
                continue;
            }
            let row: &[f32] = match down {
                1 => &scratch.row,
                _ => {
                    for (r, split) in scratch.split.chunks_exact_mut(split_length).enumerate() {
                        split
                            .iter_mut()
                            .zip(scratch.row.iter().skip(r).step_by(down))
                            .for_each(|(s, v)| *s = *v);
                    }
                    &scratch.split
                }
            };
            for (taps, y) in horizontal.iter().zip(scratch.phases.chunks_exact_mut(phase_length)) {
                for &(tap, source) in taps {
                    let residue = source.rem_euclid(down as isize) as usize;
                    let length = (width + down - 1 - residue) / down;
                    let x = &row[residue * split_length.min(row.len())..][..length];
                    add_shifted(y, x, tap, source.div_euclid(down as isize));
                }
            }
        }
        match up {
            1 => out.copy_from_slice(&scratch.phases[..columns.outs]),
            _ => {
                for (p, phase) in scratch.phases.chunks_exact(phase_length).enumerate() {
                    out.iter_mut().skip(p).step_by(up).zip(phase).for_each(|(o, v)| *o = *v);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::numbers;
    use candle_core::Var;

    /// The definition in plain loops: zeros inserted, padded or cut, convolved, decimated.
    fn definition(x: &Tensor, filter: &Tensor, r: Resample) -> Vec<f64> {
        let (b, c, h, w) = x.dims4().unwrap();
        let f = match filter.rank() {
            1 => {
                let f: Vec<f64> = filter.to_vec1().unwrap();
                f.iter().map(|y| f.iter().map(|x| x * y).collect()).collect()
            }
            _ => filter.to_vec2::<f64>().unwrap(),
        };
        let x: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
        let size = |n: usize, k: usize| (n * r.up) as isize + r.padding.0 + r.padding.1 - k as isize + 1;
        let mut out = Vec::new();
        for plane in x.chunks(h * w).take(b * c) {
            let at = |i: isize, j: isize| {
                let (i, j) = (i - r.padding.0, j - r.padding.0);
                let up = r.up as isize;
                let inside = i >= 0
                    && j >= 0
                    && i % up == 0
                    && j % up == 0
                    && i / up < h as isize
                    && j / up < w as isize;
                if inside { plane[(i / up) as usize * w + (j / up) as usize] } else { 0.0 }
            };
            for i in (0..size(h, f.len())).step_by(r.down) {
                for j in (0..size(w, f[0].len())).step_by(r.down) {
                    let mut sum = 0.0;
                    for (y, row) in f.iter().enumerate() {
                        for (x, tap) in row.iter().enumerate() {
                            sum += tap * at(i + (f.len() - 1 - y) as isize, j + (row.len() - 1 - x) as isize);
                        }
                    }
                    out.push(sum * r.gain);
                }
            }
        }
        out
    }

    fn cases() -> Vec<(Tensor, Resample)> {
        let line = |taps: usize| numbers(&[taps], 3);
        let separable = {
            let f = numbers(&[4], 5);
            f.unsqueeze(1).unwrap().broadcast_mul(&f.unsqueeze(0).unwrap()).unwrap()
        };
        let case =
            |filter: &Tensor, up, down, padding, gain| (filter.clone(), Resample { up, down, padding, gain });
        vec![
            case(&separable, 2, 1, (2, 1), 4.0),
            case(&separable, 1, 2, (1, 1), 1.0),
            case(&separable, 1, 1, (2, 2), 1.0),
            case(&line(12), 2, 1, (9, 8), 4.0),
            case(&line(24), 4, 1, (-6, -3), 16.0),
            case(&line(12), 1, 2, (0, 0), 1.0),
            case(&line(5), 3, 2, (1, 4), 0.5),
            case(&numbers(&[5, 3], 7), 2, 3, (4, -1), 2.0),
        ]
    }

    fn difference(a: &Tensor, b: &[f64]) -> f64 {
        let a: Vec<f64> = a.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(a.len(), b.len());
        let largest = b.iter().fold(0f64, |m, v| m.max(v.abs()));
        a.iter().zip(b).fold(0f64, |m, (a, b)| m.max((a - b).abs())) / largest
    }

    #[test]
    fn every_rate_and_padding_is_the_definition_in_both_precisions() {
        for (filter, resample) in cases() {
            let x = numbers(&[2, 3, 14, 13], 1);
            let expected = definition(&x, &filter, resample);
            let filter = Filter::new(&filter).unwrap();
            assert!(
                difference(&upfirdn2d(&x, &filter, resample).unwrap(), &expected) < 1e-13,
                "{resample:?}"
            );
            let y = upfirdn2d(&x.to_dtype(DType::F32).unwrap(), &filter, resample).unwrap();
            assert!(difference(&y, &expected) < 2e-6, "{resample:?}");
        }
    }

    /// The map is linear: `<probe, A x> = <A^T probe, x>`, and the gradient of a squared gradient is that of its transpose.
    #[test]
    fn gradients_are_those_of_the_transposed_map() {
        for (filter, resample) in cases() {
            let x = Var::from_tensor(&numbers(&[1, 2, 14, 13], 2).to_dtype(DType::F32).unwrap()).unwrap();
            let filter = Filter::new(&filter).unwrap();
            let y = upfirdn2d(&x, &filter, resample).unwrap();
            let probe = numbers(y.dims(), 9).to_dtype(DType::F32).unwrap();
            let grads = (&y * &probe).unwrap().sum_all().unwrap().backward().unwrap();
            let exact = Var::from_tensor(&x.to_dtype(DType::F64).unwrap()).unwrap();
            let y = upfirdn2d(&exact, &filter, resample).unwrap();
            let expected = (&y * &numbers(y.dims(), 9)).unwrap().sum_all().unwrap().backward().unwrap();
            let expected: Vec<f64> = expected.get(&exact).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(difference(grads.get(&x).unwrap(), &expected) < 2e-6, "{resample:?}");
        }
    }

    #[test]
    fn what_leaves_no_pixel_is_an_error() {
        let filter = Filter::new(&numbers(&[4, 4], 1)).unwrap();
        let resample = Resample { up: 1, down: 1, padding: (-1, -1), gain: 1.0 };
        assert!(upfirdn2d(&numbers(&[1, 1, 4, 4], 1), &filter, resample).is_err());
        assert!(Filter::new(&numbers(&[2, 2, 2], 1)).is_err());
    }
}
