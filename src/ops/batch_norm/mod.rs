//! Batch normalisation with the statistics of the batch (training), fused with a residual branch and the activation.
//! On the CPU in float32 each plane is read as few times as possible, because memory bandwidth is what limits it; elsewhere it is
//! composed of candle's own operations.

mod gradient;
mod statistics;

pub use statistics::batch_statistics;

use super::activation::{self, Activation, with_activation};
use super::all_reduce::{self, Reducer};
use super::host::{floats, init_with};
use super::simd::{self, Kernel};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use gradient::Gradients;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// `activation(scale * (x - mean) / sqrt(variance + eps) + shift + residual)` per channel. `affine` is `[2, C]` (scale, shift),
/// `statistics` the result of [`batch_statistics`] for the same `x` and processes: the gradient treats them as functions of `x`, on
/// every process.
///
/// # Errors
/// If the shapes do not fit.
pub fn batch_norm(
    x: &Tensor,
    affine: &Tensor,
    residual: Option<&Tensor>,
    statistics: &Tensor,
    eps: f64,
    activation: Activation,
    reducer: Option<&Reducer>,
) -> Result<Tensor> {
    let channels = x.dim(1)?;
    if affine.dims() != [2, channels] || statistics.dims() != [2, channels] {
        bail!("batch norm of {channels} channels was given {:?} and {:?}", affine.dims(), statistics.dims());
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return plain(x, affine, residual, eps, activation, reducer);
    }
    let rows: Vec<Vec<f32>> = statistics.to_vec2()?;
    let inverse = rows[1].iter().map(|v| (1.0 / (f64::from(*v) + eps).sqrt()) as f32).collect();
    let op = Normalize { mean: rows[0].clone(), inverse, activation, reducer: reducer.cloned() };
    let (x, affine) = (x.contiguous()?, affine.contiguous()?);
    match residual {
        Some(residual) => x.apply_op3(&affine, &residual.contiguous()?, op),
        None => x.apply_op2(&affine, op),
    }
}

/// The same on candle's own operations, which differentiate to any order.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn plain(
    x: &Tensor,
    affine: &Tensor,
    residual: Option<&Tensor>,
    eps: f64,
    activation: Activation,
    reducer: Option<&Reducer>,
) -> Result<Tensor> {
    let channel = |t: Tensor| t.reshape((1, (), 1, 1));
    let flat = x.transpose(0, 1)?.flatten_from(1)?;
    let mean = all_reduce::mean(&flat.mean_keepdim(1)?, reducer)?;
    let variance = all_reduce::mean(&flat.broadcast_sub(&mean)?.sqr()?.mean(1)?, reducer)?;
    let normal = x
        .broadcast_sub(&channel(mean)?)?
        .broadcast_div(&channel((variance + eps)?.sqrt()?)?)?
        .broadcast_mul(&channel(affine.get(0)?)?)?
        .broadcast_add(&channel(affine.get(1)?)?)?;
    let sum = match residual {
        Some(residual) => (normal + residual)?,
        None => normal,
    };
    activation::plain(&sum, activation)
}

#[derive(Clone)]
struct Normalize {
    mean: Vec<f32>,
    inverse: Vec<f32>,
    activation: Activation,
    reducer: Option<Reducer>,
}

impl Normalize {
    fn compute(
        &self,
        (x, layout): (&CpuStorage, &Layout),
        (affine, affine_layout): (&CpuStorage, &Layout),
        residual: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = layout.shape().dims4()?;
        let (x, affine) = (floats(x, layout)?, floats(affine, affine_layout)?);
        if residual.is_some_and(|r| r.len() != x.len()) {
            bail!("batch norm: the residual does not have the shape of the input");
        }
        let plane = (height * width).max(1);
        let write = |out: &mut [MaybeUninit<f32>]| {
            out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate().for_each(|(i, (out, x))| {
                let residual = residual.map(|residual| &residual[i * plane..][..plane]);
                let channel = self.channel(affine, i % channels);
                simd::run(Apply { channel, x, residual, out });
            });
        };
        // SAFETY: input, residual and output have the same planes, all of which are written.
        let out = unsafe { init_with(x.len(), write) };
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// The normalisation of channel `c`; `affine` begins with `[2, C]`.
    fn channel(&self, affine: &[f32], c: usize) -> Channel {
        let scale = affine[c] * self.inverse[c];
        let shift = affine[self.mean.len() + c];
        Channel { mean: self.mean[c], scale, shift, activation: self.activation }
    }

    /// Gradients of input and affine from that of the output, without a residual branch.
    fn gradients(&self, x: &Tensor, affine: &Tensor, dy: &Tensor) -> Result<[Tensor; 2]> {
        if self.activation == Activation::Gelu {
            bail!("batch norm has no gradient through a GELU: apply it on its own");
        }
        let (x, dy, affine) = (x.contiguous()?, dy.contiguous()?, affine.contiguous()?);
        let row = x.apply_op3_no_bwd(&dy, &affine, &Gradients(self.clone()))?;
        let n = x.elem_count();
        let d_affine = row.narrow(0, n, affine.elem_count())?.reshape(affine.dims())?;
        Ok([row.narrow(0, 0, n)?.reshape(x.dims())?, d_affine])
    }
}

/// `activation(scale * (x - mean) + shift)`.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    scale: f32,
    shift: f32,
    activation: Activation,
}

impl Channel {
    /// What the activation is applied to.
    #[inline(always)]
    fn before(&self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.shift
    }
}

/// One plane of the forward pass.
struct Apply<'a> {
    channel: Channel,
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    out: &'a mut [MaybeUninit<f32>],
}

impl Apply<'_> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        let values = self.out.iter_mut().zip(self.x);
        match self.residual {
            Some(residual) => {
                for ((out, x), r) in values.zip(residual) {
                    out.write(activation.apply(self.channel.before(*x) + r));
                }
            }
            None => {
                for (out, x) in values {
                    out.write(activation.apply(self.channel.before(*x)));
                }
            }
        }
    }
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        with_activation!(self.channel.activation, activation => self.run(activation));
    }
}

impl CustomOp2 for Normalize {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        a: &CpuStorage,
        al: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.compute((x, xl), (a, al), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, d_affine] = self.gradients(x, affine, dy)?;
        Ok((Some(dx), Some(d_affine)))
    }
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "batch-norm-add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        a: &CpuStorage,
        al: &Layout,
        r: &CpuStorage,
        rl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.compute((x, xl), (a, al), Some(floats(r, rl)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        _: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dr = activation::gradient(y, dy, self.activation)?;
        let before = Normalize { activation: Activation::Identity, ..self.clone() };
        let [dx, d_affine] = before.gradients(x, affine, &dr)?;
        Ok((Some(dx), Some(d_affine), Some(dr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn values(dims: &[usize], seed: usize) -> Var {
        let n: usize = dims.iter().product();
        let data: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 300.0).collect();
        Var::from_tensor(&Tensor::from_vec(data, dims, &Device::Cpu).unwrap()).unwrap()
    }

    fn assert_close(a: &Tensor, b: &Tensor) {
        let a: Vec<f64> = a.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let b: Vec<f64> = b.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let largest = b.iter().fold(0f64, |m, v| m.max(v.abs()));
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 2e-5 * largest, "{a} and {b}, largest {largest}");
        }
    }

    #[test]
    fn output_and_gradients_agree_with_candle_in_float64() {
        for (activation, with_residual) in
            [(Activation::Identity, false), (Activation::Relu, false), (Activation::Relu, true)]
        {
            let (x, affine, residual) =
                (values(&[3, 5, 7, 3], 1), values(&[2, 5], 2), values(&[3, 5, 7, 3], 3));
            let probe = values(&[3, 5, 7, 3], 4);
            let statistics = batch_statistics(&x, None).unwrap();
            let branch = (residual.as_tensor() - 2.0).unwrap();
            let residual_of_x = with_residual.then_some(&branch);
            let fast = batch_norm(&x, &affine, residual_of_x, &statistics, 1e-5, activation, None).unwrap();
            let double = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
            let double_branch = double(&branch);
            let slow = plain(
                &double(&x),
                &double(&affine),
                with_residual.then_some(&double_branch),
                1e-5,
                activation,
                None,
            )
            .unwrap();
            assert_close(&fast, &slow);
            let fast = (fast * probe.as_tensor()).unwrap().backward().unwrap();
            let slow = (slow * double(&probe)).unwrap().backward().unwrap();
            for v in [&x, &affine].into_iter().chain(with_residual.then_some(&residual)) {
                assert_close(fast.get(v).unwrap(), slow.get(v).unwrap());
            }
        }
    }
}
