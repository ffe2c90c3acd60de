//! The page of the demonstration: a section for each stage, with its commands, its results and figures.

use super::chart::{Series, histogram};
use super::page::{Page, Place};
use super::pictures::{Pictures, Thumbnail};
use super::{copies, perturb, reference, sample};
use crate::error::Result;
use crate::formats::table::Columns;
use crate::reference::{Reference, files};
use std::path::{Path, PathBuf};

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
    /// The most unusual images of a table of `pd score --reference`, each beside the most similar real one.
    Unusual { scores: PathBuf, images: PathBuf, real: PathBuf },
    /// The first copies of a table of `pd dups --against`.
    Copies { table: PathBuf, images: PathBuf, against: PathBuf },
    /// Pictures of a directory, under a caption.
    Strip { caption: String, directory: PathBuf, files: Vec<String> },
    /// Images that were kept by `pd sample`, under a caption.
    Gallery(String, PathBuf),
    /// Densities of what several runs of `pd sample` kept, by name.
    Densities(Vec<(String, PathBuf)>),
    /// Images before and after `pd perturb`.
    Pairs(PathBuf),
}

/// The page as HTML. `lead` are its first paragraphs; `table` is the result of the stages on digits, its first row the column heads. It
/// stands before the first of these, which is section `first_of_table`.
///
/// # Errors
/// As [`super::report`].
pub(crate) fn demo_page(
    title: &str,
    lead: &[String],
    sections: &[Section],
    (first_of_table, table): (usize, &[Vec<String>]),
    place: Place,
) -> Result<String> {
    let mut page = Page::new(title, lead, place);
    let (before, after) = sections.split_at(first_of_table.min(sections.len()));
    show_sections(&mut page, before)?;
    if let Some((head, rows)) = table.split_first() {
        page.section(
            "A generator of digits: all stages in one table",
            "Precision: share of the generated images that look like real ones. Recall: share of the real images that have a \
             generated one like them. Frechet distance: how far the whole is from the real images, lower is better. In \
             parentheses what changed.",
        );
        page.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows);
    }
    show_sections(&mut page, after)?;
    Ok(page.html())
}

fn show_sections(page: &mut Page, sections: &[Section]) -> Result<()> {
    for section in sections {
        page.section(&section.title, &section.explanation);
        page.commands(&section.commands);
        for result in &section.results {
            page.paragraph(result);
        }
        for figure in &section.figures {
            show(page, figure)?;
        }
    }
    Ok(())
}

fn show(page: &mut Page, figure: &Figure) -> Result<()> {
    match figure {
        Figure::Reference(dir, images) => {
            let scores = Columns::read(&dir.join(files::SCORES))?;
            let pictures = Pictures::open(images, page.progress())?;
            page.chart(&reference::distribution(&Reference::open(dir)?, &scores)?);
            page.paragraph("The most unusual:");
            reference::extremes(page, &scores, &pictures, &pictures, false, PAIRS)?;
            page.paragraph("The most typical:");
            reference::extremes(page, &scores, &pictures, &pictures, true, PAIRS)
        }
        Figure::Unusual { scores, images, real } => {
            let scores = Columns::read(scores)?;
            let images = Pictures::open(images, page.progress())?;
            let real = Pictures::open(real, page.progress())?;
            reference::extremes(page, &scores, &images, &real, false, PAIRS)
        }
        Figure::Copies { table, images, against } => {
            let images = Pictures::open(images, page.progress())?;
            let against = Pictures::open(against, page.progress())?;
            copies::some_pairs(page, table, &images, &against, PAIRS)
        }
        Figure::Strip { caption, directory, files } => strip(page, caption, directory, files),
        Figure::Gallery(caption, dir) => strip(page, caption, dir, &sample::kept_files(dir)?),
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

fn strip(page: &mut Page, caption: &str, directory: &Path, files: &[String]) -> Result<()> {
    let pictures = Pictures::open(directory, page.progress())?;
    let shown: Vec<Thumbnail> =
        files.iter().take(GALLERY).filter_map(|file| pictures.thumbnail(file, STRIP)).collect();
    page.strip(caption, &shown);
    Ok(())
}
