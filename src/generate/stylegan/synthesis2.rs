//! StyleGAN2's synthesis network with skip connections (`architecture='skip'`): each size adds to an image that grows with it.

use super::config::{GeneratorConfig, side};
use super::generator::{Sizes, StyleGenerator, Synthesis};
use super::layers::{FullyConnected, Modulated, activation, bound, resample_filter};
use super::mapping::Mapping;
use crate::error::{Error, Result};
use crate::generate::config::Config;
use crate::generate::info::ImageShape;
use crate::generate::layers::{convolution, layer_noise};
use crate::generate::options::{ForwardOptions, Mode, NoiseMode};
use crate::generate::sampler::SamplerRequest;
use crate::generate::traits::Generator;
use crate::generate::variables::{Builder, Init, Parameter};
use crate::ops::conv::{ConvConfig, conv_transpose2d};
use crate::ops::modulate::Finish;
use crate::ops::upfirdn::{Filter, Resample, upfirdn2d};
use candle_core::{Tensor, Var};

/// Name of the family.
pub(super) const FAMILY: &str = "stylegan2";

const KERNEL: usize = 3;
/// Gain of filters that follow zero-insertion by 2 along both axes.
const UP_GAIN: f64 = 4.0;
const WEIGHTS: Init = Init::Normal { mean: 0.0, std: 1.0 };

/// `SynthesisLayer`.
struct Layer {
    affine: FullyConnected,
    weight: Parameter,
    bias: Parameter,
    noise_const: Var,
    noise_strength: Parameter,
    filter: Filter,
    up: bool,
    clamp: Option<f64>,
    /// Its place in the network, which keys its random noise.
    index: u64,
}

impl Layer {
    fn new(
        builder: &mut Builder,
        name: &str,
        (ins, outs): (usize, usize),
        config: &GeneratorConfig,
        (side, up, index): (usize, bool, u64),
    ) -> Result<Self> {
        let dims = [outs, ins, KERNEL, KERNEL];
        Ok(Self {
            affine: FullyConnected::affine(builder, name, config.w_dim, ins)?,
            weight: builder.parameter(&format!("{name}.weight"), &dims, WEIGHTS)?,
            bias: builder.parameter(&format!("{name}.bias"), &[outs], Init::Constant(0.0))?,
            noise_const: builder.buffer(&format!("{name}.noise_const"), &[side, side], WEIGHTS)?,
            noise_strength: builder.parameter(&format!("{name}.noise_strength"), &[], Init::Constant(0.0))?,
            filter: resample_filter(builder, name)?,
            up,
            clamp: config.conv_clamp,
            index,
        })
    }

    fn forward(&self, x: &Tensor, w: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let mode = options.mode;
        let styles = self.affine.forward(w, mode)?;
        let weight = self.weight.tensor(mode.trains());
        let modulated = Modulated { weight, styles: &styles, demodulate: true };
        let (y, scale) = modulated.apply(x, mode, |x, weight| match self.up {
            false => convolution(x, weight, None, None, ConvConfig::padded(KERNEL / 2), mode),
            true => {
                let y = conv_transpose2d(x, &weight.transpose(0, 1)?.contiguous()?, 2, 0)?;
                let resample = Resample { up: 1, down: 1, padding: (1, 1), gain: UP_GAIN };
                Ok(upfirdn2d(&y, &self.filter, resample)?)
            }
        })?;
        let map = match self.noise(&y, options)? {
            Some(noise) => {
                let strength = self.noise_strength.tensor(mode.trains()).reshape((1, 1, 1, 1))?;
                Some(noise.broadcast_mul(&strength)?)
            }
            None => None,
        };
        let bias = self.bias.tensor(mode.trains());
        let activation = activation(1.0, self.clamp);
        Ok(Finish { scale: scale.as_ref(), map: map.as_ref(), bias, activation }.forward(&y)?)
    }

    /// `[1, 1, H, W]` or `[B, 1, H, W]`.
    fn noise(&self, like: &Tensor, options: &ForwardOptions) -> Result<Option<Tensor>> {
        match (options.noise, options.keys) {
            (NoiseMode::None, _) => Ok(None),
            (NoiseMode::Const, _) => {
                Ok(Some(self.noise_const.as_detached_tensor().unsqueeze(0)?.unsqueeze(0)?))
            }
            (NoiseMode::Random, Some(keys)) => layer_noise(keys, self.index, like).map(Some),
            (NoiseMode::Random, None) => {
                Err(Error::usage("random noise needs a key for each image", "give seeds"))
            }
        }
    }
}

/// `ToRGBLayer`.
struct ToRgb {
    affine: FullyConnected,
    weight: Parameter,
    bias: Parameter,
    gain: f64,
    clamp: Option<f64>,
}

impl ToRgb {
    fn new(builder: &mut Builder, name: &str, ins: usize, config: &GeneratorConfig) -> Result<Self> {
        let outs = config.img_channels;
        Ok(Self {
            affine: FullyConnected::affine(builder, name, config.w_dim, ins)?,
            weight: builder.parameter(&format!("{name}.weight"), &[outs, ins, 1, 1], WEIGHTS)?,
            bias: builder.parameter(&format!("{name}.bias"), &[outs], Init::Constant(0.0))?,
            gain: 1.0 / (ins as f64).sqrt(),
            clamp: config.conv_clamp,
        })
    }

    fn forward(&self, x: &Tensor, w: &Tensor, mode: Mode) -> Result<Tensor> {
        let styles = (self.affine.forward(w, mode)? * self.gain)?;
        let weight = self.weight.tensor(mode.trains());
        let modulated = Modulated { weight, styles: &styles, demodulate: false };
        let (y, scale) = modulated
            .apply(x, mode, |x, weight| convolution(x, weight, None, None, ConvConfig::padded(0), mode))?;
        let bias = self.bias.tensor(mode.trains());
        Ok(Finish { scale: scale.as_ref(), map: None, bias, activation: bound(self.clamp) }.forward(&y)?)
    }
}

/// `SynthesisBlock`: all of one size.
struct Block {
    /// Twice as large as what comes in; absent at 4 x 4.
    conv0: Option<Layer>,
    conv1: Layer,
    torgb: ToRgb,
    filter: Filter,
}

/// `SynthesisNetwork`.
pub(super) struct Synthesis2 {
    /// `[C, 4, 4]`
    start: Parameter,
    blocks: Vec<Block>,
}

impl Synthesis2 {
    fn new(builder: &mut Builder, config: &GeneratorConfig) -> Result<Self> {
        let first = config.channels[0];
        let start = builder.parameter("synthesis.b4.const", &[first, side(0), side(0)], WEIGHTS)?;
        let mut blocks = Vec::new();
        let mut ins = first;
        for (level, &outs) in config.channels.iter().enumerate() {
            let side = side(level);
            let name = format!("synthesis.b{side}");
            let index = 2 * level as u64;
            let conv0 = match level {
                0 => None,
                _ => Some(Layer::new(
                    builder,
                    &format!("{name}.conv0"),
                    (ins, outs),
                    config,
                    (side, true, index - 1),
                )?),
            };
            blocks.push(Block {
                conv0,
                conv1: Layer::new(
                    builder,
                    &format!("{name}.conv1"),
                    (outs, outs),
                    config,
                    (side, false, index),
                )?,
                torgb: ToRgb::new(builder, &format!("{name}.torgb"), outs, config)?,
                filter: resample_filter(builder, &name)?,
            });
            ins = outs;
        }
        Ok(Self { start, blocks })
    }
}

impl Synthesis for Synthesis2 {
    fn forward(&self, ws: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let mode = options.mode;
        let mut rest = 0..ws.dim(1)?;
        let mut next = || -> Result<Tensor> {
            let place = rest.next().ok_or_else(|| Error::data("there are fewer ws than layers", ""))?;
            Ok(ws.narrow(1, place, 1)?.squeeze(1)?.contiguous()?)
        };
        let start = self.start.tensor(mode.trains()).unsqueeze(0)?;
        let mut x = start.repeat((ws.dim(0)?, 1, 1, 1))?;
        let mut image: Option<Tensor> = None;
        // A block's image reads the w of the next block's first layer.
        let mut w = next()?;
        for block in &self.blocks {
            if let Some(conv0) = &block.conv0 {
                x = conv0.forward(&x, &w, options)?;
                w = next()?;
            }
            x = block.conv1.forward(&x, &w, options)?;
            w = next()?;
            let y = block.torgb.forward(&x, &w, mode)?;
            image = Some(match image {
                None => y,
                Some(image) => {
                    let resample = Resample { up: 2, down: 1, padding: (2, 1), gain: UP_GAIN };
                    (upfirdn2d(&image, &block.filter, resample)? + y)?
                }
            });
        }
        image.ok_or_else(|| Error::data("the network has no layers", ""))
    }
}

/// StyleGAN2's generator.
pub(super) fn build_generator(
    config: &Config,
    mut builder: Builder,
    _: &SamplerRequest,
) -> Result<Box<dyn Generator>> {
    let config = generator_config(config, &builder)?;
    config.check(builder.path())?;
    let dims = (config.z_dim, config.c_dim, config.w_dim);
    let mapping = Mapping::new(&mut builder, &config.mapping, dims, true)?;
    let synthesis = Synthesis2::new(&mut builder, &config)?;
    let sizes = Sizes {
        image: ImageShape::square(config.img_channels, side(config.channels.len() - 1)),
        class_count: config.c_dim,
        z_dim: config.z_dim,
        num_ws: config.num_ws(),
        w_dim: config.w_dim,
    };
    let (config, variables) = (serde_json::json!(config), builder.finish(&[])?);
    Ok(Box::new(StyleGenerator::new(FAMILY, config, sizes, (mapping, synthesis), variables)))
}

/// From `config.json`, or a checkpoint's own constructor arguments.
fn generator_config(config: &Config, builder: &Builder) -> Result<GeneratorConfig> {
    match config.part() {
        Some(_) => config.parse(),
        None => Err(super::official::no_constants(builder.path())),
    }
}
