//! The blocks of the generator.

use super::layers::{SpectralConv, SpectralLinear, SpectralWeight, glu, sigmoid};
use crate::error::{Error, Result};
use crate::generate::layers::{BatchNorm, RunningStatistics, double, layer_noise};
use crate::generate::options::{ForwardOptions, Mode, NoiseMode};
use crate::generate::variables::{Builder, Init, Parameter};
use crate::ops::activation::Activation;
use crate::ops::channels::add_to_channels;
use crate::ops::conv::{ConvConfig, Padding, PaddingRule, conv_transpose2d};
use crate::ops::modulate::scale_images;
use crate::ops::pool::average_pool2d;
use candle_core::Tensor;

/// Side of the images that squeeze-excitation sees.
const SQUEEZED: usize = 4;

/// `InitLayer`: a latent as an image of 4 x 4.
pub(super) struct InitLayer {
    weight: SpectralWeight,
    norm: BatchNorm,
}

impl InitLayer {
    pub(super) fn new(builder: &mut Builder, name: &str, z_dim: usize, channels: usize) -> Result<Self> {
        let dims = [z_dim, channels.saturating_mul(2), SQUEEZED, SQUEEZED];
        let init = Init::torch_default(dims[1].saturating_mul(SQUEEZED * SQUEEZED));
        Ok(Self {
            weight: SpectralWeight::new(builder, &format!("{name}.init.0"), &dims, 1, init)?,
            norm: BatchNorm::new(builder, &format!("{name}.init.1"), dims[1], Init::Constant(1.0))?,
        })
    }

    /// `[B, z]` to `[B, C, 4, 4]`.
    pub(super) fn forward(&self, z: &Tensor, mode: Mode) -> Result<Tensor> {
        let z = z.unsqueeze(2)?.unsqueeze(3)?;
        let y = conv_transpose2d(&z, &self.weight.weight(mode)?, 1, 0)?;
        glu(&self.norm.forward(&y, Activation::Identity, mode)?)
    }
}

/// `CCBN`: batch normalisation whose scale and shift follow from the embedding of the image's class.
struct ConditionalNorm {
    gain: SpectralLinear,
    bias: SpectralLinear,
    running: RunningStatistics,
    channels: usize,
}

impl ConditionalNorm {
    /// Linear layers `name.gain` and `name.bias`, buffers `name.stored_mean` and `name.stored_var`.
    fn new(builder: &mut Builder, name: &str, width: usize, channels: usize) -> Result<Self> {
        let [gain, bias, mean, var] =
            ["gain", "bias", "stored_mean", "stored_var"].map(|part| format!("{name}.{part}"));
        Ok(Self {
            gain: SpectralLinear::new(builder, &gain, width, channels)?,
            bias: SpectralLinear::new(builder, &bias, width, channels)?,
            running: RunningStatistics::new(builder, (&mean, &var), None, channels)?,
            channels,
        })
    }

    /// `[B, C, H, W]` of classes with embeddings `[B, width]`.
    fn forward(&self, x: &Tensor, class: &Tensor, mode: Mode) -> Result<Tensor> {
        let one = Tensor::ones(self.channels, x.dtype(), x.device())?;
        let zero = one.zeros_like()?;
        let y = self.running.normalize(x, (&one, &zero), Activation::Identity, mode)?;
        let y = scale_images(&y, &(self.gain.forward(class, mode)? + 1.0)?)?;
        Ok(add_to_channels(&y, &self.bias.forward(class, mode)?)?)
    }
}

/// Normalisation of a layer.
enum Norm {
    Batch(BatchNorm),
    Conditional(ConditionalNorm),
}

/// A convolution that doubles the channels, noise if there is any, normalisation, and the gate that halves them.
struct Gated {
    conv: SpectralConv,
    /// Strength of the noise, and which of the network's layers it belongs to.
    noise: Option<(Parameter, u64)>,
    norm: Norm,
}

impl Gated {
    fn forward(&self, x: &Tensor, class: Option<&Tensor>, noise: &Noise, mode: Mode) -> Result<Tensor> {
        let mut y = self.conv.forward(x, mode)?;
        if let Some((strength, index)) = &self.noise
            && let Some(map) = noise.map(*index, &y)?
        {
            let strength = strength.tensor(mode.trains()).reshape((1, 1, 1, 1))?;
            y = y.broadcast_add(&map.broadcast_mul(&strength)?)?;
        }
        glu(&match (&self.norm, class) {
            (Norm::Batch(norm), _) => norm.forward(&y, Activation::Identity, mode)?,
            (Norm::Conditional(norm), Some(class)) => norm.forward(&y, class, mode)?,
            (Norm::Conditional(_), None) => {
                return Err(Error::usage("the classes of the images are not given", ""));
            }
        })
    }
}

/// The noise between the layers of a batch of images.
pub(super) enum Noise<'a> {
    /// None.
    Absent,
    /// Drawn from the key of each image, in [`NoiseMode::Const`] too: these networks store no noise.
    Keyed(&'a [u64]),
    /// Given, by the number of the layer.
    #[cfg(test)]
    Given(&'a dyn Fn(u64) -> Tensor),
}

impl<'a> Noise<'a> {
    /// What the options ask for.
    pub(super) fn of(options: &ForwardOptions<'a>) -> Self {
        match (options.noise, options.keys) {
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

/// What the blocks of a network have in common.
#[derive(Clone, Copy)]
pub(super) struct UpBlocks {
    /// One convolution and no noise.
    pub lite: bool,
    /// Width of the embedding of classes, where there are any.
    pub class_width: Option<usize>,
}

/// `UpBlockBig` or `UpBlockBigCond`; `UpBlockSmall` or `UpBlockSmallCond` with one convolution and without noise.
pub(super) struct UpBlock {
    layers: Vec<Gated>,
}

impl UpBlock {
    /// `index` numbers the blocks.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        (ins, outs): (usize, usize),
        UpBlocks { lite, class_width }: UpBlocks,
        index: u64,
    ) -> Result<Self> {
        let doubled = outs.saturating_mul(2);
        let count = if lite { 1 } else { 2 };
        let mut layers: Vec<Gated> = Vec::new();
        for layer in 0..count {
            let [conv, noise, norm] = layer_names(name, layer, lite, class_width.is_some());
            let dims = [doubled, if layer == 0 { ins } else { outs }, 3, 3];
            let conv = SpectralConv::new(builder, &conv, dims, false, ConvConfig::padded(1))?;
            let strength = match layers.first().and_then(|first| first.noise.as_ref()) {
                _ if lite => None,
                // With classes both layers share one strength.
                Some((strength, _)) if class_width.is_some() => Some(strength.clone()),
                _ => Some(builder.parameter(&format!("{noise}.weight"), &[1], Init::Constant(0.0))?),
            };
            let norm = match class_width {
                Some(width) => Norm::Conditional(ConditionalNorm::new(builder, &norm, width, doubled)?),
                None => Norm::Batch(BatchNorm::new(builder, &norm, doubled, Init::Constant(1.0))?),
            };
            let noise = strength.map(|strength| (strength, 2 * index + layer as u64));
            layers.push(Gated { conv, noise, norm });
        }
        Ok(Self { layers })
    }

    /// `[B, C, H, W]` to `[B, O, 2 H, 2 W]`; `class` are embeddings `[B, width]`, where there are classes.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        class: Option<&Tensor>,
        noise: &Noise,
        mode: Mode,
    ) -> Result<Tensor> {
        self.layers.iter().try_fold(double(x)?, |x, layer| layer.forward(&x, class, noise, mode))
    }
}

/// Names of a block's convolution, noise and normalisation: by their place among all modules of an unconditional block.
fn layer_names(block: &str, layer: usize, lite: bool, conditional: bool) -> [String; 3] {
    /// Modules from one convolution to the next.
    const STRIDE: usize = 4;
    if conditional {
        let number = if lite { String::new() } else { (layer + 1).to_string() };
        return [format!("{block}.conv{number}"), format!("{block}.noise"), format!("{block}.bn{number}")];
    }
    let first = 1 + STRIDE * layer;
    [first, first + 1, first + if lite { 1 } else { 2 }].map(|place| format!("{block}.{place}"))
}

/// `SEBlock`: small maps decide how much of each channel of large maps is let through.
pub(super) struct SqueezeExcitation {
    squeeze: SpectralConv,
    excite: SpectralConv,
}

impl SqueezeExcitation {
    pub(super) fn new(builder: &mut Builder, name: &str, ins: usize, outs: usize) -> Result<Self> {
        let config = ConvConfig::padded(0);
        let dims = [outs, ins, SQUEEZED, SQUEEZED];
        Ok(Self {
            squeeze: SpectralConv::new(builder, &format!("{name}.main.1"), dims, false, config)?,
            excite: SpectralConv::new(builder, &format!("{name}.main.3"), [outs, outs, 1, 1], false, config)?,
        })
    }

    /// `[B, I, h, w]` and `[B, O, H, W]` to the latter's shape; `h` is a multiple of 4.
    pub(super) fn forward(&self, small: &Tensor, large: &Tensor, mode: Mode) -> Result<Tensor> {
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
