//! From what an official pickle says of its modules to our configuration: sizes are attributes, or follow from the tensors.

use super::discriminator::DiscriminatorConfig;
use super::generator::{GeneratorConfig, MOST};
use crate::error::{Error, Result};
use crate::formats::StateDict;
use crate::formats::torch::ModuleDescription;
use crate::generate::Role;
use serde_json::Value;

/// The part of `config.json` of a network.
///
/// # Errors
/// [`Error::Malformed`] if it is of another kind.
pub fn describe(
    root: &ModuleDescription,
    weights: &StateDict,
    role: Role,
    generator: Option<&ModuleDescription>,
) -> Result<Value> {
    let malformed =
        |reason: String| Error::malformed(weights.path(), reason, "is this another architecture?");
    // A discriminator does not say which images it judges: the generator beside it does.
    let size = |name: &str| {
        let module = generator.unwrap_or(root);
        let number = module.attribute(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| malformed(format!("the network says nothing of its `{name}`")))
    };
    let dim = |name: &str, axis: usize| {
        let length = weights.get(name).and_then(|tensor| tensor.shape.get(axis)).copied();
        length.ok_or_else(|| malformed(format!("has no tensor `{name}`")))
    };
    let conditional = || malformed("is a conditional ProjectedGAN, which is not read".into());
    match role {
        Role::Generator => {
            if size("c_dim")? > 0 && weights.get("synthesis.embed.weight").is_some() {
                return Err(conditional());
            }
            Ok(serde_json::json!(GeneratorConfig {
                z_dim: size("z_dim")?,
                img_resolution: size("img_resolution")?,
                img_channels: size("img_channels")?,
                ngf: dim("synthesis.init.init.0.weight_orig", 1)? / (2 * MOST),
                lite: weights.get("synthesis.feat_8.5.weight_orig").is_none(),
            }))
        }
        Role::Discriminator => {
            if weights.get("discriminator.mini_discs.0.embed.weight").is_some() {
                return Err(conditional());
            }
            let flag = |name: &str| root.attribute(name).and_then(Value::as_bool);
            let network = root.module("feature_network");
            let expand = network.and_then(|n| n.attribute("expand")).and_then(Value::as_bool);
            let outs =
                |block: usize| dim(&format!("discriminator.mini_discs.0.main.{block}.main.0.weight_orig"), 0);
            Ok(serde_json::json!(DiscriminatorConfig {
                img_resolution: size("img_resolution")?,
                img_channels: size("img_channels")?,
                cout: dim("feature_network.scratch.layer0_ccm.weight", 0)?,
                expand: expand.unwrap_or(true),
                ndf: (outs(0)? == outs(1)?).then(|| outs(0)).transpose()?,
                interp224: flag("interp224"),
                diffaug: flag("diffaug").unwrap_or(true),
            }))
        }
    }
}
