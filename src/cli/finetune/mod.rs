//! `pd finetune`: a generator trained on with importance sampling.

mod data;
mod evaluation;
mod options;
mod settings;
mod weights;

use super::bundled::Bundled;
use super::common::RunArgs;
use super::exit::exit_code;
use super::output::Results;
use super::signals::SavesAtTheEnd;
use super::terminal::{Terminal, complain};
use crate::error::{Error, Result};
use crate::finetune::{
    Course, Finished, SECOND_ORDER_VARIABLE, finetune_run, run, run_worker, snapshot_name,
};
use crate::images::Inputs;
use crate::progress::Progress;
use crate::runs::RunDir;
use crate::train::collective::{self, Ranks};
use clap::Args;
use options::{Model, Setup, setup};
use serde_json::{Map, Value, json};
use settings::Settings;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Fine-tune a generator with importance sampling towards fidelity or diversity
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd finetune --generator G.ckpt --discriminator D.ckpt --data photos/ \\
    --reference ref/ --bias fidelity --steps 600 -o run/
  pd finetune --generator G.ckpt --discriminator D.ckpt --data photos/ \\
    --reference ref/ --rule ratio:0 --steps 600 --eval-every 100 -o run/
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

/// Fewest steps that a dry run measures, after one that warms up.
const MEASURED_STEPS: u64 = 3;

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
            let plan = dry_run(trainer.as_mut(), schedule.steps, &notes, self.terminal)?;
            return match is_root {
                true => self.terminal.print(&if self.json { pretty(&plan) } else { text_of(&plan) }),
                false => Ok(()),
            };
        }
        // The state of training is saved when it is asked to stop.
        let _saves = SavesAtTheEnd::begin();
        if !is_root {
            return run_worker(trainer.as_mut(), &RunDir::of_leader(&self.output), schedule, self.terminal);
        }
        let directory = RunDir::begin_or_continue(&self.output, &finetune_run(options))?;
        let batch = trainer.batch();
        let finished =
            run(trainer.as_mut(), &directory, schedule, evaluator.as_ref(), sheet, &device, self.terminal)?;
        let control = match (&self.control, &finished.course) {
            (Some(control), Some(course)) => Course::end_of(control, course.column)?,
            _ => None,
        };
        let end = End { finished, control, batch, run: &self.output, data: &data };
        end.warn(self.terminal);
        self.terminal.print(&if self.json { pretty(&end.summary()) } else { end.text() })
    }
}

/// Lets gradients have gradients, as R1 needs. To be called while this thread is alone.
pub(super) fn allow_second_order() {
    // SAFETY: no other thread reads the environment: the one that waits for signals does not, and there is none beside it yet.
    unsafe { std::env::set_var(SECOND_ORDER_VARIABLE, "1") };
}

fn dry_run(trainer: &mut Model, steps: u64, notes: &[String], terminal: &Terminal) -> Result<Value> {
    const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;
    let parameters: Map<String, Value> = trainer
        .networks()?
        .iter()
        .map(|(name, variables)| (name, variables.parameters().map(|(_, v)| v.elem_count()).sum::<usize>()))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ((*name).to_owned(), count.into()))
        .collect();
    let pilots = (0..steps).filter(|step| trainer.prepares(*step)).count();
    let start = Instant::now();
    trainer.prepare(0, terminal)?;
    let seconds_per_pilot = start.elapsed().as_secs_f64();
    trainer.step(0, true)?;
    let start = Instant::now();
    let steps_measured = MEASURED_STEPS.max(trainer.cycle());
    for step in 1..=steps_measured {
        trainer.step(step, step == steps_measured)?;
    }
    let seconds = start.elapsed().as_secs_f64() / steps_measured as f64;
    let mut plan = json!({
        "steps": steps,
        "batch": trainer.batch(),
        "images": steps * trainer.batch() as u64,
        "parameters": parameters,
        "seconds_per_step": seconds,
        "seconds": seconds * steps as f64 + seconds_per_pilot * pilots as f64,
        "notes": notes,
    });
    if pilots > 0 {
        plan["pilots"] = json!({"count": pilots, "seconds_each": seconds_per_pilot});
    }
    if let Some(bytes) = peak_memory() {
        plan["peak_memory_mib"] = (bytes as f64 / BYTES_PER_MIB).into();
    }
    Ok(plan)
}

/// The most memory that this process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    const BYTES_PER_KIB: u64 = 1024;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * BYTES_PER_KIB)
}

fn text_of(plan: &Value) -> String {
    let number = |key: &str| plan[key].as_f64().unwrap_or(f64::NAN);
    let mut text = format!(
        "{} steps of {}: {} images\n{:.3} s a step, {:.0} s in all (evaluations, sheets and snapshots on top)\n",
        plan["steps"],
        plan["batch"],
        plan["images"],
        number("seconds_per_step"),
        number("seconds")
    );
    if let Some(pilots) = plan.get("pilots") {
        let seconds = pilots["seconds_each"].as_f64().unwrap_or(f64::NAN);
        text.push_str(&format!("of these {} pilots of {seconds:.1} s\n", pilots["count"]));
    }
    for (name, count) in plan["parameters"].as_object().into_iter().flatten() {
        text.push_str(&format!("{name}: {count} parameters\n"));
    }
    if plan.get("peak_memory_mib").is_some() {
        text.push_str(&format!("{:.0} MiB of memory\n", number("peak_memory_mib")));
    }
    text
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A run that is over, with what its summary tells.
struct End<'r> {
    finished: Finished,
    /// The last evaluation of a control, by the column that was watched.
    control: Option<f64>,
    batch: usize,
    run: &'r Path,
    data: &'r Inputs,
}

impl End<'_> {
    fn snapshot(&self) -> PathBuf {
        self.run.join(snapshot_name(self.finished.steps))
    }

    fn summary(&self) -> Value {
        let Finished { steps, course, stopped_early, last } = &self.finished;
        let last: Map<_, _> = last.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let mut summary = json!({
            "steps": steps,
            "images": steps * self.batch as u64,
            "snapshot": self.snapshot(),
            "stopped_early": stopped_early,
            "inputs": self.data.counts(),
            "last": last,
        });
        if let Some(Course { column, start, best: (step, best), end }) = course {
            summary["best"] = json!({"step": step, *column: best});
            summary["start"] = json!({*column: start});
            summary["end"] = json!({*column: end});
            if let Some(control) = self.control {
                summary["control"] = json!({*column: control});
            }
        }
        summary
    }

    /// Says how the run ended, where that is not as it was meant to.
    fn warn(&self, terminal: &Terminal) {
        if self.finished.stopped_early {
            terminal.say("stopped early: no evaluation was better for long (--patience)");
        }
        if let Some(course @ Course { column, start, end, .. }) = self.finished.course
            && course.is_worse()
        {
            terminal.warn(&format!(
                "the generator is worse than at the start: {column} rose from {start:.3} to {end:.3}"
            ));
        }
    }

    fn text(&self) -> String {
        let Finished { steps, course, last, .. } = &self.finished;
        let mut text = format!("{steps} steps, {} images\n", steps * self.batch as u64);
        for (name, value) in last {
            text.push_str(&format!("{name} {value:.4}\n"));
        }
        if let Some(Course { column, start, best: (step, best), end }) = course {
            let control = self.control.map_or_else(String::new, |value| format!(", control {value:.3}"));
            text.push_str(&format!(
                "{column}: start {start:.3}{control}, best {best:.3} at step {step}, end {end:.3}\n"
            ));
        }
        text + &format!("{}\n{}\n", self.data.describe(), self.snapshot().display())
    }
}
