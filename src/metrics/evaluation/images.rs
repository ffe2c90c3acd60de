//! The comparison of images in several feature spaces: `pd eval --spaces` and `--preset` as a library.

use super::asked_spaces::SpacesRequest;
use super::options::EvaluationOptions;
use super::sets::EvaluationSet;
use super::spaces::SpaceResults;
use crate::error::{Error, Result};
use crate::images::{ImageSet, Inputs};
use crate::metrics::least_rows::Side;
use crate::progress::Progress;
use crate::reference::embed::{EmbedOptions, embed_in_spaces};

/// Compares each of the `generated` sets of images, by name, with the `real` one in all spaces that are asked for; each image is decoded
/// once, and only one generated set is in memory. `told` hears what became of the inputs of each set.
///
/// # Errors
/// As [`evaluate`](super::evaluate) and [`LoadedExtractor::load`](crate::LoadedExtractor::load); [`Error::Usage`] for spaces and metrics
/// that do not fit each other.
pub fn evaluate_images(
    real: (&str, &ImageSet),
    generated: impl IntoIterator<Item = Result<(String, ImageSet)>>,
    spaces: &SpacesRequest,
    options: &EvaluationOptions,
    embed: EmbedOptions,
    progress: &dyn Progress,
    told: impl Fn(&str, &Inputs),
) -> Result<SpaceResults> {
    if options.per_sample {
        return Err(Error::usage("values of each image are of one feature space", "name one extractor"));
    }
    let spaces = spaces.settled(options.clone())?.load()?;
    let embedded = |name: &str, set: &ImageSet, side: Side| -> Result<Vec<EvaluationSet>> {
        spaces.check_rows(name, set.len(), side)?;
        let found =
            embed_in_spaces(set, &spaces.networks(), embed, progress).map_err(|error| error.about(name))?;
        told(name, &found.inputs);
        let paths: Vec<String> = found.images.into_iter().map(|image| image.path).collect();
        let features = [found.features].into_iter().chain(found.others).collect();
        Ok(spaces.sets(name, &paths, features, None, &|_, _| None))
    };
    let mut evaluators = spaces.evaluators(embedded(real.0, real.1, Side::Real)?, progress)?;
    for set in generated {
        let (name, set) = set?;
        for (evaluator, set) in evaluators.iter_mut().zip(&embedded(&name, &set, Side::Generated)?) {
            evaluator.compare(set)?;
        }
    }
    spaces.results(evaluators)
}
