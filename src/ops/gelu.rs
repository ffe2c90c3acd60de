//! GELU, exact and in its two published approximations, as an operation: for where its input is kept for the gradient, and for the
//! forms that no layer applies itself.

use super::elementary::{self, QUICK_GELU, TANH_GELU};
use super::host::floats;
use super::simd::{self, Kernel};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::marker::PhantomData;

/// Values per task.
const CHUNK: usize = 1 << 14;

/// The exact GELU, or what a network was trained with in its place (Hendrycks and Gimpel, 2016).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gelu {
    /// `x * Phi(x)`
    Exact,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`
    Tanh,
    /// `x / (1 + e^(-1.702 x))`
    Quick,
}

impl Gelu {
    /// Of every value; differentiable.
    ///
    /// # Errors
    /// What candle's operations return on other devices and types.
    pub(crate) fn of(self, x: &Tensor) -> Result<Tensor> {
        if !x.device().is_cpu() || x.dtype() != DType::F32 {
            return self.plain(x);
        }
        let x = x.contiguous()?;
        match self {
            Gelu::Exact => x.apply_op1(Apply::<Exact>(PhantomData)),
            Gelu::Tanh => x.apply_op1(Apply::<Tanh>(PhantomData)),
            Gelu::Quick => x.apply_op1(Apply::<Quick>(PhantomData)),
        }
    }

    /// The same on candle's own operations.
    fn plain(self, x: &Tensor) -> Result<Tensor> {
        let inner = match self {
            Gelu::Exact => return x.gelu_erf(),
            Gelu::Tanh => ((x * TANH_GELU.0)? * ((x.sqr()? * TANH_GELU.1)? + 1.0)?)?,
            Gelu::Quick => (x * (QUICK_GELU / 2.0))?,
        };
        (x * 0.5)? * (inner.tanh()? + 1.0)?
    }
}

/// `x * Phi(x)`, differentiable.
///
/// # Errors
/// As [`Gelu::of`].
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    Gelu::Exact.of(x)
}

/// A function of one number and its derivative.
trait Curve: Send + Sync + 'static {
    fn value(x: f32) -> f32;
    fn slope(x: f32) -> f32;
}

struct Exact;
struct Tanh;
struct Quick;

impl Curve for Exact {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        elementary::gelu(x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        elementary::gelu_slope(x)
    }
}

impl Curve for Tanh {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        elementary::tanh_gelu(x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        elementary::tanh_gelu_slope(x)
    }
}

impl Curve for Quick {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        elementary::quick_gelu(x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        elementary::quick_gelu_slope(x)
    }
}

/// `out = f(x)`, or `dy * f'(x)`, compiled for the registers of the machine.
struct Chunk<'a, C: Curve, const SLOPE: bool> {
    x: &'a [f32],
    dy: &'a [f32],
    out: &'a mut [f32],
    curve: PhantomData<C>,
}

impl<C: Curve, const SLOPE: bool> Kernel for Chunk<'_, C, SLOPE> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((out, x), dy) in self.out.iter_mut().zip(self.x).zip(self.dy) {
            *out = if SLOPE { dy * C::slope(*x) } else { C::value(*x) };
        }
    }
}

struct Apply<C: Curve>(PhantomData<C>);

impl<C: Curve> CustomOp1 for Apply<C> {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout)?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .for_each(|(out, x)| simd::run(Chunk::<C, false> { x, dy: x, out, curve: PhantomData }));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&dy.contiguous()?, &Gradient::<C>(PhantomData))?))
    }
}

struct Gradient<C: Curve>(PhantomData<C>);

impl<C: Curve> CustomOp2 for Gradient<C> {
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
            .for_each(|((out, x), dy)| simd::run(Chunk::<C, true> { x, dy, out, curve: PhantomData }));
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn inputs() -> Var {
        let values: Vec<f32> = (0..40_000).map(|i| (i * 7919 % 10_007) as f32 / 1000.0 - 5.0).collect();
        Var::from_vec(values, 40_000, &Device::Cpu).unwrap()
    }

    fn largest(a: &Tensor, b: &Tensor) -> f64 {
        let difference = (a.to_dtype(DType::F64).unwrap() - b).unwrap();
        difference.abs().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap()
    }

    #[test]
    fn values_and_gradient_are_those_of_candle_in_float64() {
        let x = inputs();
        let wide = x.to_dtype(DType::F64).unwrap();
        let (fast, plain) = (gelu(&x).unwrap(), gelu(&wide).unwrap());
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

    #[test]
    fn approximations_have_the_values_of_their_formulas_and_the_gradient_of_float64() {
        let tanh = |x: f64| {
            x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        };
        let quick = |x: f64| x / (1.0 + (-1.702 * x).exp());
        for (form, formula) in [(Gelu::Tanh, &tanh as &dyn Fn(f64) -> f64), (Gelu::Quick, &quick)] {
            let x = inputs();
            let wide = Var::from_tensor(&x.to_dtype(DType::F64).unwrap()).unwrap();
            let (fast, plain) = (form.of(&x).unwrap(), form.of(&wide).unwrap());
            let expected = wide.to_vec1::<f64>().unwrap().into_iter().map(formula).collect();
            let expected = Tensor::from_vec(expected, 40_000, &Device::Cpu).unwrap();
            assert!(largest(&fast, &expected) < 1e-6 && largest(&plain, &expected) < 1e-12, "{form:?}");
            let found = fast.sqr().unwrap().backward().unwrap();
            let expected = plain.sqr().unwrap().backward().unwrap();
            assert!(largest(found.get(&x).unwrap(), expected.get(&wide).unwrap()) < 4e-6, "{form:?}");
            let far = Tensor::new(&[-3000f32, -60.0, 60.0, 3000.0, f32::NAN], &Device::Cpu).unwrap();
            let far = form.of(&far).unwrap().to_vec1::<f32>().unwrap();
            assert!(far[0].abs() < 1e-30 && far[1].abs() < 1e-30 && far[4].is_nan(), "{far:?}");
            assert_eq!(far[2..4], [60.0, 3000.0]);
        }
    }
}
