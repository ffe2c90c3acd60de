//! The command line: one file per subcommand with its arguments and its `run()`.
//! Arguments are checked and turned into the library's options here; there is no mathematics.
//! Results go to stdout, everything else (progress, warnings) to stderr.

mod bars;
mod bias;
mod bundled;
mod checks;
mod common;
mod completions;
mod deliver;
mod demo;
mod doctor;
mod dups;
mod embed;
mod escape;
mod eval;
mod exit;
mod finetune;
mod garments;
mod generator_args;
mod group_by;
mod hints;
mod index;
mod input;
mod kept;
mod maker;
mod memory;
mod merge;
mod network;
mod output;
mod perturb;
mod presets;
mod program;
mod program_args;
mod refusals;
mod report;
mod resample;
mod sample;
mod score;
mod select;
mod shard;
mod signals;
mod similar;
mod summary;
mod sweep;
mod tables;
mod terminal;
mod threads;
mod trial;
mod version;
mod weights;

pub use hints::hint;
pub use memory::keep_freed_memory;
pub use network::why;
pub use program::is_started_by;
pub use terminal::hide_panics_that_are_reasons;
pub use trial::try_onnx;

use crate::error::Result;
use crate::ops::simd;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use output::Results;
use std::ffi::OsString;
use std::process::ExitCode;

/// `pd`: parse, dispatch, print the error chain, exit code.
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()))
}

/// `pd` with these arguments, of which the first is the program's name. Returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    keep_freed_memory();
    let outcome = match parsed(arguments) {
        Ok(cli) => cli.run(),
        Err(answer) => {
            // Help that was asked for is an answer of this kind too. Whoever reads it may have seen enough.
            let _ = answer.print();
            return if answer.use_stderr() { exit::WRONG_USAGE } else { 0 };
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            terminal::complain(&error);
            exit::exit_code(&error)
        }
    }
}

/// A number below zero is the value of the option before it, so that its own check says what is wrong.
fn parsed(arguments: impl IntoIterator<Item = OsString>) -> std::result::Result<Cli, clap::Error> {
    let with_negative = |arg: Arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    let command = Cli::command().mut_subcommands(|subcommand| subcommand.mut_args(with_negative));
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// Measure how typical each image is (pseudo density).
#[derive(Parser)]
#[command(name = "pd", version, long_version = version::long(), max_term_width = 80, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  pd demo
  pd score photos/ -o scores.csv";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Score(score::Score),
    Embed(embed::Embed),
    Index(index::Index),
    Merge(merge::Merge),
    Perturb(Box<perturb::Perturb>),
    Eval(eval::Eval),
    Sample(Box<sample::Sample>),
    Select(Box<select::Select>),
    Resample(Box<resample::Resample>),
    Sweep(Box<sweep::Sweep>),
    Finetune(Box<finetune::Finetune>),
    Dups(Box<dups::Dups>),
    Report(report::Report),
    Weights(weights::Weights),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(completions::Man),
    #[command(name = trial::NAME, hide = true)]
    OnnxTrial(trial::OnnxTrial),
}

impl Cli {
    fn run(self) -> Result<()> {
        // Kernels cannot report a wrong value of the variable.
        simd::requested()?;
        signals::handle()?;
        terminal::hide_panics_that_are_reasons();
        self.dispatch(&Results::default())
    }

    /// The command itself, as `pd demo` runs it too.
    fn dispatch(self, results: &Results) -> Result<()> {
        match self.command {
            Command::Demo(demo) => demo.run(results),
            Command::Score(score) => score.run(results),
            Command::Embed(embed) => embed.run(results),
            Command::Index(index) => index.run(results),
            Command::Merge(merge) => merge.run(results),
            Command::Perturb(perturb) => perturb.run(results),
            Command::Eval(eval) => eval.run(results),
            Command::Sample(sample) => sample.run(results),
            Command::Select(select) => select.run(results),
            Command::Resample(resample) => resample.run(results),
            Command::Sweep(sweep) => sweep.run(results),
            Command::Finetune(finetune) => finetune.run(results),
            Command::Dups(dups) => dups.run(results),
            Command::Report(report) => report.run(results),
            Command::Weights(weights) => weights.run(results),
            Command::Doctor(doctor) => doctor.run(results),
            Command::Completions(completions) => completions.run(results),
            Command::Man(man) => man.run(results),
            Command::OnnxTrial(trial) => trial.run(),
        }
    }
}
