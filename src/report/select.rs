//! The page of a selection: all chosen images, and the figures of what else could have been chosen.

use super::cards::{count, shown};
use super::page::{Card, Page};
use super::pictures::Pictures;
use super::{name_of, read_json};
use crate::error::Result;
use crate::formats::table::Columns;
use crate::images::ImageSet;
use crate::progress::Silent;
use rayon::prelude::*;
use serde_json::Value;
use std::path::Path;

/// A row per chosen image.
pub(super) const TABLE: &str = "selected.csv";
const SUMMARY: &str = "summary.json";
/// Images shown, the first taken first.
const GALLERY: usize = 200;

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

pub(super) fn page(dir: &Path, real: &Pictures) -> Result<Page> {
    let table = Columns::read(&dir.join(TABLE))?;
    let summary = read_json(&dir.join(SUMMARY))?;
    let own = ImageSet::open(dir, &Silent).map_or_else(|_| Pictures::none(), Pictures::of);
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
    let mut page = Page::new(&title, &[lead, next.into()]);
    let mut facts = vec![("chosen", count(table.rows())), ("pool", pool)];
    for (key, label) in [
        ("not_novel", "too near to a real one, or in the set already"),
        ("not_distinct", "too near to a chosen one"),
        ("in_set_already", "in the set already"),
        ("groups", "groups"),
    ] {
        let found = number(key).filter(|n| *n > 0.0);
        facts.extend(found.map(|n| (label, count(n as usize))));
    }
    page.facts(&facts);

    page.section(
        "Is it better than chance?",
        "The same figures for the chosen images, for random ones and for those of the highest density. Recall and coverage: how much \
         of the reference the set serves, 0 to 1. Vendi score: how many different images it amounts to. Smallest distance: of any two \
         of the set; 0 is a copy. Mean density: how typical the images are, 1 on average.",
    );
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
    page.table(&head, &rows);

    page.section(
        "The chosen images",
        "In the order in which they were taken: each adds most to those before it.",
    );
    if table.rows() > GALLERY {
        page.paragraph(&format!("The first {GALLERY} are shown; selected.csv lists all."));
    }
    let names = table.text("path")?;
    let column = |name: &str| if table.has(name) { table.text(name).map(Some) } else { Ok(None) };
    let (nearest, distance, group) = (column("nearest")?, column("nearest_distance")?, column("group")?);
    let density = table.numbers("pseudo_density")?;
    let card = |row: usize| {
        let mut pictures = vec![shown("chosen", &names[row], own.thumbnail(&names[row]))];
        let mut lines = vec![format!("{}. density {:.3}", row + 1, density[row])];
        if let (Some(nearest), Some(distance)) = (nearest, distance) {
            pictures.push(shown("nearest real", &nearest[row], real.thumbnail(&nearest[row])));
            let distance = distance[row].parse::<f64>().unwrap_or(f64::NAN);
            lines.push(format!("at distance {distance:.3}"));
        }
        lines.extend(group.map(|group| format!("group {}", group[row])));
        Card { pictures, lines }
    };
    let cards: Vec<Card> = (0..table.rows().min(GALLERY)).into_par_iter().map(card).collect();
    page.cards(&cards);
    Ok(page)
}
