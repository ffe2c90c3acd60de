//! Group normalisation (Wu and He 2018), fused with the SiLU that follows it in diffusion networks.

use super::host::{floats, sum};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// The hyperparameters of a group normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GroupNorm {
    /// Groups that the channels are normalised in; divides their number.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether `y * sigmoid(y)` of the result is taken.
    pub silu: bool,
}

/// `weight * (x - mean) / sqrt(variance + eps) + bias` over each group of channels of each image, then SiLU if asked for;
/// `weight` and `bias` are `[C]`. All three are differentiable (first order on the CPU in float32, any order elsewhere).
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn group_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, config: GroupNorm) -> Result<Tensor> {
    let (_, channels, _, _) = x.dims4()?;
    if config.groups == 0 || !channels.is_multiple_of(config.groups) {
        bail!("{channels} channels do not fall into {} groups", config.groups);
    }
    if weight.dims() != [channels] || bias.dims() != [channels] {
        bail!("group norm of {channels} channels was given {:?} and {:?}", weight.dims(), bias.dims());
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return plain(x, weight, bias, config);
    }
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Forward(config))
}

/// The same on candle's own operations.
fn plain(x: &Tensor, weight: &Tensor, bias: &Tensor, config: GroupNorm) -> Result<Tensor> {
    let (batch, _, _, _) = x.dims4()?;
    let flat = x.reshape((batch, config.groups, ()))?;
    let centred = flat.broadcast_sub(&flat.mean_keepdim(2)?)?;
    let variance = centred.sqr()?.mean_keepdim(2)?;
    let normal = centred.broadcast_div(&(variance + config.eps)?.sqrt()?)?.reshape(x.dims())?;
    let channel = |t: &Tensor| t.reshape((1, (), 1, 1));
    let y = normal.broadcast_mul(&channel(weight)?)?.broadcast_add(&channel(bias)?)?;
    if config.silu { y.silu() } else { Ok(y) }
}

/// Mean and reciprocal deviation, in float64 over eight fixed lanes.
fn moments(x: &[f32], eps: f64) -> (f32, f32) {
    let count = x.len() as f64;
    let mean = sum(x, |v| v) / count;
    let variance = sum(x, |v| (v - mean) * (v - mean)) / count;
    (mean as f32, (1.0 / (variance + eps).sqrt()) as f32)
}

fn sigmoid(y: f32) -> f32 {
    1.0 / (1.0 + (-y).exp())
}

struct Forward(GroupNorm);

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        "group-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = xl.shape().dims4()?;
        let (x, weight, bias) = (floats(x, xl)?, floats(weight, wl)?, floats(bias, bl)?);
        let (plane, per_group) = ((height * width).max(1), channels / self.0.groups);
        let mut out = vec![0f32; x.len()];
        let group = per_group * plane;
        out.par_chunks_mut(group).zip(x.par_chunks(group)).enumerate().for_each(|(i, (out, x))| {
            let (mean, inverse) = moments(x, self.0.eps);
            let first = (i % self.0.groups) * per_group;
            for (c, (out, x)) in out.chunks_mut(plane).zip(x.chunks(plane)).enumerate() {
                let (scale, shift) = (weight[first + c] * inverse, bias[first + c]);
                for (out, x) in out.iter_mut().zip(x) {
                    *out = (x - mean) * scale + shift;
                }
                if self.0.silu {
                    out.iter_mut().for_each(|y| *y *= sigmoid(*y));
                }
            }
        });
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (batch, channels, _, _) = x.dims4()?;
        let affine = Tensor::stack(&[weight, bias], 0)?.contiguous()?;
        let grads = x.contiguous()?.apply_op3_no_bwd(&dy.contiguous()?, &affine, &Backward(self.0))?;
        let dx = grads.narrow(0, 0, x.elem_count())?.reshape(x.dims())?;
        let sums =
            grads.narrow(0, x.elem_count(), 2 * batch * channels)?.reshape((batch, channels, 2))?.sum(0)?;
        let column = |i: usize| sums.narrow(1, i, 1)?.squeeze(1);
        Ok((Some(dx), Some(column(0)?), Some(column(1)?)))
    }
}

/// (x, dy, `[2, C]` of weight and bias) to dx, then for each image and channel the gradients of weight and bias, in one row.
struct Backward(GroupNorm);

impl CustomOp3 for Backward {
    fn name(&self) -> &'static str {
        "group-norm-grad"
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
        let (plane, per_group) = ((height * width).max(1), channels / self.0.groups);
        let group = per_group * plane;
        let mut out = vec![0f32; x.len() + 2 * batch * channels];
        let len = out.len();
        let (dx, sums) = out.split_at_mut(x.len());
        dx.par_chunks_mut(group)
            .zip(sums.par_chunks_mut(2 * per_group))
            .zip(x.par_chunks(group).zip(dy.par_chunks(group)))
            .enumerate()
            .for_each(|(i, ((dx, sums), (x, dy)))| {
                let (mean, inverse) = moments(x, self.0.eps);
                let first = (i % self.0.groups) * per_group;
                // Gradient of the affine result first, and its sums; then back through the normalisation.
                let (mut total, mut product) = (0f64, 0f64);
                for c in 0..per_group {
                    let (scale, shift) = (affine[first + c], affine[channels + first + c]);
                    let (mut sum, mut dot) = (0f64, 0f64);
                    let span = c * plane..(c + 1) * plane;
                    for ((dx, x), dy) in dx[span.clone()].iter_mut().zip(&x[span.clone()]).zip(&dy[span]) {
                        let normal = (x - mean) * inverse;
                        let slope = match self.0.silu {
                            true => {
                                let y = normal * scale + shift;
                                let s = sigmoid(y);
                                s * (1.0 + y * (1.0 - s))
                            }
                            false => 1.0,
                        };
                        *dx = dy * slope;
                        sum += f64::from(*dx);
                        dot += f64::from(*dx * normal);
                    }
                    sums[2 * c] = dot as f32;
                    sums[2 * c + 1] = sum as f32;
                    total += sum * f64::from(scale);
                    product += dot * f64::from(scale);
                }
                let (total, product) = ((total / group as f64) as f32, (product / group as f64) as f32);
                for (c, (dx, x)) in dx.chunks_mut(plane).zip(x.chunks(plane)).enumerate() {
                    let scale = affine[first + c];
                    for (dx, x) in dx.iter_mut().zip(x) {
                        *dx = inverse * (*dx * scale - total - (x - mean) * inverse * product);
                    }
                }
            });
        Ok((CpuStorage::F32(out), Shape::from(len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn values(dims: &[usize], seed: usize) -> Tensor {
        let n: usize = dims.iter().product();
        let data: Vec<f32> =
            (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 300.0 - 1.0).collect();
        Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
    }

    fn assert_close(a: &Tensor, b: &Tensor) {
        let flat =
            |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let (a, b) = (flat(a), flat(b));
        assert_eq!(a.len(), b.len());
        let largest = b.iter().fold(0f64, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 2e-5 * largest, "{a} and {b}, largest {largest}");
        }
    }

    #[test]
    fn output_and_gradients_agree_with_candle_in_float64() {
        for silu in [false, true] {
            for groups in [1, 3, 6] {
                let config = GroupNorm { groups, eps: 1e-5, silu };
                let inputs = [values(&[3, 6, 5, 3], 1), values(&[6], 2), values(&[6], 3)];
                let probe = values(&[3, 6, 5, 3], 4);
                let run = |dtype| {
                    let vars =
                        inputs.each_ref().map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap());
                    let y = group_norm(&vars[0], &vars[1], &vars[2], config).unwrap();
                    let grads = (&y * probe.to_dtype(dtype).unwrap()).unwrap().backward().unwrap();
                    (y, vars.map(|var| grads.get(&var).unwrap().clone()))
                };
                let ((fast, fast_grads), (slow, slow_grads)) = (run(DType::F32), run(DType::F64));
                assert_close(&fast, &slow);
                for (fast, slow) in fast_grads.iter().zip(&slow_grads) {
                    assert_close(fast, slow);
                }
            }
        }
    }

    #[test]
    fn groups_that_do_not_divide_the_channels_are_refused() {
        let config = GroupNorm { groups: 4, eps: 1e-5, silu: false };
        assert!(group_norm(&values(&[1, 6, 2, 2], 1), &values(&[6], 2), &values(&[6], 3), config).is_err());
    }
}
