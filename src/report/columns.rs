//! The columns of the tables that commands write, in words: what a number is called on a page, and what it means.

use crate::error::Result;
use crate::formats::table::Columns;
use serde::Serialize;

/// What a column of a table is called and means.
struct Known {
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    about: &'static str,
}

const fn known(name: &'static str, label: &'static str, unit: &'static str, about: &'static str) -> Known {
    Known { name, label, unit, about }
}

const KNOWN: [Known; 38] = [
    known("repeats", "repeats", "", "How often an epoch has it."),
    known(
        "order",
        "order of choice",
        "",
        "The order in which the images were taken: each adds most to those before it.",
    ),
    known(
        "pseudo_density",
        "how typical",
        "",
        "The pseudo density. 1 is the average of the images it was compared with. Above 1 many are like it, below 1 few or none are.",
    ),
    known(
        "predicted_density",
        "how typical, predicted",
        "",
        "The pseudo density as the trained predictor guesses it.",
    ),
    known(
        "percentile",
        "more typical than",
        " %",
        "Share of the images it was compared with that are no more typical than it is.",
    ),
    known(
        "nearest_distance",
        "distance to nearest",
        "",
        "How different it is from the image most similar to it, as the network sees it: 0 is the same. Only looking at both tells whether one is a copy.",
    ),
    known(
        "mean_knn_distance",
        "distance to its like",
        "",
        "Mean distance to the few images most similar to it. The pseudo density is made from this.",
    ),
    known(
        "copy_of",
        "copy of",
        "",
        "The image that it is a copy of: the two pictures were laid over each other and agree.",
    ),
    known("decision", "decision", "", ""),
    known("group", "group", "", ""),
    known("folder", "folder", "", ""),
    known(
        "score",
        "how surely a copy",
        "",
        "From 0 to 1: how surely the two pictures are one and the same that was edited. They were laid over each other and compared.",
    ),
    known(
        "reason",
        "why",
        "",
        "exact: the same to the pixel. edited: recompressed, resized, cropped, mirrored, recoloured, blurred or written over. similar: very like, \
         perhaps another photograph of the same thing. The marked picture of a group is kept, for the reason given.",
    ),
    known("other", "looked at beside", "", "The picture that it agrees with best."),
    known(
        "distance",
        "distance",
        "",
        "How different the two are as the network sees them: 0 is the same. Only looking tells whether one is a copy.",
    ),
    known("gain", "what it added", "", "How much the set of all chosen became better when it was taken."),
    known(
        "quality",
        "quality by itself",
        "",
        "What it is worth alone: the logarithm of its pseudo density, or of how much more likely it is among real images than in the pool.",
    ),
    known("nearest_chosen", "most like it of the chosen", "", "The chosen image that is most similar to it."),
    known(
        "weight",
        "weight",
        "",
        "How often such an image was wanted: one of weight 2 twice as often as one of weight 1.",
    ),
    known("photograph", "photograph", "", "What it is called where it was taken from."),
    known("seed", "seed", "", "The random seed it was made from."),
    known("prompt", "prompt", "", ""),
    known("eps", "strength eps", "", "How far the numbers it was made from were allowed to move."),
    known(
        "density_before",
        "how typical before",
        "",
        "The pseudo density of the original. 1 is the average of the real images.",
    ),
    known("density_after", "how typical after", "", "The pseudo density of the new image."),
    known("predictor_before", "predicted before", "", "What the trained predictor says of the original."),
    known("predictor_after", "predicted after", "", "What the trained predictor says of the new image."),
    known(
        "feature_distance",
        "moved by",
        "",
        "How different the new image is from the original, as the network sees it.",
    ),
    known("improved", "changed as asked", "", "false: nothing better was found, and the original was kept."),
    known("sharpness", "sharpness", "", "Low is blurred."),
    known("brightness", "brightness", "", "Low is dark, high is bright."),
    known("contrast", "contrast", "", "Low is flat: all of one brightness."),
    known("entropy", "detail", "", "Low is a plain surface with little to see."),
    known("width", "width", " px", "Width in pixels."),
    known("height", "height", " px", "Height in pixels."),
    known("flags", "looks wrong", "", "What the checks found to be unusual in this collection."),
    known("note", "note", "", "What is unusual about the file."),
    known("change", "change", " %", "How much the pseudo density changed."),
];

/// Columns that a card shows in another way than as a value.
const PICTURED: [&str; 4] = ["file", "path", "nearest", "keep"];
/// Columns by which images belong together.
const GROUPS: [&str; 2] = ["group", "folder"];

/// A column as the page has it.
#[derive(Serialize)]
pub(super) struct Column {
    /// Its name in the table.
    pub name: String,
    /// What it is called.
    pub label: String,
    /// What it means; empty where that needs no words.
    pub about: &'static str,
    /// What follows a number.
    pub unit: &'static str,
    /// Whether its values are numbers.
    pub number: bool,
    /// Whether images of the same value are a group.
    pub group: bool,
    /// Whether a card shows it; the others are seen with the large picture.
    pub card: bool,
    /// Whether it belongs to a list that is saved.
    pub written: bool,
    values: Values,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Numbers(Vec<Option<f64>>),
    Text(Vec<String>),
}

impl Column {
    fn new(name: &str, values: Values) -> Self {
        let known = KNOWN.iter().find(|known| known.name == name);
        Self {
            name: name.to_owned(),
            label: known.map_or(name, |known| known.label).to_owned(),
            about: known.map_or("", |known| known.about),
            unit: known.map_or("", |known| known.unit),
            number: matches!(values, Values::Numbers(_)),
            group: GROUPS.contains(&name),
            card: false,
            written: true,
            values,
        }
    }

    /// A column of numbers; those that are not finite count as missing.
    pub(super) fn numbers(name: &str, values: impl Iterator<Item = f64>) -> Self {
        Self::new(name, Values::Numbers(values.map(|value| value.is_finite().then_some(value)).collect()))
    }

    /// A column of text.
    pub(super) fn text(name: &str, values: impl Iterator<Item = String>) -> Self {
        Self::new(name, Values::Text(values.collect()))
    }

    /// The column, shown on cards.
    pub(super) fn on_cards(self) -> Self {
        Self { card: true, ..self }
    }
}

/// The columns of a table at some of its rows, without those that name pictures, are empty, or are among `without`.
/// Cards show those of `on_cards`. Where nothing groups the images, their folders do.
///
/// # Errors
/// [`crate::error::Error::Malformed`] if there is no column `path`.
pub(super) fn columns_of(
    table: &Columns,
    rows: &[usize],
    names: &[String],
    without: &[&str],
    on_cards: &[&str],
) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    for name in table.names() {
        if PICTURED.contains(&name.as_str()) || without.contains(&name.as_str()) {
            continue;
        }
        let cells = table.text(name)?;
        let at_rows = || rows.iter().filter_map(|&row| cells.get(row));
        if at_rows().all(String::is_empty) {
            continue;
        }
        let is_number = |cell: &String| cell.is_empty() || cell.parse::<f64>().is_ok();
        let numbers = !GROUPS.contains(&name.as_str()) && at_rows().all(is_number);
        columns.push(match numbers {
            true => Column::numbers(name, at_rows().map(|cell| cell.parse().unwrap_or(f64::NAN))),
            false => Column::text(name, at_rows().cloned()),
        });
    }
    if !columns.iter().any(|column| column.group) {
        let folder = |&row: &usize| names.get(row).and_then(|name| Some(name.rsplit_once('/')?.0.to_owned()));
        let folders: Vec<String> = rows.iter().map(|row| folder(row).unwrap_or_default()).collect();
        if folders.iter().any(|folder| Some(folder) != folders.first()) {
            let folders = Column::text("folder", folders.into_iter());
            columns.push(Column { written: false, ..folders });
        }
    }
    for column in &mut columns {
        column.card = on_cards.contains(&column.name.as_str());
    }
    let place =
        |column: &Column| KNOWN.iter().position(|known| known.name == column.name).unwrap_or(KNOWN.len());
    columns.sort_by_key(place);
    Ok(columns)
}
