//! `UNetModel` of both programs: a flat list of blocks down, a middle, and a flat list of blocks up, each block a few layers in a row.

use super::flags::{CHANNELS, Flags, GROUPS, Program};
use crate::error::Result;
use crate::generate::diffusion::Sinusoids;
use crate::generate::diffusion::blocks::{
    AttentionBlock, BlockContext, Resize, ResnetBlock, ResnetNames, conv, downsampler,
};
use crate::generate::layers::{Conv2d, Embedding, GroupNorm, Linear, double};
use crate::generate::options::ForwardOptions;
use crate::generate::variables::Builder;
use crate::ops::group_norm;
use candle_core::Tensor;

const NAMES: ResnetNames = ResnetNames {
    norm1: "in_layers.0",
    conv1: "in_layers.2",
    time: "emb_layers.1",
    norm2: "out_layers.0",
    conv2: "out_layers.3",
    shortcut: "skip_connection",
};
const EPS: f64 = 1e-5;
/// Width of the time embedding over that of the network.
const TIME_FACTOR: usize = 4;

enum Layer {
    Residual(Box<ResnetBlock>),
    Attention(AttentionBlock),
    /// A convolution, the first one or of stride 2.
    Conv(Conv2d),
    /// Each pixel four times, then a convolution.
    DoubleConv(Conv2d),
}

impl Layer {
    fn forward(&self, x: &Tensor, time: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let mode = options.mode;
        match self {
            Layer::Residual(block) => block.forward(x, time, options),
            Layer::Attention(block) => block.forward(x, mode),
            Layer::Conv(conv) => conv.forward(x, mode),
            Layer::DoubleConv(conv) => conv.forward(&double(x)?, mode),
        }
    }
}

/// The network.
pub(super) struct UNet {
    width: usize,
    time_embed: [Linear; 2],
    label_emb: Option<Embedding>,
    down: Vec<Vec<Layer>>,
    middle: [Layer; 3],
    up: Vec<Vec<Layer>>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// What makes the layers, in the order of the original.
struct Maker<'a> {
    builder: &'a mut Builder,
    flags: &'a Flags,
    context: BlockContext,
}

impl Maker<'_> {
    fn residual(&mut self, name: &str, ins: usize, outs: usize, resize: Option<Resize>) -> Result<Layer> {
        let block = ResnetBlock::new(self.builder, name, (ins, outs), resize, self.context)?;
        Ok(Layer::Residual(Box::new(block)))
    }

    fn attention(&mut self, name: &str, channels: usize, up: bool) -> Result<Layer> {
        let width = self.flags.head_width(channels, up, self.builder.path())?;
        let by_head = !self.flags.use_new_attention_order;
        let widths = (channels, width);
        Ok(Layer::Attention(AttentionBlock::joint(self.builder, name, widths, by_head, self.context)?))
    }

    /// What ends a level on the way down.
    fn halve(&mut self, name: &str, channels: usize) -> Result<Layer> {
        match self.flags.resblock_updown {
            true => self.residual(name, channels, channels, Some(Resize::Half)),
            false => Ok(Layer::Conv(downsampler(self.builder, &format!("{name}.op"), channels, 1)?)),
        }
    }

    /// What ends a level on the way up.
    fn double(&mut self, name: &str, channels: usize) -> Result<Layer> {
        match self.flags.resblock_updown {
            true => self.residual(name, channels, channels, Some(Resize::Double)),
            false => {
                Ok(Layer::DoubleConv(conv(self.builder, &format!("{name}.conv"), channels, channels, 3)?))
            }
        }
    }
}

impl UNet {
    /// The network of flags that have been checked.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] naming the first tensor that does not fit.
    pub(super) fn new(builder: &mut Builder, program: Program, flags: &Flags) -> Result<Self> {
        let width = flags.num_channels;
        let time = width.saturating_mul(TIME_FACTOR);
        let time_embed = [
            Linear::new(builder, "time_embed.0", width, time)?,
            Linear::new(builder, "time_embed.2", time, time)?,
        ];
        let label_emb = match flags.class_count() {
            0 => None,
            count => Some(Embedding::new(builder, "label_emb", count, time)?),
        };
        // IDDPM's first level is as wide as the network; ADM's may be narrower.
        let first = match program {
            Program::Iddpm => width,
            Program::Adm => flags.channels(0),
        };
        let context = BlockContext {
            names: &NAMES,
            time,
            groups: GROUPS,
            eps: EPS,
            scale_shift: flags.use_scale_shift_norm,
            scale: 1.0,
            dropout: flags.dropout,
        };
        let mut down = vec![vec![Layer::Conv(conv(builder, "input_blocks.0.0", CHANNELS, first, 3)?)]];
        let mut maker = Maker { builder, flags, context };
        let levels = flags.channel_mult.len();
        let mut skips = vec![first];
        let mut channels = first;
        for level in 0..levels {
            let outs = flags.channels(level);
            for _ in 0..flags.num_res_blocks {
                let name = format!("input_blocks.{}", down.len());
                let mut block = vec![maker.residual(&format!("{name}.0"), channels, outs, None)?];
                if flags.attends(level) {
                    block.push(maker.attention(&format!("{name}.1"), outs, false)?);
                }
                down.push(block);
                skips.push(outs);
                channels = outs;
            }
            if level + 1 < levels {
                let name = format!("input_blocks.{}.0", down.len());
                down.push(vec![maker.halve(&name, channels)?]);
                skips.push(channels);
            }
        }
        let middle = [
            maker.residual("middle_block.0", channels, channels, None)?,
            maker.attention("middle_block.1", channels, false)?,
            maker.residual("middle_block.2", channels, channels, None)?,
        ];
        let mut up = Vec::new();
        for level in (0..levels).rev() {
            let outs = flags.channels(level);
            for i in 0..=flags.num_res_blocks {
                let name = format!("output_blocks.{}", up.len());
                let ins = channels + skips.pop().unwrap_or(0);
                let mut block = vec![maker.residual(&format!("{name}.0"), ins, outs, None)?];
                if flags.attends(level) {
                    block.push(maker.attention(&format!("{name}.1"), outs, true)?);
                }
                if level > 0 && i == flags.num_res_blocks {
                    block.push(maker.double(&format!("{name}.{}", block.len()), outs)?);
                }
                up.push(block);
                channels = outs;
            }
        }
        let norm = group_norm::GroupNorm { groups: GROUPS, eps: EPS, silu: true };
        Ok(Self {
            width,
            time_embed,
            label_emb,
            down,
            middle,
            up,
            norm_out: GroupNorm::new(builder, "out.0", channels, norm)?,
            conv_out: conv(builder, "out.2", channels, flags.out_channels(), 3)?,
        })
    }

    /// `[B, C or 2 C, H, W]` for `x` `[B, C, H, W]` at one time for each row.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub(super) fn forward(&self, x: &Tensor, times: &[f32], options: &ForwardOptions) -> Result<Tensor> {
        let ForwardOptions { classes, mode, .. } = *options;
        let rows = self.sinusoids().rows(times, x.dtype(), x.device())?;
        let [first, second] = &self.time_embed;
        let mut time = second.forward(&first.forward(&rows, mode)?.silu()?, mode)?;
        if let (Some(embedding), Some(classes)) = (&self.label_emb, classes) {
            time = (time + embedding.forward(classes, mode)?)?;
        }
        let time = time.silu()?;
        let run = |block: &[Layer], x: Tensor| -> Result<Tensor> {
            block.iter().try_fold(x, |x, layer| layer.forward(&x, &time, options))
        };
        let mut x = x.clone();
        let mut skips = Vec::new();
        for block in &self.down {
            x = run(block, x)?;
            skips.push(x.clone());
        }
        x = run(&self.middle, x)?;
        for block in &self.up {
            if let Some(skip) = skips.pop() {
                x = Tensor::cat(&[x, skip], 1)?;
            }
            x = run(block, x)?;
        }
        self.conv_out.forward(&self.norm_out.forward(&x, mode)?, mode)
    }

    pub(super) fn sinusoids(&self) -> Sinusoids {
        Sinusoids { width: self.width, shift: 0.0, cosines_first: true }
    }
}
