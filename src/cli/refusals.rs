//! `--distinct`, `--novel` and `--level`: what is refused of candidates, for all commands that choose.

use crate::candidates::SecondLook;
use crate::copies::Level;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::reference::{DescriptorFiles, Reference, Scorer};
use crate::sampling::{RefusedCopies, Spacing};
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;

/// What is refused of candidates.
#[derive(Args)]
pub(super) struct RefusalArgs {
    /// Refuse copies of images that are chosen already: the same picture compressed, resized, mirrored, cropped, recoloured or written over. With P also what is nearer to one than the P-th percentile of the distances of real images (without a reference, of the candidates) to their nearest neighbours
    #[arg(long, value_name = "P", num_args = 0..=1, value_parser = percentile)]
    pub distinct: Option<Option<f64>>,
    /// Refuse copies of real images. With P also what is nearer to one than the P-th percentile of the distances of real images to their nearest neighbours
    #[arg(long, value_name = "P", num_args = 0..=1, value_parser = percentile)]
    pub novel: Option<Option<f64>>,
    /// What --distinct and --novel refuse as a copy; with `similar` nothing is, and distances alone decide
    #[arg(long, default_value = "edited")]
    pub level: Level,
}

/// A percentile, 0 to 100.
fn percentile(text: &str) -> std::result::Result<f64, String> {
    match text.strip_prefix('p').unwrap_or(text).parse::<f64>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ if Path::new(text).exists() => Err(format!(
            "`{text}` is no percentile. If it is the pool, name it before this option: pd select {text} ..."
        )),
        _ => Err("must be a percentile, 0 to 100".into()),
    }
}

impl RefusalArgs {
    /// Whether anything is refused.
    pub(super) fn any(&self) -> bool {
        self.distinct.is_some() || self.novel.is_some()
    }

    /// Whose copies are refused.
    pub(super) fn copies(&self) -> RefusedCopies {
        let refuses = self.level != Level::Similar;
        RefusedCopies {
            of_kept: refuses && self.distinct.is_some(),
            of_real: refuses && self.novel.is_some(),
            level: self.level,
        }
    }

    /// How far images have to be apart, by the distances of real images to their nearest neighbours.
    ///
    /// # Errors
    /// As [`Spacing::of_percentiles`].
    pub(super) fn spacing(&self, nearest_distances: &[f64]) -> Result<Spacing> {
        Spacing::of_percentiles(self.distinct.flatten(), self.novel.flatten(), nearest_distances)
    }

    /// What tells a run from one that refuses something else.
    pub(super) fn describe(&self) -> Value {
        let of = |asked: Option<Option<f64>>| match asked {
            Some(Some(percentile)) => json!(percentile),
            Some(None) => json!("copies"),
            None => Value::Null,
        };
        let level = self.copies().any().then_some(self.level);
        json!({ "distinct": of(self.distinct), "novel": of(self.novel), "level": level })
    }

    /// Checks, before anything costs time, that what is asked for can be done; `has_pictures` says whether the candidates are pictures.
    ///
    /// # Errors
    /// [`Error::Usage`] saying what is missing.
    pub(super) fn check(&self, reference: Option<&Reference>, has_pictures: bool) -> Result<()> {
        for (name, asked) in [("--distinct", self.distinct), ("--novel", self.novel)] {
            if self.level == Level::Similar && asked == Some(None) {
                return Err(Error::usage(
                    format!("with --level similar {name} refuses by distance, and no distance was given"),
                    format!("add a percentile: {name} 5"),
                ));
            }
        }
        let copies = self.copies();
        if copies.any() && !has_pictures {
            return Err(Error::usage(
                "copies are told by the pictures themselves, and these candidates are features",
                "choose from the pictures; or add --level similar and a percentile to go by distances alone",
            ));
        }
        if let Some(reference) = reference.filter(|_| copies.of_real) {
            self.descriptors(reference)?;
        }
        Ok(())
    }

    /// What looks at the pictures of candidates.
    ///
    /// # Errors
    /// As [`RefusalArgs::check`].
    pub(super) fn second_look<'a>(
        &self,
        extractor: &'a LoadedExtractor,
        real: Option<(&Reference, &'a Scorer)>,
    ) -> Result<SecondLook<'a>> {
        let real = match real.filter(|_| self.copies().of_real) {
            Some((reference, scorer)) => Some((scorer, self.descriptors(reference)?)),
            None => None,
        };
        SecondLook::new(extractor, self.level, real)
    }

    fn descriptors(&self, reference: &Reference) -> Result<DescriptorFiles> {
        reference.descriptors()?.ok_or_else(|| {
            Error::usage(
                format!("{} does not hold its pictures, by which copies are told", reference.dir.display()),
                format!(
                    "run `pd embed IMAGES -o {0} && pd index {0}` again; or add --level similar and a percentile to go by distances alone",
                    reference.dir.display()
                ),
            )
        })
    }
}
