//! A perturbation: each image before and after.

use super::chart::{Mark, Series, histogram};
use super::columns::{Column, columns_of};
use super::foot::Foot;
use super::page::{Page, Place};
use super::pictures::Pictures;
use super::rows::ordered;
use super::sheet::{Item, Look, MOST, Sheet, Shown};
use super::text::count;
use super::{name_of, read_json};
use crate::error::Result;
use crate::formats::table::Columns;
use serde_json::Value;
use std::path::Path;

const TABLE: &str = super::sample::TABLE;
const SUMMARY: &str = "summary.json";
/// Where the unperturbed images are.
const ORIGINALS: &str = "original";
/// Columns that a card shows.
const ON_CARDS: [&str; 3] = ["density_before", "density_after", "improved"];

pub(super) fn page<'a>(dir: &Path, place: Place<'a>) -> Result<Page<'a>> {
    let table = Columns::read(&dir.join(TABLE))?;
    let summary = read_json(&dir.join(SUMMARY))?;
    let (before, after) = (table.numbers("density_before")?, table.numbers("density_after")?);
    let (strongest, of_strongest) = strongest(&table)?;
    let diversity = summary.get("bias").and_then(Value::as_str) == Some("diversity");
    let (way, lower) = if diversity { ("more unusual", "lower") } else { ("more typical", "higher") };

    let mut page = Page::new(
        &format!("{}: {} images made {way}", name_of(dir), count(of_strongest.len())),
        &[
            format!(
                "Each image was changed a little, by moving the numbers that the generator made it from, so that it becomes {way}: \
                 its pseudo density (1 is the average of the real images) should get {lower}. Where nothing better was found the \
                 original was kept."
            ),
            "What to do next: look at the pairs. If the change is too weak or spoils the image, run pd perturb again with another \
             --eps. The numbers behind the new images are in latents.npy: pd sample --latents makes them again."
                .into(),
        ],
        place,
    );
    let numbers = |entry: &Value| {
        let value = |key: &str| entry.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        vec![
            format!("{}", value("eps")),
            format!("{:.0} %", 100.0 * value("moved")),
            format!("{:.3}", value("mean_density_before")),
            format!("{:.3}", value("mean_density_after")),
            format!("{:+.1} %", 100.0 * value("mean_relative_change")),
        ]
    };
    page.section(
        "What each strength did",
        "eps is how far the numbers behind an image may move. Moved: the share of images that changed the wanted way.",
    );
    let strengths = summary.get("strengths").and_then(Value::as_array);
    let rows: Vec<Vec<String>> = strengths.into_iter().flatten().map(numbers).collect();
    page.table(&["eps", "moved", "density before", "after", "mean change"], &rows);
    let of = |values: &[f64]| of_strongest.iter().map(|&row| values[row]).collect::<Vec<_>>();
    let (all_before, all_after) = (of(&before), of(&after));
    let series =
        [Series { name: "before", values: &all_before }, Series { name: "after", values: &all_after }];
    let marks = [Mark { at: 1.0, label: "average of the real".into() }];
    page.chart(&histogram("Pseudo density before and after", "pseudo density", &series, &marks));

    page.section(
        "Before and after",
        &format!("At the strongest eps, {strongest}; the greatest changes come first."),
    );
    pairs(&mut page, dir, &table, MOST, true)?;
    page.foot(&Foot::of("perturb", &dir.join(SUMMARY)).settings(Some(&options(dir))).facts());
    Ok(page)
}

/// The settings of the run, where it wrote them.
fn options(dir: &Path) -> Value {
    read_json(&dir.join("options.json")).unwrap_or_default()
}

/// The greatest eps, and its rows.
fn strongest(table: &Columns) -> Result<(f64, Vec<usize>)> {
    let eps = table.numbers("eps")?;
    let strongest = eps.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Ok((strongest, (0..table.rows()).filter(|&row| eps[row] == strongest).collect()))
}

/// Images before and after at the strongest eps, the greatest changes first, `limit` at most; with `tools` they can be ordered and ticked.
pub(super) fn pairs(page: &mut Page, dir: &Path, table: &Columns, limit: usize, tools: bool) -> Result<()> {
    let pictures = Pictures::open(dir, page.progress())?;
    let files = table.text("file")?;
    let (before, after) = (table.numbers("density_before")?, table.numbers("density_after")?);
    let (_, of_strongest) = strongest(table)?;
    let change: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after / before).collect();
    let size: Vec<f64> = change.iter().map(|ratio| ratio.ln().abs()).collect();
    let rows: Vec<usize> =
        ordered(&size, true, of_strongest.iter().copied()).into_iter().take(limit).collect();
    let original = |file: &str| match file.rsplit_once('/') {
        Some((_, name)) => format!("{ORIGINALS}/{name}"),
        None => format!("{ORIGINALS}/{file}"),
    };
    let originals: Vec<String> = rows.iter().map(|&row| original(&files[row])).collect();
    let shown = |role, path| Shown { role, path, from: &pictures };
    let items = rows.iter().zip(&originals).map(|(&row, original)| Item {
        picture: shown("after", &files[row]),
        others: vec![shown("before", original)],
        chosen: false,
    });
    let mut columns = columns_of(table, &rows, files, &["eps"], &ON_CARDS)?;
    let percent = rows.iter().map(|&row| 100.0 * (change[row] - 1.0));
    columns.push(Column::numbers("change", percent).on_cards());
    columns.retain(|column| column.name != "folder");
    let look = Look { title: "before and after", tools, beside: true, ..Look::default() };
    page.sheet(&Sheet { look, columns, items: items.collect() })
}
