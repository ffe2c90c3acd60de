//! Access to the numbers of CPU tensors inside custom operations.

use candle_core::{CpuStorage, Layout, Result, bail};
use std::mem::MaybeUninit;

/// Values of a step of vector code: a register of AVX2, half of one of AVX-512.
pub(super) const LANES: usize = 8;

/// The values of a contiguous float32 storage.
pub(super) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("this operation needs contiguous tensors"),
    }
}

/// A NaN that no operation gives: what a buffer of [`init_with`] holds beforehand in debug builds.
const POISON: u32 = 0x7fd0_dead;

/// A vector of `n` values that `init` writes. Clearing them first would cost as much as a tenth of an operation.
///
/// # Safety
/// `init` has to write every element.
///
/// # Panics
/// In debug builds, if `init` left an element out.
pub(super) unsafe fn init_with(n: usize, init: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut out = Vec::with_capacity(n);
    let elements = &mut out.spare_capacity_mut()[..n];
    if cfg!(debug_assertions) {
        elements.fill(MaybeUninit::new(f32::from_bits(POISON)));
    }
    init(elements);
    // SAFETY: `n` is within the capacity, and the caller vouches for the elements.
    unsafe { out.set_len(n) };
    if cfg!(debug_assertions)
        && let Some(hole) = out.iter().position(|value| value.to_bits() == POISON)
    {
        panic!("element {hole} of {n} was not written");
    }
    out
}

/// A float64 sum in eight fixed lanes: vectorisable, and the same everywhere.
#[inline(always)]
pub(super) fn sum(values: &[f32], f: impl Fn(f64) -> f64) -> f64 {
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
pub(super) fn dot(a: &[f32], b: &[f32], f: impl Fn(f32) -> f32) -> f64 {
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
pub(super) fn sort_into_phases(line: &[f32], stride: usize, phases: &mut [f32], phase: usize) {
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

/// [`sort_into_phases`] for a constant stride: the compiler turns this into shuffles of whole registers.
#[inline(always)]
fn sort_by<const STRIDE: usize>(line: &[f32], phases: &mut [f32], phase: usize) {
    let (groups, _) = line.as_chunks::<STRIDE>();
    for (p, values) in phases.chunks_exact_mut(phase.max(1)).enumerate().take(STRIDE) {
        for (value, group) in values.iter_mut().zip(groups) {
            *value = group[p];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_given() {
        let write = |out: &mut [MaybeUninit<f32>]| {
            for (i, out) in out.iter_mut().enumerate() {
                out.write(i as f32);
            }
        };
        // SAFETY: every element is written.
        assert_eq!(unsafe { init_with(3, write) }, [0.0, 1.0, 2.0]);
    }

    #[test]
    #[cfg_attr(not(debug_assertions), ignore = "needs debug assertions")]
    #[should_panic(expected = "element 2 of 4 was not written")]
    fn a_debug_build_finds_an_element_that_was_left_out() {
        let write = |out: &mut [MaybeUninit<f32>]| {
            for i in [0, 1, 3] {
                out[i].write(1.0);
            }
        };
        // SAFETY: not upheld on purpose; debug builds have filled the buffer before.
        drop(unsafe { init_with(4, write) });
    }

    #[test]
    fn sums_and_products_are_those_of_float64_at_every_length() {
        for n in 0..40 {
            let a: Vec<f32> = (0..n).map(|i| i as f32 - 7.5).collect();
            let b: Vec<f32> = (0..n).map(|i| (i * i) as f32).collect();
            // All of these are exact.
            assert_eq!(sum(&a, |v| v), a.iter().map(|&v| f64::from(v)).sum::<f64>());
            let expected: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert_eq!(dot(&a, &b, |v| v), expected);
        }
    }
}
