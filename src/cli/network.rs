//! The network that makes features of images, and what is said of it.

use super::common::ExtractorArgs;
use super::hints::fetch_command;
use super::terminal::Terminal;
use crate::error::Result;
use crate::extract::{ChosenBy, ChosenExtractor, FOR_PHOTOGRAPHS, LoadedExtractor};
use crate::images::ImageSet;
use crate::progress::Progress as _;

/// The network for the images of `set` that `args` name, or else the one that fits them; `known` made what there is already.
///
/// # Errors
/// As [`LoadedExtractor::load`].
pub(super) fn for_images(
    args: &ExtractorArgs,
    set: &ImageSet,
    known: Option<&str>,
    terminal: &Terminal,
) -> Result<LoadedExtractor> {
    let ChosenExtractor { extractor, by } =
        ChosenExtractor::for_images(&args.request(terminal.device()), set, known)?;
    if let Some(words) = why(by) {
        terminal.say(&words);
    }
    terminal.say(&format!("extractor: {}", extractor.identity().describe()));
    if let Some(remark) = extractor.remark() {
        terminal.warn(remark);
    }
    Ok(extractor)
}

/// Why a network was taken that was not asked for.
pub fn why(by: ChosenBy) -> Option<String> {
    match by {
        ChosenBy::Request => None,
        ChosenBy::Photographs => Some(format!(
            "these look like photographs: {FOR_PHOTOGRAPHS} is taken, which is in the cache; --extractor names another network"
        )),
        ChosenBy::DefaultForPhotographs => Some(format!(
            "hint: these look like photographs; a network trained on many tells them apart better: {}, then the same command",
            fetch_command(FOR_PHOTOGRAPHS, false)
        )),
    }
}

/// Checks what can be known before images are listed.
///
/// # Errors
/// [`crate::Error::Usage`] for a type of numbers that the device does not compute with.
pub(super) fn check(args: &ExtractorArgs, terminal: &Terminal) -> Result<()> {
    let device = terminal.device();
    args.request(device).checked_precision(device.is_cpu()).map(drop)
}
