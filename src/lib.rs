//! Pseudo density of images: how typical each image of a collection is, and what to do with that number.
//!
//! The method is by Li et al., *Controlling the Fidelity and Diversity of Deep Generative Models via Pseudo Density*, TMLR 2024
//! (arXiv 2407.08659). The command line `pd` is one face of this library; the names below are what other programs may use.
//!
//! | to | use |
//! |---|---|
//! | turn images into features | [`ImageSet`], [`LoadedExtractor`], [`embed`]; your own network: [`Extractor`] |
//! | score a set, or images against a reference | [`score_set`], [`score_pictures`], [`Reference`], [`Scorer`] |
//! | find copies among pictures | [`Pictures`], [`CopyRows`] |
//! | weigh images, and choose by the weights | [`Rule`], [`weigh`], [`choose_from_pool`] |
//! | choose the images that are best together | [`select`], [`SetWorth`] |
//! | make images, and move them by gradient steps | [`load_generator`], [`Generator`], [`perturb()`] |
//! | compare generated sets with real ones | [`evaluate`] |
//! | show progress and stop long work | [`Progress`] |
//!
//! # Score
//!
//! ```
//! use candle_core::Device;
//! use ndarray::Array2;
//! use pseudo_density::{ScoreOptions, Silent, score_set};
//!
//! // Features of 100 images; `embed` makes them from files.
//! let features = Array2::from_shape_fn((100, 8), |(i, j)| ((i * 31 + j * 17) % 101) as f32).into_shared();
//! let scored = score_set(&features, ScoreOptions::default(), &Device::Cpu, &Silent)?;
//! let mean = scored.scores.pseudo_density.iter().sum::<f64>() / 100.0;
//! assert!((mean - 1.0).abs() < 1e-9);
//! # Ok::<(), pseudo_density::Error>(())
//! ```
//!
//! # Sample
//!
//! The 20 images of a pool that pull it towards the real distribution (the ratio rule with B = 0):
//!
//! ```
//! use candle_core::Device;
//! use ndarray::Array2;
//! use pseudo_density::{
//!     DensityBy, PoolOptions, ReferenceDensity, Rule, ScoreOptions, Scorer, Silent, choose_from_pool,
//! };
//!
//! let features = |n: usize, spread: f32| {
//!     Array2::from_shape_fn((n, 4), |(i, j)| spread * ((i * 37 + j * 11) as f32).sin()).into_shared()
//! };
//! let (real, pool) = (features(200, 1.0), features(120, 0.6));
//! let (scorer, dimension) = Scorer::of_features(real, ScoreOptions::default(), &Device::Cpu, &Silent)?;
//! let dimension = dimension.unwrap_or(4.0);
//! let density = ReferenceDensity::new(scorer, None, DensityBy::Knn)?;
//! let rule = Some(Rule::Ratio { b: 0.0, dimension });
//! let chosen = choose_from_pool(pool, &vec![None; 120], &density, &PoolOptions::new(20, rule), &Silent)?;
//! assert_eq!(chosen.copies.iter().sum::<usize>(), 20);
//! # Ok::<(), pseudo_density::Error>(())
//! ```
//!
//! # Perturb
//!
//! Two images of a generator, moved towards higher density (Li et al., section 3.3):
//!
//! ```
//! use candle_core::{DType, Device};
//! use pseudo_density::{
//!     DensityBy, DensityScorer, Direction, ExtractorRequest, GeneratorRequest, GeneratorSource, LatentOrigin,
//!     LatentSource, LoadedExtractor, Models, ReferenceDensity, RunOptions, ScoreOptions, Scorer, Silent,
//!     features_of_candidates, initialise, perturb,
//! };
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let config = dir.path().join("config.json");
//! # std::fs::write(&config, r#"{"family": "mlp-gan", "generator": {"widths": [8, 16, 64], "image": [1, 8, 8]}}"#).unwrap();
//! // `load_generator` reads trained weights; this network has random ones.
//! let generator = initialise(&config, 0, &GeneratorRequest::default())?;
//! let extractor = LoadedExtractor::load(&ExtractorRequest::default())?;
//! let latents = |seeds: &str| {
//!     Ok::<_, pseudo_density::Error>(LatentSource::new(LatentOrigin::Seeds(seeds.parse()?), DType::F32, &Device::Cpu))
//! };
//! // The reference: here images of the same generator.
//! let source = GeneratorSource { generator: generator.as_ref(), latents: &latents("100-139")?, batch: 20 };
//! let features = features_of_candidates(&source, 0..40, &[&extractor])?.remove(0).into_shared();
//! let (scorer, _) = Scorer::of_features(features, ScoreOptions::default(), &Device::Cpu, &Silent)?;
//! let scorer = DensityScorer { extractor, density: ReferenceDensity::new(scorer, None, DensityBy::Knn)? };
//!
//! let latents = latents("0,1")?;
//! let models = Models { generator: generator.as_ref(), latents: &latents, scorer: &scorer, batch: 2 };
//! let mut options = RunOptions::new(Direction::Higher);
//! options.search.steps = 3;
//! let report = perturb(&dir.path().join("out"), &models, &options, serde_json::json!({ "seeds": "0,1" }), &Silent)?;
//! let strength = &report.strengths[0];
//! assert!(strength.mean_density_after >= strength.mean_density_before);
//! # Ok::<(), pseudo_density::Error>(())
//! ```
//!
//! # Evaluate
//!
//! ```
//! use ndarray::Array2;
//! use pseudo_density::{EvaluationOptions, EvaluationSet, Silent, evaluate};
//!
//! let set = |name: &str, n: usize, spread: f32| {
//!     let value = |(i, j): (usize, usize)| spread * ((i * 37 + j * 11) as f32).sin();
//!     EvaluationSet::of_features(name, Array2::from_shape_fn((n, 4), value).into_shared())
//! };
//! let mut options = EvaluationOptions::default();
//! options.metrics = ["precision", "recall", "fd"].map(String::from).into();
//! let evaluation = evaluate(set("real", 200, 1.0), [Ok(set("generated", 100, 0.5))], &options, &Silent)?;
//! let value = |metric: &str| evaluation.generated[0].estimate(metric).map(|estimate| estimate.value);
//! assert!(value("precision").is_some_and(|precision| (0.0..=1.0).contains(&precision)));
//! assert!(value("fd").is_some_and(|distance| distance > 0.0));
//! # Ok::<(), pseudo_density::Error>(())
//! ```
//!
//! # Modules
//!
//! | module | subject |
//! |---|---|
//! | `cli` | the command line; the Python face is a crate of its own, in `src/python` |
//! | `sampling`, `selection`, `perturb`, `finetune`, `metrics`, `report` | what is done with densities |
//! | `candidates` | from a latent, a seed or a file to an image and its density |
//! | `reference`, `generate` | the reference directory; generators and discriminators |
//! | `density`, `copies`, `neighbors`, `extract` | densities and rules, copies of pictures, nearest neighbours, networks that give features |
//! | `images`, `ops`, `train`, `runs` | reading images, tensor operations, training, run directories and shards |
//! | `formats` | npy, npz, safetensors, torch checkpoints, tables |
//!
//! A module uses only modules in its own row or below.

#![warn(missing_docs, unreachable_pub)]
// The documentation that is checked holds private items too.
#![allow(rustdoc::private_intra_doc_links)]
// What only the command line uses is no fault of a library that is built without it.
#![cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]

mod candidates;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod copies;
mod density;
mod device;
mod error;
mod extract;
mod finetune;
mod formats;
mod generate;
mod images;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod internals;
mod metrics;
mod neighbors;
mod ops;
mod panics;
mod perturb;
mod progress;
mod random;
mod reference;
mod remedy;
mod report;
mod runs;
mod sampling;
mod selection;
mod train;

pub use candidates::{
    DensityScorer, GeneratorSource, LatentBatch, LatentOrigin, LatentSource, ReferenceDensity,
    features_of_candidates,
};
pub use copies::{Descriptor, Level};
pub use density::{DensityPredictor, Distribution, Preset, PseudoDensity, Rule, RuleChoice, Threshold};
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use extract::{ChosenBy, ChosenExtractor, Extractor, ExtractorRequest, Identity, LoadedExtractor};
pub use formats::npy::{read_npy, write_npy};
pub use formats::read_features;
pub use formats::table::{Column, Table, Values, write_table};
pub use generate::{
    ForwardOptions, Generator, GeneratorInfo, GeneratorRequest, LatentSpace, Seeds, Variables, initialise,
    latents_of_seeds, load as load_generator, pixels,
};
pub use images::{
    Alpha, Color, Filter, Fit, ImageSet, Inputs, LeftOut, Picture, PictureSource, Prepared, Preprocessing,
    RgbImage, Skipped, load as load_images, set_decoding_memory,
};
pub use metrics::{
    Evaluation, EvaluationOptions, EvaluationSet, GroupedSet, SetContent, SpaceResults, SpacesRequest,
    Verdict, evaluate, evaluate_images,
};
pub use neighbors::IndexKind;
pub use perturb::{Direction, Models, Norm, RunOptions, SearchOptions, run as perturb};
pub use progress::{Progress, Silent};
pub use reference::embed::{Describe, EmbedOptions, Embedded, embed, embed_described};
pub use reference::score::{Duplicates, ScoreOptions, Scores, SetScores, score_set};
pub use reference::{
    CopyRow, CopyRows, DensityBy, IndexOptions, Keep, Pictures, Reference, Scorer, index, row_name,
    score_pictures,
};
pub use remedy::Remedy;
pub use sampling::pool::{Chosen, PoolOptions, choose_from_pool};
pub use sampling::{DEFAULT_BUDGET, Spacing, WeighedImages, weigh};
pub use selection::{
    Conflicts, Limits, Qualities, QualityBy, Reason, Selection, SelectionOptions, SetWorth, Shares, TooNear,
    select,
};
