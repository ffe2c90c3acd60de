//! The page of a selection: all chosen images, and the figures of what else could have been chosen.

use super::columns::columns_of;
use super::foot::Foot;
use super::page::{Page, Place};
use super::pictures::Pictures;
use super::rows::that_fit;
use super::sheet::{Item, Look, Sheet, Shown};
use super::text::count;
use super::{name_of, read_json};
use crate::error::Result;
use crate::formats::table::Columns;
use serde_json::Value;
use std::path::Path;

/// A row per chosen image.
pub(super) const TABLE: &str = "selected.csv";
const SUMMARY: &str = "summary.json";
/// Columns that a card shows.
const ON_CARDS: [&str; 5] = ["order", "pseudo_density", "nearest_distance", "copy_of", "group"];

/// The figures of a summary in the order of the table, each with its heading.
const FIGURES: [(&str, &str); 5] = [
    ("recall", "recall"),
    ("coverage", "coverage"),
    ("vendi", "Vendi score"),
    ("smallest_distance", "smallest distance"),
    ("mean_density", "mean density"),
];
/// The sets of a summary.
const SETS: [(&str, &str); 3] =
    [("selected", "chosen"), ("random", "random, on average"), ("densest", "highest density")];

pub(super) fn page<'a>(dir: &Path, real: &Pictures, place: Place<'a>) -> Result<Page<'a>> {
    let table = Columns::read(&dir.join(TABLE))?;
    let summary = read_json(&dir.join(SUMMARY))?;
    let own = Pictures::in_directory(dir, place.progress);
    let number = |key: &str| summary.get(key).and_then(Value::as_f64);
    let whole = |key: &str| number(key).map(|n| count(n as usize));
    let pool = whole("pool").unwrap_or_default();
    let lead = format!(
        "{} images were chosen of {pool}, as the set that is best together: each image should be good by itself, and the set should \
         serve everything there is. An image that adds nothing to those taken before it is not chosen, however good it is.",
        count(table.rows()),
    );
    let next = "What to do next: look at the images below in their order; the last ones add least. For fewer or more, choose again \
                with another -n; for more variety, with a larger --diversity.";
    let title = format!("{}: {} chosen images", name_of(dir), count(table.rows()));
    let mut page = Page::new(&title, &[lead, next.into()], place);
    let mut facts = vec![("chosen", count(table.rows())), ("pool", pool)];
    for (key, label) in [
        ("copies_of_real", "refused, copies of real ones"),
        ("copies_of_chosen", "refused, copies of another"),
        ("not_novel", "too near to a real one, or in the set already"),
        ("not_distinct", "too near to a chosen one"),
        ("in_set_already", "in the set already"),
        ("groups", "groups"),
    ] {
        let found = number(key).filter(|n| *n > 0.0);
        facts.extend(found.map(|n| (label, count(n as usize))));
    }
    page.facts(&facts);

    let figure = |set: &str, key: &str| {
        let value = summary.get("figures").and_then(|sets| sets.get(set)?.get(key)?.as_f64());
        value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
    };
    let row_of = |(set, name): &(&str, &str)| {
        let mut row = vec![(*name).to_string()];
        row.extend(FIGURES.iter().map(|(key, _)| figure(set, key)));
        row
    };
    let head: Vec<&str> = [""].into_iter().chain(FIGURES.iter().map(|(_, heading)| *heading)).collect();
    let rows: Vec<Vec<String>> = SETS.iter().map(row_of).collect();
    page.section_beside(
        "Is it better than chance?",
        "The same figures for the chosen images, for random ones and for those of the highest density. Recall and coverage: how much \
         of the reference the set serves, 0 to 1. Vendi score: how many different images it amounts to. Smallest distance: of any two \
         of the set; 0 is a copy. Mean density: how typical the images are, 1 on average.",
        |page| page.table(&head, &rows),
    );

    page.section(
        "The chosen images",
        "In the order in which they were taken: each adds most to those before it. A click shows one large, beside what is most like it.",
    );
    if real.is_empty() && table.has("nearest") {
        page.paragraph(
            "The nearest real images are named only. Name where they are to see them beside: pd report --images PHOTOS.",
        );
    }
    let names = table.text("path")?;
    let (rows, said) = that_fit((0..table.rows()).collect());
    said.iter().for_each(|said| page.paragraph(said));
    let beside = [("nearest", "nearest real", real), ("nearest_chosen", "nearest chosen", &own)];
    let beside = beside.into_iter().filter(|(column, ..)| table.has(column));
    let beside: Vec<(&[String], &'static str, &Pictures)> =
        beside.map(|(column, role, from)| Ok((table.text(column)?, role, from))).collect::<Result<_>>()?;
    let item = |&row: &usize| {
        let others = beside.iter().filter(|(paths, ..)| !paths[row].is_empty());
        Item {
            picture: Shown { role: "chosen", path: &names[row], from: &own },
            others: others.map(|&(paths, role, from)| Shown { role, path: &paths[row], from }).collect(),
            chosen: false,
        }
    };
    let look = Look {
        title: "the chosen images",
        tools: true,
        others: Some(if table.has("nearest") {
            "each beside the nearest real one"
        } else {
            "each beside the nearest chosen one"
        }),
        order: Some(("order", false)),
        ..Look::default()
    };
    let columns = columns_of(&table, &rows, names, &["nearest_chosen"], &ON_CARDS)?;
    page.sheet(&Sheet { look, columns, items: rows.iter().map(item).collect() })?;
    let settings = ["quality", "set", "diversity", "wanted"];
    let foot = settings.iter().fold(Foot::of("select", &dir.join(SUMMARY)), |foot, key| {
        let value =
            summary.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        foot.with_some(key, value)
    });
    page.foot(&foot.settings(summary.get("run")).facts());
    Ok(page)
}
