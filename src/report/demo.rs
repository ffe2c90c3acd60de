//! The page of the demonstration: a section for each stage, with its commands, its results and figures.

use super::chart::{Series, histogram};
use super::page::{Page, Place};
use super::pictures::{Pictures, Thumbnail};
use super::{perturb, reference, sample};
use crate::error::Result;
use crate::formats::table::Columns;
use crate::reference::{Reference, files};
use std::path::PathBuf;

/// Images of a gallery.
const GALLERY: usize = 40;
/// Longer side of its pictures.
const STRIP: u32 = 96;
/// Pairs of images.
const PAIRS: usize = 6;

/// A section of the page: one stage of the demonstration.
#[derive(Default)]
pub(crate) struct Section {
    /// Its heading.
    pub title: String,
    /// What it does, in plain words.
    pub explanation: String,
    /// The commands that the stage runs.
    pub commands: Vec<String>,
    /// Its results, a sentence each.
    pub results: Vec<String>,
    /// Its charts and images.
    pub figures: Vec<Figure>,
}

/// A chart or images, made from a directory of results.
pub(crate) enum Figure {
    /// A reference and the images that it was made of.
    Reference(PathBuf, PathBuf),
    /// Images that were kept by `pd sample`, under a caption.
    Gallery(String, PathBuf),
    /// Densities of what several runs of `pd sample` kept, by name.
    Densities(Vec<(String, PathBuf)>),
    /// Images before and after `pd perturb`.
    Pairs(PathBuf),
}

/// The page as HTML. `lead` are its first paragraphs; `table` is the result of all stages, its first row the column heads.
///
/// # Errors
/// As [`super::report`].
pub(crate) fn demo_page(
    title: &str,
    lead: &[String],
    sections: &[Section],
    table: &[Vec<String>],
    place: Place,
) -> Result<String> {
    let mut page = Page::new(title, lead, place);
    if let Some((head, rows)) = table.split_first() {
        page.section(
            "All stages in one table",
            "Precision: share of the generated images that look like real ones. Recall: share of the real images that have a \
             generated one like them. Frechet distance: how far the whole is from the real images, lower is better. In \
             parentheses what changed.",
        );
        page.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows);
    }
    for section in sections {
        page.section(&section.title, &section.explanation);
        page.commands(&section.commands);
        for result in &section.results {
            page.paragraph(result);
        }
        for figure in &section.figures {
            show(&mut page, figure)?;
        }
    }
    Ok(page.html())
}

fn show(page: &mut Page, figure: &Figure) -> Result<()> {
    match figure {
        Figure::Reference(dir, images) => {
            let scores = Columns::read(&dir.join(files::SCORES))?;
            let pictures = Pictures::open(images, page.progress())?;
            page.chart(&reference::distribution(&Reference::open(dir)?, &scores)?);
            page.paragraph("The most unusual:");
            reference::extremes(page, &scores, &pictures, false, PAIRS)?;
            page.paragraph("The most typical:");
            reference::extremes(page, &scores, &pictures, true, PAIRS)
        }
        Figure::Gallery(caption, dir) => {
            let pictures = Pictures::open(dir, page.progress())?;
            let kept = sample::kept_files(dir)?;
            let shown: Vec<Thumbnail> =
                kept.iter().take(GALLERY).filter_map(|file| pictures.thumbnail(file, STRIP)).collect();
            page.strip(caption, &shown);
            Ok(())
        }
        Figure::Densities(runs) => {
            let read = |(name, dir): &(String, PathBuf)| {
                let kept = sample::kept_densities(dir)?;
                Ok((name.clone(), kept))
            };
            let found: Vec<(String, Vec<f64>)> = runs.iter().map(read).collect::<Result<_>>()?;
            let series: Vec<Series<f64>> =
                found.iter().map(|(name, values)| Series { name, values }).collect();
            page.chart(&histogram("Pseudo density of what was kept", "pseudo density", &series, &[]));
            Ok(())
        }
        Figure::Pairs(dir) => {
            let table = Columns::read(&dir.join(sample::TABLE))?;
            perturb::pairs(page, dir, &table, PAIRS, false)
        }
    }
}
