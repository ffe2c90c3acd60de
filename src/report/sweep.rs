//! The page of a sweep: cost and result of each setting, and the best of them.

use super::foot::Foot;
use super::frontier::{Point, frontier_plot};
use super::page::{Page, Place};
use super::{name_of, read_json};
use crate::error::Result;
use crate::formats::table::Columns;
use serde_json::Value;
use std::path::Path;

/// A row per setting.
pub(super) const TABLE: &str = "sweep.csv";
const SUMMARY: &str = "summary.json";
/// The family of the setting without weights.
const UNBIASED: &str = "unbiased";

pub(super) fn page<'a>(dir: &Path, place: Place<'a>) -> Result<Page<'a>> {
    let table = Columns::read(&dir.join(TABLE))?;
    let summary = read_json(&dir.join(SUMMARY))?;
    let (family, flags) = (table.text("family")?, table.text("flags")?);
    let (precision, recall, fd) =
        (table.numbers("precision")?, table.numbers("recall")?, table.numbers("fd")?);
    let (cost, coverage) = (table.numbers("draws_per_kept")?, table.numbers("coverage")?);
    let on_frontier: Vec<bool> = table.text("frontier")?.iter().map(|cell| cell == "true").collect();

    let mut page = Page::new(
        &format!("{}: {} settings compared", name_of(dir), table.rows()),
        &[
            "A generator's images can be made more realistic (precision: how many of them look like real ones) or more varied \
             (recall: how many of the real ones have a generated one like them). Each dot is one setting of pd sample. To the \
             right is more realistic, upwards more varied; the larger a dot, the more images have to be drawn for each one kept. \
             Settings on the line are the ones to choose from: none is better than they are in both. The Frechet distance (fd) \
             says in one number how far the generated images as a whole are from the real ones: lower is better, and a setting \
             that gains precision while fd rises has only piled up one kind of image."
                .into(),
            "What to do next: run one of the commands below, and look at its images with pd report.".into(),
        ],
        place,
    );
    page.section("Commands to choose from", "");
    for best in summary.get("best").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| best.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let values: Vec<f64> =
            best["outcome"]["values"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let found = match values[..] {
            [fd, precision, recall, ..] => {
                format!(": fd {fd:.2}, precision {precision:.3}, recall {recall:.3}")
            }
            _ => String::new(),
        };
        page.paragraph(&format!("For {}{found}", text("wanted")));
        page.commands(&[text("command")]);
    }
    let points: Vec<Point> = (0..table.rows())
        .map(|row| Point {
            family: family[row].clone(),
            label: format!(
                "{}: precision {:.3}, recall {:.3}, fd {:.2}",
                flags[row], precision[row], recall[row], fd[row]
            ),
            precision: precision[row],
            recall: recall[row],
            cost: cost[row],
            on_frontier: on_frontier[row],
        })
        .collect();
    page.section("Precision and recall", "");
    let plot = frontier_plot("Precision and recall of each setting", &points);
    page.chart(&plot.replacen("<svg ", "<svg class=\"plot\" ", 1));

    page.section(
        "On the frontier",
        "With the unbiased generator to compare with. Draws: images made for each one kept, which is what the setting costs.",
    );
    let mut shown: Vec<usize> =
        (0..table.rows()).filter(|&row| on_frontier[row] || family[row] == UNBIASED).collect();
    shown.sort_by(|&a, &b| precision[a].total_cmp(&precision[b]).then(a.cmp(&b)));
    let rows: Vec<Vec<String>> = shown
        .into_iter()
        .map(|row| {
            let setting = if flags[row].is_empty() { &family[row] } else { &flags[row] };
            let mut cells = vec![setting.clone(), format!("{:.2}", cost[row])];
            cells.extend([precision[row], recall[row], coverage[row]].map(|value| format!("{value:.3}")));
            cells.push(format!("{:.2}", fd[row]));
            cells
        })
        .collect();
    page.table(&["setting", "draws", "precision", "recall", "coverage", "fd"], &rows);
    page.foot(&Foot::of("sweep", &dir.join(SUMMARY)).settings(summary.get("run")).facts());
    Ok(page)
}
