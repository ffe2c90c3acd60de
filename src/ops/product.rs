//! Products of matrices of which both are trained. The three that a fully connected layer needs are each other's derivatives, so
//! gradients of any order follow from them.

use super::conv::map::Kind;
use super::gemm::{self, MR, NR, Start, ZERO_TILE};
use super::host::{floats, init_with};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// `x * weight^T` of `x` `[B, I]` and `weight` `[O, I]`, both differentiable: `[B, O]`.
///
/// # Errors
/// If the shapes do not fit each other.
pub(super) fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return x.matmul(&weight.t()?);
    }
    Product::of(Kind::Output, x, weight)
}

/// What the map of this kind is for matrices: `x` `[B, I]`, weights `[O, I]` and output `y` `[B, O]`.
#[derive(Debug, Clone, Copy)]
struct Product(Kind);

impl Product {
    fn of(kind: Kind, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        a.contiguous()?.apply_op2(&b.contiguous()?, Self(kind))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        match self.0 {
            Kind::Output => "product",
            Kind::InputGrad => "product-input-grad",
            Kind::WeightGrad => "product-weight-grad",
        }
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((a_rows, a_columns), (b_rows, b_columns)) =
            (a_layout.shape().dims2()?, b_layout.shape().dims2()?);
        let fits = match self.0 {
            Kind::Output => a_columns == b_columns,
            Kind::InputGrad => a_columns == b_rows,
            Kind::WeightGrad => a_rows == b_rows,
        };
        if !fits {
            bail!("{}: {:?} and {:?} do not fit", self.name(), a_layout.shape(), b_layout.shape());
        }
        let (a, b) = (floats(a, a_layout)?, floats(b, b_layout)?);
        let (values, shape) = match self.0 {
            // The weights on the left: there each is packed and read once, and what all of them meet is small.
            Kind::Output => {
                let by_output = multiply(
                    (b_rows, a_rows, a_columns),
                    |output, k| b[output * b_columns + k],
                    |row, k| a[row * a_columns + k],
                );
                (transposed(&by_output, a_rows), (a_rows, b_rows))
            }
            Kind::InputGrad => {
                let of_b = |column, k| b[k * b_columns + column];
                let values = multiply((a_rows, b_columns, b_rows), |row, k| a[row * a_columns + k], of_b);
                (values, (a_rows, b_columns))
            }
            Kind::WeightGrad => {
                let of_a = |input, k| a[k * a_columns + input];
                let of_b = |output, k| b[k * b_columns + output];
                (multiply((b_columns, a_columns, a_rows), of_b, of_a), (b_columns, a_columns))
            }
        };
        Ok((CpuStorage::F32(values), shape.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.0.gradients(a, b, grad, Self::of)
    }
}

/// `[rows, columns]`, each the sum over `k` below `depth` of `left(row, k) * right(column, k)`.
fn multiply(
    (rows, columns, depth): (usize, usize, usize),
    left: impl Fn(usize, usize) -> f32 + Sync,
    right: impl Fn(usize, usize) -> f32 + Sync,
) -> Vec<f32> {
    let panel = depth * NR;
    let mut packed = vec![0.0; columns.div_ceil(NR) * panel];
    packed.par_chunks_exact_mut(panel.max(1)).enumerate().for_each(|(number, packed)| {
        gemm::pack_panel::<NR>(number, columns, packed, &right);
    });
    let compute = |out: &mut [MaybeUninit<f32>]| {
        out.par_chunks_mut((MR * columns).max(1)).enumerate().for_each_init(
            || vec![0.0; depth * MR],
            |line, (number, out)| {
                // The last panel may have fewer rows: of the tile, theirs are stored.
                gemm::pack_panel::<MR>(number, rows, line, &left);
                let mut tile = ZERO_TILE;
                for first in (0..columns).step_by(NR) {
                    let count = NR.min(columns - first);
                    let right = &packed[first / NR * panel..];
                    gemm::multiply_columns(count, Start::Zeros, depth, line, right, &mut tile);
                    for (out, tile) in out.chunks_exact_mut(columns).zip(&tile) {
                        for (out, value) in out[first..first + count].iter_mut().zip(tile) {
                            out.write(*value);
                        }
                    }
                }
            },
        );
    };
    // SAFETY: every row of every panel is written over all columns.
    unsafe { init_with(rows * columns, compute) }
}

/// `values` `[rows, columns]` as `[columns, rows]`.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    let mut transposed = Vec::with_capacity(values.len());
    for column in 0..columns {
        transposed.extend((0..rows).map(|row| values[row * columns + column]));
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn var(shape: (usize, usize), seed: usize) -> Var {
        let values = (0..shape.0 * shape.1).map(|i| ((i * 37 + seed) % 23) as f32 / 11.0 - 1.0).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn assert_close(a: &Tensor, b: &Tensor) {
        let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-4, "{difference}");
    }

    #[test]
    fn values_and_gradients_of_both_orders_are_those_of_candles_product() {
        for (rows, ins, outs) in [(1, 7, 3), (5, 7, 1), (13, 70, 45), (64, 33, 7)] {
            let (x, weight, dy) = (var((rows, ins), 1), var((outs, ins), 2), var((rows, outs), 3));
            let transposed = |var: &Var| var.t().unwrap();
            let cases = [
                (Kind::Output, &x, &weight, x.matmul(&transposed(&weight))),
                (Kind::InputGrad, &dy, &weight, dy.matmul(&weight)),
                (Kind::WeightGrad, &x, &dy, transposed(&dy).matmul(&x)),
            ];
            for (kind, a, b, candle) in cases {
                let of = |y: Tensor| {
                    let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                    [gradients.get(a).unwrap().clone(), gradients.get(b).unwrap().clone(), y]
                };
                let found = of(Product::of(kind, a, b).unwrap());
                for (found, expected) in found.iter().zip(&of(candle.unwrap())) {
                    assert_close(found, expected);
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_and_empty_ones_have_products() {
        assert!(product(&var((2, 3), 0), &var((2, 4), 0)).is_err());
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(product(&empty, &var((2, 3), 0)).unwrap().dims(), [0, 2]);
    }
}
