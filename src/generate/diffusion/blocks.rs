//! The blocks of a diffusion model's UNet: residual blocks, attention, and the resizing between levels. The same arithmetic under the
//! names of two programs: diffusers (`UNet2DModel`) and OpenAI's improved-diffusion and guided-diffusion.

use super::dropout::Dropout;
use crate::error::{Error, Result};
use crate::generate::layers::{Conv2d, GroupNorm, Linear, double};
use crate::generate::options::{ForwardOptions, Mode};
use crate::generate::variables::{Builder, Init};
use crate::ops::attention::attention;
use crate::ops::channels::add_to_channels;
use crate::ops::conv::{ConvConfig, Padding, PaddingRule};
use crate::ops::group_norm;
use crate::ops::pool::average_pool2d;
use candle_core::Tensor;

/// What the parts of a residual block are called.
#[derive(Debug)]
pub(crate) struct ResnetNames {
    pub norm1: &'static str,
    pub conv1: &'static str,
    pub time: &'static str,
    pub norm2: &'static str,
    pub conv2: &'static str,
    pub shortcut: &'static str,
}

/// What a block needs to know of the whole network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockContext {
    pub names: &'static ResnetNames,
    /// Width of the time embedding.
    pub time: usize,
    /// Groups of its norms.
    pub groups: usize,
    /// What is added to a variance.
    pub eps: f64,
    /// Whether the embedding scales and shifts instead of being added.
    pub scale_shift: bool,
    /// The sum of a residual branch and its shortcut is divided by this.
    pub scale: f64,
    /// Share of the values that each residual block drops in training.
    pub dropout: f64,
}

impl BlockContext {
    /// A group norm, with SiLU behind it or without.
    pub(crate) fn norm(self, silu: bool) -> group_norm::GroupNorm {
        group_norm::GroupNorm { groups: self.groups, eps: self.eps, silu }
    }
}

/// A change of size inside a residual block, on its branch and its shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resize {
    /// The mean of 2 x 2 pixels.
    Half,
    /// Each pixel four times.
    Double,
}

impl Resize {
    /// `[B, C, H, W]`, resized.
    pub(crate) fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Resize::Half => Ok(average_pool2d(x, 2, 2, PaddingRule::Fixed(Padding::same(0)))?),
            Resize::Double => double(x),
        }
    }
}

/// A convolution with a bias, 3 x 3 with padding 1 or 1 x 1.
pub(crate) fn conv(
    builder: &mut Builder,
    name: &str,
    ins: usize,
    outs: usize,
    kernel: usize,
) -> Result<Conv2d> {
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

/// A residual block that sees the time: `ResnetBlock2D`, `ResBlock`.
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    resize: Option<Resize>,
    conv1: Conv2d,
    time: Linear,
    norm2: GroupNorm,
    dropout: Dropout,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    channels: usize,
    context: BlockContext,
}

impl ResnetBlock {
    pub(crate) fn new(
        builder: &mut Builder,
        name: &str,
        (ins, outs): (usize, usize),
        resize: Option<Resize>,
        context: BlockContext,
    ) -> Result<Self> {
        let part = |part: &str| format!("{name}.{part}");
        let BlockContext { names, scale_shift, dropout, .. } = context;
        if !(0.0..1.0).contains(&dropout) {
            let reason = format!("`dropout` is {dropout}; it is a share, 0 to below 1");
            return Err(Error::malformed(builder.path(), reason, ""));
        }
        let dropout = Dropout { share: dropout, layer: builder.place() as u64 };
        let embedded = if scale_shift { outs.saturating_mul(2) } else { outs };
        Ok(Self {
            norm1: GroupNorm::new(builder, &part(names.norm1), ins, context.norm(true))?,
            resize,
            conv1: conv(builder, &part(names.conv1), ins, outs, 3)?,
            time: Linear::new(builder, &part(names.time), context.time, embedded)?,
            norm2: GroupNorm::new(builder, &part(names.norm2), outs, context.norm(!scale_shift))?,
            dropout,
            conv2: conv(builder, &part(names.conv2), outs, outs, 3)?,
            shortcut: match ins == outs {
                true => None,
                false => Some(conv(builder, &part(names.shortcut), ins, outs, 1)?),
            },
            channels: outs,
            context,
        })
    }

    /// `x` `[B, C, H, W]` with the time embedding after its SiLU, `[B, T]`.
    pub(crate) fn forward(&self, x: &Tensor, time: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let mode = options.mode;
        let resized = |x: Tensor| match self.resize {
            Some(resize) => resize.apply(&x),
            None => Ok(x),
        };
        let h = self.conv1.forward(&resized(self.norm1.forward(x, mode)?)?, mode)?;
        let embedding = self.time.forward(time, mode)?;
        let h = if self.context.scale_shift {
            let scale = embedding.narrow(1, 0, self.channels)?;
            let shift = embedding.narrow(1, self.channels, self.channels)?;
            self.norm2.forward_scaled(&h, &scale, &shift, mode)?
        } else {
            self.norm2.forward(&add_to_channels(&h, &embedding)?, mode)?
        };
        let h = self.dropout.forward(h, options)?;
        let x = resized(x.clone())?;
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(&x, mode)?,
            None => x,
        };
        divided(self.conv2.forward_add(&h, &shortcut, mode)?, self.context.scale)
    }
}

/// Where queries, keys and values come from.
enum Projection {
    /// A layer for each.
    Separate([Linear; 3]),
    /// One layer. Head after head, each with its queries, keys and values, if `by_head`; else all queries, all keys, all values.
    Joint { layer: Linear, by_head: bool },
}

/// Attention over the pixels, with its residual: `Attention`, `AttentionBlock`.
pub(crate) struct AttentionBlock {
    norm: Option<GroupNorm>,
    projection: Projection,
    out: Linear,
    heads: usize,
    scale: f64,
}

impl AttentionBlock {
    /// As diffusers has it: a norm of these groups, if any, and three layers; heads of `width` channels.
    pub(crate) fn separate(
        builder: &mut Builder,
        name: &str,
        (channels, width): (usize, usize),
        groups: Option<usize>,
        context: BlockContext,
    ) -> Result<Self> {
        let norm = |groups| group_norm::GroupNorm { groups, ..context.norm(false) };
        let norm_name = format!("{name}.group_norm");
        let norm =
            groups.map(|groups| GroupNorm::new(builder, &norm_name, channels, norm(groups))).transpose()?;
        let mut linear = |part: &str| Linear::new(builder, &format!("{name}.{part}"), channels, channels);
        let projection = Projection::Separate([linear("to_q")?, linear("to_k")?, linear("to_v")?]);
        let out = linear("to_out.0")?;
        let heads = whole_heads(builder, name, channels, width)?;
        Ok(Self { norm, projection, out, heads, scale: context.scale })
    }

    /// As OpenAI's programs have it: one pointwise convolution for queries, keys and values (see [`Projection::Joint`]).
    pub(crate) fn joint(
        builder: &mut Builder,
        name: &str,
        (channels, width): (usize, usize),
        by_head: bool,
        context: BlockContext,
    ) -> Result<Self> {
        let norm = GroupNorm::new(builder, &format!("{name}.norm"), channels, context.norm(false))?;
        let layer = Linear::pointwise(builder, &format!("{name}.qkv"), channels, channels.saturating_mul(3))?;
        let out = Linear::pointwise(builder, &format!("{name}.proj_out"), channels, channels)?;
        let heads = whole_heads(builder, name, channels, width)?;
        let projection = Projection::Joint { layer, by_head };
        Ok(Self { norm: Some(norm), projection, out, heads, scale: context.scale })
    }

    /// `[B, C, H, W]` to the same.
    pub(crate) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let normal = match &self.norm {
            Some(norm) => norm.forward(x, mode)?,
            None => x.clone(),
        };
        let pixels = normal.flatten_from(2)?;
        let qkv = match &self.projection {
            Projection::Separate(layers) => {
                let [q, k, v] = layers.each_ref().map(|layer| layer.forward_pixels(&pixels, None, mode));
                Tensor::cat(&[q?, k?, v?], 1)?
            }
            Projection::Joint { layer, by_head } => {
                let qkv = layer.forward_pixels(&pixels, None, mode)?;
                let (batch, channels, tokens) = qkv.dims3()?;
                match by_head {
                    true => qkv
                        .reshape((batch, self.heads, 3, channels / 3 / self.heads, tokens))?
                        .transpose(1, 2)?
                        .contiguous()?
                        .reshape((batch, channels, tokens))?,
                    false => qkv,
                }
            }
        };
        let mixed = attention(&qkv, self.heads, pixels.dim(2)?)?;
        let out = self.out.forward_pixels(&mixed, Some(&x.flatten_from(2)?), mode)?;
        divided(out.reshape(x.dims())?, self.scale)
    }
}

/// How many heads of `width` there are in `channels`.
fn whole_heads(builder: &Builder, name: &str, channels: usize, width: usize) -> Result<usize> {
    match width {
        1.. if channels.is_multiple_of(width) => Ok(channels / width),
        _ => {
            let reason = format!("{channels} channels of `{name}` do not fall into heads of {width}");
            Err(Error::malformed(builder.path(), reason, ""))
        }
    }
}

fn divided(sum: Tensor, scale: f64) -> Result<Tensor> {
    if scale == 1.0 { Ok(sum) } else { Ok((sum / scale)?) }
}

/// A convolution of stride 2; without padding it still sees one row and column of zeros, below and to the right.
pub(crate) fn downsampler(
    builder: &mut Builder,
    name: &str,
    channels: usize,
    padding: usize,
) -> Result<Conv2d> {
    let padding = match padding {
        0 => Padding { top: 0, left: 0, bottom: 1, right: 1 },
        n => Padding::same(n),
    };
    let config = ConvConfig { stride: 2, padding: PaddingRule::Fixed(padding), ..ConvConfig::padded(0) };
    conv_with(builder, name, channels, channels, 3, config)
}
