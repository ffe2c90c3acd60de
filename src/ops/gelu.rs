//! The exact GELU as an operation, for where its input is kept for the gradient.

use super::elementary::{gelu as value, gelu_slope};
use super::host::floats;
use super::simd::{self, Kernel};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Values per task.
const CHUNK: usize = 1 << 14;

/// `x * Phi(x)`, differentiable.
///
/// # Errors
/// What candle's operations return on other devices and types.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return x.gelu_erf();
    }
    x.contiguous()?.apply_op1(Gelu)
}

/// `out = f(x, dy)`, compiled for the registers of the machine.
struct Chunk<'a, const SLOPE: bool> {
    x: &'a [f32],
    dy: &'a [f32],
    out: &'a mut [f32],
}

impl<const SLOPE: bool> Kernel for Chunk<'_, SLOPE> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((out, x), dy) in self.out.iter_mut().zip(self.x).zip(self.dy) {
            *out = if SLOPE { dy * gelu_slope(*x) } else { value(*x) };
        }
    }
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout)?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .for_each(|(out, x)| simd::run(Chunk::<false> { x, dy: x, out }));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&dy.contiguous()?, &GeluGrad)?))
    }
}

struct GeluGrad;

impl CustomOp2 for GeluGrad {
    fn name(&self) -> &'static str {
        "gelu-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, dy) = (floats(x, x_layout)?, floats(dy, dy_layout)?);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .zip(dy.par_chunks(CHUNK))
            .for_each(|((out, x), dy)| simd::run(Chunk::<true> { x, dy, out }));
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn values_and_gradient_are_those_of_candle_in_float64() {
        let values: Vec<f32> = (0..40_000).map(|i| (i * 7919 % 10_007) as f32 / 1000.0 - 5.0).collect();
        let x = Var::from_vec(values, 40_000, &Device::Cpu).unwrap();
        let wide = x.to_dtype(DType::F64).unwrap();
        let (fast, plain) = (gelu(&x).unwrap(), gelu(&wide).unwrap());
        let largest = |a: &Tensor, b: &Tensor| {
            let difference = (a.to_dtype(DType::F64).unwrap() - b).unwrap();
            difference.abs().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap()
        };
        assert!(largest(&fast, &plain) < 1e-6);
        // The derivative in closed form: candle's own uses a rounded 1 / sqrt(2 pi).
        let grads = fast.sqr().unwrap().backward().unwrap();
        let phi =
            ((wide.sqr().unwrap() * -0.5).unwrap().exp().unwrap() / std::f64::consts::TAU.sqrt()).unwrap();
        let cumulative = (((&wide / 2f64.sqrt()).unwrap().erf().unwrap() + 1.0).unwrap() * 0.5).unwrap();
        let slope = (cumulative + (&wide * phi).unwrap()).unwrap();
        let expected = ((plain * 2.0).unwrap() * slope).unwrap();
        assert!(largest(grads.get(&x).unwrap(), &expected) < 2e-6);
    }
}
