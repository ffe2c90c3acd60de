//! The directories that diffusers writes: a pipeline (`model_index.json` and a folder for each part), the layout of the first published
//! models (everything in one folder), and the checkpoints of its training scripts (`unet/`, `unet_ema/`). Whatever makes its pictures in
//! another way than by a `UNet2DModel` on pixels is refused by name.

use super::schedulers::check_scheduler;
use crate::error::{Error, Result};
use crate::formats::json::read_json;
use crate::formats::weights_file::{read_network, read_sharded};
use crate::formats::{PartOf, StateDict, Wanted};
use crate::generate::config::Config;
use crate::generate::directory::Network;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The file that makes a directory a pipeline.
pub(super) const INDEX: &str = "model_index.json";
/// The configuration of a network, in its folder.
const CONFIG: &str = "config.json";
const SCHEDULER: &str = "scheduler_config.json";
/// Folders of the network: as it is trained, and its running average.
const UNET: &str = "unet";
const UNET_AVERAGE: &str = "unet_ema";
/// The class of network that is read.
const CLASS: &str = "UNet2DModel";
/// Weights files are called by this, a variant where there is one, and their format.
const WEIGHTS: &str = "diffusion_pytorch_model";
const FORMATS: [&str; 2] = ["safetensors", "bin"];

/// Whether a directory is one that diffusers wrote.
pub(super) fn recognise(directory: &Path) -> bool {
    directory.join(INDEX).is_file()
        || [UNET, UNET_AVERAGE].iter().any(|folder| directory.join(folder).join(CONFIG).is_file())
        || class_of(directory).is_some()
}

/// The class that the configuration in a folder says.
fn class_of(folder: &Path) -> Option<String> {
    let config = read_json(&folder.join(CONFIG)).ok()?;
    Some(config.get("_class_name")?.as_str()?.to_owned())
}

/// Configuration and weights of the network in such a directory.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] if it is another kind of pipeline or a file is missing.
pub(super) fn open(directory: &Path, network: Network) -> Result<(Config, StateDict)> {
    let index_path = directory.join(INDEX);
    let index = if index_path.is_file() { Some(read_json(&index_path)?) } else { None };
    if let Some(index) = &index {
        check_parts(&index_path, index)?;
    }
    let (unet, of) = unet_folder(directory, network)?;
    let config_path = unet.join(CONFIG);
    let unet_config = read_json(&config_path)?;
    let file = scheduler_file(directory, if index.is_some() { directory } else { &unet });
    if let (None, Some(_)) = (&file, &index) {
        let path = directory.join("scheduler").join(SCHEDULER);
        return Err(Error::malformed(path, "is missing", "copy or download the whole directory again"));
    }
    let mut scheduler = file.as_deref().map(read_json).transpose()?.unwrap_or_else(|| json!({}));
    let named = index.as_ref().and_then(|index| index.pointer("/scheduler/1"));
    if let Some(object) = scheduler.as_object_mut() {
        // Other classes write null for what they do not have.
        object.retain(|_, value| !value.is_null());
        if let Some(class @ Value::String(_)) = named {
            object.entry("_class_name").or_insert_with(|| class.clone());
        }
    }
    check_scheduler(file.as_deref().unwrap_or(&index_path), &scheduler)?;
    let weights = weights(&unet)?;
    let parts = of.into_iter().chain(weights.parts().iter().cloned()).collect();
    let config = json!({ "unet": unet_config, "scheduler": scheduler });
    let path = if index.is_some() { index_path } else { config_path };
    Ok((Config::new(path, Some(config)), weights.with_parts(parts)))
}

/// Refuses a pipeline with more parts than a network and its scheduler: decoders, text encoders.
fn check_parts(path: &Path, index: &Value) -> Result<()> {
    let hint = "pipelines of a UNet2DModel that makes the pixels themselves, with its scheduler, are read";
    let pipeline = index.get("_class_name").and_then(Value::as_str).unwrap_or("pipeline");
    let class = |part: &Value| part.get(1).and_then(Value::as_str).map(str::to_owned);
    let parts = index.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with('_'));
    let parts: Vec<(&String, String)> = parts.filter_map(|(name, part)| Some((name, class(part)?))).collect();
    match parts.iter().find(|(name, _)| *name == UNET) {
        Some((_, found)) if found == CLASS => {}
        found => {
            let found = found.map_or("none", |(_, class)| class);
            let reason = format!("is a {pipeline}, a pipeline whose `{UNET}` is {found}");
            return Err(Error::malformed(path, reason, hint));
        }
    }
    match parts.iter().find(|(name, _)| !["unet", "scheduler"].contains(&name.as_str())) {
        None => Ok(()),
        Some((name, class)) => {
            let reason = format!(
                "is a {pipeline}: its pictures are made with a `{name}` ({class}) as well, which is not read"
            );
            Err(Error::malformed(path, reason, hint))
        }
    }
}

/// The folder of the wanted network, and what it was chosen of.
fn unet_folder(directory: &Path, network: Network) -> Result<(PathBuf, Option<PartOf>)> {
    let order = match network {
        Network::Ema => [UNET_AVERAGE, UNET],
        Network::Generator => [UNET, UNET_AVERAGE],
    };
    let held: Vec<&str> =
        order.into_iter().filter(|name| directory.join(name).join(CONFIG).is_file()).collect();
    match held[..] {
        [] if class_of(directory).is_some() => Ok((directory.to_path_buf(), None)),
        [] => Err(Error::malformed(
            directory.join(UNET).join(CONFIG),
            "is missing: the pipeline has no network",
            "copy or download the whole directory again",
        )),
        [only] => Ok((directory.join(only), None)),
        [chosen, ..] => {
            let part = PartOf { name: chosen.into(), of: vec![UNET.into(), UNET_AVERAGE.into()] };
            Ok((directory.join(chosen), Some(part)))
        }
    }
}

/// The scheduler's configuration: in its folder of `directory`, or there beside the network. `within` is the folder of a network without
/// pipeline, whose program writes the scheduler one or two levels up; for a pipeline it is the directory itself.
fn scheduler_file(directory: &Path, within: &Path) -> Option<PathBuf> {
    let levels = if within == directory && directory.join(INDEX).is_file() { 0 } else { 2 };
    within
        .ancestors()
        .take(levels + 1)
        .flat_map(|folder| [folder.join("scheduler").join(SCHEDULER), folder.join(SCHEDULER)])
        .find(|path| path.is_file())
}

/// The weights in the folder of a network: one file, or parts with an index; plain, or in the only variant there is.
fn weights(folder: &Path) -> Result<StateDict> {
    let mut variants: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        variants.extend(name.to_str().and_then(variant_of));
    }
    variants.sort_unstable();
    variants.dedup();
    let plain = variants.iter().find(|variant| variant.is_empty());
    let variant = match (plain, &variants[..]) {
        (Some(plain), _) => plain,
        (None, [only]) => only,
        (None, []) => {
            let path = folder.join(format!("{WEIGHTS}.{}", FORMATS[0]));
            return Err(Error::malformed(path, "is missing, and so is every other weights file", ""));
        }
        (None, several) => {
            let reason = format!("holds the weights in several variants: {}", several.join(", "));
            let hint = format!("remove the middle of the name of one of them: {WEIGHTS}.safetensors");
            return Err(Error::malformed(folder, reason, hint));
        }
    };
    let dotted = if variant.is_empty() { String::new() } else { format!(".{variant}") };
    for format in FORMATS {
        let file = folder.join(format!("{WEIGHTS}{dotted}.{format}"));
        if file.is_file() {
            return read_network(file, Wanted::Generator);
        }
        let index = folder.join(format!("{WEIGHTS}.{format}.index{dotted}.json"));
        if index.is_file() {
            return read_sharded(&index);
        }
    }
    let reason = "lacks the weights file that its other files belong to";
    Err(Error::malformed(folder, reason, "copy or download the whole directory again"))
}

/// Whether the middle of a file's name is that of a part, which an index leads to: `fp16-00001-of-00012`.
fn is_part(middle: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    middle.rsplit_once("-of-").is_some_and(|(before, count)| {
        number(count) && before.rsplit_once('-').is_some_and(|(_, part)| number(part))
    })
}

/// The variant of a weights file or of an index of parts, by its name; empty where there is none.
fn variant_of(name: &str) -> Option<String> {
    let rest = name.strip_prefix(WEIGHTS)?;
    FORMATS.iter().find_map(|format| {
        let index =
            rest.strip_prefix(&format!(".{format}.index")).and_then(|rest| rest.strip_suffix(".json"));
        let middle = index.or_else(|| rest.strip_suffix(&format!(".{format}")))?;
        match middle.strip_prefix('.') {
            Some(variant) if !is_part(variant) => Some(variant.to_owned()),
            Some(_) => None,
            None => middle.is_empty().then(String::new),
        }
    })
}
