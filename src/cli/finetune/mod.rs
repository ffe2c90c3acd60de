//! `pd finetune`: a generator trained on with importance sampling.

mod data;
mod evaluation;
mod options;
mod plan;
mod settings;
mod summary;
mod weights;

use super::bundled::Bundled;
use super::common::RunArgs;
use super::exit::exit_code;
use super::output::Results;
use super::signals::SavesAtTheEnd;
use super::terminal::{Terminal, complain};
use crate::error::{Error, Result};
use crate::finetune::{SECOND_ORDER_VARIABLE, finetune_run, last_in_log, run, run_worker};
use crate::progress::Progress;
use crate::runs::RunDir;
use crate::train::collective::{self, Ranks};
use clap::Args;
use options::{Setup, setup};
use serde_json::Value;
use settings::Settings;
use std::path::{Path, PathBuf};
use summary::End;

/// Fine-tune a generator with importance sampling towards fidelity or diversity
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd finetune --generator G.ckpt --discriminator D.ckpt --data photos/ \\
    --reference ref/ --bias fidelity --steps 600 -o run/
  pd finetune --init config.json --data photos/ --kimg 200 -o run/")]
pub(super) struct Finetune {
    #[command(flatten)]
    settings: Settings,
    /// Settings of an earlier run (its options.json); flags override them
    #[arg(long, value_name = "FILE")]
    options: Option<PathBuf>,
    /// Run directory; the same command again continues the run
    #[arg(long, short, value_name = "RUN", default_value = "pd-finetune")]
    output: PathBuf,
    /// Run directory of a control (--weight 1): its last evaluation is shown beside this run's
    #[arg(long, value_name = "RUN")]
    control: Option<PathBuf>,
    /// Continue the run in --output. The same command does so without this flag too; with it, no new run is begun
    #[arg(long)]
    resume: bool,
    /// Measure time and memory of a few steps, print the plan, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    run: RunArgs,
}

impl Finetune {
    /// On every rank that was started together.
    pub(super) fn run(mut self, results: &Results) -> Result<()> {
        if self.resume && !self.output.is_dir() {
            return Err(Error::usage(
                format!("there is no run in {} to resume", self.output.display()),
                "leave --resume out to begin one",
            ));
        }
        if let Some(control) = &self.control
            && !control.is_dir()
        {
            return Err(Error::usage(
                format!("there is no run in {} to compare with", control.display()),
                "leave --control out, or name the directory of a run",
            ));
        }
        if let Some(file) = &self.options {
            self.settings = self.settings.over_file(file)?;
        }
        if self.settings.needs_second_order() {
            allow_second_order();
        }
        let ranks = collective::open(|name| std::env::var(name).ok())?;
        let terminal = or_end_all(self.start(&ranks, results), &ranks)?;
        let ready = or_end_all(self.prepare(&ranks, &terminal), &ranks)?;
        match ready.run() {
            // All ranks have agreed to this one.
            Err(stop @ Error::Interrupted { .. }) if ranks.size() > 1 => stopped(&stop, ranks),
            Err(stop @ Error::Interrupted { .. }) => Err(stop),
            outcome => or_end_all(outcome, &ranks),
        }
    }

    /// Only the first rank tells of its work, and each has a device of its own.
    fn start(&mut self, ranks: &Ranks, results: &Results) -> Result<Terminal> {
        if !ranks.is_root() {
            self.run.hush();
        }
        if ranks.size() > 1 {
            self.run.beside_others(ranks.local_rank());
        }
        self.run.start(results)
    }

    fn prepare<'t>(mut self, ranks: &Ranks, terminal: &'t Terminal) -> Result<Ready<'t>> {
        let bundled = self.settings.names_nothing();
        if bundled {
            let bundled = Bundled::digits(
                "a generator and a discriminator of digits, the digits, and their reference",
                "name --generator G, --discriminator D, --data IMAGES and --reference REF",
                terminal,
            )?;
            self.settings.take(bundled.generator(), bundled.images(), bundled.reference(terminal)?);
        }
        let mut setup = setup(self.settings, ranks, terminal)?;
        if bundled {
            // The run is the same wherever the cache is; digests say what it was made of.
            Settings::forget_inputs(&mut setup.options);
        }
        for note in &setup.notes {
            terminal.say(note);
        }
        let Self { output, control, dry_run, run, .. } = self;
        Ok(Ready { setup, output, control, dry_run, json: run.json, terminal })
    }
}

/// The first rank says what is kept, before any ends: `mpirun` ends all ranks once it sees one that has stopped.
fn stopped(stop: &Error, ranks: Ranks) -> ! {
    if ranks.is_root() {
        complain(stop);
    }
    ranks.barrier();
    drop(ranks);
    std::process::exit(exit_code(stop).into())
}

/// What one rank has failed by ends the others too: they would wait for it.
fn or_end_all<T>(outcome: Result<T>, ranks: &Ranks) -> Result<T> {
    match outcome {
        Err(error) if ranks.size() > 1 => {
            complain(&error);
            ranks.abort(exit_code(&error));
            Err(error)
        }
        outcome => outcome,
    }
}

/// A run with everything read.
struct Ready<'t> {
    setup: Setup<'t>,
    output: PathBuf,
    control: Option<PathBuf>,
    dry_run: bool,
    json: bool,
    terminal: &'t Terminal,
}

impl Ready<'_> {
    fn run(self) -> Result<()> {
        let Setup { mut trainer, evaluator, schedule, sheet, device, options, notes, data } = self.setup;
        let is_root = trainer.ranks().is_root();
        if self.dry_run {
            let plan = plan::measure(trainer.as_mut(), schedule.steps, &notes, self.terminal)?;
            return match is_root {
                true => self.terminal.print(&if self.json { pretty(&plan) } else { plan::text(&plan) }),
                false => Ok(()),
            };
        }
        let control = match (&self.control, &evaluator) {
            (None, _) => None,
            (Some(control), Some(evaluator)) => value_of(control, evaluator.watched(), self.terminal)?,
            (Some(_), None) => {
                return Err(Error::usage(
                    "--control has no effect: nothing is evaluated without --eval-every",
                    "leave it out",
                ));
            }
        };
        // The state of training is saved when it is asked to stop.
        let _saves = SavesAtTheEnd::begin();
        if !is_root {
            return run_worker(trainer.as_mut(), &RunDir::of_leader(&self.output), schedule, self.terminal);
        }
        let directory = RunDir::begin_or_continue(&self.output, &finetune_run(options))?;
        let batch = trainer.batch();
        let finished =
            run(trainer.as_mut(), &directory, schedule, evaluator.as_ref(), sheet, &device, self.terminal)?;
        let end = End { finished, control, batch, run: &self.output, data: &data };
        end.warn(self.terminal);
        self.terminal.print(&if self.json { pretty(&end.summary()) } else { end.text() })
    }
}

/// The last evaluation of a control, by the column that is watched.
fn value_of(control: &Path, column: &str, terminal: &Terminal) -> Result<Option<f64>> {
    let found = last_in_log(control, column)?;
    if found.is_none() {
        terminal.warn(&format!("{} was not evaluated by {column}", control.display()));
    }
    Ok(found)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Lets gradients have gradients, as R1 needs. To be called while this thread is alone.
pub(super) fn allow_second_order() {
    // SAFETY: no other thread reads the environment: the one that waits for signals does not, and there is none beside it yet.
    unsafe { std::env::set_var(SECOND_ORDER_VARIABLE, "1") };
}
