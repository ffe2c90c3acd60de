//! `UNet2DModel` of diffusers: the network of Ho et al. 2020, from noisy images and timesteps to predictions.

use super::config::UNetConfig;
use crate::error::{Error, Result};
use crate::generate::diffusion::Sinusoids;
use crate::generate::diffusion::blocks::{
    AttentionBlock, BlockContext, ResnetBlock, ResnetNames, conv, downsampler,
};
use crate::generate::layers::{Conv2d, Embedding, GroupNorm, Linear, double};
use crate::generate::options::{ForwardOptions, Mode};
use crate::generate::variables::Builder;
use candle_core::{DType, Device, Tensor};

const NAMES: ResnetNames = ResnetNames {
    norm1: "norm1",
    conv1: "conv1",
    time: "time_emb_proj",
    norm2: "norm2",
    conv2: "conv2",
    shortcut: "conv_shortcut",
};

/// One level of the way down or up.
struct Level {
    resnets: Vec<ResnetBlock>,
    /// One behind each residual block, or none.
    attentions: Vec<AttentionBlock>,
    /// Halves or doubles the image at the end of the level.
    resize: Option<Conv2d>,
}

impl Level {
    fn layer(&self, i: usize, x: &Tensor, time: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let x = self.resnets[i].forward(x, time, options)?;
        match self.attentions.get(i) {
            Some(attention) => attention.forward(&x, options.mode),
            None => Ok(x),
        }
    }
}

/// The network.
pub(super) struct UNet {
    config: UNetConfig,
    time_embedding: [Linear; 2],
    class_embedding: Option<Embedding>,
    conv_in: Conv2d,
    down: Vec<Level>,
    middle: [ResnetBlock; 2],
    middle_attention: Option<AttentionBlock>,
    up: Vec<Level>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet {
    /// The network of a configuration that has been checked.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first tensor that does not fit.
    pub(super) fn new(builder: &mut Builder, config: &UNetConfig) -> Result<Self> {
        builder.rename(present_name);
        let channels = &config.block_out_channels;
        let (Some(&first), Some(&deepest)) = (channels.first(), channels.last()) else {
            return Err(Error::malformed(builder.path(), "has no `block_out_channels`", ""));
        };
        let time = config.time_embedding_dim.unwrap_or(4 * first);
        let context = BlockContext {
            names: &NAMES,
            time,
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            scale_shift: config.resnet_time_scale_shift == "scale_shift",
            scale: 1.0,
            dropout: config.dropout,
        };
        let head = |channels: usize| config.attention_head_dim.unwrap_or(channels);
        let conv_in = conv(builder, "conv_in", config.in_channels, first, 3)?;
        let time_embedding = [
            Linear::new(builder, "time_embedding.linear_1", first, time)?,
            Linear::new(builder, "time_embedding.linear_2", time, time)?,
        ];
        let class_embedding = match config.num_class_embeds {
            Some(count) => Some(Embedding::new(builder, "class_embedding", count, time)?),
            None => None,
        };
        let levels = channels.len();
        let mut down = Vec::new();
        let mut ins = first;
        for (level, &outs) in channels.iter().enumerate() {
            let name = format!("down_blocks.{level}");
            let inputs = (0..config.layers_per_block).map(|i| if i == 0 { ins } else { outs });
            let attends = config.down_block_types[level].starts_with("Attn");
            let mut block = layers(builder, &name, inputs, outs, attends.then(|| head(outs)), context)?;
            if level + 1 < levels {
                let name = format!("{name}.downsamplers.0.conv");
                block.resize = Some(downsampler(builder, &name, outs, config.downsample_padding)?);
            }
            down.push(block);
            ins = outs;
        }
        let middle_context = BlockContext { scale: config.mid_block_scale_factor, ..context };
        // Without groups of its own the middle takes those of the residual blocks, or none where these are scaled and shifted.
        let shared = (!context.scale_shift).then_some(config.norm_num_groups);
        let middle_attention = match config.add_attention {
            true => {
                let groups = config.attn_norm_num_groups.or(shared);
                let widths = (deepest, head(deepest));
                Some(AttentionBlock::separate(
                    builder,
                    "mid_block.attentions.0",
                    widths,
                    groups,
                    middle_context,
                )?)
            }
            false => None,
        };
        let middle = [
            ResnetBlock::new(builder, "mid_block.resnets.0", (deepest, deepest), None, middle_context)?,
            ResnetBlock::new(builder, "mid_block.resnets.1", (deepest, deepest), None, middle_context)?,
        ];
        let mut up = Vec::new();
        let mut before = deepest;
        for (i, level) in (0..levels).rev().enumerate() {
            let (outs, skip) = (channels[level], channels[level.saturating_sub(1)]);
            let name = format!("up_blocks.{i}");
            let last = config.layers_per_block;
            let inputs =
                (0..=last).map(|i| if i == 0 { before } else { outs } + if i == last { skip } else { outs });
            let attends = config.up_block_types[i].starts_with("Attn");
            let mut block = layers(builder, &name, inputs, outs, attends.then(|| head(outs)), context)?;
            if level > 0 {
                block.resize = Some(conv(builder, &format!("{name}.upsamplers.0.conv"), outs, outs, 3)?);
            }
            up.push(block);
            before = outs;
        }
        Ok(Self {
            time_embedding,
            class_embedding,
            conv_in,
            down,
            middle,
            middle_attention,
            up,
            conv_norm_out: GroupNorm::new(builder, "conv_norm_out", first, context.norm(true))?,
            conv_out: conv(builder, "conv_out", first, config.out_channels, 3)?,
            config: config.clone(),
        })
    }

    /// The prediction `[B, C, H, W]` for `x` `[B, C, H, W]` at one timestep for each row.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        timesteps: &[usize],
        options: &ForwardOptions,
    ) -> Result<Tensor> {
        let ForwardOptions { classes, mode, .. } = *options;
        let x = if self.config.center_input_sample { ((x * 2.0)? - 1.0)? } else { x.clone() };
        let mut time = self.embed(timesteps, x.dtype(), x.device(), mode)?;
        if let (Some(embedding), Some(classes)) = (&self.class_embedding, classes) {
            time = (time + embedding.forward(classes, mode)?)?;
        }
        let time = time.silu()?;
        let mut x = self.conv_in.forward(&x, mode)?;
        let mut skips = vec![x.clone()];
        for level in &self.down {
            for i in 0..level.resnets.len() {
                x = level.layer(i, &x, &time, options)?;
                skips.push(x.clone());
            }
            if let Some(conv) = &level.resize {
                x = conv.forward(&x, mode)?;
                skips.push(x.clone());
            }
        }
        x = self.middle[0].forward(&x, &time, options)?;
        if let Some(attention) = &self.middle_attention {
            x = attention.forward(&x, mode)?;
        }
        x = self.middle[1].forward(&x, &time, options)?;
        for level in &self.up {
            for i in 0..level.resnets.len() {
                if let Some(skip) = skips.pop() {
                    x = Tensor::cat(&[&x, &skip], 1)?;
                }
                x = level.layer(i, &x, &time, options)?;
            }
            if let Some(conv) = &level.resize {
                x = conv.forward(&double(&x)?, mode)?;
            }
        }
        self.conv_out.forward(&self.conv_norm_out.forward(&x, mode)?, mode)
    }

    /// The time embedding `[B, T]`.
    pub(super) fn embed(
        &self,
        timesteps: &[usize],
        dtype: DType,
        device: &Device,
        mode: Mode,
    ) -> Result<Tensor> {
        let timesteps: Vec<f32> = timesteps.iter().map(|&t| t as f32).collect();
        let rows = self.sinusoids().rows(&timesteps, dtype, device)?;
        let hidden = self.time_embedding[0].forward(&rows, mode)?.silu()?;
        self.time_embedding[1].forward(&hidden, mode)
    }

    pub(super) fn sinusoids(&self) -> Sinusoids {
        Sinusoids {
            width: self.config.block_out_channels[0],
            shift: self.config.freq_shift,
            cosines_first: self.config.flip_sin_to_cos,
        }
    }
}

/// Residual blocks with these numbers of input channels, each followed by attention in heads of `attention` channels, if any.
fn layers(
    builder: &mut Builder,
    name: &str,
    inputs: impl Iterator<Item = usize>,
    outs: usize,
    attention: Option<usize>,
    context: BlockContext,
) -> Result<Level> {
    let mut level = Level { resnets: Vec::new(), attentions: Vec::new(), resize: None };
    for (i, ins) in inputs.enumerate() {
        let resnet = format!("{name}.resnets.{i}");
        level.resnets.push(ResnetBlock::new(builder, &resnet, (ins, outs), None, context)?);
        if let Some(width) = attention {
            let name = format!("{name}.attentions.{i}");
            let groups = Some(context.groups);
            level.attentions.push(AttentionBlock::separate(builder, &name, (outs, width), groups, context)?);
        }
    }
    Ok(level)
}

/// Attention of older files, by its present names.
fn present_name(name: &str) -> String {
    const RENAMED: [(&str, &str); 4] =
        [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];
    RENAMED.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new))
}
