//! The page of a training set: how often each photograph comes, and how that changes what is seen of them.

use super::chart::{Mark, Series, histogram};
use super::columns::{Column, columns_of};
use super::foot::Foot;
use super::page::{Page, Place};
use super::pictures::Pictures;
use super::rows::{ordered, that_fit};
use super::sheet::{Item, Look, Sheet, Shown};
use super::text::count;
use super::{name_of, read_json};
use crate::error::{Error, Result};
use crate::formats::table::Columns;
use serde_json::Value;
use std::path::Path;

/// A row per photograph.
pub(super) const TABLE: &str = "weights.csv";
const SUMMARY: &str = "summary.json";
const REPEATS: &str = "repeats";
/// Columns that a card shows.
const ON_CARDS: [&str; 3] = [REPEATS, "pseudo_density", "weight"];
/// Photographs that are shown of those that come most and least often.
const AT_AN_END: usize = 24;
/// Levels that are shown from each end.
const LEVELS: usize = 20;
/// Values that stand for all that a trainer sees of a set in a chart.
const MOST_VALUES: usize = 50_000;

pub(super) fn page<'a>(dir: &Path, photographs: &Pictures, place: Place<'a>) -> Result<Page<'a>> {
    let table = Columns::read(&dir.join(TABLE))?;
    let summary = read_json(&dir.join(SUMMARY))?;
    let (density, repeats) = (table.numbers("pseudo_density")?, table.numbers(REPEATS)?);
    let number = |key: &str| summary.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let whole = |key: &str| count(number(key) as usize);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let rule = summary.get("rule").and_then(Value::as_str).unwrap_or("none");

    let weighed = match rule.starts_with("ratio") {
        true => "Photographs were weighed by how much more often such pictures are real than generated",
        false => "Photographs were weighed by their pseudo density",
    };
    let lead = format!(
        "{} photographs, with repeats {} in an epoch. A trainer that goes through its images evenly knows no weights, so a photograph \
         that weighs more is there more often. {weighed} (rule: {rule}). The pseudo density of a photograph says how close those most similar \
         to it are: 1 is the average; above 1 it is typical, below 1 it is unusual.",
        count(table.rows()),
        whole("images"),
    );
    let next = "What to do next: look at the photographs that come most often. What is wrong with them, a bad crop or a picture of something \
                else, the trainer learns most. Take such out and make the set again; where too few carry the set (worth as many \
                unweighted photographs, below), take a milder --weight or --rule.";
    let title = format!("{}: a training set of {} photographs", name_of(dir), count(table.rows()));
    let mut page = Page::new(&title, &[lead, next.into()], place);
    let mean = weighted_mean(&density, |_| 1.0);
    let mean_of_set = weighted_mean(&density, |row| repeats[row]);
    page.facts(&[
        ("photographs", count(table.rows())),
        ("images of an epoch", whole("images")),
        ("worth as many unweighted photographs", format!("{:.0}", number("effective_sample_size"))),
        ("the same without rounding", format!("{:.0}", number("effective_sample_size_of_weights"))),
        ("largest error of a level", percent(number("largest_error"))),
        ("draws of other photographs than wanted", percent(number("misplaced"))),
        ("how typical on average", format!("{mean:.3}")),
        ("how typical as trained on", format!("{mean_of_set:.3}")),
    ]);

    let charts = [Series { name: "photographs", values: &repeats }];
    page.section_beside(
        "How often they come",
        "The taller a bar, the more photographs come so often. Repeats are whole numbers, so that their frequencies are near the weights but \
         not the same: the error of each level stands in the table.",
        |page| {
            page.chart(&histogram("Distribution of the repeats", "repeats in an epoch", &charts, &[]));
            levels(page, &summary);
        },
    );
    let seen = repeated(&density, &repeats);
    let series =
        [Series { name: "photographs", values: &density }, Series { name: "as trained on", values: &seen }];
    let marks = [Mark { at: 1.0, label: "average".into() }];
    page.section_beside(
        "What that changes",
        "How typical the photographs are as they lie there, each once, and as a trainer meets them. The two shapes should differ as you \
         wanted: towards the left for diversity, towards the right for fidelity.",
        |page| page.chart(&histogram("Distribution of the pseudo density", "pseudo density", &series, &marks)),
    );

    let own = Pictures::in_directory(dir, page.progress());
    let files = table.text("file")?;
    let paths = table.text("path")?;
    // Where the set holds no files, its photographs lie elsewhere.
    let pictured = |row: usize| match files[row].is_empty() {
        true => Shown { role: "photograph", path: &paths[row], from: photographs },
        false => Shown { role: "photograph", path: &files[row], from: &own },
    };
    if photographs.is_empty() && files.iter().any(String::is_empty) {
        page.paragraph(
            "The set names its photographs and does not hold them. Name where they are to see them here: pd report --images PHOTOS.",
        );
    }
    let sheet = |rows: &[usize], look: Look| {
        let items =
            rows.iter().map(|&row| Item { picture: pictured(row), others: Vec::new(), chosen: false });
        let mut columns = columns_of(&table, rows, paths, &[], &ON_CARDS)?;
        // A file of the set has another name than the photograph.
        if !files.iter().all(String::is_empty) {
            columns.push(Column::text("photograph", rows.iter().map(|&row| paths[row].clone())));
        }
        Ok::<Sheet, Error>(Sheet { look, columns, items: items.collect() })
    };
    let order = by_repeats(&density, &repeats, mean_of_set < mean);
    if order.len() > 2 * AT_AN_END {
        let title = "the photographs that come most often";
        page.section(
            "Most often",
            "Of those that come equally often, the ones furthest from the others come first.",
        );
        page.sheet(&sheet(&order[..AT_AN_END], Look { title, ..Look::default() })?)?;
        let last: Vec<usize> = order.iter().rev().take(AT_AN_END).copied().collect();
        let title = "the photographs that come least often";
        page.section("Least often", "");
        page.sheet(&sheet(&last, Look { title, ..Look::default() })?)?;
    }
    page.section(
        "All photographs",
        "Those that come most often are first. Order, filter and tick them; a click shows one large.",
    );
    let (rows, said) = that_fit(order);
    said.iter().for_each(|said| page.paragraph(said));
    page.sheet(&sheet(
        &rows,
        Look { title: "all photographs", tools: true, order: Some((REPEATS, true)), ..Look::default() },
    )?)?;
    page.foot(&Foot::of("resample", &dir.join(SUMMARY)).settings(summary.get("run")).facts());
    Ok(page)
}

/// The table of levels: how often their photographs come, and which share of all draws that is.
fn levels(page: &mut Page, summary: &Value) {
    let of = |level: &Value, key: &str| level.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let row = |level: &Value| {
        let share = |key| format!("{:.1} %", 100.0 * of(level, key));
        vec![
            count(of(level, REPEATS) as usize),
            count(of(level, "images") as usize),
            share("wanted"),
            share("share"),
            format!("{:+.1} %", 100.0 * of(level, "error")),
        ]
    };
    let levels = summary.get("levels").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut rows: Vec<Vec<String>> = levels.iter().map(row).collect();
    if rows.len() > 2 * LEVELS {
        let hidden = rows.len() - 2 * LEVELS;
        let said = format!("{} more", count(hidden));
        let between = [said.as_str(), "…", "…", "…", "…"].map(String::from).to_vec();
        rows.splice(LEVELS..LEVELS + hidden, [between]);
    }
    page.table(&["repeats", "photographs", "draws wanted", "draws", "error"], &rows);
}

/// Rows by their repeats, the most first; of equal ones the least dense first where `rare` ones come often, else the most dense.
fn by_repeats(density: &[f64], repeats: &[f64], rare: bool) -> Vec<usize> {
    let mut rows = ordered(density, !rare, 0..density.len());
    rows.sort_by(|&a, &b| repeats[b].total_cmp(&repeats[a]));
    rows
}

fn weighted_mean(values: &[f64], weight: impl Fn(usize) -> f64) -> f64 {
    let (sum, total) = values
        .iter()
        .enumerate()
        .fold((0.0, 0.0), |(sum, total), (row, value)| (sum + weight(row) * value, total + weight(row)));
    sum / total
}

/// Values as often as they are repeated, or so many of them, evenly spaced, that they stand for all.
fn repeated(values: &[f64], repeats: &[f64]) -> Vec<f64> {
    let rows = ordered(values, false, 0..values.len());
    let total: f64 = rows.iter().map(|&row| repeats[row]).sum();
    let shown = total.min(MOST_VALUES as f64);
    let step = total / shown;
    let mut out = Vec::new();
    let mut end = 0.0;
    for row in rows {
        end += repeats[row];
        while (out.len() as f64 + 0.5) * step < end {
            out.push(values[row]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_repeated_or_thinned_evenly() {
        let values = [3.0, 1.0, f64::NAN, 2.0];
        assert_eq!(repeated(&values, &[2.0, 1.0, 9.0, 3.0]), [1.0, 2.0, 2.0, 2.0, 3.0, 3.0]);
        let many = repeated(&values, &[1e6, 3e6, 1.0, 4e6]);
        let of = |value: f64| many.iter().filter(|v| **v == value).count();
        assert_eq!((many.len(), of(1.0), of(2.0), of(3.0)), (MOST_VALUES, 18_750, 25_000, 6_250));
        assert!(repeated(&[], &[]).is_empty());
    }

    #[test]
    fn of_equal_repeats_the_ones_furthest_from_the_others_are_first() {
        let (density, repeats) = ([1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 9.0, 9.0]);
        assert_eq!(by_repeats(&density, &repeats, false), [3, 2, 1, 0]);
        assert_eq!(by_repeats(&density, &[9.0, 9.0, 1.0, 1.0], true), [0, 1, 2, 3]);
        assert_eq!(weighted_mean(&density, |row| repeats[row]), 3.3);
    }
}
