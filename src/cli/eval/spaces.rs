//! `pd eval --spaces A,B` and `--preset NAME`: the sets in one or several feature spaces, each image read and decoded once.

use super::args::Eval;
use super::kept::InSpaces;
use super::real_statistics::{RealStatistics, check_statistics, save_statistics};
use super::{deliver, report_inputs};
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::formats::is_features_file;
use crate::images::{ImageSet, promised_format};
use crate::metrics::{EvaluationSet, Protocol, SetContent, Spaces};
use crate::progress::Progress;
use crate::reference::is_reference;
use serde_json::{Map, Value};
use std::path::Path;

/// Compares the sets in all spaces.
pub(super) fn run_in_spaces(args: &Eval, terminal: &Terminal) -> Result<()> {
    let statistics = match args.may_be_statistics(&args.real) {
        true => RealStatistics::load(&args.real)?,
        false => None,
    };
    check_images(args, statistics.is_some())?;
    if statistics.is_some() {
        args.refuse_statistics(&args.real)?;
    }
    let spaces = spaces(args, statistics.as_ref(), terminal)?;
    let names: Vec<&str> = spaces.all().iter().map(|space| space.name.as_str()).collect();
    // An empty set is found before the work on the others.
    let images = args.paths().skip(usize::from(statistics.is_some()));
    let sets: Vec<(&Path, ImageSet)> =
        images.map(|path| Ok((path, ImageSet::open(path, terminal)?))).collect::<Result<_>>()?;
    if let Some(protocol) = args.spaces.preset {
        let generated = &sets[sets.len().saturating_sub(args.generated.len())..];
        generated.iter().for_each(|(path, set)| warn_of_others(protocol, path, set, terminal));
    }
    for ((path, set), side) in sets.iter().zip(Eval::sides().skip(usize::from(statistics.is_some()))) {
        spaces.check_rows(&path.display().to_string(), set.len(), side)?;
    }
    let mut inputs = Map::new();
    let mut sets = sets.iter();
    let real = match &statistics {
        Some(statistics) => in_all_spaces(statistics, &args.real.display().to_string(), &names),
        None => match sets.next() {
            Some((path, set)) => embed(args, (path, set), true, &spaces, &mut inputs, terminal)?,
            None => Vec::new(),
        },
    };
    let mut evaluators = spaces.evaluators(real, terminal)?;
    if let Some(path) = &args.save_stats {
        save_statistics(path, names.into_iter().zip(&evaluators), terminal)?;
    }
    for (path, set) in sets {
        let generated = embed(args, (path, set), false, &spaces, &mut inputs, terminal)?;
        for (evaluator, set) in evaluators.iter_mut().zip(&generated) {
            evaluator.compare(set)?;
        }
    }
    let results = spaces.results(evaluators)?;
    deliver(args, &results, inputs, terminal)
}

/// The real set in each of the spaces, which the file is known to hold.
fn in_all_spaces(statistics: &RealStatistics, name: &str, spaces: &[&str]) -> Vec<EvaluationSet> {
    let found = spaces.iter().filter_map(|space| statistics.of(space).cloned());
    found.map(|found| EvaluationSet::new(name, SetContent::Statistics(found))).collect()
}

/// # Errors
/// If a set is features already.
fn check_images(args: &Eval, real_is_statistics: bool) -> Result<()> {
    let features = |path: &&Path| is_features_file(path) || is_reference(path);
    match args.paths().skip(usize::from(real_is_statistics)).find(features) {
        Some(path) => {
            let option = if args.spaces.preset.is_some() { "--preset" } else { "--spaces" };
            Err(Error::usage(
                format!("{option} embeds images, and {} holds features already", path.display()),
                format!("name images, or leave {option} out"),
            ))
        }
        None => Ok(()),
    }
}

/// The spaces that are asked for; where the real set is known by its `statistics`, those that they are of.
fn spaces(args: &Eval, statistics: Option<&RealStatistics>, terminal: &Terminal) -> Result<Spaces> {
    let device = terminal.device();
    let mut asked = args.spaces.request(&args.extractor, device).settled(args.options(device))?;
    if let Some(protocol) = asked.protocol() {
        terminal.say(&format!("preset {}: {}", protocol.name, protocol.about));
        if let Some(lacks) = protocol.lacks {
            terminal.say(&format!("not computed of it: {lacks}"));
        }
    }
    if let Some(statistics) = statistics {
        asked = asked.of_statistics(|space| statistics.of(space).is_some())?;
    }
    if let Some(path) = &args.save_stats {
        check_statistics(path, &asked.names())?;
    }
    let mut spaces = asked.load().inspect_err(|_| {
        if let Some(name) = asked.without_weights() {
            terminal.say(&format!("weights of a space are named with --weights-of {name}=FILE"));
        }
    })?;
    for remark in spaces.networks().iter().filter_map(|network| network.remark()) {
        terminal.warn(remark);
    }
    if let Some(statistics) = statistics {
        spaces.keep_where(|space| {
            statistics.of(&space.name).is_some_and(|found| found.width() == space.identity.dimension)
        });
        let file = args.real.display();
        if spaces.all().is_empty() {
            return Err(Error::usage(
                format!("{file} has {}, and no space has a distance of such", statistics.describe()),
                "name the space that it was made in, or real images",
            ));
        }
        terminal.say(&format!("{file} is mean and covariance: the Frechet distance alone is computed"));
    }
    for space in spaces.all() {
        terminal.say(&format!("extractor: {}", space.identity.describe()));
    }
    Ok(spaces)
}

/// Says what of a generated set is not as in the protocol.
fn warn_of_others(protocol: &Protocol, path: &Path, set: &ImageSet, terminal: &Terminal) {
    let (path, count) = (path.display(), set.len());
    if let Some(images) = protocol.images.filter(|images| *images != count) {
        terminal.warn(&format!(
            "{path} has {count} images; published values are of {images}, and those of other numbers do not compare with them"
        ));
    }
    let compressed = (0..count).filter(|i| promised_format(set.path(*i).as_bytes()) == Some("jpeg")).count();
    if protocol.lossless && compressed > 0 {
        terminal.warn(&format!(
            "{compressed} of {count} images of {path} are JPEG: the protocol is for images that were never compressed"
        ));
    }
}

/// A set in each space. What is made of the real set is kept.
fn embed(
    args: &Eval,
    (path, set): (&Path, &ImageSet),
    is_real: bool,
    spaces: &Spaces,
    inputs: &mut Map<String, Value>,
    terminal: &Terminal,
) -> Result<Vec<EvaluationSet>> {
    let name = path.display().to_string();
    let embed = if is_real { InSpaces::of_real } else { InSpaces::of };
    let mut found =
        embed(set, &spaces.networks(), &args.extractor, terminal).map_err(|error| error.about(&name))?;
    report_inputs(&name, &found.inputs, inputs, terminal);
    terminal.warn_of_one_colour(found.images.iter().map(|image| image.note.as_str()));
    let features = std::mem::take(&mut found.features);
    let paths: Vec<String> = found.images.iter().map(|image| image.path.clone()).collect();
    let groups = args.how.groups.as_ref().map(|by| by.labels(path, &paths, terminal)).transpose()?;
    let kept = |network: usize, extractor: &str| found.statistics(network, extractor);
    let mut sets = spaces.sets(&name, &paths, features, groups.as_ref(), &kept);
    if let Some(beside) = RealStatistics::beside_pixels(path)? {
        for set in &mut sets {
            set.statistics = set.identity().and_then(|identity| beside.in_space(path, identity, terminal));
        }
    }
    Ok(sets)
}
