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
pub(crate) fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    LeakyRelu { slope, gain: 1.0, clamp: None }.forward(x)
}

/// A leaky rectified linear unit followed by StyleGAN's gain and clamp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LeakyRelu {
    /// Factor of values that are not positive; 1 leaves them as they are.
    pub slope: f64,
    /// Factor of the result.
    pub gain: f64,
    /// Bound of the result, on both sides.
    pub clamp: Option<f64>,
}

impl LeakyRelu {
    /// The activation of `x`.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(crate) fn forward(self, x: &Tensor) -> Result<Tensor> {
        if self == (LeakyRelu { slope: 1.0, gain: 1.0, clamp: None }) {
            return Ok(x.clone());
        }
        if !x.device().is_cpu() || x.dtype() != DType::F32 {
            let y = (x * self.mask(x)?)?;
            return match self.clamp {
                Some(clamp) => y.maximum(-clamp)?.minimum(clamp),
                None => Ok(y),
            };
        }
        x.contiguous()?.apply_op1(Forward(self))
    }

    /// The derivative, as a constant.
    fn mask(self, x: &Tensor) -> Result<Tensor> {
        let x = x.detach();
        let slope = x.gt(0.0)?.to_dtype(x.dtype())?.affine(1.0 - self.slope, self.slope)?;
        slope * self.gain
    }

    /// The activation of one number.
    #[inline(always)]
    pub(super) fn value(self, x: f32) -> f32 {
        let y = if x > 0.0 { x * self.gain as f32 } else { x * (self.slope * self.gain) as f32 };
        match self.clamp {
            Some(clamp) => y.clamp(-clamp as f32, clamp as f32),
            None => y,
        }
    }

    #[inline(always)]
    fn derivative(self, x: f32) -> f32 {
        let factor = if x > 0.0 { self.gain as f32 } else { (self.slope * self.gain) as f32 };
        match self.clamp {
            Some(clamp) if (factor * x).abs() > clamp as f32 => 0.0,
            _ => factor,
        }
    }
}

struct Forward(LeakyRelu);

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "leaky-relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout)?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = self.0.value(x));
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        // Detached: the gradient depends on `x` only through its sign and the clamp, and candle expects a gradient for every tracked operand.
        let x = x.detach().contiguous()?;
        Ok(Some(x.apply_op2(&dy.contiguous()?, Backward(self.0))?))
    }
}

/// (x, dy) to dx. Linear in `dy`, so its derivative is itself.
struct Backward(LeakyRelu);

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
        let (x, dy) = (floats(x, x_layout)?, floats(dy, dy_layout)?);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)).for_each(
            |((out, x), dy)| {
                for ((out, &x), dy) in out.iter_mut().zip(x).zip(dy) {
                    *out = self.0.derivative(x) * dy;
                }
            },
        );
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((None, Some(x.contiguous()?.apply_op2(&grad.contiguous()?, Backward(self.0))?)))
    }
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

    #[test]
    fn gain_and_bound_come_after_it_and_the_gradient_stops_at_the_bound() {
        let op = LeakyRelu { slope: 0.5, gain: 2.0, clamp: Some(3.0) };
        for dtype in [DType::F32, DType::F64] {
            let x = Tensor::new(&[-5f64, -1.0, 0.25, 1.0, 9.0], &Device::Cpu).unwrap();
            let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
            let y = op.forward(&x).unwrap();
            let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(values(&y), [-3.0, -1.0, 0.5, 2.0, 3.0]);
            let grads = y.sum_all().unwrap().backward().unwrap();
            assert_eq!(values(grads.get(&x).unwrap()), [0.0, 1.0, 2.0, 2.0, 0.0]);
        }
    }
}
