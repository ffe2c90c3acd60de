//! From what an official checkpoint says of its modules to our configuration. Attributes are preferred to constructor arguments:
//! these leave out whatever was a default of its time.

use super::config::{
    DiscriminatorConfig, GeneratorConfig, MappingConfig, Stylegan3Config, SynthesisConfig, side,
};
use crate::error::{Error, Result};
use crate::formats::StateDict;
use crate::formats::torch::ModuleDescription;
use crate::generate::family::Role;
use crate::remedy::Remedy;
use serde_json::Value;
use std::path::Path;

/// A file of tensors alone.
pub(super) fn no_constants(path: &Path) -> Error {
    Error::malformed(
        path,
        "holds tensors alone: the bounds and learning rates of a StyleGAN cannot be told from them",
        Remedy::GiveConfiguration,
    )
}

/// A network of an official pickle, as it is asked of.
pub(super) struct Official<'a> {
    pub root: &'a ModuleDescription,
    pub weights: &'a StateDict,
}

impl Official<'_> {
    pub(super) fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::malformed(self.weights.path(), reason, "is this another architecture?")
    }

    /// An attribute of a module, or else a constructor argument.
    pub(super) fn find(&self, module: &str, name: &str) -> Option<&Value> {
        let module = if module.is_empty() { self.root } else { self.root.module(module)? };
        module.attribute(name).or_else(|| module.argument(name)).filter(|value| !value.is_null())
    }

    pub(super) fn size(&self, module: &str, name: &str) -> Result<usize> {
        let number = self.find(module, name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| self.malformed(format!("`{module}` says nothing of its `{name}`")))
    }

    pub(super) fn number(&self, module: &str, name: &str) -> Option<f64> {
        self.find(module, name).and_then(Value::as_f64)
    }

    /// Refuses a network whose module says something else; saying nothing is the default.
    pub(super) fn require(&self, module: &str, name: &str, wanted: &str) -> Result<()> {
        match self.find(module, name) {
            None => Ok(()),
            Some(Value::String(text)) if text == wanted => Ok(()),
            Some(other) => {
                Err(self
                    .malformed(format!("`{name}` of `{module}` is {other}, where only {wanted} is known")))
            }
        }
    }

    /// The shape of a tensor with this many dimensions.
    pub(super) fn shape<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let shape = self.weights.get(name).and_then(|tensor| tensor.shape.as_slice().try_into().ok());
        shape.ok_or_else(|| self.malformed(format!("has no tensor `{name}` of {N} dimensions")))
    }

    /// The mapping network under `mapping`.
    pub(super) fn mapping(&self) -> Result<MappingConfig> {
        self.require("mapping.fc0", "activation", "lrelu")?;
        let num_layers = self.size("mapping", "num_layers")?;
        let lr_multiplier = self.number("mapping.fc0", "bias_gain");
        let outs = |name: &str| self.shape::<2>(name).ok().map(|[outs, _]| outs);
        Ok(MappingConfig {
            num_layers,
            embed_features: outs("mapping.embed.weight"),
            layer_features: if num_layers > 1 { outs("mapping.fc0.weight") } else { None },
            lr_multiplier: lr_multiplier
                .ok_or_else(|| self.malformed("`mapping.fc0` says nothing of its `bias_gain`"))?,
            // Discriminators keep no average.
            w_avg_beta: self.number("mapping", "w_avg_beta").unwrap_or(0.0),
        })
    }

    /// Levels from 4 x 4 to the image's side, a power of two.
    fn levels(&self, resolution: usize) -> Result<usize> {
        let levels = (0..usize::BITS as usize - 3).find(|&level| side(level) == resolution);
        levels.map(|level| level + 1).ok_or_else(|| {
            self.malformed(format!(
                "makes images of {resolution} x {resolution}, which is no power of two from 4 on"
            ))
        })
    }
}

/// The part of `config.json` of a StyleGAN2 network.
pub(super) fn stylegan2(
    root: &ModuleDescription,
    weights: &StateDict,
    role: Role,
    _: Option<&ModuleDescription>,
) -> Result<Value> {
    let official = Official { root, weights };
    match role {
        Role::Generator => generator(&official).map(|config| serde_json::json!(config)),
        Role::Discriminator => discriminator(&official).map(|config| serde_json::json!(config)),
    }
}

fn generator(official: &Official) -> Result<GeneratorConfig> {
    let levels = official.levels(official.size("synthesis", "img_resolution")?)?;
    let mut channels = Vec::new();
    for level in 0..levels {
        let block = format!("synthesis.b{}", side(level));
        official.require(&block, "architecture", "skip")?;
        official.require(&format!("{block}.conv1"), "activation", "lrelu")?;
        let [outs, ..] = official.shape::<4>(&format!("{block}.conv1.weight"))?;
        channels.push(outs);
    }
    Ok(GeneratorConfig {
        z_dim: official.size("mapping", "z_dim")?,
        c_dim: official.size("mapping", "c_dim")?,
        w_dim: official.size("mapping", "w_dim")?,
        img_channels: official.size("synthesis", "img_channels")?,
        channels,
        mapping: official.mapping()?,
        conv_clamp: official.number("synthesis.b4.conv1", "conv_clamp"),
    })
}

/// Of the discriminator that both systems share.
pub(super) fn discriminator(official: &Official) -> Result<DiscriminatorConfig> {
    let levels = official.levels(official.size("", "img_resolution")?)?;
    let [last, _] = official.shape::<2>("b4.fc.weight")?;
    let mut channels = vec![last];
    for level in 1..levels {
        let block = format!("b{}", side(level));
        official.require(&block, "architecture", "resnet")?;
        official.require(&format!("{block}.conv0"), "activation", "lrelu")?;
        let [outs, ..] = official.shape::<4>(&format!("{block}.conv0.weight"))?;
        channels.push(outs);
    }
    let c_dim = official.size("", "c_dim")?;
    let [outs, _] = official.shape::<2>("b4.out.weight")?;
    let has_mbstd = official.root.module("b4.mbstd").is_some();
    Ok(DiscriminatorConfig {
        c_dim,
        img_channels: official.size("", "img_channels")?,
        channels,
        conv_clamp: official.number("b4.conv", "conv_clamp"),
        mbstd_group_size: match has_mbstd && official.find("b4.mbstd", "group_size").is_some() {
            true => Some(official.size("b4.mbstd", "group_size")?),
            false => None,
        },
        mbstd_num_channels: if has_mbstd { official.size("b4.mbstd", "num_channels")? } else { 0 },
        cmap_dim: if c_dim > 0 { outs } else { 0 },
        mapping: if c_dim > 0 { Some(official.mapping()?) } else { None },
    })
}

/// The part of `config.json` of a StyleGAN3 network.
pub(super) fn stylegan3(
    root: &ModuleDescription,
    weights: &StateDict,
    role: Role,
    _: Option<&ModuleDescription>,
) -> Result<Value> {
    let official = Official { root, weights };
    match role {
        Role::Generator => generator3(&official).map(|config| serde_json::json!(config)),
        Role::Discriminator => discriminator(&official).map(|config| serde_json::json!(config)),
    }
}

fn generator3(official: &Official) -> Result<Stylegan3Config> {
    Ok(Stylegan3Config {
        z_dim: official.size("mapping", "z_dim")?,
        c_dim: official.size("mapping", "c_dim")?,
        w_dim: official.size("mapping", "w_dim")?,
        img_resolution: official.size("synthesis", "img_resolution")?,
        img_channels: official.size("synthesis", "img_channels")?,
        mapping: official.mapping()?,
        synthesis: synthesis(official)?,
    })
}

/// Constructor arguments where they were given, the class's own defaults elsewhere: names and shapes of the tensors, which hold sizes
/// and channels, are compared with what follows from them.
fn synthesis(official: &Official) -> Result<SynthesisConfig> {
    let module = "synthesis";
    let default = SynthesisConfig::default();
    let size = |name: &str, default: usize| match official.find(module, name) {
        Some(_) => official.size(module, name),
        None => Ok(default),
    };
    let number = |name: &str, default: f64| official.number(module, name).unwrap_or(default);
    // A bound that was given as None is no bound; one that was not given is the default.
    let given = official.root.module(module).and_then(|module| module.argument("conv_clamp"));
    Ok(SynthesisConfig {
        channel_base: size("channel_base", default.channel_base)?,
        channel_max: size("channel_max", default.channel_max)?,
        num_layers: size("num_layers", default.num_layers)?,
        num_critical: size("num_critical", default.num_critical)?,
        first_cutoff: number("first_cutoff", default.first_cutoff),
        first_stopband: number("first_stopband", default.first_stopband),
        last_stopband_rel: number("last_stopband_rel", default.last_stopband_rel),
        margin_size: size("margin_size", default.margin_size)?,
        output_scale: number("output_scale", default.output_scale),
        conv_kernel: size("conv_kernel", default.conv_kernel)?,
        filter_size: size("filter_size", default.filter_size)?,
        lrelu_upsampling: size("lrelu_upsampling", default.lrelu_upsampling)?,
        use_radial_filters: official
            .find(module, "use_radial_filters")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        conv_clamp: match given {
            Some(value) => value.as_f64(),
            None => default.conv_clamp,
        },
        magnitude_ema_beta: number("magnitude_ema_beta", default.magnitude_ema_beta),
    })
}
