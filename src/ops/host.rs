//! Access to the numbers of CPU tensors inside custom operations.

use candle_core::{CpuStorage, Layout, Result, bail};
use std::mem::MaybeUninit;

/// Values of a step of vector code: a register of AVX2, half of one of AVX-512.
pub const LANES: usize = 8;

/// The values of a contiguous float32 storage.
pub fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("this operation needs contiguous tensors"),
    }
}

/// `n` values that `write` writes: clearing them first would cost as much as a tenth of an operation.
///
/// # Safety
/// `write` has to write every element.
pub unsafe fn written(n: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut out = Vec::with_capacity(n);
    write(&mut out.spare_capacity_mut()[..n]);
    // SAFETY: `n` is within the capacity, and the caller vouches for the elements.
    unsafe { out.set_len(n) };
    out
}

/// A float64 sum in eight fixed lanes: vectorisable, and the same everywhere.
#[inline(always)]
pub fn sum(values: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0f64; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f(f64::from(*value));
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|v| f(f64::from(*v))).sum::<f64>()
}

/// The sum of `f(a) * b` of two slices of one length, in float64 in eight fixed lanes.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0f64; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += f64::from(f(a[i])) * f64::from(b[i]);
        }
    }
    let mut total = lanes.iter().sum::<f64>();
    for (a, b) in a_rest.iter().zip(b_rest) {
        total += f64::from(f(*a)) * f64::from(*b);
    }
    total
}

/// Sorts a line into `phases` of `phase` values each: column `c` lies in phase `c % stride` at `c / stride`.
#[inline(always)]
pub fn sort_into_phases(line: &[f32], stride: usize, phases: &mut [f32], phase: usize) {
    match stride {
        2 => sort_by::<2>(line, phases, phase),
        4 => sort_by::<4>(line, phases, phase),
        _ => {
            for (p, values) in phases.chunks_exact_mut(phase.max(1)).enumerate() {
                for (value, column) in values.iter_mut().zip(line[p..].iter().step_by(stride)) {
                    *value = *column;
                }
            }
        }
    }
}

/// In groups of a stride: the compiler makes shuffles of whole registers of that.
#[inline(always)]
fn sort_by<const STRIDE: usize>(line: &[f32], phases: &mut [f32], phase: usize) {
    let (groups, _) = line.as_chunks::<STRIDE>();
    for (p, values) in phases.chunks_exact_mut(phase.max(1)).enumerate().take(STRIDE) {
        for (value, group) in values.iter_mut().zip(groups) {
            *value = group[p];
        }
    }
}
