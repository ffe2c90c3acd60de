//! The residual discriminator (`architecture='resnet'`) that StyleGAN2 and StyleGAN3 are trained with.

use super::config::{DiscriminatorConfig, side};
use super::layers::{Connected, EPS, FullyConnected, activation, bias_act, resample_filter};
use super::mapping::Mapping;
use crate::error::{Error, Result};
use crate::generate::config::Config;
use crate::generate::info::{DiscriminatorInfo, ImageShape};
use crate::generate::layers::convolution;
use crate::generate::options::{ForwardOptions, Mode};
use crate::generate::traits::Discriminator;
use crate::generate::variables::{Builder, Init, Parameter, Variables};
use crate::ops::conv::{ConvConfig, Padding, PaddingRule};
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::upfirdn::{Filter, Resample, upfirdn2d};
use crate::remedy::Remedy;
use candle_core::Tensor;
use std::f64::consts::FRAC_1_SQRT_2;

const KERNEL: usize = 3;

/// `Conv2dLayer`.
struct Conv {
    weight: Parameter,
    bias: Option<Parameter>,
    weight_gain: f64,
    filter: Option<Filter>,
    kernel: usize,
    activation: LeakyRelu,
}

impl Conv {
    /// `[O, C, k, k]` with bias and leaky ReLU.
    fn new(
        builder: &mut Builder,
        name: &str,
        [outs, ins, kernel]: [usize; 3],
        down: bool,
        activation: LeakyRelu,
    ) -> Result<Self> {
        let bias = Some(builder.parameter(&format!("{name}.bias"), &[outs], Init::Constant(0.0))?);
        Ok(Self { bias, ..Self::without_bias(builder, name, [outs, ins, kernel], down, activation)? })
    }

    fn without_bias(
        builder: &mut Builder,
        name: &str,
        [outs, ins, kernel]: [usize; 3],
        down: bool,
        activation: LeakyRelu,
    ) -> Result<Self> {
        let weights = Init::Normal { mean: 0.0, std: 1.0 };
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), &[outs, ins, kernel, kernel], weights)?,
            bias: None,
            weight_gain: 1.0 / ((ins * kernel * kernel) as f64).sqrt(),
            filter: Some(resample_filter(builder, name)?).filter(|_| down),
            kernel,
            activation,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let weight = (self.weight.tensor(mode.trains()) * self.weight_gain)?;
        let stride = |stride| ConvConfig {
            stride,
            padding: PaddingRule::Fixed(Padding::same(if stride == 1 { self.kernel / 2 } else { 0 })),
            ..ConvConfig::padded(0)
        };
        let y = match &self.filter {
            None => convolution(x, &weight, None, None, stride(1), mode)?,
            // A 1 x 1 kernel commutes with taking every second pixel, so the image is downsampled first.
            Some(filter) if self.kernel == 1 => {
                let resample = Resample { up: 1, down: 2, padding: (1, 1), gain: 1.0 };
                convolution(&upfirdn2d(x, filter, resample)?, &weight, None, None, stride(1), mode)?
            }
            Some(filter) => {
                let resample = Resample { up: 1, down: 1, padding: (2, 2), gain: 1.0 };
                convolution(&upfirdn2d(x, filter, resample)?, &weight, None, None, stride(2), mode)?
            }
        };
        match &self.bias {
            Some(bias) => bias_act(&y, bias.tensor(mode.trains()), self.activation),
            None => Ok(self.activation.forward(&y)?),
        }
    }
}

/// `DiscriminatorBlock`: from one size to half of it.
struct Block {
    fromrgb: Option<Conv>,
    conv0: Conv,
    conv1: Conv,
    skip: Conv,
}

/// The discriminator itself.
pub(super) struct StyleDiscriminator {
    info: DiscriminatorInfo,
    config: DiscriminatorConfig,
    blocks: Vec<Block>,
    mapping: Option<Mapping>,
    conv: Conv,
    fc: FullyConnected,
    out: FullyConnected,
    variables: Variables,
}

/// The discriminator of StyleGAN2, and of StyleGAN3.
pub(super) fn build(
    config: &Config,
    builder: Builder,
    family: &'static str,
) -> Result<Box<dyn Discriminator>> {
    Ok(Box::new(assemble(config, builder, family)?))
}

/// The same, not yet behind the trait.
pub(super) fn assemble(
    config: &Config,
    mut builder: Builder,
    family: &'static str,
) -> Result<StyleDiscriminator> {
    let config: DiscriminatorConfig = match config.part() {
        Some(_) => config.parse()?,
        None => return Err(super::official::no_constants(builder.path())),
    };
    config.check(builder.path())?;
    let b = &mut builder;
    let activated = activation(1.0, config.conv_clamp);
    let halved = activation(FRAC_1_SQRT_2, config.conv_clamp);
    let linear = LeakyRelu { slope: 1.0, gain: FRAC_1_SQRT_2, clamp: None };
    let mut blocks = Vec::new();
    for level in (1..config.channels.len()).rev() {
        let (ins, outs) = (config.channels[level], config.channels[level - 1]);
        let name = format!("b{}", side(level));
        let fromrgb = match level + 1 == config.channels.len() {
            true => {
                let dims = [ins, config.img_channels, 1];
                Some(Conv::new(b, &format!("{name}.fromrgb"), dims, false, activated)?)
            }
            false => None,
        };
        blocks.push(Block {
            fromrgb,
            conv0: Conv::new(b, &format!("{name}.conv0"), [ins, ins, KERNEL], false, activated)?,
            conv1: Conv::new(b, &format!("{name}.conv1"), [outs, ins, KERNEL], true, halved)?,
            skip: Conv::without_bias(b, &format!("{name}.skip"), [outs, ins, 1], true, linear)?,
        });
        resample_filter(b, &name)?;
    }
    let mapping = match &config.mapping {
        Some(mapping) => Some(Mapping::new(b, mapping, (0, config.c_dim, config.cmap_dim), false)?),
        None => None,
    };
    let width = config.channels[0];
    let conv = Conv::new(b, "b4.conv", [width, width + config.mbstd_num_channels, KERNEL], false, activated)?;
    let hidden = Connected { activated: true, ..Connected::LINEAR };
    let fc = FullyConnected::new(b, "b4.fc", width * side(0) * side(0), width, hidden)?;
    let outs = if config.c_dim > 0 { config.cmap_dim } else { 1 };
    let out = FullyConnected::new(b, "b4.out", width, outs, Connected::LINEAR)?;
    let variables = builder.finish(&[])?;
    let image = ImageShape::square(config.img_channels, side(config.channels.len() - 1));
    let info = DiscriminatorInfo {
        class_count: config.c_dim,
        ..DiscriminatorInfo::new(family, serde_json::json!(config), image)
    };
    Ok(StyleDiscriminator { info, config, blocks, mapping, conv, fc, out, variables })
}

impl StyleDiscriminator {
    /// `MinibatchStdLayer` (Karras et al. 2018, section 3): the deviation among images that are a group apart, as further channels.
    fn minibatch_std(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let features = self.config.mbstd_num_channels;
        if features == 0 {
            return Ok(x.clone());
        }
        let group = self.group(batch);
        if !batch.is_multiple_of(group) {
            return Err(Error::usage(
                format!(
                    "{batch} images do not fall into groups of {group}, over which the discriminator takes statistics"
                ),
                Remedy::BatchBelowOrMultipleOf(group),
            ));
        }
        let y = x.reshape((group, batch / group, features, (channels / features) * height * width))?;
        let centred = y.broadcast_sub(&y.mean_keepdim(0)?)?;
        let deviation = (centred.sqr()?.mean(0)? + EPS)?.sqrt()?.mean(2)?;
        let maps = deviation.reshape((batch / group, features, 1, 1))?.repeat((group, 1, height, width))?;
        Ok(Tensor::cat(&[x, &maps], 1)?)
    }

    /// Logits of images and labels `[B, c_dim]`.
    pub(super) fn of_labels(&self, images: &Tensor, labels: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let mut x = images.clone();
        for block in &self.blocks {
            if let Some(fromrgb) = &block.fromrgb {
                x = fromrgb.forward(&x, mode)?;
            }
            let skip = block.skip.forward(&x, mode)?;
            x = (skip + block.conv1.forward(&block.conv0.forward(&x, mode)?, mode)?)?;
        }
        x = self.conv.forward(&self.minibatch_std(&x)?, mode)?;
        x = self.out.forward(&self.fc.forward(&x.flatten_from(1)?, mode)?, mode)?;
        match &self.mapping {
            None => Ok(x.flatten_all()?),
            Some(mapping) => {
                let cmap = mapping.forward(None, labels, mode)?;
                Ok(((x * cmap)?.sum(1)? / (self.config.cmap_dim as f64).sqrt())?)
            }
        }
    }
}

impl Discriminator for StyleDiscriminator {
    fn info(&self) -> &DiscriminatorInfo {
        &self.info
    }

    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn group(&self, batch: usize) -> usize {
        match self.config.mbstd_num_channels {
            0 => 1,
            _ => self.config.mbstd_group_size.unwrap_or(batch).min(batch),
        }
    }

    fn logits(&self, images: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        self.info.check(images, options)?;
        let labels = match &self.mapping {
            Some(mapping) => mapping.labels(options.classes, images)?,
            None => None,
        };
        self.of_labels(images, labels.as_ref(), options.mode)
    }
}
