//! Layers with spectral normalisation, and the blocks of the generator.

use crate::error::Result;
use crate::generate::layers::{BatchNorm, convolution, double, layer_noise};
use crate::generate::traits::{Conditions, Mode, NoiseMode};
use crate::generate::variables::{Builder, Init, Parameter};
use crate::ops::activation::Activation;
use crate::ops::conv::{ConvConfig, Padding, PaddingRule, conv_transpose2d};
use crate::ops::modulate::scale_images;
use crate::ops::pool::average_pool2d;
use crate::ops::spectral_norm::{power_iteration, spectral_norm};
use candle_core::{Device, Tensor, Var};

/// Side of the images that squeeze-excitation sees.
const SQUEEZED: usize = 4;

/// A weight that is divided by its largest singular value, with the vectors that this is known by.
struct SpectralWeight {
    original: Parameter,
    u: Var,
    v: Var,
    /// The dimension that comes first in the matrix.
    axis: usize,
}

impl SpectralWeight {
    /// `name.weight_orig` of these dimensions, `name.weight_u` and `name.weight_v`.
    fn new(builder: &mut Builder, name: &str, dims: [usize; 4], axis: usize, init: Init) -> Result<Self> {
        let original = builder.parameter(&format!("{name}.weight_orig"), &dims, init)?;
        let rows = dims[axis];
        let columns = dims.iter().product::<usize>() / rows.max(1);
        let mut vector = |part: &str, count: usize| {
            let name = format!("{name}.{part}");
            let values = builder.draw(&name, count)?;
            let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
            let unit: Vec<f64> = values.iter().map(|v| v / length).collect();
            builder.known_buffer(&name, &Tensor::from_vec(unit, count, &Device::Cpu)?)
        };
        Ok(Self { original, u: vector("weight_u", rows)?, v: vector("weight_v", columns)?, axis })
    }

    /// The normalised weight. In training its vectors come one iteration nearer to the singular ones first, at every use.
    fn weight(&self, mode: Mode) -> Result<Tensor> {
        let original = self.original.tensor(mode.trains());
        if !mode.batch_statistics() {
            let (u, v) = (self.u.as_detached_tensor(), self.v.as_detached_tensor());
            return Ok(spectral_norm(original, &u, &v, self.axis)?);
        }
        let (u, v) = power_iteration(original, &self.u.as_detached_tensor(), self.axis)?;
        self.u.set(&u)?;
        self.v.set(&v)?;
        // Not the variables themselves: the next use changes them before this one's gradient is taken.
        Ok(spectral_norm(original, &u, &v, self.axis)?)
    }
}

/// A convolution with spectral normalisation.
pub struct SpectralConv {
    weight: SpectralWeight,
    bias: Option<Parameter>,
    config: ConvConfig,
}

impl SpectralConv {
    /// `name.weight_orig` `[O, C, k, k]` and its vectors; `name.bias` `[O]` where asked for.
    pub fn new(
        builder: &mut Builder,
        name: &str,
        dims: [usize; 4],
        bias: bool,
        config: ConvConfig,
    ) -> Result<Self> {
        let init = Init::torch_default(dims[1..].iter().fold(1usize, |n, &dim| n.saturating_mul(dim)));
        let bias = match bias {
            true => Some(builder.parameter(&format!("{name}.bias"), &dims[..1], init)?),
            false => None,
        };
        Ok(Self { weight: SpectralWeight::new(builder, name, dims, 0, init)?, bias, config })
    }

    /// `[B, C, H, W]` to `[B, O, H', W']`.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| bias.tensor(mode.trains()));
        convolution(x, &self.weight.weight(mode)?, bias, None, self.config, mode)
    }
}

/// Gated linear unit: the first half of the channels times the sigmoid of the second.
fn glu(x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(1)? / 2;
    let gate = sigmoid(&x.narrow(1, channels, channels)?)?;
    Ok((x.narrow(1, 0, channels)? * gate)?)
}

/// By the hyperbolic tangent, which never overflows.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x * 0.5)?.tanh()?.affine(0.5, 0.5)?)
}

/// `InitLayer`: a latent as an image of 4 x 4.
pub struct InitLayer {
    weight: SpectralWeight,
    norm: BatchNorm,
}

impl InitLayer {
    pub fn new(builder: &mut Builder, name: &str, z_dim: usize, channels: usize) -> Result<Self> {
        let dims = [z_dim, channels.saturating_mul(2), SQUEEZED, SQUEEZED];
        let init = Init::torch_default(dims[1].saturating_mul(SQUEEZED * SQUEEZED));
        Ok(Self {
            weight: SpectralWeight::new(builder, &format!("{name}.init.0"), dims, 1, init)?,
            norm: BatchNorm::new(builder, &format!("{name}.init.1"), dims[1], Init::Constant(1.0))?,
        })
    }

    /// `[B, z]` to `[B, C, 4, 4]`.
    pub fn forward(&self, z: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        let z = z.unsqueeze(2)?.unsqueeze(3)?;
        let y = conv_transpose2d(&z, &self.weight.weight(conditions.mode)?, 1, 0)?;
        glu(&self.norm.forward(&y, Activation::Identity, conditions)?)
    }
}

/// A convolution that doubles the channels, noise if there is any, batch norm, and the gate that halves them.
struct Gated {
    conv: SpectralConv,
    /// Strength of the noise, and which of the network's layers it belongs to.
    noise: Option<(Parameter, u64)>,
    norm: BatchNorm,
}

impl Gated {
    /// Modules `first`, `first + 1`, … of `name`; `noise` is the layer's number among those with noise.
    fn new(
        builder: &mut Builder,
        name: &str,
        first: usize,
        (ins, outs): (usize, usize),
        noise: Option<u64>,
    ) -> Result<Self> {
        let doubled = outs.saturating_mul(2);
        let conv = SpectralConv::new(
            builder,
            &format!("{name}.{first}"),
            [doubled, ins, 3, 3],
            false,
            ConvConfig::padded(1),
        )?;
        let noise = match noise {
            Some(index) => {
                let name = format!("{name}.{}.weight", first + 1);
                Some((builder.parameter(&name, &[1], Init::Constant(0.0))?, index))
            }
            None => None,
        };
        let norm = format!("{name}.{}", first + 1 + usize::from(noise.is_some()));
        Ok(Self { conv, noise, norm: BatchNorm::new(builder, &norm, doubled, Init::Constant(1.0))? })
    }

    fn forward(&self, x: &Tensor, noise: &Noise, conditions: &Conditions) -> Result<Tensor> {
        let mut y = self.conv.forward(x, conditions.mode)?;
        if let Some((strength, index)) = &self.noise
            && let Some(map) = noise.map(*index, &y)?
        {
            let strength = strength.tensor(conditions.mode.trains()).reshape((1, 1, 1, 1))?;
            y = y.broadcast_add(&map.broadcast_mul(&strength)?)?;
        }
        glu(&self.norm.forward(&y, Activation::Identity, conditions)?)
    }
}

/// The noise between the layers of a batch of images.
pub enum Noise<'a> {
    /// None.
    Absent,
    /// From the key of each image. What is stored nowhere cannot be constant: each seed has its own.
    Keyed(&'a [u64]),
    /// Given, by the number of the layer.
    #[cfg(test)]
    Given(&'a dyn Fn(u64) -> Tensor),
}

impl<'a> Noise<'a> {
    /// What the conditions ask for.
    pub fn of(conditions: &Conditions<'a>) -> Self {
        match (conditions.noise, conditions.keys) {
            (NoiseMode::Const | NoiseMode::Random, Some(keys)) => Noise::Keyed(keys),
            _ => Noise::Absent,
        }
    }

    /// `[B, 1, H, W]` for the maps `like`.
    fn map(&self, index: u64, like: &Tensor) -> Result<Option<Tensor>> {
        match self {
            Noise::Absent => Ok(None),
            Noise::Keyed(keys) => layer_noise(keys, index, like).map(Some),
            #[cfg(test)]
            Noise::Given(map) => Ok(Some(map(index))),
        }
    }
}

/// `UpBlockBig`, or `UpBlockSmall` with one convolution and without noise.
pub struct UpBlock {
    layers: Vec<Gated>,
}

impl UpBlock {
    /// `index` numbers the blocks.
    pub fn new(
        builder: &mut Builder,
        name: &str,
        (ins, outs): (usize, usize),
        lite: bool,
        index: u64,
    ) -> Result<Self> {
        /// Modules between the first convolution and the second.
        const STRIDE: usize = 4;
        let noise = |layer: u64| (!lite).then_some(2 * index + layer);
        let mut layers = vec![Gated::new(builder, name, 1, (ins, outs), noise(0))?];
        if !lite {
            layers.push(Gated::new(builder, name, 1 + STRIDE, (outs, outs), noise(1))?);
        }
        Ok(Self { layers })
    }

    /// `[B, C, H, W]` to `[B, O, 2 H, 2 W]`.
    pub fn forward(&self, x: &Tensor, noise: &Noise, conditions: &Conditions) -> Result<Tensor> {
        self.layers.iter().try_fold(double(x)?, |x, layer| layer.forward(&x, noise, conditions))
    }
}

/// `SEBlock`: small maps decide how much of each channel of large maps is let through.
pub struct SqueezeExcitation {
    squeeze: SpectralConv,
    excite: SpectralConv,
}

impl SqueezeExcitation {
    pub fn new(builder: &mut Builder, name: &str, ins: usize, outs: usize) -> Result<Self> {
        let config = ConvConfig::padded(0);
        let dims = [outs, ins, SQUEEZED, SQUEEZED];
        Ok(Self {
            squeeze: SpectralConv::new(builder, &format!("{name}.main.1"), dims, false, config)?,
            excite: SpectralConv::new(builder, &format!("{name}.main.3"), [outs, outs, 1, 1], false, config)?,
        })
    }

    /// `[B, I, h, w]` and `[B, O, H, W]` to the latter's shape; `h` is a multiple of 4.
    pub fn forward(&self, small: &Tensor, large: &Tensor, mode: Mode) -> Result<Tensor> {
        let window = small.dim(2)? / SQUEEZED;
        let pooled = match window {
            1 => small.clone(),
            _ => average_pool2d(small, window, window, PaddingRule::Fixed(Padding::same(0)))?,
        };
        let hidden = self.squeeze.forward(&pooled, mode)?;
        let hidden = (&hidden * sigmoid(&hidden)?)?;
        let gate = sigmoid(&self.excite.forward(&hidden, mode)?)?;
        Ok(scale_images(large, &gate.flatten_from(1)?)?)
    }
}
