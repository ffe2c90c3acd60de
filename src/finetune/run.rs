//! The loop around the steps: log, sheets, snapshots, state, evaluations, and when to stop. The root rank runs it, the others are workers.

use super::agreement::{Next, agree};
use super::evaluate::Evaluator;
use super::log::Log;
use super::sheet::Sheet;
use super::state::{
    BEST, keep_last_snapshots, last_snapshot, load_state, remove_other_states, save_snapshot, save_state,
    snapshot_name,
};
use super::trainer::{Scalars, Trainer};
use crate::error::{Error, Result};
use crate::progress::{Progress, Silent};
use crate::remedy::Remedy;
use crate::runs::RunDir;
use crate::train::collective::{Collective, Ranks};
use candle_core::Device;

/// When things happen, in steps.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Steps in all.
    pub steps: u64,
    /// From one snapshot (with sheet and state) to the next.
    pub snap: u64,
    /// How many snapshots are kept, the last ones and beside the best; all if not given.
    pub snapshots: Option<u64>,
    /// From one line of the log to the next.
    pub log_every: u64,
    /// From one evaluation to the next.
    pub eval_every: u64,
    /// Evaluations without a better distance after which the run stops; the best is kept.
    pub patience: Option<u64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Steps made, those of earlier starts included.
    pub steps: u64,
    /// How the distance went, where it was evaluated.
    pub course: Option<Course>,
    /// Whether it stopped because no evaluation was better for long.
    pub stopped_early: bool,
    /// The last line's numbers.
    pub last: Vec<(&'static str, f64)>,
}

/// How the distance that is watched went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Course {
    /// Its column of the log.
    pub column: &'static str,
    /// The first evaluation.
    pub start: f64,
    /// The step and the distance of the best evaluation; the first of equals.
    pub best: (u64, f64),
    /// The last evaluation.
    pub end: f64,
}

impl Course {
    fn of(log: &Log, column: &'static str) -> Option<Self> {
        let values = log.column(column);
        let best = values.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)))?;
        Some(Self { column, start: values.first()?.1, best, end: values.last()?.1 })
    }

    /// Whether the generator became worse.
    pub(crate) fn is_worse(&self) -> bool {
        self.end > self.start
    }
}

/// A discriminator's loss below this says that it no longer doubts anything.
const COLLAPSED_LOSS: f64 = 1e-3;
/// As many reported steps in a row below it are taken for a collapse.
const COLLAPSED_REPORTS: usize = 20;

/// What the names of losses end in.
const LOSS: &str = "loss";
/// A loss has exploded if it is this many times its median so far, and at least so large in itself.
const EXPLODED_RATIO: f64 = 1e4;
const SMALLEST_EXPLOSION: f64 = 1e3;
/// Lines of the log that say what a loss was before.
const REPORTS_BEFORE_EXPLOSION: usize = 10;

/// Trains from the latest state of the directory to the end of the schedule: on the root rank, while the others are in [`run_worker`].
///
/// # Errors
/// [`Error::Interrupted`] with the state saved, once all ranks have agreed to stop; [`Error::Data`] when the run diverges; what the
/// steps and the files return.
pub fn run(
    trainer: &mut dyn Trainer,
    directory: &RunDir,
    schedule: Schedule,
    evaluator: Option<&Evaluator<'_>>,
    sheet: Sheet,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Finished> {
    let ranks = Ranks::clone(trainer.ranks());
    let resumed = load_state(directory, trainer)?;
    let start = agreed_start(resumed, ranks.as_ref())?;
    remove_other_states(directory, start)?;
    let batch = trainer.batch();
    let mut log = Log::open(directory.path(), resumed)?;
    let sheet_of = |step: u64, trainer: &dyn Trainer| {
        sheet.write(&directory.path().join(format!("fakes-{step:06}.png")), trainer, device)
    };
    if resumed.is_none() {
        sheet_of(0, trainer)?;
        if let Some(evaluator) = evaluator {
            let found = evaluated(evaluator, trainer, directory, progress)?;
            log.append(0, batch, &found)?;
        }
    }
    let mut last = Vec::new();
    let watched = evaluator.map(Evaluator::watched);
    let course = |log: &Log| Course::of(log, watched?);
    let is_over = |log: &Log| patience_is_over(log, watched?, schedule.patience?);
    let mut stopped_early = is_over(&log).unwrap_or(false);
    let mut step = start;
    progress.start("training", schedule.steps.saturating_sub(start), "steps");
    loop {
        let over = step >= schedule.steps || stopped_early;
        match agree(ranks.as_ref(), if over { Next::End } else { wish(progress) }) {
            Next::Step => {}
            Next::End => break,
            Next::Stop => return Err(stopped(step, trainer, directory, progress)),
        }
        if trainer.prepares(step) {
            progress.finish();
            match trainer.prepare(step, alone(ranks.as_ref(), progress)) {
                Err(Error::Interrupted { .. }) => return Err(stopped(step, trainer, directory, progress)),
                prepared => prepared?,
            }
            progress.start("training", schedule.steps - step, "steps");
        }
        let final_step = step + 1 == schedule.steps;
        let mut scalars = trainer.step(step, is_due(step + 1, schedule.log_every, final_step))?;
        step += 1;
        progress.advance(1);
        check_losses(&scalars, step, directory)?;
        check_explosion(&scalars, &log, step, directory)?;
        let snapshot_is_due = is_due(step, schedule.snap, final_step);
        let evaluator = evaluator.filter(|_| is_due(step, schedule.eval_every, final_step));
        if snapshot_is_due || evaluator.is_some() {
            trainer.check_finite().map_err(|error| diverged(&error.to_string(), step, directory))?;
        }
        if let Some(evaluator) = evaluator {
            progress.finish();
            let found = evaluated(evaluator, trainer, directory, progress)?;
            progress.start("training", schedule.steps - step, "steps");
            let distance = found.iter().find(|(name, _)| Some(*name) == watched).map(|(_, value)| *value);
            let best = course(&log).map_or(f64::INFINITY, |course| course.best.1);
            scalars.extend(found);
            if schedule.patience.is_some() && distance.is_some_and(|distance| distance < best) {
                save_snapshot(directory, BEST, trainer)?;
            }
        }
        if !scalars.is_empty() {
            log.append(step, batch, &scalars)?;
            last = scalars;
        }
        check_collapse(&log, step, directory)?;
        stopped_early = is_over(&log).unwrap_or(false) && !final_step;
        if snapshot_is_due || stopped_early {
            sheet_of(step, trainer)?;
            save_snapshot(directory, &snapshot_name(step), trainer)?;
            save_state(directory, step, trainer)?;
            if let Some(snapshots) = schedule.snapshots {
                keep_last_snapshots(directory, snapshots)?;
            }
        }
    }
    progress.finish();
    Ok(Finished { steps: step, course: course(&log), stopped_early, last })
}

/// Makes the steps of a run on a rank that is not the root: the root writes and decides.
///
/// # Errors
/// [`Error::Interrupted`], once all ranks have agreed to stop and the state is saved; what the steps return.
pub fn run_worker(
    trainer: &mut dyn Trainer,
    directory: &RunDir,
    schedule: Schedule,
    progress: &dyn Progress,
) -> Result<()> {
    let ranks = Ranks::clone(trainer.ranks());
    let mut step = agreed_start(load_state(directory, trainer)?, ranks.as_ref())?;
    loop {
        match agree(ranks.as_ref(), wish(progress)) {
            Next::Step => {}
            Next::End => return Ok(()),
            Next::Stop => {
                ranks.barrier();
                return Err(Error::Interrupted { remedy: Remedy::None });
            }
        }
        trainer.prepare(step, &Silent)?;
        trainer.step(step, is_due(step + 1, schedule.log_every, step + 1 == schedule.steps))?;
        step += 1;
    }
}

/// What a rank may be stopped by within a step: nothing where others would wait for it.
fn alone<'p>(ranks: &dyn Collective, progress: &'p dyn Progress) -> &'p dyn Progress {
    if ranks.size() == 1 { progress } else { &Silent }
}

/// Saves the state once all ranks have agreed to stop; what there is to say of it.
fn stopped(step: u64, trainer: &mut dyn Trainer, directory: &RunDir, progress: &dyn Progress) -> Error {
    progress.finish();
    if let Err(error) = save_state(directory, step, trainer) {
        return error;
    }
    trainer.ranks().barrier();
    let hint = format!("step {step} is saved in {}; the same command continues", directory.path().display());
    Error::Interrupted { remedy: hint.into() }
}

/// Another step, unless a stop was requested.
fn wish(progress: &dyn Progress) -> Next {
    if progress.stop_requested() { Next::Stop } else { Next::Step }
}

/// The step to begin with, which is refused if other ranks begin with another.
fn agreed_start(resumed: Option<u64>, ranks: &dyn Collective) -> Result<u64> {
    let start = resumed.unwrap_or(0);
    let mut mean = [start as f64];
    ranks.all_reduce_mean_f64(&mut mean);
    if mean != [start as f64] {
        let reason = format!(
            "rank {} goes on from step {start}, the others from {} on average",
            ranks.rank(),
            mean[0]
        );
        return Err(Error::data(reason, "do the machines of all ranks see the same run directory?"));
    }
    Ok(start)
}

/// An evaluation; if a signal breaks it off, all ranks stop.
fn evaluated(
    evaluator: &Evaluator<'_>,
    trainer: &dyn Trainer,
    directory: &RunDir,
    progress: &dyn Progress,
) -> Result<Scalars> {
    match evaluator.evaluate(trainer, progress) {
        Err(Error::Interrupted { .. }) => {
            // The others are at their next vote, or will be. The evaluation belongs to this step: it is made again when the step is.
            agree(trainer.ranks().as_ref(), Next::Stop);
            trainer.ranks().barrier();
            let hint =
                format!("{} keeps the last state; the same command continues", directory.path().display());
            Err(Error::Interrupted { remedy: hint.into() })
        }
        found => found,
    }
}

fn is_due(step: u64, every: u64, final_step: bool) -> bool {
    step.is_multiple_of(every) || final_step
}

/// Whether as many evaluations as patience allows came after the best; `None` if there were none at all.
fn patience_is_over(log: &Log, column: &'static str, patience: u64) -> Option<bool> {
    let (best, _) = Course::of(log, column)?.best;
    Some(log.column(column).iter().filter(|(step, _)| *step > best).count() as u64 >= patience)
}

fn diverged(what: &str, step: u64, directory: &RunDir) -> Error {
    let last = last_snapshot(directory.path()).map_or_else(String::new, |name| {
        format!("; the last snapshot is {name} in {}", directory.path().display())
    });
    let reason = format!("training diverged at step {step}: {what}{last}");
    Error::data(reason, Remedy::MilderTraining(directory.path().into()))
}

fn check_losses(scalars: &[(&'static str, f64)], step: u64, directory: &RunDir) -> Result<()> {
    match scalars.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Err(diverged(&format!("{name} is {value}"), step, directory)),
        None => Ok(()),
    }
}

/// A loss that has grown beyond anything before it will not come back.
fn check_explosion(scalars: &[(&'static str, f64)], log: &Log, step: u64, directory: &RunDir) -> Result<()> {
    for &(name, value) in scalars.iter().filter(|(name, _)| name.ends_with(LOSS)) {
        let mut earlier: Vec<f64> = log.column(name).into_iter().map(|(_, value)| value.abs()).collect();
        if value.abs() < SMALLEST_EXPLOSION || earlier.len() < REPORTS_BEFORE_EXPLOSION {
            continue;
        }
        earlier.sort_unstable_by(f64::total_cmp);
        let median = earlier[earlier.len() / 2];
        if value.abs() > EXPLODED_RATIO * median {
            let what = format!("{name} is {value:.3e}, where its median was {median:.3}");
            return Err(diverged(&what, step, directory));
        }
    }
    Ok(())
}

/// A discriminator that is certain of everything teaches nothing.
fn check_collapse(log: &Log, step: u64, directory: &RunDir) -> Result<()> {
    let losses = log.column("d_loss");
    let latest = losses.iter().rev().take(COLLAPSED_REPORTS);
    if losses.len() < COLLAPSED_REPORTS || latest.into_iter().any(|(_, loss)| *loss >= COLLAPSED_LOSS) {
        return Ok(());
    }
    let what = format!(
        "the discriminator's loss was below {COLLAPSED_LOSS} in the last {COLLAPSED_REPORTS} lines of the log"
    );
    Err(diverged(&what, step, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(distances: &[f64]) -> (tempfile::TempDir, Log) {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path(), None).unwrap();
        for (step, distance) in (0..).zip(distances) {
            log.append(step, 1, &[("fd", *distance)]).unwrap();
        }
        (directory, log)
    }

    #[test]
    fn a_run_stops_when_no_evaluation_was_better_for_long() {
        let (_directory, log) = log(&[5.0, 3.0, 3.0, 4.0]);
        let course = Course { column: "fd", start: 5.0, best: (1, 3.0), end: 4.0 };
        assert_eq!(Course::of(&log, "fd"), Some(course));
        assert!(!course.is_worse() && Course { end: 5.1, ..course }.is_worse());
        assert_eq!(patience_is_over(&log, "fd", 2), Some(true));
        assert_eq!(patience_is_over(&log, "fd", 3), Some(false));
        assert_eq!(patience_is_over(&log, "judge_fd", 0), None);
    }

    #[test]
    fn a_loss_that_explodes_ends_the_run_and_names_the_last_snapshot() {
        let place = tempfile::tempdir().unwrap();
        let run = RunDir::of_leader(place.path());
        for name in ["snapshot-000020", "snapshot-000100", "snapshot-best"] {
            std::fs::create_dir(place.path().join(name)).unwrap();
        }
        let mut log = Log::open(place.path(), None).unwrap();
        let exploded =
            |value: f64, log: &Log| check_explosion(&[("g_loss", value), ("r1", 1e9)], log, 120, &run);
        assert!(exploded(1e12, &log).is_ok(), "nothing is known of what is usual");
        for step in 1..=REPORTS_BEFORE_EXPLOSION as u64 {
            log.append(step, 1, &[("g_loss", -0.7)]).unwrap();
        }
        assert!(exploded(900.0, &log).is_ok());
        let error = exploded(-8e6, &log).unwrap_err().to_string();
        assert!(error.contains("g_loss is -8.000e6") && error.contains("snapshot-000100"), "{error}");
    }

    #[test]
    fn losses_that_are_no_numbers_and_certain_discriminators_stop_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let run = RunDir::of_leader(&directory.path().join("run"));
        assert!(check_losses(&[("g_loss", 1.0)], 3, &run).is_ok());
        let error = check_losses(&[("g_loss", f64::NAN)], 3, &run).unwrap_err();
        assert!(
            error.to_string().contains("step 3") && error.hint().unwrap().contains("MilderTraining"),
            "{error}"
        );
        let mut log = Log::open(directory.path(), None).unwrap();
        for step in 1..=COLLAPSED_REPORTS as u64 {
            assert!(check_collapse(&log, step, &run).is_ok());
            log.append(step, 1, &[("d_loss", 1e-5)]).unwrap();
        }
        assert!(check_collapse(&log, 99, &run).is_err());
    }
}
