//! Arguments that several subcommands share.

use super::hints::hint;
use super::output::Results;
use super::similar;
use super::terminal::Terminal;
use super::threads;
use super::trial::try_onnx;
use crate::device::{DeviceChoice, Precision};
use crate::error::{Error, Result};
use crate::extract::{ARCHITECTURES, ExtractorRequest, OnnxRequest};
use crate::formats::onnx::is_onnx;
use crate::images::{Alpha, Fit, set_decoding_memory};
use crate::neighbors::IndexKind;
use crate::reference::embed::{DEFAULT_BATCH, EmbedOptions};
use crate::reference::score::{Duplicates, ScoreOptions};
use crate::runs::ShardRequest;
use candle_core::Device;
use clap::Args;
use std::path::{Path, PathBuf};

/// How a command runs; nothing here changes a result but for the rounding of another device.
#[derive(Args)]
#[command(next_help_heading = "Running")]
pub(super) struct RunArgs {
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Device for networks and exact nearest neighbours: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Memory that decoding images may take in all threads, such as 500M or 4G [default: half of the machine's, or of its control group's limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Show no progress and no warnings
    #[arg(long, short)]
    quiet: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,
}

impl RunArgs {
    /// Leaves the talking to another process.
    pub(super) fn hush(&mut self) {
        self.quiet = true;
    }

    /// Runs beside other processes of this machine, as the one of this number.
    pub(super) fn beside_others(&mut self, local: usize) {
        self.device = self.device.of_process(local);
    }

    /// Sets up the threads, the terminal and the device.
    pub(super) fn start(&self, results: &Results) -> Result<Terminal> {
        threads::set_up(self.threads)?;
        if let Some(memory) = self.memory {
            set_decoding_memory(memory);
        }
        let terminal = Terminal::new(self.quiet, results);
        let opened = self.device.open()?;
        if let Some(remark) = &opened.remark {
            terminal.say(remark);
        }
        Ok(terminal.on(opened.device))
    }
}

/// How images are read and turned into features.
#[derive(Args)]
#[command(next_help_heading = "Features")]
pub(super) struct ExtractorArgs {
    /// Network that turns images into features (`pd weights list` shows all), or an .onnx file [default: tiny, or the reference's]
    #[arg(long, value_name = "NAME", value_parser = similar::extractor)]
    extractor: Option<String>,
    /// Weights file of the network: safetensors, .pth, .pt, .ckpt, or an archive that holds one [default: embedded, or from the cache]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Input of an .onnx file that takes the images [default: its only input]
    #[arg(long, value_name = "NAME")]
    onnx_input: Option<String>,
    /// Output of an .onnx file that holds the features, or any tensor inside its network [default: its only output]
    #[arg(long, value_name = "NAME")]
    onnx_output: Option<String>,
    /// Mean of the colours an .onnx file takes, of values in 0..1; one or three [default: preprocessor_config.json beside it, or ImageNet's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Option<Vec<f32>>,
    /// Standard deviation of the colours an .onnx file takes, of values in 0..1; one or three [default: preprocessor_config.json beside it, or ImageNet's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    std: Option<Vec<f32>>,
    /// How an image is resized to the network's input shape [default: the network's own way]
    #[arg(long)]
    fit: Option<Fit>,
    /// What replaces transparent pixels [default: white]
    #[arg(long)]
    alpha: Option<Alpha>,
    /// Decode large JPEG files at a reduced size, the next above the network's input: much faster, and features change a little [default: false, or the reference's]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    fast_decode: Option<bool>,
    /// Scale every feature vector to length 1, so that distances depend on directions alone [default: the network's own setting]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub normalize: Option<bool>,
    /// Images per forward pass; results do not depend on it
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BATCH, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Number format that the network computes in [default: f32, or the reference's]
    #[arg(long, value_name = "f32|bf16", hide_possible_values = true)]
    dtype: Option<Precision>,
    /// Stop at the first image that cannot be used (exit code 3) instead of skipping it
    #[arg(long)]
    pub strict: bool,
    /// Name of the array to read from a features file that holds several
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
}

impl ExtractorArgs {
    /// What the library is asked for, to compute on `device`.
    pub(super) fn request(&self, device: &Device) -> ExtractorRequest {
        ExtractorRequest {
            name: self.extractor.clone(),
            weights: self.weights.clone(),
            fit: self.fit,
            alpha: self.alpha,
            fast_decode: self.fast_decode,
            normalize: self.normalize,
            onnx: OnnxRequest {
                input: self.onnx_input.clone(),
                output: self.onnx_output.clone(),
                mean: self.mean.clone(),
                std: self.std.clone(),
            },
            device: device.clone(),
            precision: self.dtype,
            protocol: None,
            trial: Some(try_onnx),
        }
    }

    /// The built-in network that is asked for, or that images get where none is; `None` for an ONNX file.
    pub(super) fn network(&self) -> Option<&str> {
        let file = |path: &PathBuf| is_onnx(path);
        match &self.extractor {
            None if self.weights.as_ref().is_some_and(file) => None,
            None => Some(ARCHITECTURES[0].name),
            Some(name) => (!is_onnx(Path::new(name))).then_some(name),
        }
    }

    /// How images are embedded.
    pub(super) fn embed_options(&self) -> EmbedOptions {
        EmbedOptions { batch: self.batch.into(), strict: self.strict }
    }

    /// # Errors
    /// If an option was given that only makes sense for images.
    pub(super) fn refuse_for_features(&self) -> Result<()> {
        let given = [
            ("--extractor", self.extractor.is_some()),
            ("--weights", self.weights.is_some()),
            ("--onnx-input", self.onnx_input.is_some()),
            ("--onnx-output", self.onnx_output.is_some()),
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
            ("--fit", self.fit.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--fast-decode", self.fast_decode.is_some()),
            ("--dtype", self.dtype.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::usage(
                format!(
                    "{name} says how images are turned into features, but the input holds features already"
                ),
                "leave it out, or name images",
            )),
            None => Ok(()),
        }
    }

    /// # Errors
    /// If `--key` was given for images.
    pub(super) fn refuse_key(&self) -> Result<()> {
        match self.key {
            Some(_) => Err(Error::usage(
                "--key names an array of a features file, but the input is images",
                "leave it out",
            )),
            None => Ok(()),
        }
    }
}

/// How densities are computed.
#[derive(Args)]
#[command(next_help_heading = "Pseudo density")]
pub(super) struct DensityArgs {
    /// Number K of nearest neighbours
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k: u32,
    /// Exponent n of the pseudo density
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = positive)]
    exponent: f64,
    /// How exact copies count: the published formula rates them as typical
    #[arg(long, default_value = "keep")]
    duplicates: Duplicates,
    /// Method that finds the nearest neighbours
    #[arg(long, default_value = "auto")]
    index: IndexKind,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Reads `--shard`.
pub(super) fn shard(text: &str) -> std::result::Result<ShardRequest, String> {
    text.parse().map_err(|e: Error| hint(&e).unwrap_or_default())
}

/// Reads a size in bytes: 1000, 500M, 4G, 1.5GiB.
fn size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1u64,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err("must be a size such as 500M or 4G".into()),
    };
    match digits.parse::<f64>().map(|number| number * unit as f64) {
        Ok(bytes) if bytes >= LEAST_MEMORY && bytes.is_finite() => Ok(bytes as u64),
        Ok(_) => Err("must be at least 16M".into()),
        Err(_) => Err("must be a size such as 500M or 4G".into()),
    }
}

/// Less would keep nearly everything from being decoded.
const LEAST_MEMORY: f64 = 16e6;

fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("must be a number above 0".into()),
    }
}

impl DensityArgs {
    /// What the library is asked for.
    pub(super) fn options(&self) -> ScoreOptions {
        ScoreOptions {
            k: self.k as usize,
            exponent: self.exponent,
            duplicates: self.duplicates,
            index: self.index,
            seed: self.seed,
        }
    }
}
