//! The page of a reference: its typical images, its unusual images, and its duplicates.

use super::cards::{Pair, SHOWN, count, ordered, pair_cards};
use super::chart::{Mark, Series, histogram};
use super::name_of;
use super::page::Page;
use super::pictures::Pictures;
use crate::error::Result;
use crate::formats::table::Columns;
use crate::reference::{Reference, files};

/// Skipped inputs that are named.
const NAMED_SKIPPED: usize = 20;

pub(super) fn page(reference: &Reference, pictures: &Pictures) -> Result<Page> {
    let record = reference.density()?;
    let name = name_of(&reference.dir);
    let scores = Columns::read(&reference.dir.join(files::SCORES))?;
    let duplicates = Columns::read(&reference.dir.join(files::DUPLICATES))?;
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
                 suspected duplicates, which make each other look typical. Take out what does not belong and make the reference \
                 again. Then a generator can be steered by it: pd sample --generator G --reference {name} --bias diversity (more \
                 of the unusual) or --bias fidelity (more of the typical)."
            ),
        ],
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
    let mut facts = vec![
        ("images", rows),
        ("skipped", count(reference.manifest.skipped)),
        ("extractor", reference.manifest.identity.extractor.clone()),
        ("neighbours K", record.model.k.to_string()),
        ("with an exact copy", count(record.exact_duplicates)),
        ("pairs of near-duplicates", count(record.near_duplicate_pairs)),
    ];
    if !reference.manifest.left_out.is_empty() {
        facts.push(("left out", reference.manifest.left_out.describe()));
    }
    if let Some(dimension) = record.intrinsic_dimension {
        facts.push(("intrinsic dimension", format!("{dimension:.1}")));
    }
    if let Some(spearman) = record.predictor.as_ref().and_then(|quality| quality.spearman) {
        facts.push(("predictor, rank correlation", format!("{spearman:.3}")));
    }
    page.facts(&facts);
    page.paragraph(&format!("Features: {}.", reference.manifest.identity.describe()));

    page.section(
        "How typical the images are",
        "The taller a bar, the more images have that density. The dashed lines are percentiles: p20 has a fifth of the images \
         to its left. Commands take them as thresholds, such as --threshold p80.",
    );
    distribution(&mut page, reference, &scores)?;
    page.section(
        "The most unusual",
        "Each with the image most similar to it. Where even that one looks different, nothing in the collection is alike.",
    );
    extremes(&mut page, &scores, pictures, false, SHOWN)?;
    page.section("The most typical", "Each with the image most similar to it.");
    extremes(&mut page, &scores, pictures, true, SHOWN)?;

    let total = record.near_duplicate_pairs;
    let explanation = match total {
        0 => "No two images are closer than a quarter of the median distance of two images.".to_owned(),
        total => format!(
            "{} closer than a quarter of the median distance of two images ({:.3}); the closest come first. Distance 0 \
             is a copy. All that were kept are in {}.",
            if total == 1 { "1 pair is".into() } else { format!("{} pairs are", count(total)) },
            record.median_pair_distance,
            files::DUPLICATES
        ),
    };
    page.section("Suspected duplicates", &explanation);
    let (first, second) = (duplicates.text("path")?, duplicates.text("other")?);
    let apart = duplicates.numbers("distance")?;
    let pairs = first.iter().zip(second).zip(&apart).take(SHOWN).map(|((path, other), distance)| Pair {
        path,
        role: "image",
        nearest: other,
        lines: vec![format!("distance {distance:.3}")],
    });
    page.cards(&pair_cards(pairs.collect(), pictures, pictures));

    if reference.manifest.skipped > 0 {
        page.section("Skipped", &format!("These could not be used; all are in {}.", files::SKIPPED));
        let skipped = Columns::read(&reference.dir.join(files::SKIPPED))?;
        let rows = skipped.text("path")?.iter().zip(skipped.text("reason")?).take(NAMED_SKIPPED);
        let rows: Vec<Vec<String>> = rows.map(|(path, reason)| vec![path.clone(), reason.clone()]).collect();
        page.table(&["file", "reason"], &rows);
    }
    Ok(page)
}

/// The histogram of the densities, with the percentiles that serve as thresholds.
pub(super) fn distribution(page: &mut Page, reference: &Reference, scores: &Columns) -> Result<()> {
    let series = [Series { name: "reference", values: &scores.numbers("pseudo_density")? }];
    let marks = thresholds(reference)?;
    page.chart(&histogram("Distribution of the pseudo density", "pseudo density", &series, &marks));
    Ok(())
}

/// The percentiles of a reference that are marked.
pub(super) fn thresholds(reference: &Reference) -> Result<Vec<Mark>> {
    let q = &reference.density()?.quantiles;
    let marks = [(q.p10, "p10"), (q.p20, "p20"), (q.p50, "p50"), (q.p80, "p80"), (q.p90, "p90")];
    Ok(marks.map(|(at, label)| Mark { at, label: format!("{label} {at:.2}") }).into())
}

/// The images at one end of the densities, each beside its nearest.
pub(super) fn extremes(
    page: &mut Page,
    scores: &Columns,
    pictures: &Pictures,
    typical: bool,
    shown: usize,
) -> Result<()> {
    let (paths, nearest) = (scores.text("path")?, scores.text("nearest")?);
    let (density, distance) = (scores.numbers("pseudo_density")?, scores.numbers("nearest_distance")?);
    let rows = ordered(&density, typical, 0..paths.len());
    let pairs = rows.iter().take(shown).map(|&row| Pair {
        path: &paths[row],
        role: "image",
        nearest: &nearest[row],
        lines: vec![format!("density {:.3}", density[row]), format!("distance {:.3}", distance[row])],
    });
    page.cards(&pair_cards(pairs.collect(), pictures, pictures));
    Ok(())
}
