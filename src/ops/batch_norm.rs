//! Batch normalisation with the statistics of the batch (training), fused with a residual branch and the activation.

use super::activation::{self, Activation};
use super::all_reduce;
use super::host::{floats, sum};
use crate::collective::Ranks;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::Arc;

/// Mean and biased variance of each channel, `[2, C]`, from `[B, C, H, W]` of each rank; not differentiable.
///
/// # Errors
/// If `x` is not a batch of images.
pub fn batch_statistics(x: &Tensor, ranks: &Ranks) -> Result<Tensor> {
    let own = if !x.device().is_cpu() || x.dtype() != DType::F32 {
        let x = x.detach().transpose(0, 1)?.flatten_from(1)?;
        let mean = x.mean_keepdim(1)?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean(1)?;
        Tensor::stack(&[mean.squeeze(1)?, variance], 0)?
    } else {
        x.contiguous()?.apply_op1_no_bwd(&Statistics)?
    };
    if ranks.size() == 1 {
        return Ok(own);
    }
    // In float64, where nothing is lost to the difference: the square of a float32 is exact.
    let wide = own.to_dtype(DType::F64)?;
    let (mean, variance) = (wide.get(0)?, wide.get(1)?);
    let moments = all_reduce::mean(&Tensor::stack(&[&mean, &(variance + mean.sqr()?)?], 0)?, ranks)?;
    let mean = moments.get(0)?;
    let variance = (moments.get(1)? - mean.sqr()?)?.relu()?;
    Tensor::stack(&[mean, variance], 0)?.to_dtype(own.dtype())
}

/// `activation(scale * (x - mean) / sqrt(variance + eps) + shift + residual)` per channel. `affine` is `[2, C]` (scale, shift),
/// `statistics` what [`batch_statistics`] says of the same `x` and ranks: the gradient takes them as functions of `x`, on every rank.
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
    ranks: &Ranks,
) -> Result<Tensor> {
    let channels = x.dim(1)?;
    if affine.dims() != [2, channels] || statistics.dims() != [2, channels] {
        bail!("batch norm of {channels} channels was given {:?} and {:?}", affine.dims(), statistics.dims());
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return plain(x, affine, residual, eps, activation, ranks);
    }
    let rows: Vec<Vec<f32>> = statistics.to_vec2()?;
    let inverse = rows[1].iter().map(|v| (1.0 / (f64::from(*v) + eps).sqrt()) as f32).collect();
    let op = Normalize { mean: rows[0].clone(), inverse, activation, ranks: Arc::clone(ranks) };
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
pub fn plain(
    x: &Tensor,
    affine: &Tensor,
    residual: Option<&Tensor>,
    eps: f64,
    activation: Activation,
    ranks: &Ranks,
) -> Result<Tensor> {
    let channel = |t: Tensor| t.reshape((1, (), 1, 1));
    let flat = x.transpose(0, 1)?.flatten_from(1)?;
    let mean = all_reduce::mean(&flat.mean_keepdim(1)?, ranks)?;
    let variance = all_reduce::mean(&flat.broadcast_sub(&mean)?.sqr()?.mean(1)?, ranks)?;
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

struct Statistics;

impl CustomOp1 for Statistics {
    fn name(&self) -> &'static str {
        "batch-statistics"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let x = floats(x, layout)?;
        let plane = height * width;
        let mut rows: Vec<(f32, f32)> = Vec::new();
        (0..channels)
            .into_par_iter()
            .map(|channel| pulp::Arch::new().dispatch(ChannelMoments { x, channel, channels, plane, batch }))
            .collect_into_vec(&mut rows);
        let out = rows.iter().map(|r| r.0).chain(rows.iter().map(|r| r.1)).collect();
        Ok((CpuStorage::F32(out), Shape::from((2, channels))))
    }
}

/// Mean and biased variance of one channel: those of each plane while it is near, joined by Chan, Golub and LeVeque's formula (1983).
struct ChannelMoments<'a> {
    x: &'a [f32],
    channel: usize,
    channels: usize,
    plane: usize,
    batch: usize,
}

impl pulp::WithSimd for ChannelMoments<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> (f32, f32) {
        let Self { x, channel, channels, plane, batch } = self;
        let n = plane as f64;
        let (mut mean, mut squares) = (0f64, 0f64);
        for (done, values) in planes(x, channel, channels, plane).enumerate() {
            let own = sum(values, |v| v) / n;
            let (apart, done) = (own - mean, done as f64);
            squares += sum(values, |v| (v - own) * (v - own)) + apart * apart * n * done / (done + 1.0);
            mean += apart / (done + 1.0);
        }
        (mean as f32, (squares / (n * batch as f64)) as f32)
    }
}

/// The planes of one channel, image by image.
fn planes(x: &[f32], channel: usize, channels: usize, plane: usize) -> impl Iterator<Item = &[f32]> {
    x.chunks_exact(plane).skip(channel).step_by(channels)
}

#[derive(Clone)]
struct Normalize {
    mean: Vec<f32>,
    inverse: Vec<f32>,
    activation: Activation,
    ranks: Ranks,
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
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate().for_each(|(i, (out, x))| {
            let residual = residual.map(|residual| &residual[i * plane..]);
            let channel = self.channel(affine, i % channels);
            pulp::Arch::new().dispatch(Apply { channel, x, residual, out });
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// What becomes of channel `c`; `affine` begins with `[2, C]`.
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
        let d_affine = x.apply_op3_no_bwd(&dy, &affine, &AffineGrad(self.clone()))?;
        // The statistics are those of all ranks, and so are the sums by which the gradient goes through them.
        let sums = all_reduce::sum(&d_affine, &self.ranks)?;
        let affine = Tensor::cat(&[&affine, &sums], 0)?;
        Ok([x.apply_op3_no_bwd(&dy, &affine, &InputGrad(self.clone()))?, d_affine])
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

/// Runs `$run` with the activation as a constant, for loops without branches.
macro_rules! with_activation {
    ($activation:expr, $run:expr) => {
        match $activation {
            Activation::Identity => $run(Activation::Identity),
            Activation::Relu => $run(Activation::Relu),
            Activation::Relu6 => $run(Activation::Relu6),
            Activation::Gelu => $run(Activation::Gelu),
        }
    };
}

/// One plane of the forward pass.
struct Apply<'a> {
    channel: Channel,
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Apply<'_> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        let values = self.out.iter_mut().zip(self.x);
        match self.residual {
            Some(residual) => {
                for ((out, x), r) in values.zip(residual) {
                    *out = activation.apply(self.channel.before(*x) + r);
                }
            }
            None => {
                for (out, x) in values {
                    *out = activation.apply(self.channel.before(*x));
                }
            }
        }
    }
}

impl pulp::WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        with_activation!(self.channel.activation, |activation| self.run(activation));
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

/// `[2, C]` from (x, dy, `[2, C]` of scale and shift): sums of `g * normalised x` and of `g`, the gradient before the activation.
struct AffineGrad(Normalize);

impl CustomOp3 for AffineGrad {
    fn name(&self) -> &'static str {
        "batch-norm-affine-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        dy: &CpuStorage,
        dyl: &Layout,
        affine: &CpuStorage,
        al: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = xl.shape().dims4()?;
        let (x, dy, affine) = (floats(x, xl)?, floats(dy, dyl)?, floats(affine, al)?);
        let plane = height * width;
        let mut rows: Vec<(f32, f32)> = Vec::new();
        (0..channels)
            .into_par_iter()
            .map(|c| {
                let (mut scale, mut shift) = (0f64, 0f64);
                for (x, dy) in planes(x, c, channels, plane).zip(planes(dy, c, channels, plane)) {
                    let sums = PlaneSums { channel: self.0.channel(affine, c), x, dy };
                    let (products, values) = pulp::Arch::new().dispatch(sums);
                    scale += products;
                    shift += values;
                }
                ((scale * f64::from(self.0.inverse[c])) as f32, shift as f32)
            })
            .collect_into_vec(&mut rows);
        let out = rows.iter().map(|r| r.0).chain(rows.iter().map(|r| r.1)).collect();
        Ok((CpuStorage::F32(out), Shape::from((2, channels))))
    }
}

/// The sums of `g * (x - mean)` and of `g` in one plane.
struct PlaneSums<'a> {
    channel: Channel,
    x: &'a [f32],
    dy: &'a [f32],
}

impl PlaneSums<'_> {
    #[inline(always)]
    fn run(self, activation: Activation) -> (f64, f64) {
        const LANES: usize = 8;
        let ((x, x_rest), (dy, dy_rest)) = (self.x.as_chunks::<LANES>(), self.dy.as_chunks::<LANES>());
        let (mut products, mut values) = ([0f64; LANES], [0f64; LANES]);
        for (x, dy) in x.iter().zip(dy) {
            for i in 0..LANES {
                let g = activation.masked(self.channel.before(x[i]), dy[i]);
                products[i] += f64::from(x[i] - self.channel.mean) * f64::from(g);
                values[i] += f64::from(g);
            }
        }
        for (i, (x, dy)) in x_rest.iter().zip(dy_rest).enumerate() {
            let g = activation.masked(self.channel.before(*x), *dy);
            products[i] += f64::from(x - self.channel.mean) * f64::from(g);
            values[i] += f64::from(g);
        }
        (products.iter().sum(), values.iter().sum())
    }
}

impl pulp::WithSimd for PlaneSums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> (f64, f64) {
        with_activation!(self.channel.activation, |activation| self.run(activation))
    }
}

/// The gradient of the input from (x, dy, `[4, C]` of scale, shift and the sums over all ranks of their gradients).
struct InputGrad(Normalize);

impl CustomOp3 for InputGrad {
    fn name(&self) -> &'static str {
        "batch-norm-input-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        dy: &CpuStorage,
        dyl: &Layout,
        affine: &CpuStorage,
        al: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = xl.shape().dims4()?;
        let (x, dy, affine) = (floats(x, xl)?, floats(dy, dyl)?, floats(affine, al)?);
        let plane = (height * width).max(1);
        let count = (batch * plane * self.0.ranks.size()) as f32;
        let mut dx = vec![0f32; x.len()];
        dx.par_chunks_mut(plane).zip(x.par_chunks(plane)).zip(dy.par_chunks(plane)).enumerate().for_each(
            |(i, ((dx, x), dy))| {
                let c = i % channels;
                let slope = affine[2 * channels + c] * self.0.inverse[c] / count;
                let offset = affine[3 * channels + c] / count;
                let channel = self.0.channel(affine, c);
                pulp::Arch::new().dispatch(PlaneGrad { channel, slope, offset, x, dy, dx });
            },
        );
        Ok((CpuStorage::F32(dx), xl.shape().clone()))
    }
}

/// One plane of the input's gradient.
struct PlaneGrad<'a> {
    channel: Channel,
    slope: f32,
    offset: f32,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl PlaneGrad<'_> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        let Channel { mean, scale, .. } = self.channel;
        for ((dx, x), dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            let g = activation.masked(self.channel.before(*x), *dy);
            *dx = scale * (g - self.offset - (x - mean) * self.slope);
        }
    }
}

impl pulp::WithSimd for PlaneGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        with_activation!(self.channel.activation, |activation| self.run(activation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::single;
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
            let (statistics, ranks) = (batch_statistics(&x, &single()).unwrap(), single());
            let branch = (residual.as_tensor() - 2.0).unwrap();
            let residual_of_x = with_residual.then_some(&branch);
            let fast = batch_norm(&x, &affine, residual_of_x, &statistics, 1e-5, activation, &ranks).unwrap();
            let double = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
            let double_branch = double(&branch);
            let slow = plain(
                &double(&x),
                &double(&affine),
                with_residual.then_some(&double_branch),
                1e-5,
                activation,
                &ranks,
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
