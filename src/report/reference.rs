//! The page of a reference: its images from the unusual to the typical, and those that are copies of each other.

use super::chart::{Mark, Series, histogram};
use super::columns::columns_of;
use super::foot::Foot;
use super::name_of;
use super::page::{Page, Place};
use super::pictures::Pictures;
use super::rows::{ordered, that_fit};
use super::sheet::{Item, Look, MOST, Sheet, Shown};
use super::text::count;
use crate::error::Result;
use crate::formats::table::Columns;
use crate::reference::{LookRecord, Reference, files};

/// Skipped inputs that are named.
const NAMED_SKIPPED: usize = 20;
/// Columns of scores that a card shows.
const ON_CARDS: [&str; 6] = ["pseudo_density", "nearest_distance", "copy_of", "flags", "group", "seed"];

pub(super) fn page<'a>(reference: &Reference, pictures: &Pictures, place: Place<'a>) -> Result<Page<'a>> {
    let record = reference.density()?;
    let name = name_of(&reference.dir);
    let scores = Columns::read(&reference.dir.join(files::SCORES))?;
    let rows = count(scores.rows());

    let mut page = Page::new(
        &format!("{name}: a reference of {rows} images"),
        &[
            format!(
                "Each of these {rows} images got one number, its pseudo density: how close the {} images most similar to it are. \
                 1 is the average of the collection. Above 1 an image is typical: there are many like it. Below 1 it is unusual: \
                 there are few, or none.",
                record.model.k
            ),
            format!(
                "What to do next: look through the most unusual images, where mistakes and treasures are found, and through the \
                 copies, which make each other look typical. Take out what does not belong and make the reference \
                 again. Then a generator can be steered by it: pd sample --generator G --reference {name} --bias diversity (more \
                 of the unusual) or --bias fidelity (more of the typical)."
            ),
        ],
        place,
    );
    if pictures.is_empty() {
        page.paragraph(
            "A reference holds numbers and names, no pictures. Name the images it was made of to see them here: \
             pd report --images PHOTOS.",
        );
    } else if pictures.digest().is_some_and(|digest| digest != reference.manifest.input_digest) {
        page.paragraph(
            "The images that were named are not exactly those the reference was made of: some have been added, removed or \
             changed. Pictures are shown where a name is the same.",
        );
    }
    let mut facts = vec![("images", rows), ("skipped", count(reference.manifest.skipped))];
    if let Some(look) = record.copies {
        facts.push(("copies of another", count(look.images)));
        facts.push(("pairs looked at", count(look.looked_at)));
    }
    if !reference.manifest.left_out.is_empty() {
        facts.push(("left out", reference.manifest.left_out.describe()));
    }
    page.facts(&facts);

    let chart = distribution(reference, &scores)?;
    page.section_beside(
        "How typical the images are",
        "The taller a bar, the more images have that density. The dashed lines are percentiles: p20 has a fifth of the images \
         to its left. Commands take them as thresholds, such as --threshold p80.",
        |page| page.chart(&chart),
    );
    copies(&mut page, reference, pictures)?;
    page.section(
        "All images",
        "The most unusual come first, where mistakes and treasures are found. Order, filter and tick them; a click shows one large, \
         beside the image most similar to it.",
    );
    let order = ordered(&scores.numbers("pseudo_density")?, false, 0..scores.rows());
    let (shown, said) = that_fit(order);
    said.iter().for_each(|said| page.paragraph(said));
    let look = Look {
        title: "all images",
        tools: true,
        others: Some("each beside the image most similar to it"),
        order: Some(("pseudo_density", false)),
        ..Look::default()
    };
    page.sheet(&scored(&scores, &shown, look, (pictures, "image"), (pictures, "most similar"))?)?;

    if reference.manifest.skipped > 0 {
        page.section("Skipped", &format!("These could not be used; all are in {}.", files::SKIPPED));
        let skipped = Columns::read(&reference.dir.join(files::SKIPPED))?;
        let rows = skipped.text("path")?.iter().zip(skipped.text("reason")?).take(NAMED_SKIPPED);
        let rows: Vec<Vec<String>> = rows.map(|(path, reason)| vec![path.clone(), reason.clone()]).collect();
        page.table(&["file", "reason"], &rows);
    }
    let foot = Foot::of("embed, pd index", &reference.dir.join(files::MANIFEST))
        .with("network", reference.manifest.identity.describe())
        .with("neighbours K", record.model.k.to_string())
        .with("exponent", record.model.exponent.to_string())
        .with("index", record.index.describe())
        .with("seed", record.seed.to_string())
        .with_some("intrinsic dimension", record.intrinsic_dimension.map(|m| format!("{m:.1}")))
        .with_some(
            "predictor, rank correlation",
            record.predictor.as_ref().and_then(|quality| Some(format!("{:.3}", quality.spearman?))),
        );
    page.foot(&foot.facts());
    Ok(page)
}

/// The pairs that were looked at and found to be copies, side by side; nothing is said of other pairs.
fn copies(page: &mut Page, reference: &Reference, pictures: &Pictures) -> Result<()> {
    let Some(LookRecord { looked_at, left, .. }) = reference.density()?.copies else {
        page.section(
            "Copies",
            "No pictures were looked at, so nothing is known of copies: pd dups IMAGES looks.",
        );
        return Ok(());
    };
    let table = Columns::read(&reference.dir.join(files::DUPLICATES))?;
    let (first, second) = (table.text("path")?, table.text("other")?);
    let rows: Vec<usize> = (0..table.rows().min(MOST)).collect();
    let looked = match left {
        0 => format!("{} pairs, near in features or alike from afar, were looked at.", count(looked_at)),
        left => format!(
            "The {} pairs that are nearest in features or most alike from afar were looked at; {} more were not, and may hold copies: \
             pd dups looks at all.",
            count(looked_at),
            count(left)
        ),
    };
    let found = match (rows.len(), table.rows()) {
        (0, _) => "None of them is one of copies.".to_owned(),
        (1, _) => "One of them is one of copies.".to_owned(),
        (shown, all) if shown < all => {
            format!("{} of them are pairs of copies; the surest {} are shown.", count(all), count(shown))
        }
        (_, all) => format!("{} of them are pairs of copies, the surest first.", count(all)),
    };
    page.section("Copies", &format!("{looked} {found}"));
    if rows.is_empty() {
        return Ok(());
    }
    let shown = |role, path| Shown { role, path, from: pictures };
    let items = rows.iter().map(|&row| Item {
        picture: shown("one", &first[row]),
        others: vec![shown("the other", &second[row])],
        chosen: false,
    });
    let look = Look { title: "copies", tools: true, beside: true, ..Look::default() };
    let columns = columns_of(&table, &rows, first, &["other"], &["score", "distance"])?;
    page.sheet(&Sheet { look, columns, items: items.collect() })
}

/// The histogram of the densities, with the percentiles that serve as thresholds.
pub(super) fn distribution(reference: &Reference, scores: &Columns) -> Result<String> {
    let series = [Series { name: "reference", values: &scores.numbers("pseudo_density")? }];
    let marks = thresholds(reference)?;
    Ok(histogram("Distribution of the pseudo density", "pseudo density", &series, &marks))
}

/// The percentiles of a reference that are marked.
pub(super) fn thresholds(reference: &Reference) -> Result<Vec<Mark>> {
    let q = &reference.density()?.quantiles;
    let marks = [(q.p10, "p10"), (q.p20, "p20"), (q.p50, "p50"), (q.p80, "p80"), (q.p90, "p90")];
    Ok(marks.map(|(at, label)| Mark { at, label: format!("{label} {at:.2}") }).into())
}

/// Rows of a table of scores as cards: each image of `own`, with the one nearest to it of `real`, both with their roles.
///
/// # Errors
/// [`crate::error::Error::Malformed`] for a damaged table.
pub(super) fn scored<'a>(
    scores: &'a Columns,
    rows: &[usize],
    look: Look,
    own: (&'a Pictures, &'static str),
    real: (&'a Pictures, &'static str),
) -> Result<Sheet<'a>> {
    // Images of a generator have a file, and no path of a pool.
    let paths = scores.text(if scores.has("path") { "path" } else { "file" })?;
    let nearest = if scores.has("nearest") { scores.text("nearest")? } else { &[] };
    let item = |&row: &usize| {
        let other = nearest.get(row).filter(|path| !path.is_empty());
        Item {
            picture: Shown { role: own.1, path: &paths[row], from: own.0 },
            others: other.map(|path| Shown { role: real.1, path, from: real.0 }).into_iter().collect(),
            chosen: false,
        }
    };
    let columns = columns_of(scores, rows, paths, &["decision"], &ON_CARDS)?;
    Ok(Sheet { look, columns, items: rows.iter().map(item).collect() })
}

/// The images at one end of the densities, each beside its nearest.
pub(super) fn extremes(
    page: &mut Page,
    scores: &Columns,
    pictures: &Pictures,
    nearest: &Pictures,
    typical: bool,
    shown: usize,
) -> Result<()> {
    let mut rows = ordered(&scores.numbers("pseudo_density")?, typical, 0..scores.rows());
    rows.truncate(shown);
    let look = Look { title: "the images at one end", beside: true, ..Look::default() };
    page.sheet(&scored(scores, &rows, look, (pictures, "image"), (nearest, "most similar"))?)
}
