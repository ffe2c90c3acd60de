//! The page of a sample: the kept images, their densities, and their distance to the real images.

use super::cards::{Pair, SHOWN, count, ordered, pair_cards, shown};
use super::chart::{Mark, Series, histogram};
use super::page::{Card, Page};
use super::pictures::Pictures;
use super::reference::thresholds;
use super::{name_of, read_json};
use crate::density::near_duplicate_threshold;
use crate::error::Result;
use crate::formats::table::Columns;
use crate::images::ImageSet;
use crate::progress::Silent;
use crate::reference::Reference;
use rayon::prelude::*;
use serde_json::Value;
use std::path::Path;

/// A row per candidate.
pub(super) const TABLE: &str = "samples.csv";
const SUMMARY: &str = "summary.json";
const KEPT: &str = "kept";
/// Images of a plain gallery.
const GALLERY: usize = 3 * SHOWN;

/// The kept images of a directory; none where only features were chosen.
fn pictures_of(dir: &Path) -> Pictures {
    ImageSet::open(dir, &Silent).map_or_else(|_| Pictures::none(), Pictures::of)
}

pub(super) fn page(dir: &Path, real: &Pictures, reference: Option<&Reference>) -> Result<Page> {
    let name = name_of(dir);
    let table = Columns::read(&dir.join(TABLE))?;
    let summary = read_json(&dir.join(SUMMARY))?;
    let own = pictures_of(dir);
    let files = table.text("file")?;
    // Images of a pool that were only linked by name have a path, and no file.
    let names = if table.has("path") { table.text("path")? } else { files };
    let kept = kept_rows(&table)?;
    let number = |key: &str| summary.get(key).and_then(Value::as_u64).map(|n| n as usize);
    let rule = summary.get("rule").and_then(Value::as_str).unwrap_or("none").to_owned();
    let scored = table.has("pseudo_density");

    let lead = match scored {
        true => format!(
            "{} images were kept of {} candidates. Each candidate got one number, its pseudo density: how close the real images \
             most similar to it are. 1 is the average of the real images; above 1 an image is typical, below 1 it is unusual. \
             Candidates were kept by the weight that this number gives them (rule: {rule}).",
            count(kept.len()),
            count(table.rows()),
        ),
        false => format!(
            "{} images of a generator, all that it was asked for. Without a reference nothing says how typical they are.",
            count(kept.len())
        ),
    };
    let next = match scored {
        true => {
            "What to do next: compare the two shapes in the first chart, which should differ as you wanted; look at the images \
             nearest to real ones, which may be copies; and measure what was gained: pd eval --real IMAGES --generated this \
             directory, and another one that was made without --bias."
        }
        false => {
            "What to do next: make a reference of real images (pd embed, pd index) and sample with --bias."
        }
    };
    let mut page = Page::new(&format!("{name}: {} sampled images", count(kept.len())), &[lead, next.into()]);
    let mut facts = vec![("kept", count(kept.len())), ("candidates", count(table.rows())), ("rule", rule)];
    if let Some(draws) = number("draws").filter(|_| !kept.is_empty()) {
        facts.push(("draws for each kept", format!("{:.2}", draws as f64 / kept.len() as f64)));
    }
    for (key, label) in [("not_distinct", "too near to another"), ("not_novel", "too near to a real one")] {
        if let Some(refused) = number(key).filter(|n| *n > 0) {
            facts.push((label, count(refused)));
        }
    }
    if let Some(size) = summary.get("effective_sample_size").and_then(Value::as_f64) {
        facts.push(("effective sample size", format!("{size:.0}")));
    }
    page.facts(&facts);
    if !scored {
        page.section("The images", "");
        let cards = kept.par_iter().take(GALLERY).map(|&row| Card {
            pictures: vec![shown("", &files[row], own.thumbnail(&files[row]))],
            lines: Vec::new(),
        });
        page.cards(&cards.collect::<Vec<_>>());
        return Ok(page);
    }

    let density = table.numbers("pseudo_density")?;
    let distance = table.numbers("nearest_distance")?;
    let nearest = table.text("nearest")?;
    let of_kept: Vec<f64> = kept.iter().map(|&row| density[row]).collect();
    let marks = match reference {
        Some(reference) => thresholds(reference)?,
        None => vec![Mark { at: 1.0, label: "average of the real".into() }],
    };
    page.section(
        "How typical the images are",
        "All candidates, and those that were kept. Further to the right is more typical.",
    );
    let series = [Series { name: "candidates", values: &density }, Series { name: KEPT, values: &of_kept }];
    page.chart(&histogram("Distribution of the pseudo density", "pseudo density", &series, &marks));

    if real.is_empty() {
        page.paragraph(
            "The nearest real images are named only. Name where they are to see them beside: pd report --images PHOTOS.",
        );
    }
    let cards = |rows: &[usize], page: &mut Page| {
        let pairs = rows.iter().take(SHOWN).map(|&row| Pair {
            path: &names[row],
            role: "generated",
            nearest: &nearest[row],
            lines: vec![format!("density {:.3}", density[row]), format!("distance {:.3}", distance[row])],
        });
        page.cards(&pair_cards(pairs.collect(), &own, real));
    };
    let suspected = match reference {
        Some(reference) => {
            let limit = near_duplicate_threshold(reference.density()?.median_pair_distance);
            let near = kept.iter().filter(|&&row| distance[row] < limit).count();
            format!(
                "{} of the kept images are closer to a real one than a quarter of the median distance of two real images \
                 ({limit:.3}): suspected copies.",
                count(near)
            )
        }
        None => "The kept images that are nearest to a real one. Distance 0 is a copy.".into(),
    };
    page.section(
        "Nearest to a real image",
        &format!("{suspected} If these are too close, sample with --novel 5: it refuses what is nearer than 5 % of the real images are to each other."),
    );
    cards(&ordered(&distance, false, kept.iter().copied()), &mut page);
    page.section("The most unusual", "Of the kept images, those that the fewest real ones are like.");
    cards(&ordered(&density, false, kept.iter().copied()), &mut page);
    page.section("The most typical", "Of the kept images, those that the most real ones are like.");
    cards(&ordered(&density, true, kept.iter().copied()), &mut page);
    Ok(page)
}

/// Rows of a table that were kept.
fn kept_rows(table: &Columns) -> Result<Vec<usize>> {
    let decisions = table.text("decision")?;
    Ok((0..table.rows()).filter(|&row| decisions[row] == KEPT).collect())
}

/// The files of the kept images of a directory.
pub(super) fn kept_files(dir: &Path) -> Result<Vec<String>> {
    let table = Columns::read(&dir.join(TABLE))?;
    let files = table.text("file")?;
    Ok(kept_rows(&table)?.into_iter().map(|row| files[row].clone()).collect())
}

/// The densities of the kept images of a directory.
pub(super) fn kept_densities(dir: &Path) -> Result<Vec<f64>> {
    let table = Columns::read(&dir.join(TABLE))?;
    let density = table.numbers("pseudo_density")?;
    Ok(kept_rows(&table)?.into_iter().map(|row| density[row]).collect())
}
