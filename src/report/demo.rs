//! The page of the demonstration: one stage after the other, each with its commands, what it cost, and what it gave.

use super::chart::{Series, histogram};
use super::page::Page;
use super::pictures::{Pictures, Thumbnail};
use super::{perturb, reference, sample};
use crate::error::Result;
use crate::formats::table::Columns;
use crate::images::ImageSet;
use crate::progress::Silent;
use crate::reference::{Reference, files};
use std::path::PathBuf;

/// Images of a gallery.
const GALLERY: usize = 40;
/// Pairs of images.
const PAIRS: usize = 6;

/// A part of the story.
#[derive(Default)]
pub struct Stage {
    /// Its heading.
    pub title: String,
    /// What it does, in plain words.
    pub explanation: String,
    /// The commands it stands for.
    pub commands: Vec<String>,
    /// What came of it.
    pub findings: Vec<String>,
    /// What there is to see.
    pub exhibits: Vec<Exhibit>,
}

/// Something to see.
pub enum Exhibit {
    /// A reference and the images that it was made of.
    Reference(PathBuf, PathBuf),
    /// Images that were kept by `pd sample`, under a caption.
    Gallery(String, PathBuf),
    /// Densities of what several runs of `pd sample` kept, by name.
    Densities(Vec<(String, PathBuf)>),
    /// Images before and after `pd perturb`.
    Pairs(PathBuf),
}

/// The page. `lead` says what it shows; `table` is the result of all stages, its first row the heads.
///
/// # Errors
/// As [`super::report`].
pub fn story(title: &str, lead: &[String], stages: &[Stage], table: &[Vec<String>]) -> Result<String> {
    let mut page = Page::new(title, lead);
    if let Some((head, rows)) = table.split_first() {
        page.section(
            "All stages in one table",
            "Precision: share of the generated images that look like real ones. Recall: share of the real images that have a \
             generated one like them. Frechet distance: how far the whole is from the real images, lower is better. In \
             parentheses what changed.",
        );
        page.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows);
    }
    for stage in stages {
        page.section(&stage.title, &stage.explanation);
        page.commands(&stage.commands);
        for finding in &stage.findings {
            page.paragraph(finding);
        }
        for exhibit in &stage.exhibits {
            show(&mut page, exhibit)?;
        }
    }
    Ok(page.html())
}

fn show(page: &mut Page, exhibit: &Exhibit) -> Result<()> {
    match exhibit {
        Exhibit::Reference(dir, images) => {
            let scores = Columns::read(&dir.join(files::SCORES))?;
            let pictures = Pictures::of(ImageSet::open(images, &Silent)?);
            reference::distribution(page, &Reference::open(dir)?, &scores)?;
            page.paragraph("The most unusual:");
            reference::extremes(page, &scores, &pictures, false, PAIRS)?;
            page.paragraph("The most typical:");
            reference::extremes(page, &scores, &pictures, true, PAIRS)
        }
        Exhibit::Gallery(caption, dir) => {
            let pictures = Pictures::of(ImageSet::open(dir, &Silent)?);
            let kept = sample::kept_files(dir)?;
            let shown: Vec<Thumbnail> =
                kept.iter().take(GALLERY).filter_map(|file| pictures.thumbnail(file)).collect();
            page.strip(caption, &shown);
            Ok(())
        }
        Exhibit::Densities(runs) => {
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
        Exhibit::Pairs(dir) => {
            let table = Columns::read(&dir.join(sample::TABLE))?;
            perturb::pairs(page, dir, &table, PAIRS)
        }
    }
}
