//! The page of a table of scores: every image of it, from the unusual to the typical.

use super::chart::{Mark, Series, histogram};
use super::foot::Foot;
use super::name_of;
use super::page::{Page, Place};
use super::pictures::Pictures;
use super::reference::scored;
use super::rows::{ordered, that_fit};
use super::sheet::Look;
use super::text::count;
use crate::error::Result;
use crate::formats::table::Columns;
use std::path::Path;

/// `images` are those of the table; `real` those they were scored against, where these are others.
pub(super) fn page<'a>(
    path: &Path,
    images: &Pictures,
    real: &Pictures,
    place: Place<'a>,
) -> Result<Page<'a>> {
    let table = Columns::read(path)?;
    let density = table.numbers("pseudo_density")?;
    let is_among_themselves = real.is_empty();
    let real = if is_among_themselves { images } else { real };
    let lead = format!(
        "Each of these {} images got one number, its pseudo density: how close the images most similar to it are. 1 is the average. \
         Above 1 an image is typical: there are many like it. Below 1 it is unusual: there are few, or none.",
        count(table.rows())
    );
    let next = "What to do next: look at the most unusual, where mistakes and treasures are found, and at those that are copies of another \
                image, where the table names it. Tick what you want to keep or to drop, and copy or save the list.";
    let title = format!("{}: {} images scored", name_of(path), count(table.rows()));
    let mut page = Page::new(&title, &[lead, next.into()], place);
    if images.is_empty() {
        page.paragraph(
            "A table holds numbers and names, no pictures. Name the images that were scored to see them here: \
             pd report SCORES.csv --images PHOTOS.",
        );
    }
    let series = [Series { name: "images", values: &density }];
    let marks = [Mark { at: 1.0, label: "average".into() }];
    let chart = histogram("Distribution of the pseudo density", "pseudo density", &series, &marks);
    page.section_beside(
        "How typical the images are",
        "The taller a bar, the more images have that density. To the left are the unusual ones, to the right those that many are like.",
        |page| page.chart(&chart),
    );
    page.section(
        "All images",
        "The most unusual come first. Order, filter and tick them; a click shows one large, beside the image most similar to it.",
    );
    let (rows, said) = that_fit(ordered(&density, false, 0..table.rows()));
    said.iter().for_each(|said| page.paragraph(said));
    let role = if is_among_themselves { "most similar" } else { "nearest real" };
    let look = Look {
        title: "all images",
        tools: true,
        others: table.has("nearest").then_some("each beside the image most similar to it"),
        order: Some(("pseudo_density", false)),
        ..Look::default()
    };
    page.sheet(&scored(&table, &rows, look, (images, "image"), (real, role))?)?;
    page.foot(&Foot::of("score", path).with("table", name_of(path)).facts());
    Ok(page)
}
