//! Layer norm of tokens that lie side by side: `[B, C, T]`, each column brought to mean 0 and variance 1 over the channels.

use super::composed::wide;
use super::host::floats;
use super::simd::{self, Kernel};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::Arc;

/// Tokens normalised side by side, at most.
const LANES: usize = 64;

/// `(x - mean) / sqrt(variance + eps) * weight + bias` with frozen weights (Ba et al., 2016); differentiable with
/// respect to `x` (first order). Sums are in float64.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
    /// `None` where candle's operations are used.
    host: Option<Arc<Affine>>,
}

struct Affine {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f64,
}

impl LayerNorm {
    /// From `weight` and `bias` `[C]`.
    ///
    /// # Errors
    /// If they are no vectors of one length.
    pub(crate) fn new(weight: Tensor, bias: Tensor, eps: f64) -> Result<Self> {
        if weight.dims1()? != bias.dims1()? {
            bail!("a layer norm's weight {:?} does not fit its bias {:?}", weight.shape(), bias.shape());
        }
        let host = (weight.device().is_cpu() && weight.dtype() == DType::F32)
            .then(|| {
                Ok::<_, candle_core::Error>(Affine { weight: weight.to_vec1()?, bias: bias.to_vec1()?, eps })
            })
            .transpose()?
            .map(Arc::new);
        Ok(Self { weight, bias, eps, host })
    }

    /// `[B, C, T]` to the same.
    ///
    /// # Errors
    /// If `x` has another number of channels.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, channels, _) = x.dims3()?;
        if channels != self.weight.dims1()? {
            bail!("a layer norm of {:?} was given {channels} channels", self.weight.shape());
        }
        match &self.host {
            Some(affine) if x.dtype() == DType::F32 => x.contiguous()?.apply_op1(Norm(affine.clone())),
            _ => self.plain(x),
        }
    }

    /// The same on candle's own operations.
    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = x.dtype();
        let x = x.to_dtype(wide(dtype))?;
        let affine = |t: &Tensor| t.to_dtype(x.dtype())?.reshape((1, (), 1));
        let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(1)? + self.eps)?.sqrt()?;
        let y = centred.broadcast_div(&deviation)?;
        y.broadcast_mul(&affine(&self.weight)?)?.broadcast_add(&affine(&self.bias)?)?.to_dtype(dtype)
    }
}

/// Mean and `1 / sqrt(variance + eps)` of up to [`LANES`] tokens.
struct Moments {
    mean: [f64; LANES],
    inverse: [f64; LANES],
}

impl Moments {
    /// Of tokens `first .. first + len` of one image `[C, tokens]`.
    #[inline(always)]
    fn of(x: &[f32], tokens: usize, first: usize, len: usize, eps: f64) -> Self {
        let (mut mean, mut inverse) = ([0f64; LANES], [0f64; LANES]);
        let channels = (x.len() / tokens) as f64;
        for row in x.chunks_exact(tokens) {
            for (sum, &v) in mean[..len].iter_mut().zip(&row[first..first + len]) {
                *sum += f64::from(v);
            }
        }
        mean.iter_mut().for_each(|sum| *sum /= channels);
        for row in x.chunks_exact(tokens) {
            for ((sum, mean), &v) in inverse[..len].iter_mut().zip(&mean).zip(&row[first..first + len]) {
                let centred = f64::from(v) - mean;
                *sum += centred * centred;
            }
        }
        inverse.iter_mut().for_each(|sum| *sum = 1.0 / (*sum / channels + eps).sqrt());
        Self { mean, inverse }
    }
}

/// One image of the forward pass, compiled for the registers of the machine.
struct Forward<'a> {
    affine: &'a Affine,
    tokens: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { affine, tokens, x, out } = self;
        for first in (0..tokens).step_by(LANES) {
            let len = LANES.min(tokens - first);
            let moments = Moments::of(x, tokens, first, len, affine.eps);
            let mean: [f32; LANES] = moments.mean.map(|v| v as f32);
            let inverse: [f32; LANES] = moments.inverse.map(|v| v as f32);
            let rows = x.chunks_exact(tokens).zip(out.chunks_exact_mut(tokens));
            for ((x, out), (weight, bias)) in rows.zip(affine.weight.iter().zip(&affine.bias)) {
                let lanes = mean.iter().zip(&inverse);
                let values = out[first..first + len].iter_mut().zip(&x[first..first + len]);
                for ((out, x), (mean, inverse)) in values.zip(lanes) {
                    *out = ((x - mean) * inverse).mul_add(*weight, *bias);
                }
            }
        }
    }
}

/// One image of the backward pass: `dx = inverse * (g - mean(g) - x^ * mean(g * x^))` with `g = dy * weight`.
struct Backward<'a> {
    affine: &'a Affine,
    tokens: usize,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { affine, tokens, x, dy, dx } = self;
        let channels = affine.weight.len() as f64;
        for first in (0..tokens).step_by(LANES) {
            let len = LANES.min(tokens - first);
            let range = first..first + len;
            let moments = Moments::of(x, tokens, first, len, affine.eps);
            let (mut sum, mut along) = ([0f64; LANES], [0f64; LANES]);
            for ((x, dy), &weight) in x.chunks_exact(tokens).zip(dy.chunks_exact(tokens)).zip(&affine.weight)
            {
                for (i, (&x, &dy)) in x[range.clone()].iter().zip(&dy[range.clone()]).enumerate() {
                    let g = f64::from(dy) * f64::from(weight);
                    sum[i] += g;
                    along[i] += g * (f64::from(x) - moments.mean[i]) * moments.inverse[i];
                }
            }
            let rows = x.chunks_exact(tokens).zip(dy.chunks_exact(tokens)).zip(dx.chunks_exact_mut(tokens));
            for (((x, dy), dx), &weight) in rows.zip(&affine.weight) {
                let values = x[range.clone()].iter().zip(&dy[range.clone()]);
                for (i, ((&x, &dy), dx)) in values.zip(&mut dx[range.clone()]).enumerate() {
                    let normal = (f64::from(x) - moments.mean[i]) * moments.inverse[i];
                    let g = f64::from(dy) * f64::from(weight);
                    *dx =
                        (moments.inverse[i] * (g - sum[i] / channels - normal * along[i] / channels)) as f32;
                }
            }
        }
    }
}

struct Norm(Arc<Affine>);

impl CustomOp1 for Norm {
    fn name(&self) -> &'static str {
        "layer-norm-frozen"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, tokens) = layout.shape().dims3()?;
        let x = floats(x, layout)?;
        let mut out = vec![0f32; x.len()];
        let image = (channels * tokens).max(1);
        out.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(out, x)| {
            simd::run(Forward { affine: &self.0, tokens, x, out });
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&dy.contiguous()?, &NormGrad(self.0.clone()))?))
    }
}

struct NormGrad(Arc<Affine>);

impl CustomOp2 for NormGrad {
    fn name(&self) -> &'static str {
        "layer-norm-frozen-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, tokens) = layout.shape().dims3()?;
        let (x, dy) = (floats(x, layout)?, floats(dy, dy_layout)?);
        let mut dx = vec![0f32; x.len()];
        let image = (channels * tokens).max(1);
        dx.par_chunks_mut(image).zip(x.par_chunks(image)).zip(dy.par_chunks(image)).for_each(
            |((dx, x), dy)| {
                simd::run(Backward { affine: &self.0, tokens, x, dy, dx });
            },
        );
        Ok((CpuStorage::F32(dx), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn values(dims: &[usize], offset: f32) -> Tensor {
        let n: usize = dims.iter().product();
        let data: Vec<f32> = (0..n).map(|i| (i * 7919 % 1013) as f32 / 507.0 + offset).collect();
        Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
    }

    fn largest(a: &Tensor, b: &Tensor) -> f64 {
        let difference = (a.to_dtype(DType::F64).unwrap() - b).unwrap();
        difference.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap()
    }

    #[test]
    fn values_and_gradient_agree_with_plain_operations_in_float64() {
        let norm = LayerNorm::new(values(&[24], 0.5), values(&[24], -1.0), 1e-6).unwrap();
        for tokens in [1, 5, 64, 70] {
            // A large offset costs precision where the variance is taken as a difference.
            let x = Var::from_tensor(&values(&[2, 24, tokens], 30.0)).unwrap();
            let wide = Var::from_tensor(&x.to_dtype(DType::F64).unwrap()).unwrap();
            let (fast, plain) = (norm.forward(&x).unwrap(), norm.forward(&wide).unwrap());
            assert!(largest(&fast, &plain) < 1e-5);
            let probe = values(&[2, 24, tokens], -0.7);
            let grads = (fast * &probe).unwrap().backward().unwrap();
            let expected = (plain * probe.to_dtype(DType::F64).unwrap()).unwrap().backward().unwrap();
            assert!(largest(grads.get(&x).unwrap(), expected.get(&wide).unwrap()) < 2e-6);
        }
    }

    #[test]
    fn channels_that_do_not_fit_are_an_error() {
        let norm = LayerNorm::new(values(&[3], 0.0), values(&[3], 0.0), 1e-6).unwrap();
        assert!(norm.forward(&values(&[1, 4, 2], 0.0)).is_err());
        assert!(LayerNorm::new(values(&[3], 0.0), values(&[4], 0.0), 1e-6).is_err());
    }
}
