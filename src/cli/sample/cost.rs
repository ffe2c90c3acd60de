//! What a run will cost, said before it begins.

use crate::candidates::GeneratorSource;
use crate::cli::bars::in_words;
use crate::cli::maker::Source;
use crate::cli::terminal::Terminal;
use crate::error::Result;
use crate::sampling::draw::DrawOptions;
use std::time::{Duration, Instant};

/// Says how many candidates will be made, of all groups that are drawn from by themselves, and for a generator of many steps how long that takes, by the time of one of them.
///
/// # Errors
/// What the generator returns.
pub(super) fn say(
    source: &Source,
    groups: Option<&[usize]>,
    options: &DrawOptions,
    terminal: &Terminal,
) -> Result<()> {
    let of_group = |len: u64| {
        let limit = options.limit(len);
        let pilot = options.pilot.min(limit);
        let by_budget = options.n.zip(options.budget).map(|(n, budget)| (n as f64 * budget).ceil() as usize);
        (by_budget.unwrap_or(pilot).clamp(pilot, limit.max(pilot)), pilot)
    };
    let kept = options.n.map_or("all that are accepted".to_owned(), |n| n.to_string());
    let (candidates, mut line) = match groups {
        None => {
            let (candidates, pilot) = of_group(source.candidates().len());
            (
                candidates,
                format!("to keep {kept}, about {candidates} candidates are made (a pilot of {pilot} first)"),
            )
        }
        Some(groups) => {
            let candidates = groups.iter().map(|&len| of_group(len as u64).0).sum();
            let count = groups.len();
            (
                candidates,
                format!("to keep {kept} for each of {count} prompts, about {candidates} candidates are made"),
            )
        }
    };
    if let Source::Network(source) = source {
        let stages = source.generator.info().stages;
        if stages > 1 {
            line.push_str(&format!(", each in {stages} denoising steps: {}", duration(source, candidates)?));
        }
    }
    terminal.say(&line);
    Ok(())
}

/// How long `candidates` take, by the second of two first steps of one batch: the first one warms up.
fn duration(source: &GeneratorSource, candidates: usize) -> Result<String> {
    let batch = source.batch.min(candidates).max(1);
    let common = source.latents.conditions(source.generator)?;
    let latents = source.latents.batch(source.generator, 0..batch)?;
    let mut elapsed = Duration::ZERO;
    for _ in 0..2 {
        let begun = Instant::now();
        source.generator.stage(0, &latents.values, &latents.conditions(common))?;
        elapsed = begun.elapsed();
    }
    let steps = source.generator.info().stages * candidates.div_ceil(batch);
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    Ok(format!("about {}", in_words(elapsed.saturating_mul(steps))))
}
