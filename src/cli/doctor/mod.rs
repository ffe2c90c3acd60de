//! `pd doctor`: whether everything that `pd` needs is there and works on this machine.

mod generator;

use super::hints::{self, hint};
use super::output::{Results, json_text};
use super::program_args::ProgramArgs;
use super::terminal::Terminal;
use crate::device::{self, DeviceChoice};
use crate::error::{Error, Result};
use crate::extract::weights::{Cache, CachedWeights, Digest};
use crate::extract::{ARCHITECTURES, Architecture, ExtractorRequest, LoadedExtractor};
use crate::images::{Prepared, RgbImage, decodes_jpeg_with_vector_instructions};
use crate::ops::{cpu, simd};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

/// Sides of the test picture: oblong and odd, so that resizing has something to do.
const TEST_PICTURE: (u32, u32) = (157, 113);

/// Free bytes below which fetching the larger weights would fail.
const LITTLE_SPACE: u64 = 1 << 30;

/// Check this machine: device, instruction sets, cached weights, disk, and each extractor on one image
#[derive(Args)]
#[command(after_help = "\
Exit code 1 if something is broken; the remedy is printed.

With --generator-command only that program is checked: it is asked for a few
images twice, in another order and several at once, and they have to be the same.

The kernels use the fastest instruction set that the processor has. The
environment variable PD_SIMD forces one, for every command: avx512, avx2, neon
or portable. Results stay the same to the bit, only the time changes.

Examples:
  pd doctor
  pd doctor --generator-command 'python make.py'")]
pub(super) struct Doctor {
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    program: ProgramArgs,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    target: String,
    device: String,
    threads: usize,
    features: &'static [&'static str],
    cuda: String,
    instruction_sets: Vec<&'static str>,
    product_kernel: &'static str,
    elementwise_kernel: &'static str,
    /// The value of `PD_SIMD` that forces the instruction set in use.
    simd: &'static str,
    /// The values of `PD_SIMD` that work here, the fastest first.
    simd_available: Vec<&'static str>,
    /// Whether `PD_SIMD` is set.
    simd_forced: bool,
    /// Whether JPEG files are decoded with vector instructions.
    jpeg_simd: bool,
    cache: CacheState,
    weights: Vec<WeightsState>,
    extractors: Vec<ExtractorState>,
    warnings: Vec<String>,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct CacheState {
    directory: Option<String>,
    free_bytes: Option<u64>,
}

#[derive(Serialize)]
struct WeightsState {
    name: String,
    path: String,
    bytes: u64,
    digest: &'static str,
}

#[derive(Serialize)]
struct ExtractorState {
    name: &'static str,
    works: bool,
    dimension: usize,
    milliseconds: Option<f64>,
}

#[derive(Serialize)]
struct Problem {
    what: String,
    remedy: String,
}

impl Doctor {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        if let Some(findings) = generator::examine(&self.program, &Terminal::new(false, results))? {
            results.print(&if self.json { json_text(&findings)? } else { findings.text() })?;
            return findings.check();
        }
        let report = examine();
        results.print(&if self.json { report.json()? } else { report.text() })?;
        let Some(first) = report.problems.first() else { return Ok(()) };
        let count = match report.problems.len() {
            1 => "1 thing is broken".to_string(),
            count => format!("{count} things are broken, the first"),
        };
        Err(Error::data(format!("{count}: {}", first.what), first.remedy.clone()))
    }
}

fn examine() -> Report {
    let cuda = device::cuda_state();
    let opened = DeviceChoice::Auto.open();
    let chosen = opened.map_or(Device::Cpu, |opened| opened.device);
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        device: device::describe(&chosen),
        threads: rayon::current_num_threads(),
        features: device::COMPILED_FEATURES,
        cuda,
        instruction_sets: cpu::instruction_sets(),
        product_kernel: cpu::product_kernel(),
        elementwise_kernel: cpu::elementwise_kernel(),
        simd: simd::isa().name(),
        simd_available: simd::Isa::available().map(simd::Isa::name).collect(),
        simd_forced: matches!(simd::requested(), Ok(Some(_))),
        jpeg_simd: decodes_jpeg_with_vector_instructions(),
        cache: CacheState { directory: None, free_bytes: None },
        weights: Vec::new(),
        extractors: Vec::new(),
        warnings: Vec::new(),
        problems: Vec::new(),
    };
    let cached = match Cache::from_env() {
        Ok(cache) => report.look_into(&cache),
        Err(error) => {
            report.broken("the cache of weights", &error, "");
            Vec::new()
        }
    };
    for architecture in ARCHITECTURES {
        let here = cached.iter().find(|weights| weights.name == architecture.name);
        // Weights that changed are reported already, and what they would give says nothing.
        if here.map_or(architecture.embedded.is_some(), |weights| weights.digest != Digest::Differs) {
            report.try_out(architecture, here, &chosen);
        }
    }
    report
}

impl Report {
    fn broken(&mut self, what: &str, error: &Error, remedy: &str) {
        let mut text = format!("{what}: {error}");
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        let remedy = match remedy {
            "" => hint(error).unwrap_or_default(),
            words => words.to_owned(),
        };
        self.problems.push(Problem { what: text, remedy });
    }

    /// Disk and digests; the weights that are there.
    fn look_into(&mut self, cache: &Cache) -> Vec<CachedWeights> {
        self.cache.directory = Some(cache.root().display().to_string());
        self.cache.free_bytes = free_bytes(cache.root());
        match self.cache.free_bytes {
            Some(free) if free < LITTLE_SPACE => {
                let (free, place) = (size(free), cache.root().display());
                self.warnings.push(format!("only {free} free for {place}; PD_CACHE can name another place"));
            }
            _ => {}
        }
        let cached = match cache.list() {
            Ok(cached) => cached,
            Err(error) => {
                let remedy = format!("make {} readable, or set PD_CACHE", cache.root().display());
                self.broken("the cached weights cannot be checked", &error, &remedy);
                return Vec::new();
            }
        };
        for weights in &cached {
            let path = weights.path.display();
            let known = ARCHITECTURES.iter().any(|architecture| architecture.name == weights.name);
            if weights.digest == Digest::Differs {
                let remedy =
                    format!("remove it and fetch it again: rm '{path}' && {}", fetch_command(&weights.name));
                let what = format!("{path} is not as it was fetched: its SHA-256 differs");
                self.problems.push(Problem { what, remedy });
            } else if !known {
                self.warnings.push(format!("{path} belongs to no extractor and is not used"));
            }
            self.weights.push(WeightsState {
                name: weights.name.clone(),
                path: path.to_string(),
                bytes: weights.size,
                digest: match weights.digest {
                    Digest::Matches => "verified",
                    Digest::Differs => "differs",
                    Digest::Unrecorded => "not recorded",
                },
            });
        }
        cached
    }

    /// The features of one image.
    fn try_out(
        &mut self,
        architecture: &'static Architecture,
        cached: Option<&CachedWeights>,
        device: &Device,
    ) {
        let begin = Instant::now();
        let outcome = one_image(architecture.name, device);
        let seconds = begin.elapsed().as_secs_f64();
        self.extractors.push(ExtractorState {
            name: architecture.name,
            works: outcome.is_ok(),
            dimension: architecture.dimension,
            milliseconds: outcome.is_ok().then_some((seconds * 1e4).round() / 10.0),
        });
        if let Err(error) = outcome {
            let remedy = match cached {
                Some(weights) => {
                    let path = weights.path.display();
                    format!(
                        "remove the weights and fetch them again: rm '{path}' && {}",
                        fetch_command(&weights.name)
                    )
                }
                None => "the program itself is damaged: install it again".into(),
            };
            self.broken(&format!("{} does not work", architecture.name), &error, &remedy);
        }
    }

    fn json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::data(e.to_string(), ""))?;
        Ok(text + "\n")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:16} {value}");
        };
        let list = |items: &[&str]| if items.is_empty() { "none".to_string() } else { items.join(", ") };
        line("version", format!("{} on {}", self.version, self.target));
        line("device", format!("{}, {} threads", self.device, self.threads));
        line("features", list(self.features));
        line("CUDA", self.cuda.clone());
        line("instructions", list(&self.instruction_sets));
        line(
            "kernels",
            format!("products {}, element-wise {}", self.product_kernel, self.elementwise_kernel),
        );
        let how = if self.simd_forced { "forced by" } else { "the fastest; another with" };
        let variable = simd::VARIABLE;
        line("simd", format!("{} ({how} {variable}={})", self.simd, self.simd_available.join(", ")));
        line(
            "JPEG",
            match self.jpeg_simd {
                true => "decoded with vector instructions".into(),
                false => "decoded without vector instructions: build pd where nasm is installed for faster decoding".into(),
            },
        );
        let directory = self.cache.directory.as_deref().unwrap_or("none");
        line(
            "cache",
            match self.cache.free_bytes {
                Some(free) => format!("{directory} ({} free)", size(free)),
                None => directory.into(),
            },
        );
        for weights in &self.weights {
            line(
                "weights",
                format!("{:20} {:>9}, digest {}", weights.name, size(weights.bytes), weights.digest),
            );
        }
        for extractor in &self.extractors {
            let state = match extractor.milliseconds {
                Some(time) => format!("works ({time} ms with loading)"),
                None => "DOES NOT WORK".into(),
            };
            line("extractor", format!("{:20} {:>4}-d    {state}", extractor.name, extractor.dimension));
        }
        for warning in &self.warnings {
            line("warning", warning.clone());
        }
        for problem in &self.problems {
            line("BROKEN", problem.what.clone());
            if !problem.remedy.is_empty() {
                line("  remedy", problem.remedy.clone());
            }
        }
        if self.problems.is_empty() {
            line("verdict", "all is well".into());
        }
        text
    }
}

/// Where the file system of a directory that need not exist yet has room.
fn free_bytes(directory: &Path) -> Option<u64> {
    directory.ancestors().find(|place| place.exists()).and_then(|place| fs4::available_space(place).ok())
}

/// The command that brings the weights of an extractor back.
fn fetch_command(name: &str) -> String {
    use crate::extract::weights::sources::SOURCES;
    match SOURCES.iter().find(|source| source.name == name) {
        Some(source) => hints::fetch_command(name, source.is_pinned(source.preferred()) == Some(false)),
        None => "put the file back".into(),
    }
}

/// One picture through an extractor.
fn one_image(name: &str, device: &Device) -> Result<()> {
    let request = ExtractorRequest { name: Some(name.into()), device: device.clone(), ..Default::default() };
    let extractor = LoadedExtractor::load(&request)?;
    let picture = test_picture();
    let (width, height) = (picture.width, picture.height);
    let pixels = extractor.preprocessing().apply(&picture);
    let features = extractor.features(&[Some(&Prepared { pixels, width, height, note: String::new() })])?;
    let hint = "the weights are damaged or of another network";
    if !features.iter().all(|value| value.is_finite()) {
        return Err(Error::data("its features are not finite", hint));
    }
    if features.iter().all(|value| *value == 0.0) {
        return Err(Error::data("its features are all zero", hint));
    }
    Ok(())
}

/// Two crossing ramps and a checkerboard: something for every filter.
fn test_picture() -> RgbImage {
    let (width, height) = TEST_PICTURE;
    let pixel = |x: u32, y: u32| {
        let checker = if (x / 8 + y / 8).is_multiple_of(2) { 255 } else { 0 };
        [(x * 255 / width) as u8, (y * 255 / height) as u8, checker]
    };
    let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    RgbImage { width, height, pixels }
}

/// Bytes in decimal units.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let power = (bytes.max(1).ilog10() / 3).min(UNITS.len() as u32 - 1);
    let value = bytes as f64 / 1000f64.powi(power as i32);
    format!("{value:.*} {}", usize::from(power > 0), UNITS[power as usize])
}
