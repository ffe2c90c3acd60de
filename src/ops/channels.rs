//! Numbers for each channel that apply to all of its pixels: biases, embeddings of time, normalisation by stored statistics.

use super::activation::{self, Activation};
use super::host::floats;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `x` `[B, C, H, W]` plus `shift` `[B, C]` or `[1, C]`, differentiable to any order.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn add_to_channels(x: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let (batch, channels, _, _) = x.dims4()?;
    let rows = shift.dim(0)?;
    if shift.dims() != [rows, channels] || (rows != batch && rows != 1) {
        bail!("{:?} cannot be added to the channels of {:?}", shift.shape(), x.shape());
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return x.broadcast_add(&shift.unsqueeze(2)?.unsqueeze(3)?);
    }
    x.contiguous()?.apply_op2(&shift.contiguous()?, Add)
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add-to-channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, height, width) = x_layout.shape().dims4()?;
        let (x, shift) = (floats(x, x_layout)?, floats(shift, shift_layout)?);
        let plane = (height * width).max(1);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate().for_each(|(i, (out, x))| {
            // One row of shifts repeats for every image.
            let shift = shift[i % shift.len()];
            for (out, x) in out.iter_mut().zip(x) {
                *out = x + shift;
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        shift: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let sums = dy.flatten_from(2)?.sum(2)?;
        let d_shift = if shift.dim(0)? == sums.dim(0)? { sums } else { sums.sum_keepdim(0)? };
        Ok((Some(dy.clone()), Some(d_shift)))
    }
}

/// `activation(scale * x + shift)` of `[B, C, H, W]` with constants `[C]`: once differentiable with respect to `x`.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn scale_channels(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    let channels = x.dim(1)?;
    if scale.dims() != [channels] || shift.dims() != [channels] {
        bail!("{:?} and {:?} do not fit the channels of {:?}", scale.shape(), shift.shape(), x.shape());
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        let channel = |t: &Tensor| t.reshape((1, (), 1, 1));
        let y = x.broadcast_mul(&channel(scale)?)?.broadcast_add(&channel(shift)?)?;
        return activation::plain(&y, activation);
    }
    x.contiguous()?.apply_op1(Scale { scale: scale.to_vec1()?, shift: shift.to_vec1()?, activation })
}

struct Scale {
    scale: Vec<f32>,
    shift: Vec<f32>,
    activation: Activation,
}

impl CustomOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale-channels"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = layout.shape().dims4()?;
        let x = floats(x, layout)?;
        let plane = (height * width).max(1);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate().for_each(|(i, (out, x))| {
            let (scale, shift) = (self.scale[i % channels], self.shift[i % channels]);
            for (out, x) in out.iter_mut().zip(x) {
                *out = self.activation.apply(scale * x + shift);
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = activation::gradient(y, dy, self.activation)?;
        let shift = vec![0.0; self.shift.len()];
        let op = Scale { scale: self.scale.clone(), shift, activation: Activation::Identity };
        Ok(Some(dy.contiguous()?.apply_op1(op)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn values_and_gradients_agree_with_candle_in_float64() {
        let values = |dims: &[usize], seed: usize| {
            let n: usize = dims.iter().product();
            let data: Vec<f64> = (0..n).map(|i| ((i * 7919 + seed * 31) % 1013) as f64 / 512.0).collect();
            Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
        };
        for rows in [1, 3] {
            let run = |dtype| {
                let var = |t: Tensor| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap();
                let (x, shift) = (var(values(&[3, 2, 2, 5], 1)), var(values(&[rows, 2], 2)));
                let y = add_to_channels(&x, &shift).unwrap();
                let grads = y.sqr().unwrap().backward().unwrap();
                [&y, grads.get(&x).unwrap(), grads.get(&shift).unwrap()]
                    .map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap())
            };
            for (fast, slow) in run(DType::F32).iter().flatten().zip(run(DType::F64).iter().flatten()) {
                assert!((fast - slow).abs() < 1e-4, "{fast} and {slow}");
            }
        }
        assert!(add_to_channels(&values(&[3, 2, 2, 5], 1), &values(&[2, 2], 2)).is_err());
    }
    #[test]
    fn scaled_channels_agree_with_candle_in_float64() {
        let numbers = |dims: &[usize], seed: usize| {
            let n: usize = dims.iter().product();
            let data: Vec<f64> =
                (0..n).map(|i| ((i * 7919 + seed * 31) % 1013) as f64 / 512.0 - 1.0).collect();
            Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
        };
        for activation in [Activation::Identity, Activation::Relu] {
            let run = |dtype| {
                let [x, scale, shift] = [numbers(&[3, 2, 2, 5], 1), numbers(&[2], 2), numbers(&[2], 3)]
                    .map(|t| t.to_dtype(dtype).unwrap());
                let x = Var::from_tensor(&x).unwrap();
                let y = scale_channels(&x, &scale, &shift, activation).unwrap();
                let grads = y.sqr().unwrap().backward().unwrap();
                [&y, grads.get(&x).unwrap()]
                    .map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap())
            };
            for (fast, slow) in run(DType::F32).iter().flatten().zip(run(DType::F64).iter().flatten()) {
                assert!((fast - slow).abs() < 1e-5, "{fast} and {slow}");
            }
        }
        let x = numbers(&[3, 2, 2, 5], 1);
        assert!(scale_channels(&x, &numbers(&[3], 1), &numbers(&[2], 1), Activation::Identity).is_err());
    }
}
