//! The page of a fine-tuning run: its curves, and images of the generator before and after.

use super::chart::{Series, line_chart};
use super::foot::Foot;
use super::page::{Page, Place};
use super::pictures::Thumbnail;
use super::text::count;
use super::{name_of, read_json};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A line per logged step.
pub(super) const LOG: &str = "log.jsonl";
const OPTIONS: &str = "options.json";
/// Sheets are `fakes-000600.png`.
const SHEET: &str = "fakes-";
/// Snapshots are `snapshot-000600`.
const SNAPSHOT: &str = "snapshot-";
/// Options of a run that the page shows.
const SHOWN_OPTIONS: [&str; 10] = [
    "steps",
    "batch",
    "rule",
    "weight_real",
    "threshold_real",
    "weight_fake",
    "threshold_fake",
    "sides",
    "frechet",
    "lr",
];
/// Columns that share a chart, with its title and explanation.
const CHARTS: [(&str, &[&str], &str); 5] = [
    (
        "Distance to the real images",
        &["fd"],
        "The Frechet distance of generated and real images: lower is better, in all.",
    ),
    (
        "Precision and recall",
        &["precision", "recall"],
        "Precision: share of the generated images that look like real ones. Recall: share of the real ones that have a \
         generated one like them.",
    ),
    (
        "Distance that is trained on",
        &["frechet"],
        "The Frechet distance that the Frechet term lowers, of the generator as it is trained.",
    ),
    (
        "Losses",
        &["g_loss", "d_loss", "loss"],
        "Neither has to fall: generator and discriminator compete. One that runs away from the other is a warning.",
    ),
    (
        "What the discriminator says",
        &["d_real", "d_fake"],
        "Of real and of generated images. Close together: it cannot tell them apart.",
    ),
];

fn read_log(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    // A last line without a line end is still being written.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).map_err(|e| Error::malformed(path, e.to_string(), "")))
        .collect()
}

/// Files of a run that are named by step, `PREFIX000600SUFFIX`, in the order of steps.
fn by_step(dir: &Path, prefix: &str, suffix: &str) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let name = entry.file_name();
        let step =
            name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok());
        found.extend(step.map(|step| (step, entry.path())));
    }
    found.sort();
    Ok(found)
}

pub(super) fn page<'a>(dir: &Path, place: Place<'a>) -> Result<Page<'a>> {
    let name = name_of(dir);
    let log = read_log(&dir.join(LOG))?;
    let options = read_json(&dir.join(OPTIONS))?;
    let last = log.last().and_then(|line| line.get("step")?.as_u64()).unwrap_or(0);
    let snapshot = match by_step(dir, SNAPSHOT, "")?.pop() {
        Some((step, _)) => format!("{name}/{SNAPSHOT}{step:06}"),
        None => format!("{name}/{SNAPSHOT}… (there is none yet)"),
    };
    let mut page = Page::new(
        &format!("{name}: {} steps of training", count(last as usize)),
        &[
            "A generator was trained on with real images that were drawn by how typical they are: towards fidelity the typical \
             ones more often, towards diversity the unusual ones. The curves show how training went, the two sheets what the \
             generator made of the same random numbers at the beginning and at the end."
                .into(),
            format!(
                "What to do next: if the last sheet looks broken, go back to an earlier snapshot or train with fewer steps. \
                 Otherwise draw images: pd sample --generator {snapshot} -n 500."
            ),
        ],
        place,
    );
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let facts: Vec<(&str, String)> = SHOWN_OPTIONS
        .iter()
        .filter_map(|key| Some((*key, options.get(key).filter(|v| !v.is_null()).map(shown)?)))
        .collect();
    page.facts(&facts);

    let sheets = by_step(dir, SHEET, ".png")?;
    let ends: Vec<&(u64, PathBuf)> = match &sheets[..] {
        [] => Vec::new(),
        [only] => vec![only],
        [first, .., last] => vec![first, last],
    };
    if !ends.is_empty() {
        page.section("Samples", "The same random numbers each time.");
    }
    let mut shown = Vec::new();
    for (step, path) in ends {
        shown.push((
            format!("after {} steps", count(*step as usize)),
            Thumbnail::of_sheet(path, place.progress)?,
        ));
    }
    page.sheets(&shown);

    for (title, names, explanation) in CHARTS {
        let column = |name: &str| {
            let point =
                |line: &Map<String, Value>| Some((line.get("step")?.as_f64()?, line.get(name)?.as_f64()?));
            log.iter().filter_map(point).collect::<Vec<_>>()
        };
        let columns: Vec<(&str, Vec<(f64, f64)>)> =
            names.iter().map(|name| (*name, column(name))).filter(|(_, values)| values.len() > 1).collect();
        if columns.is_empty() {
            continue;
        }
        page.section(title, explanation);
        let series: Vec<Series<(f64, f64)>> =
            columns.iter().map(|(name, values)| Series { name, values }).collect();
        page.chart(&line_chart(title, "step", &series));
    }
    if !log.iter().any(|line| line.contains_key("fd")) {
        page.paragraph(
            "Nothing was measured along the way: --eval-every 100 adds the Frechet distance, precision and recall.",
        );
    }
    page.foot(&Foot::of("finetune", &dir.join(LOG)).settings(Some(&options)).facts());
    Ok(page)
}
