//! Whether a program that makes images gives the same one whenever it is asked for it.

use crate::candidates::{
    CandidateSource as _, Delivered, LatentOrigin, LatentSource, ProgramSource, PromptOrder,
};
use crate::cli::maker::NumberedPrompts;
use crate::cli::program_args::ProgramArgs;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::generate::{ProgramInfo, Seeds};
use crate::images::{Alpha, RgbImage};
use candle_core::{DType, Device};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::time::Instant;

/// Images that are asked for twice, and how many of them at once the second time.
const IMAGES: usize = 8;
const AT_ONCE: usize = 4;

/// What was found.
#[derive(Serialize)]
pub(super) struct Findings {
    generator: ProgramInfo,
    images: usize,
    milliseconds_per_image: f64,
    /// What is not the same, with the largest difference of two values of 0 to 255; `null` for another size.
    differing: BTreeMap<String, Option<u8>>,
}

/// Asks for a few images one at a time, and then again, several at once and in another order.
pub(super) fn examine(arguments: &ProgramArgs, terminal: &Terminal) -> Result<Option<Findings>> {
    let prompts = arguments.prompts()?;
    let Some(program) = arguments.start(terminal)? else { return Ok(None) };
    let seeds = LatentOrigin::Seeds(Seeds::consecutive(0, IMAGES as u64)?);
    let latents = LatentSource::new(seeds, DType::F32, &Device::Cpu);
    let order = PromptOrder::InTurn;
    let prompts =
        prompts.map(|file| NumberedPrompts { file, order, most: IMAGES as u64 }.with_at_most(latents.len()));
    let source = ProgramSource::new(program, latents, prompts, AT_ONCE)?;
    let images = usize::try_from(source.len()).map_or(IMAGES, |count| count.min(IMAGES));
    let begun = Instant::now();
    let once = pictures(&source, (0..images).map(|number| number..number + 1), terminal)?;
    let seconds = begun.elapsed().as_secs_f64();
    let middle = images / 2;
    let again = pictures(&source, [middle..images, 0..middle].into_iter(), terminal)?;
    let names = source.records(0..images)?.into_iter().map(|record| record.name);
    let both = once.values().zip(again.values());
    let differences = names.zip(both).filter(|(_, (one, other))| one != other);
    Ok(Some(Findings {
        generator: source.info().clone(),
        images,
        milliseconds_per_image: (seconds * 1e4 / images.max(1) as f64).round() / 10.0,
        differing: differences.map(|(name, (one, other))| (name, difference(one, other))).collect(),
    }))
}

/// The images of some ranges, one range after the other, by their numbers.
fn pictures(
    source: &ProgramSource,
    ranges: impl Iterator<Item = Range<usize>>,
    terminal: &Terminal,
) -> Result<BTreeMap<usize, RgbImage>> {
    let mut found = BTreeMap::new();
    let mut take = |delivered: Vec<Delivered>| {
        for Delivered { number, image } in delivered {
            found.insert(number, image.pixels(Alpha::default())?.into_owned());
        }
        Ok(())
    };
    for range in ranges.filter(|range| !range.is_empty()) {
        source.images(range, &mut take, terminal)?;
    }
    Ok(found)
}

/// The largest difference of two values; `None` if the sizes differ.
fn difference(one: &RgbImage, other: &RgbImage) -> Option<u8> {
    let same_size = (one.width, one.height) == (other.width, other.height);
    let largest = one.pixels.iter().zip(&other.pixels).map(|(&one, &other)| one.abs_diff(other)).max();
    largest.filter(|_| same_size)
}

impl Findings {
    /// For a person.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:16} {value}");
        };
        line("generator", self.generator.to_string());
        line("time", format!("{} ms for an image", self.milliseconds_per_image));
        let how =
            format!("{} images, one at a time and again {AT_ONCE} at once in another order", self.images);
        match self.words() {
            None => {
                line("asked for", format!("{how}: the same"));
                line("verdict", "all is well".into());
            }
            Some(words) => line("asked for", format!("{how}: {words}")),
        }
        text
    }

    /// What differs; `None` if nothing does.
    fn words(&self) -> Option<String> {
        let (name, first) = self.differing.first_key_value()?;
        let by = match first {
            Some(most) => format!("by up to {most} of 255"),
            None => "in its size".into(),
        };
        Some(format!("{} differ; {name} {by}", self.differing.len()))
    }

    /// # Errors
    /// [`Error::Data`] if images differ.
    pub(super) fn check(&self) -> Result<()> {
        match self.words() {
            None => Ok(()),
            Some(words) => Err(Error::data(
                format!("{} does not give the same image for the same request: {words}", self.generator.name),
                "an image has to follow from seed, latent, class and prompt alone: seed every random number of it anew, and \
                 let no image depend on what else is made with it; otherwise interrupted and sharded runs give other images",
            )),
        }
    }
}
