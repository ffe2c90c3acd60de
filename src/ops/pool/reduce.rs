//! Pooling of a plane in vector code: the rows under an output row become one, then the columns of that one, all along contiguous memory.

use super::Window;
use crate::ops::host::{LANES, sort_into_phases};
use crate::ops::simd::{self, Kernel};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// How the values under a window are reduced to one.
pub(super) trait Reduction {
    /// The neutral element.
    const START: f32;

    fn combine(so_far: f32, value: f32) -> f32;

    /// The result from all of `count` values.
    fn finish(all: f32, count: f32) -> f32;
}

/// The largest; NaN if there is one.
pub(super) struct Largest;

impl Reduction for Largest {
    const START: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn combine(so_far: f32, value: f32) -> f32 {
        // Without a branch.
        if (value > so_far) | value.is_nan() { value } else { so_far }
    }

    #[inline(always)]
    fn finish(all: f32, _: f32) -> f32 {
        all
    }
}

/// The mean.
pub(super) struct Mean;

impl Reduction for Mean {
    const START: f32 = 0.0;

    #[inline(always)]
    fn combine(so_far: f32, value: f32) -> f32 {
        so_far + value
    }

    #[inline(always)]
    fn finish(all: f32, count: f32) -> f32 {
        all / count
    }
}

/// Reduces one plane after the other.
pub(super) struct Reducer<'a> {
    window: &'a Window,
    /// The rows under an output row as one, between its padding.
    line: Vec<f32>,
    /// The same, `[stride, phase]`: column `c` lies in phase `c % stride` at `c / stride`. Empty without a stride.
    phases: Vec<f32>,
    phase: usize,
    /// The place of each column of the window in the phases.
    taps: Vec<usize>,
    /// Columns of the image under each output column.
    columns: Vec<f32>,
}

impl<'a> Reducer<'a> {
    pub(super) fn new(window: &'a Window) -> Self {
        let &Window { kernel, stride, .. } = window;
        // Steps are whole registers: the buffers are long enough for what they read and write past the end.
        let outs = window.out.1.next_multiple_of(LANES);
        let phase = outs + kernel / stride;
        let padded = window.padding.left + window.size.1 + LANES;
        let phases = if stride == 1 { Vec::new() } else { vec![0.0; stride * phase] };
        let taps = (0..kernel).map(|tap| tap % stride * phase + tap / stride).collect();
        let columns = (0..outs).map(|at| window.columns(at).len() as f32).collect();
        Self { window, line: vec![0.0; padded.max(stride * phase)], phases, phase, taps, columns }
    }

    /// `[out height, out width]` of `[height, width]`; writes every element.
    pub(super) fn plane<R: Reduction>(&mut self, x: &[f32], out: &mut [MaybeUninit<f32>]) {
        simd::run(Plane::<R> { reducer: self, x, out, reduction: PhantomData });
    }
}

struct Plane<'r, 'w, 'a, R> {
    reducer: &'r mut Reducer<'w>,
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
    reduction: PhantomData<R>,
}

impl<R: Reduction> Kernel for Plane<'_, '_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let window = self.reducer.window;
        let (width, left, out_width) = (window.size.1, window.padding.left, window.out.1);
        self.reducer.line.fill(R::START);
        for oy in 0..window.out.0 {
            let rows = window.rows(oy);
            let line = &mut self.reducer.line;
            for at in (0..width).step_by(LANES) {
                let mut all = [R::START; LANES];
                for y in rows.clone() {
                    all = combine::<R>(all, &self.x[y * width + at..]);
                }
                line[left + at..][..LANES].copy_from_slice(&all);
            }
            line[left + width..][..LANES].fill(R::START);
            let Reducer { line, phases, phase, taps, columns, .. } = &mut *self.reducer;
            let phases = if window.stride == 1 {
                line
            } else {
                sort_into_phases(line, window.stride, phases, *phase);
                phases
            };
            for at in (0..out_width).step_by(LANES) {
                let mut all = [R::START; LANES];
                for tap in &*taps {
                    all = combine::<R>(all, &phases[tap + at..]);
                }
                for (all, columns) in all.iter_mut().zip(&columns[at..]) {
                    *all = R::finish(*all, rows.len() as f32 * columns);
                }
                // A whole register where it fits: the next row is written later.
                let out = &mut self.out[oy * out_width + at..];
                match out.first_chunk_mut::<LANES>() {
                    Some(out) => {
                        for i in 0..LANES {
                            out[i].write(all[i]);
                        }
                    }
                    None => {
                        for (out, value) in out.iter_mut().zip(all).take(out_width - at) {
                            out.write(value);
                        }
                    }
                }
            }
        }
    }
}

/// Combines with the first values of `more`; where it has fewer, `all` stays. (By value: in memory, every step would wait for the last.)
#[inline(always)]
fn combine<R: Reduction>(all: [f32; LANES], more: &[f32]) -> [f32; LANES] {
    let more = more.first_chunk().copied().unwrap_or_else(
        #[cold]
        || {
            let mut last = [R::START; LANES];
            last[..more.len()].copy_from_slice(more);
            last
        },
    );
    let mut combined = all;
    for i in 0..LANES {
        combined[i] = R::combine(all[i], more[i]);
    }
    combined
}
