//! The feature spaces of `pd sweep`: the one that scores, and a second one that only judges.

use crate::cli::bundled::Bundled;
use crate::cli::common::ExtractorArgs;
use crate::cli::similar;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, LoadedExtractor};
use crate::images::ImageSet;
use crate::reference::Reference;
use crate::reference::embed::{EmbedOptions, embed};
use candle_core::Device;
use clap::Args;
use ndarray::ArcArray2;
use std::path::PathBuf;

/// A second feature space, so that no rule is judged only by the one that scored.
#[derive(Args)]
#[command(next_help_heading = "Judge")]
pub(super) struct JudgeArgs {
    /// Evaluate in a second feature space: a reference directory of the same images, made with another extractor
    #[arg(long, value_name = "REF2")]
    judge_reference: Option<PathBuf>,
    /// Evaluate in the feature space of this extractor; --images are embedded for it
    #[arg(long, value_name = "NAME", value_parser = similar::extractor, conflicts_with = "judge_reference")]
    judge_extractor: Option<String>,
    /// Weights file of the extractor that evaluates [default: embedded, or from the cache]
    #[arg(long, value_name = "FILE")]
    judge_weights: Option<PathBuf>,
    /// Images that the reference was made from, for --judge-extractor [default: the built-in ones, with the built-in reference]
    #[arg(long, value_name = "IMAGES", requires = "judge_extractor")]
    images: Option<PathBuf>,
}

/// A feature space: its extractor, the real features in it.
pub(super) struct FeatureSpace {
    pub extractor: LoadedExtractor,
    /// `[N, D]`
    pub real: ArcArray2<f32>,
}

impl FeatureSpace {
    /// The space that scores.
    pub(super) fn open(reference: &Reference, args: &ExtractorArgs, device: &Device) -> Result<Self> {
        let extractor = LoadedExtractor::for_identity(&reference.manifest.identity, &args.request(device))?;
        Ok(Self { extractor, real: reference.features()?.into_shared() })
    }
}

impl JudgeArgs {
    /// The second space, where one was asked for: the same images as `reference`, in the same order.
    pub(super) fn open(
        &self,
        reference: &Reference,
        options: EmbedOptions,
        terminal: &Terminal,
    ) -> Result<Option<FeatureSpace>> {
        let request = ExtractorRequest {
            name: self.judge_extractor.clone(),
            weights: self.judge_weights.clone(),
            device: terminal.device().clone(),
            ..Default::default()
        };
        let (features, paths, named) = if let Some(path) = &self.judge_reference {
            let second = Reference::open(path)?;
            let extractor = LoadedExtractor::for_identity(&second.manifest.identity, &request)?;
            let real = second.features()?.into_shared();
            (FeatureSpace { extractor, real }, second.paths()?, path.display().to_string())
        } else if self.judge_extractor.is_some() {
            let set = self.images_of(reference, terminal)?;
            let extractor = LoadedExtractor::load(&request)?;
            let embedded = embed(&set, &extractor, options, terminal)?;
            let paths = embedded.images.into_iter().map(|image| image.path).collect();
            let named =
                self.images.as_ref().map_or_else(|| "the digits".into(), |path| path.display().to_string());
            (FeatureSpace { extractor, real: embedded.features.into_shared() }, paths, named)
        } else if self.judge_weights.is_some() {
            return Err(Error::usage(
                "--judge-weights are of no extractor",
                "name --judge-extractor, or --judge-reference",
            ));
        } else {
            return Ok(None);
        };
        if paths != reference.paths()? {
            return Err(Error::usage(
                format!("{named} and {} are not of the same images", reference.dir.display()),
                "judge on the images that the reference was made of",
            ));
        }
        Ok(Some(features))
    }

    fn images_of(&self, reference: &Reference, terminal: &Terminal) -> Result<ImageSet> {
        match &self.images {
            Some(path) => ImageSet::open(path, terminal),
            None => Bundled::images_behind(&reference.dir, terminal).ok_or_else(|| {
                Error::usage(
                    format!("a reference holds features only, and {} no images", reference.dir.display()),
                    "name the images it was made of by --images, for --judge-extractor to embed",
                )
            }),
        }
    }
}
