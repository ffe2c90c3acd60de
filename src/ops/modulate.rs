//! The operations around a modulated convolution (Karras et al. 2020, section 2.2): a factor for each channel of each image,
//! and a map that is added to all channels. Scaling activations instead of weights, `conv(s x) * d`, lets the whole batch share one
//! product, and its gradients follow from these two operations, to any order.

use super::channels::add_to_channels;
use super::host::floats;
use super::leaky_relu::LeakyRelu;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `x` `[B, C, H, W]` times `scale` `[B, C]`.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn scale_images(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (batch, channels, _, _) = x.dims4()?;
    if scale.dims() != [batch, channels] {
        bail!("{:?} cannot scale the channels of {:?}", scale.shape(), x.shape());
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return x.broadcast_mul(&scale.unsqueeze(2)?.unsqueeze(3)?);
    }
    x.contiguous()?.apply_op2(&scale.contiguous()?, Scale)
}

struct Scale;

impl CustomOp2 for Scale {
    fn name(&self) -> &'static str {
        "scale-images"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, height, width) = x_layout.shape().dims4()?;
        let (x, scale) = (floats(x, x_layout)?, floats(scale, scale_layout)?);
        let plane = (height * width).max(1);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(plane).zip(x.par_chunks(plane)).zip(scale).for_each(|((out, x), scale)| {
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x * scale);
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = if x.track_op() { Some(scale_images(dy, scale)?) } else { None };
        let d_scale =
            if scale.track_op() { Some(dy.contiguous()?.apply_op2(&x.contiguous()?, Dot)?) } else { None };
        Ok((dx, d_scale))
    }
}

/// Two `[B, C, H, W]` to the sums of their products over pixels, `[B, C]`.
struct Dot;

impl CustomOp2 for Dot {
    fn name(&self) -> &'static str {
        "dot-over-pixels"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = a_layout.shape().dims4()?;
        let (a, b) = (floats(a, a_layout)?, floats(b, b_layout)?);
        let plane = (height * width).max(1);
        let dots = a.par_chunks(plane).zip(b.par_chunks(plane)).map(|(a, b)| {
            let rows = a.chunks(LANES).zip(b.chunks(LANES));
            rows.map(|(a, b)| f64::from(a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>())).sum::<f64>() as f32
        });
        Ok((CpuStorage::F32(dots.collect()), Shape::from((batch, channels))))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let da = if a.track_op() { Some(scale_images(b, grad)?) } else { None };
        let db = if b.track_op() { Some(scale_images(a, grad)?) } else { None };
        Ok((da, db))
    }
}

/// Products that are summed in float32 before they join a float64 sum.
const LANES: usize = 16;

/// `x` `[B, C, H, W]` plus `map` `[B, 1, H, W]` or `[1, 1, H, W]`.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn add_map(x: &Tensor, map: &Tensor) -> Result<Tensor> {
    let (batch, _, height, width) = x.dims4()?;
    let rows = map.dim(0)?;
    if map.dims() != [rows, 1, height, width] || (rows != batch && rows != 1) {
        bail!("{:?} cannot be added to the channels of {:?}", map.shape(), x.shape());
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return x.broadcast_add(map);
    }
    x.contiguous()?.apply_op2(&map.contiguous()?, AddMap)
}

struct AddMap;

impl CustomOp2 for AddMap {
    fn name(&self) -> &'static str {
        "add-map"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        map: &CpuStorage,
        map_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = x_layout.shape().dims4()?;
        let (x, map) = (floats(x, x_layout)?, floats(map, map_layout)?);
        let plane = (height * width).max(1);
        let maps = (map.len() / plane).max(1);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate().for_each(|(i, (out, x))| {
            let map = &map[i / channels % maps * plane..][..plane];
            for ((out, x), map) in out.iter_mut().zip(x).zip(map) {
                *out = x + map;
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        map: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let d_map = match map.track_op() {
            true => {
                let sums = dy.sum_keepdim(1)?;
                Some(if map.dim(0)? == sums.dim(0)? { sums } else { sums.sum_keepdim(0)? })
            }
            false => None,
        };
        Ok((Some(dy.clone()), d_map))
    }
}

/// The operation after a modulated convolution: `activation(x * scale + map + bias)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// `[B, C]`; 1 if there is none.
    pub scale: Option<&'a Tensor>,
    /// `[B, 1, H, W]` or `[1, 1, H, W]`; 0 if there is none.
    pub map: Option<&'a Tensor>,
    /// `[C]`
    pub bias: &'a Tensor,
    /// Of the sum.
    pub activation: LeakyRelu,
}

impl Finish<'_> {
    /// Of `x` `[B, C, H, W]`: in one pass where no gradient is asked for, with the same bits.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub(crate) fn forward(self, x: &Tensor) -> Result<Tensor> {
        let Self { scale, map, bias, activation } = self;
        let tensors = [Some(x), scale, map, Some(bias)];
        let plain = x.device().is_cpu() && x.dtype() == DType::F32;
        if !plain || tensors.into_iter().flatten().any(Tensor::track_op) {
            let mut y = x.clone();
            if let Some(scale) = scale {
                y = scale_images(&y, scale)?;
            }
            if let Some(map) = map {
                y = add_map(&y, map)?;
            }
            return activation.forward(&add_to_channels(&y, &bias.unsqueeze(0)?)?);
        }
        let (batch, channels, height, width) = x.dims4()?;
        let scale = match scale {
            Some(scale) if scale.dims() == [batch, channels] => scale.flatten_all()?.to_vec1()?,
            Some(scale) => bail!("{:?} cannot scale the channels of {:?}", scale.shape(), x.shape()),
            None => vec![1.0; batch * channels],
        };
        let map: Vec<f32> = match map {
            Some(map) if matches!(*map.dims(), [b, 1, h, w] if (b == 1 || b == batch) && (h, w) == (height, width)) => {
                map.flatten_all()?.to_vec1()?
            }
            Some(map) => bail!("{:?} cannot be added to the channels of {:?}", map.shape(), x.shape()),
            None => Vec::new(),
        };
        let bias: Vec<f32> = bias.to_vec1()?;
        if bias.len() != channels {
            bail!("a bias of {} numbers does not fit {:?}", bias.len(), x.shape());
        }
        x.contiguous()?.apply_op1_no_bwd(&Finished { scale, map, bias, activation })
    }
}

struct Finished {
    scale: Vec<f32>,
    map: Vec<f32>,
    bias: Vec<f32>,
    activation: LeakyRelu,
}

impl CustomOp1 for Finished {
    fn name(&self) -> &'static str {
        "finish"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = layout.shape().dims4()?;
        let x = floats(x, layout)?;
        let plane = (height * width).max(1);
        let maps = self.map.len() / plane;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate().for_each(|(i, (out, x))| {
            let (scale, bias) = (self.scale[i], self.bias[i % channels]);
            match maps {
                0 => {
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = self.activation.value(x * scale + bias);
                    }
                }
                _ => {
                    let map = &self.map[i / channels % maps * plane..][..plane];
                    for ((out, x), map) in out.iter_mut().zip(x).zip(map) {
                        *out = self.activation.value(x * scale + map + bias);
                    }
                }
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::numbers;
    use candle_core::Var;

    fn flat(t: &Tensor) -> Vec<f64> {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn values_and_gradients_agree_with_candle_in_float64() {
        for rows in [1, 2] {
            let run = |dtype| {
                let var = |dims: &[usize], seed| {
                    Var::from_tensor(&numbers(dims, seed).to_dtype(dtype).unwrap()).unwrap()
                };
                let (x, scale, map) = (var(&[2, 3, 5, 4], 1), var(&[2, 3], 2), var(&[rows, 1, 5, 4], 3));
                let y = add_map(&scale_images(&x, &scale).unwrap(), &map).unwrap();
                let loss = (&y * y.sqr().unwrap()).unwrap().sum_all().unwrap();
                let grads = loss.backward().unwrap();
                let grad = |v: &Var| flat(grads.get(v).unwrap());
                [flat(&y), grad(&x), grad(&scale), grad(&map)].concat()
            };
            for (a, b) in run(DType::F32).iter().zip(run(DType::F64)) {
                assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} and {b}");
            }
        }
        let x = numbers(&[2, 3, 5, 4], 1);
        assert!(scale_images(&x, &numbers(&[1, 3], 1)).is_err());
        assert!(add_map(&x, &numbers(&[3, 1, 5, 4], 1)).is_err());
    }

    #[test]
    fn the_end_of_a_layer_has_the_same_bits_in_one_pass_and_in_several() {
        let activation = LeakyRelu { slope: 0.2, gain: 1.5, clamp: Some(1.0) };
        let single = |dims: &[usize], seed| numbers(dims, seed).to_dtype(DType::F32).unwrap();
        let (x, scale, bias) = (single(&[2, 3, 5, 4], 1), single(&[2, 3], 2), single(&[3], 4));
        for map in [None, Some(single(&[1, 1, 5, 4], 3)), Some(single(&[2, 1, 5, 4], 3))] {
            for scale in [None, Some(&scale)] {
                let finish = Finish { scale, map: map.as_ref(), bias: &bias, activation };
                let once = finish.forward(&x).unwrap();
                let several = finish.forward(&Var::from_tensor(&x).unwrap()).unwrap();
                assert_eq!(flat(&once), flat(&several));
            }
        }
        let finish = Finish { scale: None, map: None, bias: &scale, activation };
        assert!(finish.forward(&x).is_err());
    }
}
