//! The network that makes features of images: the one that is named, or else the one that fits them.

use super::common::ExtractorArgs;
use super::terminal::Terminal;
use crate::error::Result;
use crate::extract::{LoadedExtractor, architecture};
use crate::images::{Alpha, ImageSet, decode};
use crate::progress::Progress as _;
use rayon::prelude::*;

/// The network that tells photographs apart best of those that are small.
const FOR_PHOTOGRAPHS: &str = "efficientnet-lite0";
/// Images are photographs if the shorter side of most of them has at least so many pixels.
const PHOTOGRAPH_SIDE: u32 = 128;
/// Images that are looked at to know.
const LOOKED_AT: usize = 9;

/// The network for the images of `set` that `args` name. Where they name none, `known` (which made what there is already) is taken, or for
/// photographs the one that was made for them, if its weights are in the cache.
///
/// # Errors
/// As [`LoadedExtractor::load`].
pub(super) fn for_images(
    args: &ExtractorArgs,
    set: &ImageSet,
    known: Option<&str>,
    terminal: &Terminal,
) -> Result<LoadedExtractor> {
    let mut request = args.request(terminal.device());
    let is_told = request.name.is_some() || request.weights.is_some();
    if let Some(known) = known.filter(|known| !is_told && architecture(known).is_ok()) {
        request.name = Some(known.into());
    }
    let extractor = match request.name.is_none() && !is_told && are_photographs(set) {
        true => for_photographs(args, terminal)?,
        false => LoadedExtractor::load(&request)?,
    };
    terminal.say(&format!("extractor: {}", extractor.identity().describe()));
    if let Some(remark) = extractor.remark() {
        terminal.warn(remark);
    }
    Ok(extractor)
}

/// Checks what can be known before images are listed.
///
/// # Errors
/// [`crate::Error::Usage`] for a type of numbers that the device does not compute with.
pub(super) fn check(args: &ExtractorArgs, terminal: &Terminal) -> Result<()> {
    let device = terminal.device();
    args.request(device).checked_precision(device.is_cpu()).map(drop)
}

fn for_photographs(args: &ExtractorArgs, terminal: &Terminal) -> Result<LoadedExtractor> {
    let request = args.request(terminal.device());
    let mut made_for_them = args.request(terminal.device());
    made_for_them.name = Some(FOR_PHOTOGRAPHS.into());
    if let Ok(extractor) = LoadedExtractor::load(&made_for_them) {
        terminal.say(&format!(
            "these look like photographs: {FOR_PHOTOGRAPHS} is taken, which is in the cache; --extractor names another network"
        ));
        return Ok(extractor);
    }
    terminal.say(&format!(
        "hint: these look like photographs; a network trained on many tells them apart better: pd weights fetch {FOR_PHOTOGRAPHS}, then the same command"
    ));
    LoadedExtractor::load(&request)
}

/// Whether most of some images of a set are large.
fn are_photographs(set: &ImageSet) -> bool {
    let some: Vec<usize> = (0..set.len()).step_by(set.len().div_ceil(LOOKED_AT).max(1)).collect();
    let side = |i: usize| {
        let image = decode(&set.read(i).ok()?, Alpha::White).ok()?;
        Some(image.width.min(image.height))
    };
    let mut sides: Vec<u32> = some.into_par_iter().filter_map(side).collect();
    sides.sort_unstable();
    sides.get(sides.len() / 2).is_some_and(|&median| median >= PHOTOGRAPH_SIDE)
}
