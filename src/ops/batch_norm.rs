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
        let count = (batch * plane) as f64;
        let mut rows: Vec<(f32, f32)> = Vec::new();
        (0..channels)
            .into_par_iter()
            .map(|channel| {
                let values = || planes(x, channel, channels, plane);
                let mean = values().map(|plane| sum(plane, |v| v)).sum::<f64>() / count;
                let variance =
                    values().map(|plane| sum(plane, |v| (v - mean) * (v - mean))).sum::<f64>() / count;
                (mean as f32, variance as f32)
            })
            .collect_into_vec(&mut rows);
        let out = rows.iter().map(|r| r.0).chain(rows.iter().map(|r| r.1)).collect();
        Ok((CpuStorage::F32(out), Shape::from((2, channels))))
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
            let channel = i % channels;
            let scale = affine[channel] * self.inverse[channel];
            let (mean, shift) = (self.mean[channel], affine[channels + channel]);
            match residual {
                Some(residual) => {
                    for ((o, x), r) in out.iter_mut().zip(x).zip(&residual[i * plane..]) {
                        *o = self.activation.apply((x - mean) * scale + shift + r);
                    }
                }
                None => {
                    for (o, x) in out.iter_mut().zip(x) {
                        *o = self.activation.apply((x - mean) * scale + shift);
                    }
                }
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// Gradients of input, affine and residual.
    fn gradients(&self, x: &Tensor, affine: &Tensor, y: &Tensor, dy: &Tensor) -> Result<[Tensor; 3]> {
        let dy = activation::gradient(y, dy, self.activation)?.contiguous()?;
        let d_affine = x.contiguous()?.apply_op2_no_bwd(&dy, &AffineGrad(self.clone()))?;
        // The statistics are those of all ranks, and so are the sums by which the gradient goes through them.
        let sums = all_reduce::sum(&d_affine, &self.ranks)?;
        let dx = x.contiguous()?.apply_op3_no_bwd(
            &dy,
            &Tensor::cat(&[affine, &sums], 0)?.contiguous()?,
            &InputGrad(self.clone()),
        )?;
        Ok([dx, d_affine, dy])
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
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, d_affine, _] = self.gradients(x, affine, y, dy)?;
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
        let [dx, d_affine, dr] = self.gradients(x, affine, y, dy)?;
        Ok((Some(dx), Some(d_affine), Some(dr)))
    }
}

/// `[2, C]`: sums of `dy * normalised x` and of `dy`.
struct AffineGrad(Normalize);

impl CustomOp2 for AffineGrad {
    fn name(&self) -> &'static str {
        "batch-norm-affine-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        dy: &CpuStorage,
        dyl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = xl.shape().dims4()?;
        let (x, dy) = (floats(x, xl)?, floats(dy, dyl)?);
        let plane = height * width;
        let mut rows: Vec<(f32, f32)> = Vec::new();
        (0..channels)
            .into_par_iter()
            .map(|channel| {
                let (mut scale, mut shift) = (0f64, 0f64);
                let mean = self.0.mean[channel];
                for (x, dy) in planes(x, channel, channels, plane).zip(planes(dy, channel, channels, plane)) {
                    shift += sum(dy, |v| v);
                    scale += sum_products(x, dy, mean);
                }
                ((scale * f64::from(self.0.inverse[channel])) as f32, shift as f32)
            })
            .collect_into_vec(&mut rows);
        let out = rows.iter().map(|r| r.0).chain(rows.iter().map(|r| r.1)).collect();
        Ok((CpuStorage::F32(out), Shape::from((2, channels))))
    }
}

fn sum_products(x: &[f32], dy: &[f32], mean: f32) -> f64 {
    let ((x, x_rest), (dy, dy_rest)) = (x.as_chunks::<8>(), dy.as_chunks::<8>());
    let product = |x: f32, dy: f32| f64::from(x - mean) * f64::from(dy);
    let mut lanes = [0f64; 8];
    for (x, dy) in x.iter().zip(dy) {
        for ((lane, x), dy) in lanes.iter_mut().zip(x).zip(dy) {
            *lane += product(*x, *dy);
        }
    }
    lanes.iter().sum::<f64>() + x_rest.iter().zip(dy_rest).map(|(x, dy)| product(*x, *dy)).sum::<f64>()
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
                let (mean, inverse) = (self.0.mean[c], self.0.inverse[c]);
                let scale = affine[c] * inverse;
                let slope = affine[2 * channels + c] * inverse / count;
                let offset = affine[3 * channels + c] / count;
                for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                    *dx = scale * (dy - offset - (x - mean) * slope);
                }
            },
        );
        Ok((CpuStorage::F32(dx), xl.shape().clone()))
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
