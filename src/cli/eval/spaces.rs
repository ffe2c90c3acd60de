//! `pd eval --spaces A,B`: the sets in several feature spaces, each image read and decoded once.

use super::args::Eval;
use super::text::{json_of, text_of_spaces};
use super::{deliver, report_inputs};
use crate::cli::common::ExtractorArgs;
use crate::cli::similar;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, LoadedExtractor};
use crate::formats::is_features_file;
use crate::images::ImageSet;
use crate::metrics::{
    EvaluationOptions, EvaluationSet, Evaluator, SetContent, SpaceResults, metrics_by_space,
};
use crate::progress::Progress;
use crate::reference::embed::embed_in_spaces;
use crate::reference::is_reference;
use candle_core::Device;
use clap::Args;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The feature spaces, where there is more than one.
#[derive(Args)]
#[command(next_help_heading = "Features")]
pub(crate) struct SpaceArgs {
    /// Compare images in several feature spaces: names of --extractor, each image being decoded once for all
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = similar::extractor, conflicts_with_all = ALONE)]
    spaces: Vec<String>,
    /// Weights file of one of the --spaces; may be repeated [default: embedded, or from the cache]
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, requires = "spaces")]
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

fn named_file(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !file.is_empty() => Ok((similar::extractor(name)?, file.into())),
        _ => Err("must be NAME=FILE, such as clip-l14=open_clip_model.safetensors".into()),
    }
}

impl SpaceArgs {
    /// Whether any are asked for.
    pub(crate) fn are_given(&self) -> bool {
        !self.spaces.is_empty()
    }

    /// What each space is asked for, by its name.
    ///
    /// # Errors
    /// [`Error::Usage`] if one is named twice, or weights are given for another.
    fn requests(&self, how: &ExtractorArgs, device: &Device) -> Result<Vec<(String, ExtractorRequest)>> {
        if let Some((_, name)) =
            self.spaces.iter().enumerate().find(|(i, name)| self.spaces[..*i].contains(name))
        {
            return Err(Error::usage(format!("the space {name} is named twice"), "name it once"));
        }
        if let Some((name, _)) = self.weights_of.iter().find(|(name, _)| !self.spaces.contains(name)) {
            return Err(Error::usage(
                format!("weights are given for {name}, which is none of the spaces"),
                "",
            ));
        }
        let request = |name: &String| {
            let weights = self.weights_of.iter().rev().find(|(of, _)| of == name);
            let request = how.request(device);
            let request = ExtractorRequest {
                name: Some(name.clone()),
                weights: weights.map(|(_, file)| file.clone()),
                ..request
            };
            (name.clone(), request)
        };
        Ok(self.spaces.iter().map(request).collect())
    }
}

/// # Errors
/// If a set is features already.
fn check_images(args: &Eval) -> Result<()> {
    let features = |path: &&Path| is_features_file(path) || is_reference(path);
    match args.paths().find(features) {
        Some(path) => Err(Error::usage(
            format!("--spaces embeds images, and {} holds features already", path.display()),
            "name images, or leave --spaces out",
        )),
        None => Ok(()),
    }
}

/// Compares the sets in all spaces.
pub(super) fn run_in_spaces(args: &Eval, terminal: &Terminal) -> Result<()> {
    check_images(args)?;
    let requests = args.spaces.requests(&args.extractor, terminal.device())?;
    let names: Vec<&str> = requests.iter().map(|(name, _)| name.as_str()).collect();
    let base = args.options(terminal.device());
    let metrics = metrics_by_space(&base.metrics, &names)?;
    let options: Vec<EvaluationOptions> =
        metrics.into_iter().map(|metrics| EvaluationOptions { metrics, ..base.clone() }).collect();
    let mut extractors = Vec::new();
    for (_, request) in &requests {
        extractors.push(LoadedExtractor::load(request)?);
    }
    for extractor in &extractors {
        terminal.say(&format!("extractor: {}", extractor.identity().describe()));
        if let Some(remark) = extractor.remark() {
            terminal.warn(remark);
        }
    }
    // An empty set is found before the work on the others.
    let sets: Vec<ImageSet> =
        args.paths().map(|path| ImageSet::open(path, terminal)).collect::<Result<_>>()?;
    let mut inputs = Map::new();
    let mut sets = args.paths().zip(sets);
    let mut read =
        || sets.next().map(|(path, set)| embed(args, path, &set, &extractors, &mut inputs, terminal));
    let real = read().transpose()?.unwrap_or_default();
    let evaluators =
        real.into_iter().zip(&options).map(|(set, options)| Evaluator::new(set, options, terminal));
    let mut evaluators: Vec<Evaluator<'_>> = evaluators.collect::<Result<_>>()?;
    while let Some(generated) = read() {
        for (evaluator, set) in evaluators.iter_mut().zip(&generated?) {
            evaluator.compare(set)?;
        }
    }
    let results = evaluators.into_iter().map(Evaluator::finish).collect::<Result<Vec<_>>>()?;
    let results = SpaceResults(names.into_iter().map(str::to_owned).zip(results).collect());
    let json = json_of(results.json(), inputs);
    deliver(args, &json, || results.table(), || text_of_spaces(&results), terminal)
}

/// A set in each space.
fn embed(
    args: &Eval,
    path: &Path,
    set: &ImageSet,
    extractors: &[LoadedExtractor],
    inputs: &mut Map<String, Value>,
    terminal: &Terminal,
) -> Result<Vec<EvaluationSet>> {
    let name = path.display().to_string();
    let embedded = embed_in_spaces(set, extractors, args.extractor.embed_options(), terminal)
        .map_err(|error| error.about(&name))?;
    report_inputs(&name, &embedded.inputs, inputs, terminal);
    terminal.warn_of_one_colour(embedded.images.iter().map(|image| image.note.as_str()));
    let paths: Vec<String> = embedded.images.into_iter().map(|image| image.path).collect();
    let groups = args.how.groups.as_ref().map(|by| by.labels(path, &paths, terminal)).transpose()?;
    let features = [embedded.features].into_iter().chain(embedded.others);
    let in_space = |(features, extractor): (ndarray::Array2<f32>, &LoadedExtractor)| {
        let identity = extractor.identity().clone();
        let content =
            SetContent::Features { features: features.into_shared(), paths: paths.clone(), identity };
        EvaluationSet { groups: groups.clone(), ..EvaluationSet::new(name.clone(), content) }
    };
    Ok(features.zip(extractors).map(in_space).collect())
}
