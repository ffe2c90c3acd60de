//! From a path to a network, and back: generator directories (`config.json` and safetensors), diffusers pipelines, weights files,
//! random beginnings.

use super::config::{Config, read_json};
use super::traits::{Discriminator, Generator};
use super::variables::{Builder, Variables};
use super::{FAMILIES, Family, Role, diffusers, family, names};
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::formats::safetensors::write_safetensors;
use crate::formats::{StateDict, read_state_dict, torch};
use candle_core::{DType, Device};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The configuration in a generator directory.
const CONFIG: &str = "config.json";
/// The averaged generator, preferred where images are made.
const AVERAGE: &str = "g_ema.safetensors";
/// The generator as it is trained.
const LIVE: &str = "g.safetensors";
/// The discriminator.
const DISCRIMINATOR: &str = "d.safetensors";
/// The key of the family in a configuration, and of the discriminator's where that is another.
const FAMILY: &str = "family";
const DISCRIMINATOR_FAMILY: &str = "discriminator_family";

/// Which generator of a directory that holds two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The average of its weights over training (`g_ema`); the trained one where there is no average.
    #[default]
    Average,
    /// The one that is trained (`g`); the average where there is no other.
    Live,
}

/// How a diffusion model is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// DDIM with eta 0 (Song et al. 2021): deterministic and differentiable.
    Ddim,
    /// Ancestral sampling (Ho et al. 2020), its noise keyed by [`super::Conditions::keys`].
    Ddpm,
}

/// What is asked of the sampler of a diffusion model; everything left out is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SamplerRequest {
    /// DDIM unless given.
    pub sampler: Option<Sampler>,
    /// Number of denoising steps: 50 for DDIM, as many as in training for DDPM, unless given.
    pub steps: Option<usize>,
}

/// What a user asks for beside a path.
#[derive(Debug, Clone)]
pub struct GeneratorRequest {
    /// Name of the family (`--arch`), where the file does not say.
    pub arch: Option<String>,
    /// A configuration (`--config`), where the sizes cannot be told from the tensors: the family's part, or a whole `config.json`.
    pub config: Option<PathBuf>,
    /// Which generator of a directory.
    pub network: Network,
    /// For diffusion models.
    pub sampler: SamplerRequest,
    /// Type of the network's numbers; float64 is for checks.
    pub dtype: DType,
    /// Where it is computed.
    pub device: Device,
}

impl Default for GeneratorRequest {
    fn default() -> Self {
        Self {
            arch: None,
            config: None,
            network: Network::default(),
            sampler: SamplerRequest::default(),
            dtype: DType::F32,
            device: Device::Cpu,
        }
    }
}

/// A generator: a directory with `config.json`, or a weights file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Usage`] if the family is unknown or cannot be told from the names of the tensors;
/// [`Error::Malformed`] for a damaged file, and naming the first tensor that does not fit the configuration, with both shapes.
pub fn load(path: impl AsRef<Path>, request: &GeneratorRequest) -> Result<Box<dyn Generator>> {
    let Source { family, config, weights } = open(path.as_ref(), request, Role::Generator)?;
    let generator = (family.generator)(
        &config,
        Builder::from_weights(weights, request.dtype, &request.device),
        &request.sampler,
    )?;
    check_sampler(generator, request)
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
pub struct Networks {
    /// The generator that is trained, where it is apart from its average.
    pub live: Option<Box<dyn Generator>>,
    /// Its average, or the only generator.
    pub average: Box<dyn Generator>,
    /// The discriminator, where it is known.
    pub discriminator: Option<Box<dyn Discriminator>>,
}

impl Networks {
    /// To be written as a generator directory.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            live: self.live.as_deref(),
            average: Some(self.average.as_ref()),
            discriminator: self.discriminator.as_deref(),
        }
    }
}

/// The generator as [`load`], and beside it what else an official checkpoint or a generator directory holds.
///
/// # Errors
/// As [`load`].
pub fn load_all(path: impl AsRef<Path>, request: &GeneratorRequest) -> Result<Networks> {
    let path = path.as_ref();
    let of = |network| GeneratorRequest { network, ..request.clone() };
    let (live, discriminator) = if path.is_dir() {
        (path.join(LIVE).is_file() && path.join(AVERAGE).is_file(), path.join(DISCRIMINATOR).is_file())
    } else if is_pickled_network(path)? {
        let names = torch::module_names(path)?;
        let has = |name: &str| names.iter().any(|held| held == name);
        (has("G"), has("D"))
    } else {
        (false, false)
    };
    Ok(Networks {
        average: load(path, &of(Network::Average))?,
        live: if live { Some(load(path, &of(Network::Live))?) } else { None },
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
    check_sampler((family.generator)(&config, builder, &request.sampler)?, request)
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

fn check_sampler(generator: Box<dyn Generator>, request: &GeneratorRequest) -> Result<Box<dyn Generator>> {
    if generator.denoiser().is_none() && request.sampler != SamplerRequest::default() {
        let reason = format!("{} is no diffusion model and has no sampler", generator.family());
        return Err(Error::usage(reason, "leave --ddim-steps out"));
    }
    Ok(generator)
}

fn discriminator_of(family: &Family) -> Result<super::BuildDiscriminator> {
    family.discriminator.ok_or_else(|| Error::usage(format!("{} has no discriminator", family.name), ""))
}

/// What a path holds, whatever its layout.
pub(super) struct Source {
    pub family: &'static Family,
    pub config: Config,
    pub weights: StateDict,
}

fn open(path: &Path, request: &GeneratorRequest, role: Role) -> Result<Source> {
    let arch = request.arch.as_deref();
    if path.is_dir() {
        if path.join(diffusers::INDEX).is_file() {
            if arch.is_some_and(|arch| arch != diffusers::FAMILY.name) || request.config.is_some() {
                let reason =
                    format!("{} is a diffusers pipeline and brings its configuration", path.display());
                return Err(Error::usage(reason, "leave --arch and --config out"));
            }
            let (config, weights) = diffusers::open_pipeline(path)?;
            return Ok(Source { family: &diffusers::FAMILY, config, weights });
        }
        let config_path = path.join(CONFIG);
        if !config_path.is_file() {
            let reason = format!("holds neither {CONFIG} nor {}", diffusers::INDEX);
            let hint = "name the weights file itself, a generator directory or a diffusers pipeline";
            return Err(Error::malformed(path, reason, hint));
        }
        let (family, config) = configured(request.config.as_deref().unwrap_or(&config_path), arch, role)?;
        let weights = read_state_dict(weights_file(path, request.network, role))?;
        return Ok(Source { family, config, weights });
    }
    if is_pickled_network(path)? {
        return open_pickled(path, request, role);
    }
    let weights = read_state_dict(path)?;
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
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut start = Vec::new();
    file.take(START).read_to_end(&mut start).map_err(Error::io("read", path))?;
    Ok(torch::is_pickle(&start))
}

/// A network of an official pickle: its sizes are those that it says of itself.
fn open_pickled(path: &Path, request: &GeneratorRequest, role: Role) -> Result<Source> {
    if request.config.is_some() {
        let reason = format!("{} is an official checkpoint and brings its configuration", path.display());
        return Err(Error::usage(reason, "leave --config out"));
    }
    let name = match (role, request.network) {
        (Role::Discriminator, _) => "D",
        (Role::Generator, Network::Average) => "G_ema",
        (Role::Generator, Network::Live) => "G",
    };
    let (weights, module) = torch::read_module(path, &[name])?;
    let family = match &request.arch {
        Some(name) => family(name)?,
        None => recognise(&weights, role)?,
    };
    let describe = family.official.ok_or_else(|| {
        Error::usage(format!("{} is not read from official pickles", family.name), "is --arch right?")
    })?;
    let generator = match role {
        Role::Generator => None,
        Role::Discriminator => torch::describe_module(path, &["G_ema", "G"])?,
    };
    let part = describe(&module, &weights, role, generator.as_ref())?;
    Ok(Source { family, config: Config::new(path, Some(part)), weights })
}

fn weights_file(directory: &Path, network: Network, role: Role) -> PathBuf {
    let candidates: &[&str] = match (role, network) {
        (Role::Discriminator, _) => &[DISCRIMINATOR],
        (Role::Generator, Network::Average) => &[AVERAGE, LIVE],
        (Role::Generator, Network::Live) => &[LIVE, AVERAGE],
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
            "leave --arch out",
        )),
        (Some(written), _) => {
            let known = FAMILIES.iter().find(|family| family.name == written);
            let family = known.ok_or_else(|| {
                let reason = format!("names an architecture `{written}` that is not known");
                Error::malformed(path, reason, format!("known are {}", names()))
            })?;
            match value.get(key) {
                Some(part) => Ok((family, Config::new(path, Some(part.clone())))),
                None => Err(Error::malformed(path, format!("describes no {key}"), "")),
            }
        }
        (None, Some(asked)) => Ok((family(asked)?, Config::new(path, Some(value)))),
        (None, None) => Err(Error::malformed(path, "names no `family`", "give its name with --arch")),
    }
}

/// The family that a `config.json`, or the one in a generator directory, names; `None` for anything else.
pub fn written_family(path: impl AsRef<Path>) -> Option<&'static Family> {
    let path = path.as_ref();
    let config = if path.is_dir() { path.join(CONFIG) } else { path.to_path_buf() };
    let value = read_json(&config).ok()?;
    let written = value.get(FAMILY)?.as_str()?;
    FAMILIES.iter().find(|family| family.name == written)
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
            Err(Error::usage(reason, format!("give it with --arch: {}", names())))
        }
    }
}

/// Networks that are written together as a generator directory.
#[derive(Clone, Copy, Default)]
pub struct Snapshot<'a> {
    /// The generator that is trained.
    pub live: Option<&'a dyn Generator>,
    /// Its average.
    pub average: Option<&'a dyn Generator>,
    /// The discriminator.
    pub discriminator: Option<&'a dyn Discriminator>,
}

impl Snapshot<'_> {
    /// Writes `config.json` and the weights into `directory`, which is made if it is not there; each file appears when it is whole.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Usage`] if there is none, or the generators are of two families.
    pub fn save(&self, directory: impl AsRef<Path>) -> Result<()> {
        let directory = directory.as_ref();
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let generator = self.average.or(self.live);
        let families = [self.live, self.average].map(|network| network.map(|network| network.family()));
        if let [Some(live), Some(average)] = families
            && live != average
        {
            return Err(Error::usage(format!("{average} is no average of {live}"), ""));
        }
        let judged = self.discriminator.map(|network| network.family());
        let Some(family) = generator.map(|network| network.family()).or(judged) else {
            return Err(Error::usage("there is no network to be written", ""));
        };
        let write = |name: &str, variables: &Variables| {
            let path = directory.join(name);
            write_safetensors(&path, &variables.state_dict(&path)?)
        };
        if let Some(network) = self.live {
            write(LIVE, network.variables())?;
        }
        if let Some(network) = self.average {
            write(AVERAGE, network.variables())?;
        }
        if let Some(network) = self.discriminator {
            write(DISCRIMINATOR, network.variables())?;
        }
        let mut config = serde_json::Map::from_iter([(FAMILY.to_owned(), Value::from(family))]);
        if let Some(judged) = judged.filter(|judged| *judged != family) {
            config.insert(DISCRIMINATOR_FAMILY.to_owned(), judged.into());
        }
        config.extend(generator.map(|network| ("generator".to_owned(), network.config())));
        config.extend(self.discriminator.map(|network| ("discriminator".to_owned(), network.config())));
        let text = serde_json::to_string_pretty(&config)
            .map_err(|e| Error::data(format!("the configuration cannot be written: {e}"), ""))?;
        write_atomic(directory.join(CONFIG), |w| writeln!(w, "{text}"))
    }
}
