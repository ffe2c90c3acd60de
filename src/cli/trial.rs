//! The trial of an ONNX file that was never used before: its runtime believes what the file says of sizes, and a process that asks for
//! too much memory is ended by the system without a word. So `pd` starts itself once more, in a process that may take only so much, and
//! what happens to that one becomes a message.

use super::program;
use super::signals::stop_requested;
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, LoadedExtractor, OnnxRequest};
use crate::generate::{self, GeneratorRequest, OnnxGeneratorRequest, OnnxInput};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Name of the command; it is not shown.
pub(super) const NAME: &str = "onnx-trial";

/// What the trial may take, of which the program itself maps some, and what it may take besides for each byte of the file.
const MEMORY: u64 = 4 << 30;
const PER_BYTE: u64 = 4;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(20);
/// Exit code of a process that panicked.
const PANICKED: i32 = 101;

/// Load an ONNX file once and say nothing: `pd` starts this itself
#[derive(Args)]
pub(super) struct OnnxTrial {
    /// The file
    file: PathBuf,
    /// Its image input
    #[arg(long, value_name = "NAME")]
    onnx_input: Option<String>,
    /// Its feature output
    #[arg(long, value_name = "NAME")]
    onnx_output: Option<String>,
    /// It makes images
    #[arg(long)]
    generator: bool,
    /// What its inputs take
    #[arg(long, value_name = "NAME=WHAT")]
    generator_input: Vec<OnnxInput>,
    /// Its image output
    #[arg(long, value_name = "NAME")]
    generator_output: Option<String>,
}

/// A range that need not be found: one image is enough to try a file.
const ANY_RANGE: &str = "-1,1";

impl OnnxTrial {
    pub(super) fn run(self) -> Result<()> {
        if self.generator {
            let (inputs, output) = (self.generator_input, self.generator_output);
            let onnx = OnnxGeneratorRequest { inputs, output, range: Some(ANY_RANGE.parse()?) };
            let request = GeneratorRequest { onnx, ..GeneratorRequest::default() };
            return generate::load(self.file, &request).map(drop);
        }
        let onnx = OnnxRequest { input: self.onnx_input, output: self.onnx_output, ..OnnxRequest::default() };
        LoadedExtractor::load(&ExtractorRequest { weights: Some(self.file), onnx, ..Default::default() })
            .map(drop)
    }
}

/// Loads an extractor's file in another process.
///
/// # Errors
/// As [`try_file`].
pub fn try_onnx(file: &Path, request: &OnnxRequest) -> Result<()> {
    let named = [("--onnx-input", &request.input), ("--onnx-output", &request.output)];
    let flag = |(flag, value): (&str, &Option<String>)| value.as_ref().map(|value| format!("{flag}={value}"));
    try_file(file, &named.into_iter().filter_map(flag).collect::<Vec<_>>())
}

/// Loads a generator's file in another process.
///
/// # Errors
/// As [`try_file`].
pub(super) fn try_onnx_generator(file: &Path, request: &OnnxGeneratorRequest) -> Result<()> {
    let mut flags = vec!["--generator".to_owned()];
    flags.extend(request.inputs.iter().map(|input| format!("--generator-input={input}")));
    flags.extend(request.output.iter().map(|output| format!("--generator-output={output}")));
    try_file(file, &flags)
}

/// Loads a file in another process, which gets `flags`.
///
/// # Errors
/// [`Error::Malformed`] if that process was ended by the system, or did not come to an end; [`Error::Interrupted`] on request. What is
/// wrong with the file in any other way is for this process to find.
#[cfg(unix)]
fn try_file(file: &Path, flags: &[String]) -> Result<()> {
    let Some(program) = program::command() else { return Ok(()) };
    let size = fs::metadata(file).map_err(Error::io("open", file))?.len();
    let memory = MEMORY.saturating_add(PER_BYTE.saturating_mul(size));
    // A shell can limit a process before it begins. The file is an argument, and never part of a script.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c 0; ulimit -v \"$1\" && shift && exec \"$@\"", "sh"]);
    command.arg((memory >> 10).to_string()).args(program).arg(NAME);
    command.args(flags).arg("--").arg(file).env("RAYON_NUM_THREADS", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return Ok(()) };
    let started = Instant::now();
    loop {
        let ended = child.try_wait().map_err(Error::io("run", "sh"))?;
        let outcome = match ended {
            Some(status) => return verdict(file, status, memory),
            None if stop_requested() => Err(Error::Interrupted { remedy: "".into() }),
            None if started.elapsed() > PATIENCE => {
                Err(refused(file, &format!("keeps its runtime busy for more than {} s", PATIENCE.as_secs())))
            }
            None => {
                thread::sleep(POLL);
                continue;
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        return outcome;
    }
}

/// Elsewhere a process cannot be limited from outside.
#[cfg(not(unix))]
fn try_file(_: &Path, _: &[String]) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn verdict(file: &Path, status: ExitStatus, memory: u64) -> Result<()> {
    if status.code().is_some_and(|code| code != PANICKED) {
        return Ok(());
    }
    let reason = format!("makes its runtime fail, or take more than {} MB of memory", memory / 1_000_000);
    Err(refused(file, &reason))
}

fn refused(file: &Path, reason: &str) -> Error {
    Error::malformed(
        file,
        reason,
        "export it again with the sizes that it is used with; if it comes from someone else, do not trust it",
    )
}
