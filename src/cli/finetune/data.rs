//! What a run of `pd finetune` is trained on: the images with their densities, weights and classes, and the terms that compare with
//! them.

use super::settings::{Settings, default, named_extractor, required};
use super::weights::{Weights, weights};
use crate::cli::terminal::Terminal;
use crate::density::{Rule, Threshold};
use crate::error::{Error, Result};
use crate::finetune::{
    FrechetConfig, FrechetTerm, KeptImages, MEMORY_BYTES, Measured, Origin, RatioWeights, RealBatches,
    RealImages, Rejection, WeightedRows, classes, measure, training_features,
};
use crate::generate::Generator;
use crate::images::{Fit, ImageSet};
use crate::progress::Progress;
use crate::reference::Reference;
use candle_core::{DType, Device};
use ndarray::{Array2, ArrayView2};
use std::path::Path;

/// The real side, the rule of the generated side, and the terms that compare both.
pub(super) struct Data {
    pub real: RealBatches,
    pub rejection: Option<Rejection>,
    pub frechet: Vec<FrechetTerm>,
}

/// Reads the images and their densities; what is worth knowing of them goes to `notes`.
pub(super) fn data(
    settings: &mut Settings,
    generator: &dyn Generator,
    reference: Option<&Reference>,
    (seed, device): (u64, &Device),
    notes: &mut Vec<String>,
    terminal: &Terminal,
) -> Result<Data> {
    let place = required(&settings.data, "--data")?;
    let Weights { real: rule, truncation, rejection } = weights(settings, reference, terminal)?;
    let weight = settings.frechet.unwrap_or(0.0);
    let no_term = "there is no Frechet term without --frechet";
    let term = settings
        .interval(
            weight,
            |s| &mut s.frechet_interval,
            default::FRECHET_INTERVAL,
            ("--frechet-interval", no_term),
        )?
        .map(|interval| FrechetConfig { weight, interval });
    if generator.denoiser().is_some() {
        settings.refuse(
            &[("--frechet (or --bias match)", term.is_some())],
            "the Frechet term steers the generator of a GAN",
        )?;
    }
    settings.refuse(
        &[("--frechet-extractor", settings.frechet_extractor.is_some() && term.is_none())],
        no_term,
    )?;
    let kept = kept_images(settings, generator, terminal)?;
    let images = images_of(settings, &place, generator, terminal)?;
    let by_ratio = rule.filter(Rule::needs_generated_density);
    let (densities, features) = match reference {
        Some(reference) => {
            let with_features = term.is_some() || by_ratio.is_some();
            measured(settings, &images, reference, with_features, notes, terminal)?
        }
        None => (vec![1.0; images.len()], None),
    };
    // What the ratio rule steers towards: the real distribution times the power of the density.
    let aim = match rule {
        Some(Rule::Ratio { b, .. }) => Some(Rule::Power { b }),
        rule => rule,
    };
    let rows = WeightedRows::new(&densities, aim, truncation)?;
    let effective = rows.effective_sample_size();
    let frechet = match (term, reference, &features) {
        (Some(config), Some(reference), Some(features)) => {
            let importance = rows.importance();
            let of_images = (&images, features.view(), importance.as_slice());
            frechet_terms(settings, config, reference, of_images, terminal)?
        }
        _ => Vec::new(),
    };
    let ratio = match (by_ratio, reference, features) {
        (Some(rule), Some(reference), Some(features)) => Some(RatioWeights {
            rule,
            truncation,
            densities,
            features,
            extractor: settings.extractor(reference, device)?,
            model: reference.density()?.model.clone(),
            pilot: *settings.pilot.get_or_insert(default::PILOT) as usize,
            every: *settings.pilot_every.get_or_insert(default::PILOT_EVERY),
            logs: Vec::new(),
        }),
        _ => None,
    };
    notes.push(match &ratio {
        Some(RatioWeights { pilot, every, .. }) => format!(
            "the weights follow the generator: {pilot} images are generated before every {every}th step"
        ),
        None => format!("effective sample size {effective:.0} of {} real images", images.len()),
    });
    if let Some(cut) = rows.lowered_clip() {
        notes.push(format!(
            "weights are cut at {cut:.3} means so that the effective sample size is met (--min-ess)"
        ));
    }
    let classes = match generator.info().class_count {
        0 => None,
        count => Some(classes(&place, &images.paths(), count)?),
    };
    let mirror = *settings.mirror.get_or_insert(false);
    let real = RealBatches {
        images,
        rows,
        ratio,
        kept,
        classes,
        mirror,
        seed,
        device: device.clone(),
        dtype: DType::F32,
    };
    Ok(Data { real, rejection, frechet })
}

/// Densities `[N]` of the images, and their features `[N, D]` where they are asked for.
fn measured(
    settings: &Settings,
    images: &RealImages,
    reference: &Reference,
    with_features: bool,
    notes: &mut Vec<String>,
    terminal: &Terminal,
) -> Result<(Vec<f64>, Option<Array2<f32>>)> {
    let extractor = || settings.extractor(reference, terminal.device());
    let Measured { densities, features, origin } =
        measure(images, reference, extractor, with_features, terminal)?;
    notes.push(match origin {
        Origin::Reference => format!("densities of {} images from the reference", images.len()),
        Origin::Scored => format!("{} images scored against the reference", images.len()),
    });
    warn_if_far(&densities, reference, terminal)?;
    Ok((densities, features))
}

/// The Fréchet terms that share the weight: one for each extractor that is named, else the reference's. The real images have these
/// features `[N, D]` in its space and this importance `[N]`.
fn frechet_terms(
    settings: &Settings,
    config: FrechetConfig,
    reference: &Reference,
    (images, features, importance): (&RealImages, ArrayView2<f32>, &[f64]),
    terminal: &Terminal,
) -> Result<Vec<FrechetTerm>> {
    let scored = &reference.manifest.identity.extractor;
    let names = settings.frechet_extractor.clone().unwrap_or_else(|| vec![scored.clone()]);
    let each = FrechetConfig { weight: config.weight / names.len() as f64, ..config };
    let device = terminal.device();
    let term = |name: &String| {
        if name == scored {
            let extractor = settings.extractor(reference, device)?;
            return FrechetTerm::new(each, extractor, features, importance, terminal);
        }
        let extractor = named_extractor(name, device)?;
        let features = training_features(images, &extractor, images.len(), terminal)?;
        FrechetTerm::new(each, extractor, features.view(), importance, terminal)
    };
    names.iter().map(term).collect()
}

/// The images of a place in the shape of the generator's.
fn images_of(
    settings: &mut Settings,
    place: &Path,
    generator: &dyn Generator,
    terminal: &Terminal,
) -> Result<RealImages> {
    let set = ImageSet::open(place, terminal)?;
    let fit = *settings.fit.get_or_insert(Fit::Crop);
    let strict = *settings.strict.get_or_insert(false);
    let images = RealImages::open(set, generator.info().image_shape, fit, strict, MEMORY_BYTES, terminal)?;
    terminal.report_inputs(images.inputs());
    Ok(images)
}

/// The generated images that are mixed in, if any.
fn kept_images(
    settings: &mut Settings,
    generator: &dyn Generator,
    terminal: &Terminal,
) -> Result<Option<KeptImages>> {
    let Some(place) = settings.data_generated.clone() else {
        settings.refuse(
            &[("--share", settings.share.is_some())],
            "there are no generated images without --data-generated",
        )?;
        return Ok(None);
    };
    if generator.info().class_count > 0 {
        return Err(Error::usage(
            "a generator with classes cannot be trained on generated images, whose classes are not known",
            "leave --data-generated out",
        ));
    }
    let share = *settings.share.get_or_insert(default::SHARE);
    Ok(Some(KeptImages { images: images_of(settings, &place, generator, terminal)?, share }))
}

/// Warns where most training images are rarer than nearly all images of the reference: they are hardly of its kind.
fn warn_if_far(densities: &[f64], reference: &Reference, terminal: &Terminal) -> Result<()> {
    const RARE: f64 = 1.0;
    let rare = Threshold::Percentile(RARE).resolve(&reference.distribution()?);
    let below = densities.iter().filter(|density| **density < rare).count();
    if 2 * below > densities.len() {
        terminal.warn(&format!(
            "{below} of {} training images are rarer than {} % of the reference's: was it made of images of another kind?",
            densities.len(),
            100.0 - RARE
        ));
    }
    Ok(())
}
