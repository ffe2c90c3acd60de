//! Pooling of a plane in vector code: the rows under an output row become one, then the columns of that one, all along memory.

use super::Window;
use std::mem::MaybeUninit;

/// What the values under a window become.
pub trait Reduction {
    /// What changes nothing.
    const START: f32;

    fn combine(so_far: f32, value: f32) -> f32;

    /// The result from all of `count` values.
    fn finish(all: f32, count: f32) -> f32;
}

/// The largest; NaN if there is one.
pub struct Largest;

impl Reduction for Largest {
    const START: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn combine(so_far: f32, value: f32) -> f32 {
        if value > so_far || value.is_nan() { value } else { so_far }
    }

    #[inline(always)]
    fn finish(all: f32, _: f32) -> f32 {
        all
    }
}

/// The mean.
pub struct Mean;

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
pub struct Reducer<'a> {
    window: &'a Window,
    /// A row of the input between its padding.
    line: Vec<f32>,
    /// A row of the output.
    row: Vec<f32>,
    /// Columns of the image under each output column.
    columns: Vec<f32>,
}

impl<'a> Reducer<'a> {
    pub fn new(window: &'a Window) -> Self {
        let padded = window.padding.left + window.size.1 + window.padding.right;
        let columns = (0..window.out.1).map(|at| window.columns(at).len() as f32).collect();
        Self { window, line: vec![0.0; padded], row: vec![0.0; window.out.1], columns }
    }

    /// `[out height, out width]` of `[height, width]`; writes every element.
    pub fn plane<R: Reduction>(&mut self, x: &[f32], out: &mut [MaybeUninit<f32>]) {
        pulp::Arch::new().dispatch(Plane::<R> { reducer: self, x, out, reduction: std::marker::PhantomData });
    }
}

struct Plane<'r, 'w, 'a, R> {
    reducer: &'r mut Reducer<'w>,
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
    reduction: std::marker::PhantomData<R>,
}

impl<R: Reduction> pulp::WithSimd for Plane<'_, '_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Reducer { window, line, row, columns } = self.reducer;
        let (width, left) = (window.size.1, window.padding.left);
        line.fill(R::START);
        for (oy, out) in self.out.chunks_exact_mut(window.out.1).enumerate() {
            let rows = window.rows(oy);
            let inside = &mut line[left..left + width];
            inside.fill(R::START);
            for x in self.x[rows.start * width..rows.end * width].chunks_exact(width) {
                for (so_far, value) in inside.iter_mut().zip(x) {
                    *so_far = R::combine(*so_far, *value);
                }
            }
            row.fill(R::START);
            for tap in 0..window.kernel {
                take::<R>(row, &line[tap..], window.stride);
            }
            for ((out, all), columns) in out.iter_mut().zip(&*row).zip(&*columns) {
                out.write(R::finish(*all, rows.len() as f32 * columns));
            }
        }
    }
}

/// Takes every `stride`-th value of `line` into `row`.
#[inline(always)]
fn take<R: Reduction>(row: &mut [f32], line: &[f32], stride: usize) {
    match stride {
        1 => {
            for (so_far, value) in row.iter_mut().zip(line) {
                *so_far = R::combine(*so_far, *value);
            }
        }
        2 => {
            // In pairs: the compiler makes shuffles of whole registers of that.
            let (pairs, last) = line.as_chunks::<2>();
            for (so_far, pair) in row.iter_mut().zip(pairs) {
                *so_far = R::combine(*so_far, pair[0]);
            }
            if let (Some(so_far), Some(value)) = (row.get_mut(pairs.len()), last.first()) {
                *so_far = R::combine(*so_far, *value);
            }
        }
        _ => {
            for (so_far, value) in row.iter_mut().zip(line.iter().step_by(stride)) {
                *so_far = R::combine(*so_far, *value);
            }
        }
    }
}
