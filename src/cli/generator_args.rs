//! Arguments that say which generator makes the images, and from what: for every command that generates.

use super::similar;
use super::terminal::Terminal;
use super::trial::try_onnx_generator;
use crate::candidates::{LatentOrigin, LatentSource};
use crate::error::{Error, Result};
use crate::formats::digest::sha256_of_file;
use crate::generate::{
    self, Generator, GeneratorRequest, LatentSpace, NoiseMode, OnnxGeneratorRequest, OnnxInput, Origin,
    ProgramInfo, SamplerRequest, Seeds, Truncation, ValueRange, read_latents,
};
use candle_core::Device;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Which generator, and what it makes images from.
#[derive(Args)]
#[command(next_help_heading = "Generator")]
pub(super) struct GeneratorArgs {
    /// Generator directory (config.json and safetensors), diffusers pipeline, weights file, or .onnx file
    #[arg(long, value_name = "G")]
    generator: Option<PathBuf>,
    /// Architecture of the generator, if its file does not name it
    #[arg(long, value_name = "NAME", value_parser = similar::arch)]
    arch: Option<String>,
    /// Configuration file of the generator, if its sizes do not follow from its weights
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seeds of the latents; each latent is `numpy.random.RandomState(seed).randn(1, z_dim)`
    #[arg(long, value_name = "0-99,200", conflicts_with = "latents")]
    seeds: Option<Seeds>,
    /// File of latents to use instead of seeds, of shape [n, z_dim] or, for a diffusion model, [n, C, H, W]
    #[arg(long, value_name = "FILE.npy")]
    latents: Option<PathBuf>,
    /// Class of the images, if the generator has classes
    #[arg(long, value_name = "N")]
    class: Option<u32>,
    /// Denoising steps of a diffusion model [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ddim_steps: Option<u32>,
    /// Truncation psi: factor on the distance of a latent from the mean latent [default: 1]
    #[arg(long, value_name = "PSI")]
    trunc: Option<f64>,
    /// Noise inputs of the generator's layers, if it has any [default: const]
    #[arg(long)]
    noise_mode: Option<NoiseChoice>,
    /// Latent space to work in, such as z or w [default: the generator's input space]
    #[arg(long, value_name = "NAME")]
    space: Option<String>,
    /// What an input of an .onnx file takes: NAME=latent, NAME=class, or NAME=0.7 for a number that is the same for all images; may be repeated [default: the latent and the class are found by shape and name]
    #[arg(long, value_name = "NAME=WHAT")]
    generator_input: Vec<OnnxInput>,
    /// Output of an .onnx file that is the image [default: its only output, or the only one that may be an image]
    #[arg(long, value_name = "NAME")]
    generator_output: Option<String>,
    /// Values of black and white in the images of an .onnx file, such as -1,1 or 0,255 [default: found by making a few, and printed]
    #[arg(long, value_name = "BLACK,WHITE", allow_hyphen_values = true)]
    generator_range: Option<ValueRange>,
}

/// What the images of rows of a file are called by where they are candidates.
const CANDIDATE_ROW: &str = "row";

/// Noise between the layers of a generator.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum NoiseChoice {
    /// The noise stored with the weights, the same for all images
    #[default]
    Const,
    /// No noise
    None,
    /// New noise for each image
    Random,
}

/// The reference of a command that needs one.
pub(super) fn named(reference: Option<&Path>) -> Result<&Path> {
    reference.ok_or_else(|| {
        Error::usage(
            "no reference was named",
            "make one with `pd embed IMAGES -o ref/ && pd index ref/`, and name it: --reference ref/",
        )
    })
}

impl GeneratorArgs {
    /// What the library is asked for beside the path, to compute on `device`.
    pub(super) fn request(&self, device: &Device) -> GeneratorRequest {
        GeneratorRequest {
            arch: self.arch.clone(),
            config: self.config.clone(),
            sampler: SamplerRequest { sampler: None, steps: self.ddim_steps.map(|n| n as usize) },
            onnx: OnnxGeneratorRequest {
                inputs: self.generator_input.clone(),
                output: self.generator_output.clone(),
                range: self.generator_range,
            },
            trial: Some(try_onnx_generator),
            device: device.clone(),
            ..GeneratorRequest::default()
        }
    }

    /// # Errors
    /// [`Error::Usage`] if something was given that only a network of this process takes.
    pub(super) fn refuse_for_program(&self) -> Result<()> {
        let given = [
            ("--generator", self.generator.is_some()),
            ("--arch", self.arch.is_some()),
            ("--config", self.config.is_some()),
            ("--ddim-steps", self.ddim_steps.is_some()),
            ("--trunc", self.trunc.is_some()),
            ("--noise-mode", self.noise_mode.is_some()),
            ("--space", self.space.is_some()),
            ("--generator-input", !self.generator_input.is_empty()),
            ("--generator-output", self.generator_output.is_some()),
            ("--generator-range", self.generator_range.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::usage(
                format!(
                    "--generator-command names a program that makes the images, and {name} is of no use to it"
                ),
                format!("leave {name} out, or --generator-command; the command may have options of its own"),
            )),
            None => Ok(()),
        }
    }

    /// Whether a generator was named.
    pub(super) fn is_named(&self) -> bool {
        self.generator.is_some()
    }

    /// Takes this generator, where none was named.
    pub(super) fn take(&mut self, generator: PathBuf) {
        self.generator.get_or_insert(generator);
    }

    /// Reads the generator, and says which part of its file that is and what was taken for granted.
    pub(super) fn open(&self, terminal: &Terminal) -> Result<(Box<dyn Generator>, Origin)> {
        match &self.generator {
            Some(path) => {
                let (generator, origin) = generate::load_with_origin(path, &self.request(terminal.device()))?;
                terminal.say(&format!("generator {origin}"));
                Ok((generator, origin))
            }
            None => Err(Error::usage(
                "no generator was named",
                "--generator G names its directory or weights file",
            )),
        }
    }

    /// The space that latents are in.
    fn space<'g>(&self, generator: &'g dyn Generator) -> Result<&'g LatentSpace> {
        generator.info().space(self.space.as_deref())
    }

    /// The latents that were named, or those of `default_seeds`. Images of a file's rows are called by `prefix` and the row.
    pub(super) fn latents(
        &self,
        generator: &dyn Generator,
        default_seeds: &Seeds,
        prefix: &'static str,
        device: &Device,
    ) -> Result<LatentSource> {
        let request = self.request(device);
        let origin = match &self.latents {
            Some(path) => {
                let space = self.space(generator)?;
                let values = read_latents(path, space, request.dtype, &request.device)?;
                LatentOrigin::Rows { values, prefix }
            }
            None => LatentOrigin::Seeds(self.seeds.as_ref().unwrap_or(default_seeds).clone()),
        };
        let latents = LatentSource {
            origin,
            space: self.space.clone(),
            class: self.class,
            truncation: self.trunc.map(|psi| Truncation { psi, cutoff: None }),
            noise: match self.noise_mode.unwrap_or_default() {
                NoiseChoice::Const => NoiseMode::Const,
                NoiseChoice::None => NoiseMode::None,
                NoiseChoice::Random => NoiseMode::Random,
            },
            dtype: request.dtype,
            device: request.device,
        };
        // Whether the generator takes them is said before anything slow begins.
        latents.conditions(generator)?;
        Ok(latents)
    }

    /// The latents that candidates are made of: each seed or row is one.
    pub(super) fn candidate_latents(
        &self,
        generator: &dyn Generator,
        default_seeds: &Seeds,
        device: &Device,
    ) -> Result<LatentSource> {
        if self.latents.is_none() && self.space.is_some() {
            return Err(Error::usage(
                "--space says what the numbers of --latents are, and seeds were asked for",
                "leave --space out: images of seeds are the same in every space",
            ));
        }
        self.latents(generator, default_seeds, CANDIDATE_ROW, device)
    }

    /// As [`Self::latents`], for a program that makes candidates.
    pub(super) fn latents_of_program(
        &self,
        program: &ProgramInfo,
        default_seeds: &Seeds,
        device: &Device,
    ) -> Result<LatentSource> {
        let dtype = self.request(device).dtype;
        let origin = match (&self.latents, program.space()) {
            (Some(path), Some(space)) => {
                let values = read_latents(path, &space, dtype, &Device::Cpu)?;
                LatentOrigin::Rows { values, prefix: CANDIDATE_ROW }
            }
            (Some(_), None) => {
                return Err(Error::usage(
                    format!("{} has not said that it takes latents, and --latents names some", program.name),
                    "let it say their shape in its answer to {\"hello\": 1}: \"latent\": [4, 64, 64]",
                ));
            }
            (None, _) => LatentOrigin::Seeds(self.seeds.as_ref().unwrap_or(default_seeds).clone()),
        };
        Ok(LatentSource { class: self.class, ..LatentSource::new(origin, dtype, &Device::Cpu) })
    }

    /// The class of the images.
    pub(super) fn class(&self) -> Option<u32> {
        self.class
    }

    /// As [`Self::describe`], for a program, with what it has said of itself.
    pub(super) fn describe_program(
        &self,
        program: &impl serde::Serialize,
        prompts_sha256: Option<String>,
        default_seeds: &Seeds,
    ) -> Result<serde_json::Value> {
        Ok(serde_json::json!({
            "program": program,
            "prompts_sha256": prompts_sha256,
            "seeds": self.described_seeds(default_seeds),
            "latents_sha256": self.latents.as_ref().map(sha256_of_file).transpose()?,
            "class": self.class,
        }))
    }

    /// The seeds of latents, where those are no file's.
    fn described_seeds(&self, default_seeds: &Seeds) -> Option<String> {
        match self.latents {
            Some(_) => None,
            None => Some(self.seeds.as_ref().unwrap_or(default_seeds).to_string()),
        }
    }

    /// Whether candidates were named one by one.
    pub(super) fn lists_candidates(&self) -> bool {
        self.seeds.is_some() || self.latents.is_some()
    }

    /// The flags that name the generator and what it is told, for commands that are printed.
    pub(super) fn shown(&self) -> String {
        let path = |path: &PathBuf| path.display().to_string();
        let named = [
            ("--generator", Some(self.generator.as_ref().map_or("G".into(), path))),
            ("--arch", self.arch.clone()),
            ("--config", self.config.as_ref().map(path)),
            ("--class", self.class.map(|class| class.to_string())),
            ("--ddim-steps", self.ddim_steps.map(|steps| steps.to_string())),
            ("--generator-output", self.generator_output.clone()),
            ("--generator-range", self.generator_range.map(|range| range.to_string())),
        ];
        let inputs = self.generator_input.iter().map(|input| ("--generator-input", Some(input.to_string())));
        let flags =
            named.into_iter().chain(inputs).filter_map(|(flag, value)| Some(format!("{flag} {}", value?)));
        flags.collect::<Vec<_>>().join(" ")
    }

    /// What of these arguments decides results, without a path in it: for a record of the run. `default_seeds` as in [`Self::latents`].
    pub(super) fn describe(
        &self,
        (generator, origin): (&dyn Generator, &Origin),
        default_seeds: &Seeds,
    ) -> Result<serde_json::Value> {
        let noise =
            self.noise_mode.unwrap_or_default().to_possible_value().map(|value| value.get_name().to_owned());
        // A network without weights to show says in its sizes which it is.
        let (weights, network) = match generator.variables() {
            Some(weights) => (Some(weights.digest()?), None),
            None => (None, Some(generator.info().config.clone())),
        };
        Ok(serde_json::json!({
            "family": origin.family,
            "part": origin.part,
            "assumed": origin.assumed,
            "weights_sha256": weights,
            "network": network,
            "stages": generator.info().stages,
            "seeds": self.described_seeds(default_seeds),
            "latents_sha256": self.latents.as_ref().map(sha256_of_file).transpose()?,
            "class": self.class,
            "trunc": self.trunc,
            "noise_mode": noise,
            "space": self.space(generator)?.name,
        }))
    }
}
