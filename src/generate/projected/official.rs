//! From what an official pickle says of its modules to our configuration: sizes are attributes, or follow from the tensors.

use super::discriminator::{DiscriminatorConfig, cmap_dim, embedding_dim};
use super::generator::{GeneratorConfig, MOST, num_classes};
use crate::error::{Error, Result};
use crate::formats::StateDict;
use crate::formats::torch::ModuleDescription;
use crate::generate::family::Role;
use serde_json::Value;

/// The part of `config.json` of a network.
///
/// # Errors
/// [`Error::Malformed`] if it is of another kind.
pub(super) fn describe(
    root: &ModuleDescription,
    weights: &StateDict,
    role: Role,
    generator: Option<&ModuleDescription>,
) -> Result<Value> {
    let malformed =
        |reason: String| Error::malformed(weights.path(), reason, "is this another architecture?");
    // A discriminator does not say the size of its images: the generator beside it does.
    let size = |name: &str| {
        let module = generator.unwrap_or(root);
        let number = module.attribute(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| malformed(format!("the network says nothing of its `{name}`")))
    };
    let dim = |name: &str, axis: usize| {
        let length = weights.get(name).and_then(|tensor| tensor.shape.get(axis)).copied();
        length.ok_or_else(|| malformed(format!("has no tensor `{name}`")))
    };
    let rows = |name: &str| weights.get(name).and_then(|tensor| tensor.shape.first()).copied();
    // A network without embeddings has no classes, whatever the images had.
    let classes = |embedding: &str| -> Result<(usize, usize)> {
        match rows(embedding) {
            Some(num_classes) => Ok((size("c_dim")?, num_classes)),
            None => Ok((0, num_classes())),
        }
    };
    match role {
        Role::Generator => {
            // Whether a block has one convolution.
            let is_small = |side: usize| {
                let second = ["5", "conv2"].map(|conv| format!("synthesis.feat_{side}.{conv}.weight_orig"));
                second.iter().all(|name| rows(name).is_none())
            };
            let (c_dim, num_classes) = classes("synthesis.embed.weight")?;
            Ok(serde_json::json!(GeneratorConfig {
                z_dim: size("z_dim")?,
                img_resolution: size("img_resolution")?,
                img_channels: size("img_channels")?,
                ngf: dim("synthesis.init.init.0.weight_orig", 1)? / (2 * MOST),
                lite: is_small(8),
                alternating: !is_small(8) && is_small(16),
                c_dim,
                num_classes,
            }))
        }
        Role::Discriminator => {
            let flag = |name: &str| root.attribute(name).and_then(Value::as_bool);
            let network = root.module("feature_network");
            let expand = network.and_then(|n| n.attribute("expand")).and_then(Value::as_bool);
            let head = "discriminator.mini_discs.0";
            let separable = rows(&format!("{head}.main.0.main.0.pointwise.weight_orig")).is_some();
            let conv = if separable { "0.pointwise" } else { "0" };
            let outs = |block: usize| dim(&format!("{head}.main.{block}.main.{conv}.weight_orig"), 0);
            let (c_dim, num_classes) = classes(&format!("{head}.embed.weight"))?;
            let width = |tensor: &str, axis: usize, unused: usize| match c_dim {
                0 => Ok(unused),
                _ => dim(&format!("{head}.{tensor}"), axis),
            };
            Ok(serde_json::json!(DiscriminatorConfig {
                img_resolution: size("img_resolution")?,
                img_channels: size("img_channels")?,
                cout: dim("feature_network.scratch.layer0_ccm.weight", 0)?,
                expand: expand.unwrap_or(true),
                ndf: (outs(0)? == outs(1)?).then(|| outs(0)).transpose()?,
                separable,
                c_dim,
                num_classes,
                embedding_dim: width("embed.weight", 1, embedding_dim())?,
                cmap_dim: width("cls.weight_orig", 0, cmap_dim())?,
                interp224: flag("interp224"),
                diffaug: flag("diffaug").unwrap_or(true),
            }))
        }
    }
}
