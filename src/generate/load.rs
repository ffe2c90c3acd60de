//! From a path to a network: generator directories (`config.json` and safetensors), directories and pickles of other programs,
//! weights files, random initialisation.

use super::config::Config;
use super::directory::{
    CONFIG, DISCRIMINATOR, DISCRIMINATOR_FAMILY, EMA, FAMILY, GENERATOR, Network, Snapshot,
};
use super::family::{BuildDiscriminator, DirectoryLayout, Family, Role};
use super::info::GeneratorInfo;
use super::onnx::{self, OnnxGeneratorRequest};
use super::registry::{FAMILIES, family, family_names, find};
use super::sampler::SamplerRequest;
use super::traits::{Discriminator, Generator};
use super::variables::Builder;
use crate::error::{Error, Result};
use crate::formats::json::read_json;
use crate::formats::onnx::is_onnx;
use crate::formats::regular::open_regular;
use crate::formats::weights_file::read_network;
use crate::formats::{PartOf, StateDict, Wanted, torch};
use crate::remedy::Remedy;
use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Channels of pictures.
const GRAY: usize = 1;
const RGB: usize = 3;

/// What a user asks for beside a path.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GeneratorRequest {
    /// Name of the family, where the file does not say.
    pub arch: Option<String>,
    /// A configuration, where the sizes cannot be told from the tensors: the family's part, or a whole `config.json`.
    pub config: Option<PathBuf>,
    /// Which generator of a directory.
    pub network: Network,
    /// For diffusion models.
    pub sampler: SamplerRequest,
    /// What only an ONNX file needs.
    pub(crate) onnx: OnnxGeneratorRequest,
    /// What has to succeed before an ONNX file is loaded: its runtime takes as much memory as the file says.
    pub(crate) trial: Option<fn(&Path, &OnnxGeneratorRequest) -> Result<()>>,
    /// Type of the network's numbers; float64 is for checks.
    pub dtype: DType,
    /// Where it is computed.
    pub device: Device,
}

impl GeneratorRequest {
    /// A network that computes in `dtype`.
    pub fn in_type(dtype: DType) -> Self {
        Self { dtype, ..Self::default() }
    }
}

impl Default for GeneratorRequest {
    fn default() -> Self {
        Self {
            arch: None,
            config: None,
            network: Network::default(),
            sampler: SamplerRequest::default(),
            onnx: OnnxGeneratorRequest::default(),
            trial: None,
            dtype: DType::F32,
            device: Device::Cpu,
        }
    }
}

/// A generator: a directory with `config.json`, a weights file, or an ONNX file, which runs on the processor wherever others would.
///
/// # Errors
/// [`Error::Io`]; [`Error::Usage`] if the family is unknown or cannot be told from the names of the tensors;
/// [`Error::Malformed`] for a damaged file, and naming the first tensor that does not fit the configuration, with both shapes.
pub fn load(path: impl AsRef<Path>, request: &GeneratorRequest) -> Result<Box<dyn Generator>> {
    Ok(load_with_origin(path, request)?.0)
}

/// What was read of a file, and what was taken for granted of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The family of the network.
    pub family: String,
    /// Which part of the file was used, where it holds several networks or other things.
    pub part: Option<String>,
    /// What the file does not say or was settled for the run: activation, schedule, range of values.
    pub assumed: Vec<String>,
}

impl Origin {
    fn new(parts: &[PartOf], info: &GeneratorInfo) -> Self {
        let part = parts.iter().map(PartOf::to_string).collect::<Vec<_>>().join(", then ");
        let part = (!part.is_empty()).then_some(part);
        Self { family: info.family.into(), part, assumed: info.assumed.clone() }
    }
}

/// In one line.
impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = self.part.iter().map(String::as_str);
        let all: Vec<&str> = part.chain(self.assumed.iter().map(String::as_str)).collect();
        match all.is_empty() {
            true => f.write_str(&self.family),
            false => write!(f, "{}: {}", self.family, all.join("; ")),
        }
    }
}

/// [`load`], and what was read and taken for granted.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_with_origin(
    path: impl AsRef<Path>,
    request: &GeneratorRequest,
) -> Result<(Box<dyn Generator>, Origin)> {
    let path = path.as_ref();
    if is_onnx(path) {
        let generator = open_onnx(path, request)?;
        let origin = Origin::new(&[], generator.info());
        return Ok((generator, origin));
    }
    if request.onnx != OnnxGeneratorRequest::default() {
        return Err(Error::usage(
            "inputs, output or values of an ONNX generator were given, but no such file",
            Remedy::NameOnnxGeneratorOrDropItsOptions,
        ));
    }
    let Source { family, config, weights } = open(path, request, Role::Generator)?;
    let parts = weights.parts().to_vec();
    let builder = Builder::from_weights(weights, request.dtype, &request.device);
    let generator = checked((family.generator)(&config, builder, &request.sampler)?, path, request)?;
    let origin = Origin::new(&parts, generator.info());
    Ok((generator, origin))
}

/// For what needs the weights of a generator.
///
/// # Errors
/// [`Error::Usage`] for an ONNX file.
pub(crate) fn refuse_onnx(path: &Path) -> Result<()> {
    if !is_onnx(path) {
        return Ok(());
    }
    let reason = format!("{} is an ONNX file, which has no weights to train or to convert", path.display());
    Err(Error::usage(reason, "name the checkpoint that it was exported from"))
}

/// The generator of an ONNX file.
fn open_onnx(path: &Path, request: &GeneratorRequest) -> Result<Box<dyn Generator>> {
    if request.arch.is_some() || request.config.is_some() {
        let reason = format!("{} is an ONNX file, which holds the whole network", path.display());
        return Err(Error::usage(reason, Remedy::DropArchitectureAndConfiguration));
    }
    if let Some(trial) = request.trial {
        trial(path, &request.onnx)?;
    }
    checked(onnx::open(path, &request.onnx)?, path, request)
}

/// A discriminator, as [`load`].
///
/// # Errors
/// As [`load`]; [`Error::Usage`] if the family has no discriminator.
pub fn load_discriminator(
    path: impl AsRef<Path>,
    request: &GeneratorRequest,
) -> Result<Box<dyn Discriminator>> {
    let Source { family, config, weights } = open(path.as_ref(), request, Role::Discriminator)?;
    let build = discriminator_of(family)?;
    build(&config, Builder::from_weights(weights, request.dtype, &request.device))
}

/// Every network that a path holds.
pub(crate) struct Networks {
    /// The generator that is trained, where its average is stored beside it.
    pub generator: Option<Box<dyn Generator>>,
    /// The running average of its weights, or the only generator.
    pub ema: Box<dyn Generator>,
    /// The discriminator, where it is known.
    pub discriminator: Option<Box<dyn Discriminator>>,
}

impl Networks {
    /// To be written as a generator directory.
    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            generator: self.generator.as_deref(),
            ema: Some(self.ema.as_ref()),
            discriminator: self.discriminator.as_deref(),
        }
    }
}

/// The generator as [`load`], and beside it what else an official checkpoint or a generator directory holds.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_all(path: impl AsRef<Path>, request: &GeneratorRequest) -> Result<Networks> {
    let path = path.as_ref();
    refuse_onnx(path)?;
    let of = |network| GeneratorRequest { network, ..request.clone() };
    let (generator, discriminator) = if path.is_dir() {
        (path.join(GENERATOR).is_file() && path.join(EMA).is_file(), path.join(DISCRIMINATOR).is_file())
    } else if is_pickled_network(path)? {
        let names = torch::module_names(path)?;
        let has = |name: &str| names.iter().any(|held| held == name);
        (has("G"), has("D"))
    } else {
        (false, false)
    };
    Ok(Networks {
        ema: load(path, &of(Network::Ema))?,
        generator: if generator { Some(load(path, &of(Network::Generator))?) } else { None },
        discriminator: if discriminator { Some(load_discriminator(path, request)?) } else { None },
    })
}

/// A generator with random weights, of the sizes in a `config.json`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Malformed`] for the configuration; [`Error::Usage`] for an unknown family.
pub fn initialise(
    path: impl AsRef<Path>,
    seed: u64,
    request: &GeneratorRequest,
) -> Result<Box<dyn Generator>> {
    let path = path.as_ref();
    let (family, config) = configured(path, request.arch.as_deref(), Role::Generator)?;
    let builder = Builder::from_nothing(seed, path, request.dtype, &request.device);
    checked((family.generator)(&config, builder, &request.sampler)?, path, request)
}

/// A discriminator with random weights, as [`initialise`].
///
/// # Errors
/// As [`initialise`]; [`Error::Usage`] if the family has no discriminator.
pub fn initialise_discriminator(
    path: impl AsRef<Path>,
    seed: u64,
    request: &GeneratorRequest,
) -> Result<Box<dyn Discriminator>> {
    let path = path.as_ref();
    let (family, config) = configured(path, request.arch.as_deref(), Role::Discriminator)?;
    discriminator_of(family)?(&config, Builder::from_nothing(seed, path, request.dtype, &request.device))
}

/// Refuses a generator whose images are no pictures, and a sampler for one that has none.
fn checked(
    generator: Box<dyn Generator>,
    path: &Path,
    request: &GeneratorRequest,
) -> Result<Box<dyn Generator>> {
    let channels = generator.info().image_shape.channels;
    if !matches!(channels, GRAY | RGB) {
        let reason = format!(
            "makes images of {channels} channels, where gray has {GRAY} and colour {RGB}: they may be the latents of an autoencoder"
        );
        return Err(Error::malformed(path, reason, "name a generator that makes the pixels themselves"));
    }
    if generator.denoiser().is_none() && request.sampler != SamplerRequest::default() {
        let reason = format!("{} is no diffusion model and has no sampler", generator.info().family);
        return Err(Error::usage(reason, Remedy::DropDenoisingSteps));
    }
    Ok(generator)
}

fn discriminator_of(family: &Family) -> Result<BuildDiscriminator> {
    family.discriminator.ok_or_else(|| Error::usage(format!("{} has no discriminator", family.name), ""))
}

/// What a path holds, whatever its layout.
struct Source {
    family: &'static Family,
    config: Config,
    weights: StateDict,
}

/// The directories of other programs that are read.
fn layouts() -> impl Iterator<Item = (&'static Family, &'static DirectoryLayout)> {
    FAMILIES.iter().filter_map(|family| Some((family, family.directory.as_ref()?)))
}

fn open(path: &Path, request: &GeneratorRequest, role: Role) -> Result<Source> {
    let arch = request.arch.as_deref();
    if path.is_dir() {
        if let Some((family, layout)) = layouts().find(|(_, layout)| (layout.recognise)(path)) {
            if arch.is_some_and(|arch| arch != family.name) || request.config.is_some() {
                let reason = format!("{} is a {} and brings its configuration", path.display(), layout.name);
                return Err(Error::usage(reason, Remedy::DropArchitectureAndConfiguration));
            }
            let (config, weights) = (layout.open)(path, request.network)?;
            return Ok(Source { family, config, weights });
        }
        let config_path = path.join(CONFIG);
        if !config_path.is_file() {
            let indexes: String = layouts().map(|(_, layout)| format!(" nor {}", layout.index)).collect();
            let names: String = layouts().map(|(_, layout)| format!(" or a {}", layout.name)).collect();
            return Err(Error::malformed(
                path,
                format!("holds neither {CONFIG}{indexes}"),
                format!("name the weights file itself, a generator directory{names}"),
            ));
        }
        let (family, config) = configured(request.config.as_deref().unwrap_or(&config_path), arch, role)?;
        let file = weights_file(path, request.network, role);
        let weights = read_network(&file, Wanted::Generator)?;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of: Vec<String> =
            [EMA, GENERATOR].iter().filter(|name| path.join(name).is_file()).map(|n| (*n).into()).collect();
        let parts = match role == Role::Generator && of.len() > 1 {
            true => vec![PartOf { name: name(&file), of }],
            false => Vec::new(),
        };
        return Ok(Source { family, config, weights: weights.with_parts(parts) });
    }
    if is_pickled_network(path)? {
        return open_pickled(path, request, role);
    }
    let wanted = match (role, request.network) {
        (Role::Discriminator, _) => Wanted::Discriminator,
        (Role::Generator, Network::Ema) => Wanted::Generator,
        (Role::Generator, Network::Generator) => Wanted::TrainedGenerator,
    };
    let weights = read_network(path, wanted)?;
    if let Some(config_path) = &request.config {
        let (family, config) = configured(config_path, arch, role)?;
        return Ok(Source { family, config, weights });
    }
    let family = match arch {
        Some(name) => family(name)?,
        None => recognise(&weights, role)?,
    };
    Ok(Source { family, config: Config::new(path, None), weights })
}

/// Whether a file is a pickle of networks, as NVIDIA's and ProjectedGAN's programs write them.
fn is_pickled_network(path: &Path) -> Result<bool> {
    /// Enough to tell a legacy checkpoint from it.
    const START: u64 = 16;
    let file = open_regular(path)?;
    let mut start = Vec::new();
    file.take(START).read_to_end(&mut start).map_err(Error::io("read", path))?;
    Ok(torch::is_pickle(&start))
}

/// A network of an official pickle: its sizes are those that it says of itself.
fn open_pickled(path: &Path, request: &GeneratorRequest, role: Role) -> Result<Source> {
    if request.config.is_some() {
        let reason = format!("{} is an official checkpoint and brings its configuration", path.display());
        return Err(Error::usage(reason, Remedy::DropConfiguration));
    }
    let name = match (role, request.network) {
        (Role::Discriminator, _) => "D",
        (Role::Generator, Network::Ema) => "G_ema",
        (Role::Generator, Network::Generator) => "G",
    };
    let (weights, module) = torch::read_module(path, &[name])?;
    let family = match &request.arch {
        Some(name) => family(name)?,
        None => recognise(&weights, role)?,
    };
    let describe = family.official.ok_or_else(|| {
        Error::usage(format!("{} is not read from official pickles", family.name), Remedy::CheckArchitecture)
    })?;
    let generator = match role {
        Role::Generator => None,
        Role::Discriminator => torch::describe_module(path, &["G_ema", "G"])?,
    };
    let part = describe(&module, &weights, role, generator.as_ref())?;
    let of = torch::module_names(path)?;
    let parts = match of.len() {
        0 | 1 => Vec::new(),
        _ => vec![PartOf { name: name.into(), of }],
    };
    let weights = weights.with_parts(parts);
    Ok(Source { family, config: Config::new(path, Some(part)), weights })
}

fn weights_file(directory: &Path, network: Network, role: Role) -> PathBuf {
    let candidates: &[&str] = match (role, network) {
        (Role::Discriminator, _) => &[DISCRIMINATOR],
        (Role::Generator, Network::Ema) => &[EMA, GENERATOR],
        (Role::Generator, Network::Generator) => &[GENERATOR, EMA],
    };
    let existing = candidates.iter().map(|name| directory.join(name)).find(|path| path.is_file());
    existing.unwrap_or_else(|| directory.join(candidates[0]))
}

/// Family and configuration of one network: from a whole `config.json`, or from a part alone if `arch` says of which family.
fn configured(path: &Path, arch: Option<&str>, role: Role) -> Result<(&'static Family, Config)> {
    let value = read_json(path)?;
    let key = match role {
        Role::Generator => "generator",
        Role::Discriminator => "discriminator",
    };
    let own = value.get(DISCRIMINATOR_FAMILY).filter(|_| role == Role::Discriminator);
    match (own.or_else(|| value.get(FAMILY)).and_then(Value::as_str), arch) {
        (Some(written), Some(asked)) if written != asked => Err(Error::usage(
            format!("{} is of the architecture {written}, not {asked}", path.display()),
            Remedy::DropArchitecture,
        )),
        (Some(written), _) => {
            let family = find(written).ok_or_else(|| {
                let reason = format!("names an architecture `{written}` that is not known");
                Error::malformed(path, reason, format!("known are {}", family_names()))
            })?;
            match value.get(key) {
                Some(part) => Ok((family, Config::new(path, Some(part.clone())))),
                None => Err(Error::malformed(path, format!("describes no {key}"), "")),
            }
        }
        (None, Some(asked)) => Ok((family(asked)?, Config::new(path, Some(value)))),
        (None, None) => {
            Err(Error::malformed(path, "names no `family`", Remedy::NameArchitecture(family_names())))
        }
    }
}

/// The family that a `config.json`, or the one in a generator directory, names; `None` for anything else.
pub(crate) fn written_family(path: impl AsRef<Path>) -> Option<&'static Family> {
    let path = path.as_ref();
    let config = if path.is_dir() { path.join(CONFIG) } else { path.to_path_buf() };
    let value = read_json(&config).ok()?;
    find(value.get(FAMILY)?.as_str()?)
}

fn recognise(weights: &StateDict, role: Role) -> Result<&'static Family> {
    let found: Vec<_> =
        FAMILIES.iter().filter_map(|f| (f.recognise)(weights).map(|role| (f, role))).collect();
    match found[..] {
        [(family, found)] if found == role => Ok(family),
        [(family, _)] => {
            let (wanted, other) = match role {
                Role::Generator => ("generator", "discriminator"),
                Role::Discriminator => ("discriminator", "generator"),
            };
            let reason =
                format!("{} holds a {other} ({}), not a {wanted}", weights.path().display(), family.name);
            Err(Error::usage(reason, format!("name the file of the {wanted}")))
        }
        _ => {
            let reason =
                format!("the architecture of {} cannot be told from its tensors", weights.path().display());
            Err(Error::usage(reason, Remedy::NameArchitecture(family_names())))
        }
    }
}
