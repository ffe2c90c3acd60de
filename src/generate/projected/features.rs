//! `F_RandomProj`: the maps of a frozen EfficientNet-Lite at four depths, mixed across channels (CCM) and scales (CSM) by random layers
//! that are never trained.

use crate::error::{Error, Result};
use crate::extract::{FileParameters, LitePyramid, ParameterSource, Parameters, weights};
use crate::generate::variables::{Builder, Init};
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::resize::{Corners, bilinear};
use candle_core::{DType, Device, Tensor};
use std::cell::RefCell;

/// The extractor whose weights a discriminator from nothing sees through.
const BACKBONE: &str = "efficientnet-lite0";
/// Where the official modules keep the frozen network.
pub(super) const PRETRAINED: &str = "feature_network.pretrained.";
/// The official modules under it, and what timm calls them.
const MODULES: [(&str, &str); 9] = [
    ("layer0.0.", "conv_stem."),
    ("layer0.1.", "bn1."),
    ("layer0.3.", "blocks.0."),
    ("layer0.4.", "blocks.1."),
    ("layer1.0.", "blocks.2."),
    ("layer2.0.", "blocks.3."),
    ("layer2.1.", "blocks.4."),
    ("layer3.0.", "blocks.5."),
    ("layer3.1.", "blocks.6."),
];
/// Depths, the largest map first.
pub(super) const DEPTHS: usize = 4;

/// The name in a discriminator of one of timm's tensors.
fn official_name(timm: &str) -> String {
    let found = MODULES.iter().find_map(|(official, module)| Some((official, timm.strip_prefix(module)?)));
    match found {
        Some((official, rest)) => format!("{PRETRAINED}{official}{rest}"),
        None => format!("{PRETRAINED}{timm}"),
    }
}

/// The frozen network's tensors as buffers of the discriminator: those in its file, else those of the extractor.
struct Frozen<'a> {
    builder: RefCell<&'a mut Builder>,
    published: Option<FileParameters>,
}

impl ParameterSource for Frozen<'_> {
    fn contains(&self, name: &str) -> bool {
        self.dims(name).is_some()
    }

    fn dims(&self, name: &str) -> Option<Vec<usize>> {
        match &self.published {
            Some(published) => published.dims(name),
            None => self.builder.borrow().shape(&official_name(name)).map(<[usize]>::to_vec),
        }
    }

    fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        let mut builder = self.builder.borrow_mut();
        let official = official_name(name);
        let variable = match &self.published {
            Some(published) => builder.added_buffer(&official, &published.get(name, dims)?)?,
            None => builder.buffer(&official, dims, Init::Constant(0.0))?,
        };
        Ok(variable.as_detached_tensor().to_dtype(DType::F32)?.to_device(&Device::Cpu)?)
    }
}

/// The frozen network with both mixings.
pub(super) struct FeatureNetwork {
    pyramid: LitePyramid,
    mixing: Mixing,
}

impl FeatureNetwork {
    /// `cout` channels at the largest map, more at smaller ones if `expand`.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first tensor that does not fit; [`Error::Data`] if the frozen network is neither in the file nor in
    /// the cache.
    pub(super) fn new(builder: &mut Builder, cout: usize, expand: bool) -> Result<Self> {
        let inside = builder.shape(&official_name("conv_stem.weight")).is_some();
        let published = match inside {
            true => None,
            false => Some(FileParameters::read(BACKBONE, &weights::resolve(BACKBONE, None)?.path)?),
        };
        let (device, dtype) = (builder.device().clone(), builder.dtype());
        let pyramid = {
            let source = Frozen { builder: RefCell::new(builder), published };
            LitePyramid::new(&Parameters::new(&source).on(&device, dtype))?
        };
        let mixing = Mixing::new(builder, pyramid.channels(), cout, expand)?;
        Ok(Self { pyramid, mixing })
    }

    /// Four maps of images `[B, 3, H, W]`, the largest first; differentiable with respect to the images.
    ///
    /// # Errors
    /// If the images have another number of channels.
    pub(super) fn forward(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        self.mixing.forward(&self.pyramid.forward(images)?)
    }

    /// Channels of the four maps.
    pub(super) fn channels(&self) -> [usize; DEPTHS] {
        self.mixing.channels
    }
}

/// The random layers behind the frozen network.
pub(super) struct Mixing {
    across_channels: Vec<Conv2d>,
    across_scales: Vec<Conv2d>,
    pub channels: [usize; DEPTHS],
}

impl Mixing {
    /// For maps of `ins` channels.
    ///
    /// # Errors
    /// As [`FeatureNetwork::new`].
    pub(super) fn new(
        builder: &mut Builder,
        ins: [usize; DEPTHS],
        cout: usize,
        expand: bool,
    ) -> Result<Self> {
        let mut layer = |name: String, ins: usize, outs: usize| {
            let init = Init::torch_default(ins);
            let weight = builder.buffer(&format!("{name}.weight"), &[outs, ins, 1, 1], init)?;
            let bias = builder.buffer(&format!("{name}.bias"), &[outs], init)?;
            let (weight, bias) = (weight.as_detached_tensor(), bias.as_detached_tensor());
            Ok::<_, Error>(Conv2d::new(weight, Some(bias), ConvConfig::padded(0))?)
        };
        let mixed = |depth: usize| if expand { cout.saturating_mul(1 << depth) } else { cout };
        // The largest map keeps its channels.
        let outs = |depth: usize| if expand && depth > 0 { mixed(depth) / 2 } else { mixed(depth) };
        let (mut across_channels, mut across_scales) = (Vec::new(), Vec::new());
        for (depth, ins) in ins.into_iter().enumerate() {
            let name = format!("feature_network.scratch.layer{depth}_ccm");
            across_channels.push(layer(name, ins, mixed(depth))?);
            let name = format!("feature_network.scratch.layer{depth}_csm.out_conv");
            across_scales.push(layer(name, mixed(depth), outs(depth))?);
        }
        Ok(Self { across_channels, across_scales, channels: [0, 1, 2, 3].map(outs) })
    }

    /// The maps of the frozen network, mixed: from the smallest to the largest each is added to what is below it, doubled and mixed again.
    ///
    /// # Errors
    /// If there are fewer maps, or other channels.
    pub(super) fn forward(&self, maps: &[Tensor]) -> Result<Vec<Tensor>> {
        let layers = maps.iter().zip(&self.across_channels).zip(&self.across_scales).rev();
        let mut mixed: Vec<Tensor> = Vec::new();
        for ((map, across_channels), across_scales) in layers {
            let map = across_channels.forward(map)?;
            let sum = match mixed.last() {
                Some(below) => (below + map)?,
                None => map,
            };
            let (.., height, width) = sum.dims4()?;
            let doubled = bilinear(&sum, (2 * height, 2 * width), Corners::Aligned)?;
            mixed.push(across_scales.forward(&doubled)?);
        }
        mixed.reverse();
        Ok(mixed)
    }
}
