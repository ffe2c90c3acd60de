//! `pd eval --spaces A,B` and `--preset NAME`: the sets in one or several feature spaces, each image read and decoded once.

use super::args::Eval;
use super::text::{json_of, text_of_spaces};
use super::{deliver, report_inputs};
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::is_features_file;
use crate::images::{ImageSet, promised_format};
use crate::metrics::{
    EvaluationOptions, EvaluationSet, Evaluator, KID_SUBSETS, Protocol, SetContent, SpaceResults, Statistics,
    metrics_by_space, metrics_of_statistics,
};
use crate::progress::Progress;
use crate::reference::embed::embed_in_spaces;
use crate::reference::is_reference;
use ndarray::Array2;
use serde_json::{Map, Value};
use std::path::Path;

/// A space, with what is computed in it.
struct Space {
    name: String,
    extractor: LoadedExtractor,
    options: EvaluationOptions,
}

/// Compares the sets in all spaces.
pub(super) fn run_in_spaces(args: &Eval, terminal: &Terminal) -> Result<()> {
    let statistics = match args.may_be_statistics(&args.real) {
        true => Statistics::load(&args.real)?,
        false => None,
    };
    check_images(args, statistics.is_some())?;
    if statistics.is_some() {
        args.refuse_statistics(&args.real)?;
    }
    let spaces = spaces(args, statistics.as_ref(), terminal)?;
    // An empty set is found before the work on the others.
    let images = args.paths().skip(usize::from(statistics.is_some()));
    let sets: Vec<(&Path, ImageSet)> =
        images.map(|path| Ok((path, ImageSet::open(path, terminal)?))).collect::<Result<_>>()?;
    if let Some(protocol) = args.spaces.preset {
        let generated = &sets[sets.len().saturating_sub(args.generated.len())..];
        generated.iter().for_each(|(path, set)| warn_of_others(protocol, path, set, terminal));
        sets.iter().try_for_each(|(path, set)| check_subsets(&spaces, path, set))?;
    }
    let mut inputs = Map::new();
    let mut sets = sets.iter();
    let mut read = || sets.next().map(|(path, set)| embed(args, (path, set), &spaces, &mut inputs, terminal));
    let real = match statistics {
        Some(statistics) => {
            let name = args.real.display().to_string();
            let set = || EvaluationSet::new(name.clone(), SetContent::Statistics(statistics.clone()));
            spaces.iter().map(|_| set()).collect()
        }
        None => read().transpose()?.unwrap_or_default(),
    };
    let evaluators = real.into_iter().zip(&spaces);
    let mut evaluators: Vec<Evaluator<'_>> = evaluators
        .map(|(set, space)| Evaluator::new(set, &space.options, terminal))
        .collect::<Result<_>>()?;
    while let Some(generated) = read() {
        for (evaluator, set) in evaluators.iter_mut().zip(&generated?) {
            evaluator.compare(set)?;
        }
    }
    let results = evaluators.into_iter().map(Evaluator::finish).collect::<Result<Vec<_>>>()?;
    let results = SpaceResults {
        spaces: spaces.iter().map(|space| space.name.clone()).zip(results).collect(),
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
fn spaces(args: &Eval, statistics: Option<&Statistics>, terminal: &Terminal) -> Result<Vec<Space>> {
    let mut base = args.options(terminal.device());
    if let Some(protocol) = args.spaces.preset {
        terminal.say(&format!("preset {}: {}", protocol.name, protocol.about));
        if let Some(lacks) = protocol.lacks {
            terminal.say(&format!("not computed of it: {lacks}"));
        }
        base.metrics = protocol.metrics(&base.metrics)?;
        protocol.settle(&mut base.parameters);
    }
    let requests = args.spaces.requests(&args.extractor, terminal.device())?;
    let names: Vec<&str> = requests.iter().map(|(name, _)| name.as_str()).collect();
    let metrics = metrics_by_space(&base.metrics, &names)?;
    let mut spaces = Vec::new();
    for ((name, request), mut metrics) in requests.iter().zip(metrics) {
        if statistics.is_some() {
            metrics = metrics_of_statistics(&metrics)?;
            if metrics.is_empty() {
                continue;
            }
        }
        let extractor = LoadedExtractor::load(request).inspect_err(|_| {
            if request.weights.is_none() {
                terminal.say(&format!("weights of a space are named with --weights-of {name}=FILE"));
            }
        })?;
        let dimension = extractor.identity().dimension;
        if statistics.is_some_and(|statistics| statistics.width() != dimension) {
            continue;
        }
        terminal.say(&format!("extractor: {}", extractor.identity().describe()));
        if let Some(remark) = extractor.remark() {
            terminal.warn(remark);
        }
        let options = EvaluationOptions { metrics, ..base.clone() };
        spaces.push(Space { name: name.clone(), extractor, options });
    }
    if let Some(statistics) = statistics {
        let (file, width) = (args.real.display(), statistics.width());
        if spaces.is_empty() {
            return Err(Error::usage(
                format!(
                    "{file} has the mean and covariance of {width} columns, and no space has a distance of such"
                ),
                "name the space that it was made in, or real images",
            ));
        }
        terminal.say(&format!("{file} is mean and covariance: the Frechet distance alone is computed"));
    }
    Ok(spaces)
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

/// A set in each space.
fn embed(
    args: &Eval,
    (path, set): (&Path, &ImageSet),
    spaces: &[Space],
    inputs: &mut Map<String, Value>,
    terminal: &Terminal,
) -> Result<Vec<EvaluationSet>> {
    let name = path.display().to_string();
    let extractors: Vec<&LoadedExtractor> = spaces.iter().map(|space| &space.extractor).collect();
    let embedded = embed_in_spaces(set, &extractors, args.extractor.embed_options(), terminal)
        .map_err(|error| error.about(&name))?;
    report_inputs(&name, &embedded.inputs, inputs, terminal);
    terminal.warn_of_one_colour(embedded.images.iter().map(|image| image.note.as_str()));
    let paths: Vec<String> = embedded.images.into_iter().map(|image| image.path).collect();
    let groups = args.how.groups.as_ref().map(|by| by.labels(path, &paths, terminal)).transpose()?;
    let features = [embedded.features].into_iter().chain(embedded.others);
    let in_space = |(features, extractor): (Array2<f32>, &LoadedExtractor)| {
        let identity = extractor.identity().clone();
        let features = features.into_shared();
        let content = SetContent::Features { features, paths: paths.clone(), identity };
        EvaluationSet { groups: groups.clone(), ..EvaluationSet::new(name.clone(), content) }
    };
    Ok(features.zip(extractors).map(in_space).collect())
}
