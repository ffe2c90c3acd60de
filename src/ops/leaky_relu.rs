//! Leaky rectified linear unit, differentiable to any order.

use super::host::floats;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Elements that one task works on.
const CHUNK: usize = 1 << 14;

/// `x` where it is positive, `slope * x` elsewhere.
///
/// # Errors
/// What candle's operations return.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return x * mask(x, slope)?;
    }
    x.contiguous()?.apply_op1(Forward { slope })
}

/// 1 and `slope`, as constants.
fn mask(x: &Tensor, slope: f64) -> Result<Tensor> {
    x.detach().gt(0.0)?.to_dtype(x.dtype())?.affine(1.0 - slope, slope)
}

struct Forward {
    slope: f64,
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "leaky-relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout)?;
        masked(x, x, self.slope, layout)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        // Detached: the gradient does not depend on `x` but by its sign, and candle expects one of every operand that is tracked.
        let x = x.detach().contiguous()?;
        Ok(Some(x.apply_op2(&dy.contiguous()?, Backward { slope: self.slope })?))
    }
}

/// (x, dy) to dx. Linear in `dy`, so its derivative is itself.
struct Backward {
    slope: f64,
}

impl CustomOp2 for Backward {
    fn name(&self) -> &'static str {
        "leaky-relu-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        masked(floats(x, x_layout)?, floats(dy, dy_layout)?, self.slope, x_layout)
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let op = Backward { slope: self.slope };
        Ok((None, Some(x.contiguous()?.apply_op2(&grad.contiguous()?, op)?)))
    }
}

/// `values`, times `slope` where `x` is not positive.
fn masked(x: &[f32], values: &[f32], slope: f64, layout: &Layout) -> Result<(CpuStorage, Shape)> {
    let slope = slope as f32;
    let mut out = vec![0f32; x.len()];
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(values.par_chunks(CHUNK)).for_each(
        |((out, x), values)| {
            for ((out, x), value) in out.iter_mut().zip(x).zip(values) {
                *out = if *x > 0.0 { *value } else { slope * value };
            }
        },
    );
    Ok((CpuStorage::F32(out), layout.shape().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn value_and_gradient_are_the_definition_in_both_precisions() {
        for dtype in [DType::F32, DType::F64] {
            let x = Tensor::new(&[[-2f64, 0.0, 3.0], [0.5, -1.0, -4.0]], &Device::Cpu).unwrap();
            let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
            let y = leaky_relu(&x, 0.25).unwrap();
            let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
            assert_eq!(values(&y), [[-0.5, 0.0, 3.0], [0.5, -0.25, -1.0]]);
            let probe = Tensor::new(&[[1f64, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap();
            let grads = (y * probe.to_dtype(dtype).unwrap()).unwrap().backward().unwrap();
            assert_eq!(values(grads.get(&x).unwrap()), [[0.25, 0.5, 3.0], [4.0, 1.25, 1.5]]);
        }
    }
}
