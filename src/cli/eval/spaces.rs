//! `pd eval --spaces A,B` and `--preset NAME`: the sets in one or several feature spaces, each image read and decoded once.

use super::args::Eval;
use super::kept::InSpaces;
use super::real_statistics::{RealStatistics, check_statistics, save_statistics};
use super::text::{json_of, text_of_spaces};
use super::{deliver, report_inputs};
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, Identity, LoadedExtractor, grouped, load_together};
use crate::formats::is_features_file;
use crate::images::{ImageSet, promised_format};
use crate::metrics::{
    EvaluationOptions, EvaluationSet, Evaluator, KID_SUBSETS, Protocol, SetContent, SpaceResults,
    has_metric_in, metrics_by_space, metrics_of_statistics,
};
use crate::progress::Progress;
use crate::reference::is_reference;
use ndarray::s;
use serde_json::{Map, Value};
use std::ops::Range;
use std::path::Path;

/// A space, with what is computed in it.
struct Space {
    name: String,
    identity: Identity,
    options: EvaluationOptions,
}

/// The spaces, and the networks that make their features.
#[derive(Default)]
struct Spaces {
    all: Vec<Space>,
    passes: Vec<Pass>,
}

/// A network, with the spaces (by position) whose features it makes and the columns that those are in.
struct Pass {
    extractor: LoadedExtractor,
    columns: Vec<(usize, Range<usize>)>,
}

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
    let names: Vec<&str> = spaces.all.iter().map(|space| space.name.as_str()).collect();
    if let Some(path) = &args.save_stats {
        check_statistics(path, &names)?;
    }
    // An empty set is found before the work on the others.
    let images = args.paths().skip(usize::from(statistics.is_some()));
    let sets: Vec<(&Path, ImageSet)> =
        images.map(|path| Ok((path, ImageSet::open(path, terminal)?))).collect::<Result<_>>()?;
    if let Some(protocol) = args.spaces.preset {
        let generated = &sets[sets.len().saturating_sub(args.generated.len())..];
        generated.iter().for_each(|(path, set)| warn_of_others(protocol, path, set, terminal));
        sets.iter().try_for_each(|(path, set)| check_subsets(&spaces.all, path, set))?;
    }
    let mut inputs = Map::new();
    let mut sets = sets.iter();
    let real: Vec<EvaluationSet> = match &statistics {
        Some(statistics) => {
            let name = args.real.display().to_string();
            let of = |space: &Space| Some(SetContent::Statistics(statistics.of(&space.name)?.clone()));
            spaces
                .all
                .iter()
                .filter_map(of)
                .map(|content| EvaluationSet::new(name.clone(), content))
                .collect()
        }
        None => match sets.next() {
            Some((path, set)) => embed(args, (path, set), true, &spaces, &mut inputs, terminal)?,
            None => Vec::new(),
        },
    };
    let evaluators = real.into_iter().zip(&spaces.all);
    let mut evaluators: Vec<Evaluator<'_>> = evaluators
        .map(|(set, space)| Evaluator::new(set, &space.options, terminal))
        .collect::<Result<_>>()?;
    if let Some(path) = &args.save_stats {
        save_statistics(path, names.into_iter().zip(&evaluators), terminal)?;
    }
    for (path, set) in sets {
        let generated = embed(args, (path, set), false, &spaces, &mut inputs, terminal)?;
        for (evaluator, set) in evaluators.iter_mut().zip(&generated) {
            evaluator.compare(set)?;
        }
    }
    let results = evaluators.into_iter().map(Evaluator::finish).collect::<Result<Vec<_>>>()?;
    let results = SpaceResults {
        spaces: spaces.all.iter().map(|space| space.name.clone()).zip(results).collect(),
        preset: args.spaces.preset.map(|protocol| protocol.name),
    };
    let json = json_of(results.json(), inputs);
    deliver(args, &json, || results.table(), || text_of_spaces(&results), terminal)
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

/// The spaces that are asked for, with what is computed in each; where the real set is known by its `statistics`, those that they are of.
fn spaces(args: &Eval, statistics: Option<&RealStatistics>, terminal: &Terminal) -> Result<Spaces> {
    let mut base = args.options(terminal.device());
    let mut requests = args.spaces.requests(&args.extractor, terminal.device())?;
    if let Some(protocol) = args.spaces.preset {
        terminal.say(&format!("preset {}: {}", protocol.name, protocol.about));
        if let Some(lacks) = protocol.lacks {
            terminal.say(&format!("not computed of it: {lacks}"));
        }
        base.metrics = protocol.metrics(&base.metrics)?;
        protocol.settle(&mut base.parameters);
        requests.retain(|(name, _)| has_metric_in(&base.metrics, name).unwrap_or(true));
    }
    let names: Vec<&str> = requests.iter().map(|(name, _)| name.as_str()).collect();
    let metrics = metrics_by_space(&base.metrics, &names)?;
    let mut asked: Vec<(String, ExtractorRequest, Vec<String>)> = Vec::new();
    for ((name, request), mut metrics) in requests.into_iter().zip(metrics) {
        if let Some(statistics) = statistics {
            metrics = metrics_of_statistics(&metrics, &name)?;
            if metrics.is_empty() || statistics.of(&name).is_none() {
                continue;
            }
        }
        asked.push((name, request, metrics));
    }
    let mut spaces = loaded(asked, &base, terminal)?;
    if let Some(statistics) = statistics {
        spaces.keep_where(|space| {
            statistics.of(&space.name).is_some_and(|found| found.width() == space.identity.dimension)
        });
        let file = args.real.display();
        if spaces.all.is_empty() {
            return Err(Error::usage(
                format!("{file} has {}, and no space has a distance of such", statistics.describe()),
                "name the space that it was made in, or real images",
            ));
        }
        terminal.say(&format!("{file} is mean and covariance: the Frechet distance alone is computed"));
    }
    for space in &spaces.all {
        terminal.say(&format!("extractor: {}", space.identity.describe()));
    }
    Ok(spaces)
}

/// Loads the networks of the spaces.
fn loaded(
    asked: Vec<(String, ExtractorRequest, Vec<String>)>,
    base: &EvaluationOptions,
    terminal: &Terminal,
) -> Result<Spaces> {
    let requests: Vec<ExtractorRequest> = asked.iter().map(|(_, request, _)| request.clone()).collect();
    let mut identities: Vec<Option<Identity>> = vec![None; asked.len()];
    let mut passes = Vec::new();
    for members in grouped(&requests) {
        let together: Vec<&ExtractorRequest> = members.iter().map(|&i| &requests[i]).collect();
        let (extractor, of_members) = load_together(&together).inspect_err(|_| {
            let without = members.iter().find(|&&i| requests[i].weights.is_none());
            if let Some(&without) = without {
                let name = &asked[without].0;
                terminal.say(&format!("weights of a space are named with --weights-of {name}=FILE"));
            }
        })?;
        if let Some(remark) = extractor.remark() {
            terminal.warn(remark);
        }
        let (mut columns, mut start) = (Vec::new(), 0);
        for (i, identity) in members.into_iter().zip(of_members) {
            let end = start + identity.dimension;
            columns.push((i, start..end));
            identities[i] = Some(identity);
            start = end;
        }
        passes.push(Pass { extractor, columns });
    }
    let space = |((name, _, metrics), identity): (_, Option<Identity>)| {
        Some(Space { name, identity: identity?, options: EvaluationOptions { metrics, ..base.clone() } })
    };
    let all = asked.into_iter().zip(identities).filter_map(space).collect();
    Ok(Spaces { all, passes })
}

impl Spaces {
    /// Leaves out other spaces, and networks of them alone.
    fn keep_where(&mut self, wanted: impl Fn(&Space) -> bool) {
        let kept: Vec<usize> = (0..self.all.len()).filter(|&i| wanted(&self.all[i])).collect();
        for pass in &mut self.passes {
            let place = |(i, columns): &(usize, Range<usize>)| {
                Some((kept.iter().position(|kept| kept == i)?, columns.clone()))
            };
            pass.columns = pass.columns.iter().filter_map(place).collect();
        }
        self.passes.retain(|pass| !pass.columns.is_empty());
        let mut at = 0..;
        self.all.retain(|_| at.next().is_some_and(|i| kept.contains(&i)));
    }
}

/// # Errors
/// If a protocol draws larger subsets than the set is.
fn check_subsets(spaces: &[Space], path: &Path, set: &ImageSet) -> Result<()> {
    let subsets = KID_SUBSETS.name;
    let draws = |space: &&Space| space.options.metrics.iter().any(|name| name == subsets);
    let Some(space) = spaces.iter().find(draws) else { return Ok(()) };
    let (size, count) = (space.options.parameters.kid_subset_size, set.len());
    if count >= size {
        return Ok(());
    }
    let others: Vec<&str> =
        spaces.iter().flat_map(|space| &space.options.metrics).map(String::as_str).collect();
    let others: Vec<&str> = others.into_iter().filter(|name| *name != subsets).collect();
    Err(Error::usage(
        format!("{subsets} is of subsets of {size} images, and {} has {count}", path.display()),
        format!("take more images, or the other metrics of the preset: --metrics {}", others.join(",")),
    ))
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
    let extractors: Vec<&LoadedExtractor> = spaces.passes.iter().map(|pass| &pass.extractor).collect();
    let embed = if is_real { InSpaces::of_real } else { InSpaces::of };
    let mut found = embed(set, &extractors, &args.extractor, terminal).map_err(|error| error.about(&name))?;
    report_inputs(&name, &found.inputs, inputs, terminal);
    terminal.warn_of_one_colour(found.images.iter().map(|image| image.note.as_str()));
    let images = std::mem::take(&mut found.images);
    let paths: Vec<String> = images.into_iter().map(|image| image.path).collect();
    let groups = args.how.groups.as_ref().map(|by| by.labels(path, &paths, terminal)).transpose()?;
    let mut sets: Vec<Option<EvaluationSet>> = spaces.all.iter().map(|_| None).collect();
    let all_features = std::mem::take(&mut found.features);
    for (network, (pass, features)) in spaces.passes.iter().zip(all_features).enumerate() {
        let features = features.into_shared();
        for (at, columns) in &pass.columns {
            let space = &spaces.all[*at];
            let own = match columns.len() == features.ncols() {
                true => features.clone(),
                false => features.slice(s![.., columns.clone()]).to_owned().into_shared(),
            };
            let identity = space.identity.clone();
            let content = SetContent::Features { features: own, paths: paths.clone(), identity };
            let kept = found.statistics(network, &space.identity.extractor);
            let set = EvaluationSet::new(name.clone(), content);
            sets[*at] = Some(EvaluationSet { groups: groups.clone(), kept, ..set });
        }
    }
    Ok(sets.into_iter().flatten().collect())
}
