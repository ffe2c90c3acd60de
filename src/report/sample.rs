//! The page of a sample: the kept images, their densities, and their distance to the real images.

use super::chart::{Mark, Series, histogram};
use super::foot::Foot;
use super::page::{Page, Place};
use super::pictures::Pictures;
use super::reference::{scored, thresholds};
use super::rows::{ordered, that_fit};
use super::sheet::Look;
use super::text::count;
use super::{name_of, read_json};
use crate::error::Result;
use crate::formats::table::Columns;
use crate::reference::Reference;
use serde_json::Value;
use std::path::Path;

/// A row per candidate.
pub(super) const TABLE: &str = "samples.csv";
const SUMMARY: &str = "summary.json";
const KEPT: &str = "kept";

pub(super) fn page<'a>(
    dir: &Path,
    real: &Pictures,
    reference: Option<&Reference>,
    place: Place<'a>,
) -> Result<Page<'a>> {
    let name = name_of(dir);
    let table = Columns::read(&dir.join(TABLE))?;
    let summary = read_json(&dir.join(SUMMARY))?;
    let own = Pictures::in_directory(dir, place.progress);
    let kept = kept_rows(&table)?;
    let number = |key: &str| summary.get(key).and_then(Value::as_u64).map(|n| n as usize);
    let rule = summary.get("rule").and_then(Value::as_str).unwrap_or("none").to_owned();
    let is_scored = table.has("pseudo_density");

    let lead = match is_scored {
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
    let next = match is_scored {
        true => {
            "What to do next: compare the two shapes in the first chart, which should differ as you wanted; look at the images \
             nearest to real ones, which may be copies; and measure what was gained: pd eval --real IMAGES --generated this \
             directory, and another one that was made without --bias."
        }
        false => {
            "What to do next: make a reference of real images (pd embed, pd index) and sample with --bias."
        }
    };
    let mut page =
        Page::new(&format!("{name}: {} sampled images", count(kept.len())), &[lead, next.into()], place);
    let mut facts = vec![("kept", count(kept.len())), ("candidates", count(table.rows()))];
    if let Some(draws) = number("draws").filter(|_| !kept.is_empty()) {
        facts.push(("draws for each kept", format!("{:.2}", draws as f64 / kept.len() as f64)));
    }
    for (key, label) in [
        ("copies_of_real", "refused, copies of real ones"),
        ("copies_of_kept", "refused, copies of another"),
        ("not_novel", "refused for a real one, all"),
        ("not_distinct", "refused for another, all"),
    ] {
        if let Some(refused) = number(key).filter(|n| *n > 0) {
            facts.push((label, count(refused)));
        }
    }
    page.facts(&facts);
    let foot = Foot::of("sample", &dir.join(SUMMARY)).with("rule", rule).with_some(
        "effective sample size",
        summary.get("effective_sample_size").and_then(Value::as_f64).map(|size| format!("{size:.0}")),
    );
    let foot = match reference {
        Some(reference) => foot.with("network", reference.manifest.identity.describe()),
        None => foot,
    };
    let foot = foot.settings(summary.get("run")).facts();
    let look = Look { title: "the kept images", tools: true, ..Look::default() };
    if !is_scored {
        page.section("The images", "A click shows one large.");
        let (rows, said) = that_fit(kept);
        said.iter().for_each(|said| page.paragraph(said));
        page.sheet(&scored(&table, &rows, look, (&own, "generated"), (real, "nearest real"))?)?;
        page.foot(&foot);
        return Ok(page);
    }

    let density = table.numbers("pseudo_density")?;
    let distance = table.numbers("nearest_distance")?;
    let of_kept: Vec<f64> = kept.iter().map(|&row| density[row]).collect();
    let marks = match reference {
        Some(reference) => thresholds(reference)?,
        None => vec![Mark { at: 1.0, label: "average of the real".into() }],
    };
    let series = [Series { name: "candidates", values: &density }, Series { name: KEPT, values: &of_kept }];
    let chart = histogram("Distribution of the pseudo density", "pseudo density", &series, &marks);
    page.section_beside(
        "How typical the images are",
        "All candidates, and those that were kept. The taller a bar, the more images have that density; further to the right is more \
         typical.",
        |page| page.chart(&chart),
    );

    page.section(
        "The kept images",
        "Those nearest to a real image come first. Whether one is a copy only looking at both tells. Order, filter and tick them; a click \
         shows one large. If they are too near to what there is already, sample with --novel, which refuses copies of real images.",
    );
    if real.is_empty() {
        page.paragraph(
            "The nearest real images are named only. Name where they are to see them beside: pd report --images PHOTOS.",
        );
    }
    let (rows, said) = that_fit(ordered(&distance, false, kept.iter().copied()));
    said.iter().for_each(|said| page.paragraph(said));
    let look = Look {
        beside: !real.is_empty(),
        others: Some("each beside the nearest real one"),
        order: Some(("nearest_distance", false)),
        ..look
    };
    page.sheet(&scored(&table, &rows, look, (&own, "kept"), (real, "nearest real"))?)?;
    page.foot(&foot);
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
