//! The blocks of `UNet2DModel`: residual blocks, attention, and the resizing between levels. Names as in diffusers.

use super::config::UNetConfig;
use crate::error::{Error, Result};
use crate::generate::layers::{Conv2d, GroupNorm, Linear};
use crate::generate::traits::Mode;
use crate::generate::variables::{Builder, Init};
use crate::ops::attention::attention;
use crate::ops::channels::add_to_channels;
use crate::ops::conv::{ConvConfig, Padding, PaddingRule};
use crate::ops::group_norm;
use candle_core::Tensor;

/// What a block needs to know of the whole network.
#[derive(Clone, Copy)]
pub struct BlockContext<'a> {
    pub config: &'a UNetConfig,
    /// Width of the time embedding.
    pub time: usize,
    /// The sum of a residual branch and its shortcut is divided by this.
    pub scale: f64,
}

/// A convolution with a bias, 3 x 3 with padding 1 or 1 x 1.
pub fn conv(builder: &mut Builder, name: &str, ins: usize, outs: usize, kernel: usize) -> Result<Conv2d> {
    conv_with(builder, name, ins, outs, kernel, ConvConfig::padded(kernel / 2))
}

fn conv_with(
    builder: &mut Builder,
    name: &str,
    ins: usize,
    outs: usize,
    kernel: usize,
    config: ConvConfig,
) -> Result<Conv2d> {
    let init = Init::torch_default(ins.saturating_mul(kernel * kernel));
    Conv2d::new(builder, name, [outs, ins, kernel, kernel], true, init, config)
}

/// `ResnetBlock2D`.
pub struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    /// Whether the embedding scales and shifts instead of being added.
    scale_shift: bool,
    channels: usize,
    scale: f64,
}

impl ResnetBlock {
    pub fn new(
        builder: &mut Builder,
        name: &str,
        ins: usize,
        outs: usize,
        context: BlockContext,
    ) -> Result<Self> {
        let config = context.config;
        let scale_shift = config.resnet_time_scale_shift == "scale_shift";
        let norm =
            |silu| group_norm::GroupNorm { groups: config.norm_num_groups, eps: config.norm_eps, silu };
        let shortcut = format!("{name}.conv_shortcut");
        Ok(Self {
            norm1: GroupNorm::new(builder, &format!("{name}.norm1"), ins, norm(true))?,
            conv1: conv(builder, &format!("{name}.conv1"), ins, outs, 3)?,
            time_emb_proj: Linear::new(
                builder,
                &format!("{name}.time_emb_proj"),
                context.time,
                if scale_shift { 2 * outs } else { outs },
            )?,
            norm2: GroupNorm::new(builder, &format!("{name}.norm2"), outs, norm(!scale_shift))?,
            conv2: conv(builder, &format!("{name}.conv2"), outs, outs, 3)?,
            shortcut: (ins != outs).then(|| conv(builder, &shortcut, ins, outs, 1)).transpose()?,
            scale_shift,
            channels: outs,
            scale: context.scale,
        })
    }

    /// `x` `[B, C, H, W]` with the time embedding after its SiLU, `[B, T]`.
    pub fn forward(&self, x: &Tensor, time: &Tensor, mode: Mode) -> Result<Tensor> {
        let h = self.conv1.forward(&self.norm1.forward(x, mode)?, mode)?;
        let embedding = self.time_emb_proj.forward(time, mode)?;
        let h = if self.scale_shift {
            let scale = embedding.narrow(1, 0, self.channels)?;
            let shift = embedding.narrow(1, self.channels, self.channels)?;
            self.norm2.forward_scaled(&h, &scale, &shift, mode)?
        } else {
            self.norm2.forward(&add_to_channels(&h, &embedding)?, mode)?
        };
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(x, mode)?,
            None => x.clone(),
        };
        divided(self.conv2.forward_add(&h, &shortcut, mode)?, self.scale)
    }
}

/// `Attention` over the pixels, with its residual.
pub struct AttentionBlock {
    norm: Option<GroupNorm>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
    scale: f64,
}

impl AttentionBlock {
    /// `groups` of its norm, if it has one.
    pub fn new(
        builder: &mut Builder,
        name: &str,
        channels: usize,
        groups: Option<usize>,
        context: BlockContext,
    ) -> Result<Self> {
        let config = context.config;
        let norm = |groups| group_norm::GroupNorm { groups, eps: config.norm_eps, silu: false };
        let norm_name = format!("{name}.group_norm");
        let norm =
            groups.map(|groups| GroupNorm::new(builder, &norm_name, channels, norm(groups))).transpose()?;
        let width = config.attention_head_dim.unwrap_or(channels).max(1);
        if !channels.is_multiple_of(width) {
            let reason = format!("{channels} channels of `{name}` do not fall into heads of {width}");
            return Err(Error::malformed(builder.path(), reason, ""));
        }
        let mut linear = |part: &str| Linear::new(builder, &format!("{name}.{part}"), channels, channels);
        Ok(Self {
            norm,
            to_q: linear("to_q")?,
            to_k: linear("to_k")?,
            to_v: linear("to_v")?,
            to_out: linear("to_out.0")?,
            heads: channels / width,
            scale: context.scale,
        })
    }

    /// `[B, C, H, W]` to the same.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let normal = match &self.norm {
            Some(norm) => norm.forward(x, mode)?,
            None => x.clone(),
        };
        let pixels = normal.flatten_from(2)?;
        let [q, k, v] =
            [&self.to_q, &self.to_k, &self.to_v].map(|layer| layer.forward_pixels(&pixels, None, mode));
        let mixed = attention(&Tensor::cat(&[q?, k?, v?], 1)?, self.heads, pixels.dim(2)?)?;
        let out = self.to_out.forward_pixels(&mixed, Some(&x.flatten_from(2)?), mode)?;
        divided(out.reshape(x.dims())?, self.scale)
    }
}

fn divided(sum: Tensor, scale: f64) -> Result<Tensor> {
    if scale == 1.0 { Ok(sum) } else { Ok((sum / scale)?) }
}

/// A convolution of stride 2; without padding it still sees one row and column of zeros, below and to the right.
pub fn downsampler(builder: &mut Builder, name: &str, channels: usize, padding: usize) -> Result<Conv2d> {
    let padding = match padding {
        0 => Padding { top: 0, left: 0, bottom: 1, right: 1 },
        n => Padding::same(n),
    };
    let config = ConvConfig { stride: 2, padding: PaddingRule::Fixed(padding), ..ConvConfig::padded(0) };
    conv_with(builder, name, channels, channels, 3, config)
}

/// Each pixel four times: `[B, C, H, W]` to `[B, C, 2 H, 2 W]`.
pub fn double(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let x = x.reshape((b, c, h, 1, w, 1))?.broadcast_as((b, c, h, 2, w, 2))?.contiguous()?;
    Ok(x.reshape((b, c, 2 * h, 2 * w))?)
}
