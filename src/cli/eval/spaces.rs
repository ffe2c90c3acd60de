//! `pd eval --spaces A,B` and `--preset NAME`: the sets in one or several feature spaces, each image read and decoded once.

use super::args::Eval;
use super::text::{json_of, text_of_spaces};
use super::{deliver, report_inputs};
use crate::cli::common::ExtractorArgs;
use crate::cli::similar;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, LoadedExtractor};
use crate::formats::is_features_file;
use crate::images::{ImageSet, promised_format};
use crate::metrics::{
    EvaluationOptions, EvaluationSet, Evaluator, KID_SUBSETS, PROTOCOLS, Protocol, SetContent, SpaceResults,
    Statistics, metrics_by_space, metrics_of_statistics, protocol,
};
use crate::progress::Progress;
use crate::reference::embed::embed_in_spaces;
use crate::reference::is_reference;
use candle_core::Device;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ndarray::Array2;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The feature spaces, where there is more than one or a protocol names them.
#[derive(Args)]
#[command(next_help_heading = "Feature spaces")]
pub(crate) struct SpaceArgs {
    /// Compare images in several feature spaces: names of --extractor, each image being decoded once for all
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = similar::extractor, conflicts_with_all = ALONE)]
    spaces: Vec<String>,
    /// Compare images as a program or paper does: its resizing, networks, metrics and their parameters; --metrics may take some of them
    #[arg(long, value_name = "NAME", value_parser = protocols(), conflicts_with_all = ALONE, conflicts_with_all = SETTLED)]
    preset: Option<&'static Protocol>,
    /// Weights file of one of the spaces; may be repeated [default: embedded, or from the cache]
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, conflicts_with_all = ["extractor", "weights"])]
    weights_of: Vec<(String, PathBuf)>,
}

/// Options that go with one space only.
const ALONE: [&str; 11] = [
    "extractor",
    "weights",
    "onnx_input",
    "onnx_output",
    "mean",
    "std",
    "key",
    "normalize",
    "shard",
    "per_sample",
    "save_stats",
];

/// Options that a protocol settles.
const SETTLED: [&str; 8] =
    ["spaces", "fit", "alpha", "k", "k_density", "boundary", "kid_subsets", "kid_subset_size"];

fn protocols() -> impl TypedValueParser<Value = &'static Protocol> {
    let value = |protocol: &Protocol| PossibleValue::new(protocol.name).help(protocol.about);
    PossibleValuesParser::new(PROTOCOLS.iter().map(value)).try_map(|name| protocol(&name))
}

fn named_file(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !file.is_empty() => Ok((similar::extractor(name)?, file.into())),
        _ => Err("must be NAME=FILE, such as clip-l14=open_clip_model.safetensors".into()),
    }
}

impl SpaceArgs {
    /// Whether any are asked for.
    pub(crate) fn are_given(&self) -> bool {
        !self.spaces.is_empty() || self.preset.is_some()
    }

    /// # Errors
    /// [`Error::Usage`] for weights of spaces that nothing asks for.
    pub(crate) fn check(&self) -> Result<()> {
        match self.weights_of.first() {
            Some((name, _)) if !self.are_given() => Err(Error::usage(
                format!("--weights-of {name}=… is for --spaces and --preset"),
                "for one extractor use --extractor and --weights",
            )),
            _ => Ok(()),
        }
    }

    /// What each space is asked for, by its name.
    ///
    /// # Errors
    /// [`Error::Usage`] if one is named twice, or weights are given for another.
    fn requests(&self, how: &ExtractorArgs, device: &Device) -> Result<Vec<(String, ExtractorRequest)>> {
        let requests: Vec<(String, ExtractorRequest)> = match self.preset {
            Some(protocol) => {
                let space = |&(name, prepare): &(&str, _)| {
                    (name.to_owned(), ExtractorRequest { protocol: Some(prepare), ..how.request(device) })
                };
                protocol.spaces.iter().map(space).collect()
            }
            None => self.spaces.iter().map(|name| (name.clone(), how.request(device))).collect(),
        };
        for (i, (name, _)) in requests.iter().enumerate() {
            if requests[..i].iter().any(|(other, _)| other == name) {
                return Err(Error::usage(format!("the space {name} is named twice"), "name it once"));
            }
        }
        if let Some((name, _)) =
            self.weights_of.iter().find(|(of, _)| requests.iter().all(|(name, _)| name != of))
        {
            let known: Vec<&str> = requests.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::usage(
                format!("weights are given for {name}, which is none of the spaces"),
                format!("the spaces are {}", known.join(", ")),
            ));
        }
        let complete = |(name, request): (String, ExtractorRequest)| {
            let weights = self.weights_of.iter().rev().find(|(of, _)| *of == name);
            let weights = weights.map(|(_, file)| file.clone());
            let request = ExtractorRequest { name: Some(name.clone()), weights, ..request };
            (name, request)
        };
        Ok(requests.into_iter().map(complete).collect())
    }
}

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
