//! `pd eval`: how generated sets compare with a real one.

mod args;
mod kept;
mod real_statistics;
mod set_network;
mod shard;
mod space_args;
mod spaces;
mod text;

pub(super) use args::Eval;
pub(super) use shard::{EVAL, merge_eval};

use super::input;
use super::output::{self, Results};
use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::formats::table::{Table, format_of};
use crate::images::{ImageSet, Inputs};
use crate::metrics::{
    Evaluation, EvaluationSet, Evaluator, SetContent, SpaceResults, Statistics, check_rows,
};
use crate::reference::{Reference, is_reference};
use kept::real_input;
use real_statistics::{RealStatistics, save_statistics};
use serde_json::{Map, Value, json};
use set_network::SetNetwork;
use shard::run_shard;
use spaces::run_in_spaces;
use std::io::Write;
use std::path::Path;
use text::{counted, json_of, text, text_of_spaces, verdicts, warn_if_no_fid};

/// Says what became of the inputs of a set, and keeps it for the summary.
fn report_inputs(name: &str, found: &Inputs, counts: &mut Map<String, Value>, terminal: &Terminal) {
    terminal.report_skipped(&found.skipped);
    terminal.say(&format!("{name}: {}", found.describe()));
    terminal.advise(found);
    counts.insert(name.to_owned(), json!(found.counts()));
}

impl Eval {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        self.check_paths()?;
        self.tables.check(self.shard.is_some(), self.output.is_some() || self.per_sample.is_some())?;
        if let (Some(shard), Some(out)) = (self.shard, &self.output) {
            return run_shard(&self, shard, out, &terminal);
        }
        if self.spaces.are_given() {
            return run_in_spaces(&self, &terminal);
        }
        let reference = is_reference(&self.real).then(|| Reference::open(&self.real)).transpose()?;
        let options = self.options(terminal.device());
        // A set that is too small is found before the work on the others.
        let (mut listed, mut known_width) = (Vec::new(), None);
        for path in self.paths() {
            let statistics = self.statistics(path)?;
            known_width = known_width.or(statistics.as_ref().map(Statistics::width));
            listed.push(if statistics.is_some() { None } else { input::list(path, &terminal)? });
        }
        let made_by = self.network()?.unwrap_or_default();
        for ((path, side), set) in self.paths().zip(Self::sides()).zip(&listed) {
            if let (Some(set), None) = (set, known_width) {
                check_rows(&options, &made_by, (&path.display().to_string(), set.len(), side))?;
            }
        }
        let mut listed = listed.into_iter();
        let mut inputs = Map::new();
        let mut network = SetNetwork::new(&self.extractor, reference.as_ref(), known_width);
        let mut read = |path: &Path| {
            let listed = listed.next().flatten();
            self.read((path, listed), &mut network, reference.as_ref(), &mut inputs, &terminal)
        };
        let real = read(&self.real)?;
        let mut evaluator = Evaluator::new(real, &options, &terminal)?;
        if let Some(path) = &self.save_stats {
            let space = evaluator.identity().map_or("", |identity| identity.extractor.as_str());
            save_statistics(path, [(space, &evaluator)].into_iter(), &terminal)?;
        }
        for path in &self.generated {
            evaluator.compare(&read(path)?)?;
        }
        let evaluation = evaluator.finish()?;
        warn_if_no_fid(&evaluation, &terminal);
        if let (Some(path), Some(samples)) = (&self.per_sample, &evaluation.samples) {
            output::write_table_for_user(path, &samples.table()?, self.tables)?;
            terminal.say(&format!("wrote {} to {}", counted(samples.path.len(), "row"), path.display()));
        }
        deliver(&self, &evaluation, inputs, &terminal)
    }

    /// Reads a set; images are embedded, as the reference was if there is one. Features of the real images are kept.
    fn read(
        &self,
        (path, listed): (&Path, Option<ImageSet>),
        network: &mut SetNetwork<'_>,
        reference: Option<&Reference>,
        inputs: &mut Map<String, Value>,
        terminal: &Terminal,
    ) -> Result<EvaluationSet> {
        let name = path.display().to_string();
        if let Some(statistics) = self.statistics(path)? {
            self.refuse_statistics(path)?;
            return Ok(EvaluationSet::new(name, SetContent::Statistics(statistics)));
        }
        let read = || {
            let Some(set) = listed else {
                return Ok((input::read(path, &self.extractor, reference, terminal)?, None));
            };
            let network = network.for_set(&set, terminal)?;
            match path == self.real {
                true => real_input(&set, network, &self.extractor, terminal),
                false => Ok((input::embedded(&set, network, &self.extractor, terminal)?, None)),
            }
        };
        let (input, kept) = read().map_err(|error: Error| error.about(&name))?;
        if let Some(found) = &input.inputs {
            report_inputs(&name, found, inputs, terminal);
        }
        terminal.warn_of_one_colour(input.images.iter().map(|image| image.note.as_str()));
        let groups = self.how.groups.as_ref();
        let groups = groups.map(|by| by.labels(path, &input.paths, terminal)).transpose()?;
        let features = input.features.into_shared();
        let beside = if input.inputs.is_some() { RealStatistics::beside_pixels(path)? } else { None };
        let statistics = beside.and_then(|beside| beside.in_space(path, &input.identity, terminal));
        let content = SetContent::Features { features, paths: input.paths, identity: input.identity };
        Ok(EvaluationSet { groups, statistics, kept, ..EvaluationSet::new(name, content) })
    }

    /// The mean and covariance that a path holds, if it is a file of such: those of spatial features for the network of these.
    ///
    /// # Errors
    /// As [`Statistics::load`].
    fn statistics(&self, path: &Path) -> Result<Option<Statistics>> {
        if !self.may_be_statistics(path) {
            return Ok(None);
        }
        Ok(RealStatistics::load(path)?
            .and_then(|found| found.of(self.extractor.network().unwrap_or_default()).cloned()))
    }

    /// # Errors
    /// If an option needs more of the set than its mean and covariance.
    fn refuse_statistics(&self, path: &Path) -> Result<()> {
        let option = if self.per_sample.is_some() {
            "--per-sample needs images or features on both sides"
        } else if self.how.self_check && path == self.real {
            "--self-check needs the real images or features"
        } else if self.how.groups.is_some() {
            "--groups needs images or features on both sides"
        } else {
            return Ok(());
        };
        Err(Error::usage(format!("{option}, not their mean and covariance"), "leave it out"))
    }
}

/// What an evaluation gives to write and print.
trait Outcome {
    /// All of it, as JSON.
    fn json(&self) -> Value;
    /// A row for each set, with all digits or to be printed.
    fn table(&self, for_paper: bool) -> Result<Table>;
    /// For a person.
    fn text(&self) -> String;
    /// The lines of it that compare generated sets with the first.
    fn verdicts(&self) -> Vec<String>;
}

impl Outcome for Evaluation {
    fn json(&self) -> Value {
        self.json()
    }

    fn table(&self, for_paper: bool) -> Result<Table> {
        if for_paper { self.table_for_paper() } else { self.table() }
    }

    fn text(&self) -> String {
        text(self)
    }

    fn verdicts(&self) -> Vec<String> {
        verdicts(self)
    }
}

impl Outcome for SpaceResults {
    fn json(&self) -> Value {
        self.json()
    }

    fn table(&self, for_paper: bool) -> Result<Table> {
        if for_paper { self.table_for_paper() } else { self.table() }
    }

    fn text(&self) -> String {
        text_of_spaces(self)
    }

    fn verdicts(&self) -> Vec<String> {
        let of_space = |(space, evaluation): &(String, Evaluation)| {
            verdicts(evaluation).into_iter().map(|line| format!("{space}: {line}")).collect::<Vec<_>>()
        };
        self.spaces.iter().flat_map(of_space).collect()
    }
}

/// Writes and prints what was asked for of a result: all of it as JSON, a table, or text for a person. What became of the `inputs` of
/// each set of images is part of the JSON.
fn deliver(
    args: &Eval,
    outcome: &dyn Outcome,
    inputs: Map<String, Value>,
    terminal: &Terminal,
) -> Result<()> {
    let json = json_of(outcome.json(), inputs);
    if let Some(path) = &args.output {
        let format = format_of(path)?.extension();
        if format == "json" {
            write_atomic(path, |out| out.write_all(json.as_bytes()))?;
        } else {
            let table = outcome.table(PAPER.contains(&format))?;
            output::write_table_for_user(path, &table, args.tables)?;
        }
        let sets = counted(args.generated.len(), "generated set");
        terminal.say(&format!("wrote {sets} to {}", path.display()));
    }
    if args.run.json {
        return terminal.print(&json);
    }
    match args.output {
        // A table has no place for them.
        Some(_) => outcome.verdicts().iter().for_each(|line| terminal.say(line)),
        None => terminal.print(&outcome.text())?,
    }
    Ok(())
}

/// Formats of tables that are printed.
const PAPER: [&str; 2] = ["tex", "md"];
