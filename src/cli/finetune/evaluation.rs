//! Evaluations during a run of `pd finetune`, and who judges.

use super::settings::{NO_JUDGE, Settings, default, named_extractor};
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::finetune::{Evaluator, RealImages};
use crate::reference::Reference;
use candle_core::Device;

/// The extractors that judge unless another one is named: the first that is not the one that scores, where its weights are at hand.
const DEFAULT_JUDGES: [&str; 2] = ["tiny", "efficientnet-lite0"];

/// What evaluates the run, if anything, and after how many evaluations without a better one it stops.
pub(super) fn evaluation<'t>(
    settings: &mut Settings,
    reference: Option<&Reference>,
    images: &RealImages,
    seed: u64,
    terminal: &'t Terminal,
) -> Result<(Option<Evaluator<'t>>, Option<u64>)> {
    let device = terminal.device();
    let keep_best = *settings.keep_best.get_or_insert(false);
    if settings.eval_every.is_none() {
        settings.refuse(
            &[
                ("--eval-images", settings.eval_images.is_some()),
                ("--judge-extractor", settings.judge_extractor.is_some()),
                ("--keep-best", keep_best),
                ("--patience", settings.patience.is_some()),
            ],
            "nothing is evaluated without --eval-every",
        )?;
        return Ok((None, None));
    }
    let Some(reference) = reference else {
        return Err(Error::usage("--eval-every needs a reference to compare with", "give --reference"));
    };
    let count = *settings.eval_images.get_or_insert(default::EVAL_IMAGES) as usize;
    let patience = match keep_best {
        true => Some(*settings.patience.get_or_insert(default::PATIENCE)),
        false => {
            settings.refuse(&[("--patience", settings.patience.is_some())], "it belongs to --keep-best")?;
            None
        }
    };
    let extractor = settings.extractor(reference, device)?;
    let evaluator = Evaluator::new(reference, extractor, count, seed, device, terminal)?;
    let evaluator = match judge(settings, reference, device)? {
        Some(judge) => evaluator.judged_by(judge, images, terminal)?,
        None => evaluator,
    };
    Ok((Some(evaluator), patience))
}

/// The extractor that judges, if any; which one is written back into the settings.
fn judge(settings: &mut Settings, reference: &Reference, device: &Device) -> Result<Option<LoadedExtractor>> {
    let scored = &reference.manifest.identity.extractor;
    let (name, extractor) = match settings.judge_extractor.as_deref() {
        Some(NO_JUDGE) => return Ok(None),
        Some(name) if name == scored => {
            return Err(Error::usage(
                format!(
                    "--judge-extractor {name} is the extractor that scores: its space always looks better"
                ),
                "name another one, or none",
            ));
        }
        Some(name) => (name.to_owned(), Some(named_extractor(name, device)?)),
        None => {
            let name = DEFAULT_JUDGES.into_iter().find(|name| name != scored).unwrap_or(NO_JUDGE);
            match named_extractor(name, device) {
                Ok(extractor) => (name.to_owned(), Some(extractor)),
                Err(_) => (NO_JUDGE.to_owned(), None),
            }
        }
    };
    settings.judge_extractor = Some(name);
    Ok(extractor)
}
