//! Candidates made by a generator, in blocks that are kept on disk until the end, so that an interrupted run continues.

use super::draw::{BLOCK, Labels, Stock};
use super::judge::Judge;
use super::source::{Source, features_of, join};
use super::weights::Candidates;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::atomic::link_or_copy;
use crate::formats::npy::{read_npy, write_npy};
use crate::images::{RgbImage, write_png};
use crate::progress::check_stop;
use crate::shards::Partial;
use ndarray::{Array2, ArrayD};
use rayon::prelude::*;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// What judges candidates: an extractor and a reference.
pub struct Judgement<'a> {
    /// Makes features.
    pub extractor: &'a LoadedExtractor,
    /// Makes densities.
    pub judge: Judge<'a>,
}

/// A generator with what judges its images, and where its blocks wait.
pub struct Making<'a> {
    source: &'a Source<'a>,
    judgement: Option<&'a Judgement<'a>>,
    batch: usize,
    partial: Partial,
}

impl<'a> Making<'a> {
    /// Candidates of `source`, `batch` of them in each forward pass; finished blocks are in `partial`.
    pub fn new(
        source: &'a Source<'a>,
        judgement: Option<&'a Judgement<'a>>,
        batch: usize,
        partial: Partial,
    ) -> Self {
        Self { source, judgement, batch: batch.max(1), partial }
    }

    /// Removes what waits: the run is complete.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        self.partial.remove()
    }

    /// Gives an image that waits another name too.
    pub(super) fn lend(&self, name: &str, to: &Path) -> Result<()> {
        link_or_copy(&self.partial.path(name), to)
    }

    /// Latents of a range, one row each.
    pub(super) fn flat_latents(&self, range: Range<usize>) -> Result<Array2<f32>> {
        let rows = self.source.latents(range)?.flatten_from(1)?.to_vec2::<f32>()?;
        let shape = (rows.len(), rows.first().map_or(0, Vec::len));
        Array2::from_shape_vec(shape, rows.into_iter().flatten().collect())
            .map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))
    }

    fn each_batch(
        &self,
        range: Range<usize>,
        mut sink: impl FnMut(Range<usize>, &[RgbImage]) -> Result<()>,
    ) -> Result<()> {
        for start in range.clone().step_by(self.batch) {
            check_stop(|| "finished blocks are kept; the same command continues".into())?;
            let range = start..(start + self.batch).min(range.end);
            let images = self.source.images(range.clone())?;
            let names = self.source.names(range.clone());
            images
                .par_iter()
                .zip(names)
                .try_for_each(|(image, name)| write_png(&self.partial.path(&name), image))?;
            sink(range, &images)?;
        }
        Ok(())
    }

    /// Features of a block of candidates, whose images wait on disk; from an earlier run where it was finished.
    fn features(&self, range: Range<usize>, judgement: &Judgement<'_>) -> Result<Array2<f32>> {
        let index = range.start / BLOCK;
        if self.partial.has(index) {
            return read_npy(self.partial.data(index));
        }
        let mut parts = Vec::new();
        self.each_batch(range.clone(), |_, images| {
            parts.push(features_of(judgement.extractor, images)?);
            Ok(())
        })?;
        let features = join(&parts)?;
        write_npy(self.partial.data(index), &features)?;
        self.partial.finish(index, &range.len())?;
        Ok(features)
    }
}

impl Stock for Making<'_> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn labels(&self, range: Range<usize>) -> Result<Labels> {
        let source = self.source;
        Ok(Labels {
            names: source.names(range.clone()),
            seeds: source.seeds(range.clone()),
            keys: source.keys(range),
        })
    }

    fn images(&self, range: Range<usize>) -> Result<()> {
        if let Some(judgement) = self.judgement {
            return self.features(range, judgement).map(drop);
        }
        let index = range.start / BLOCK;
        if !self.partial.has(index) {
            self.each_batch(range.clone(), |_, _| Ok(()))?;
            self.partial.finish(index, &range.len())?;
        }
        Ok(())
    }

    fn block(&self, range: Range<usize>) -> Result<(Array2<f32>, Candidates)> {
        let Some(judgement) = self.judgement else {
            return Err(Error::usage("without a reference nothing is judged", "name one"));
        };
        let features = self.features(range, judgement)?;
        let judged = judgement.judge.judge(features.view(), None)?;
        Ok((features, judged))
    }

    fn keep(&self, _: usize, name: &str, target: &Path) -> Result<()> {
        let made = self.partial.path(name);
        if made.exists() || !target.exists() {
            fs::rename(&made, target).map_err(Error::io("move", &made))?;
        }
        Ok(())
    }

    fn discard(&self, _: usize, name: &str) -> Result<()> {
        let made = self.partial.path(name);
        match made.exists() {
            true => fs::remove_file(&made).map_err(Error::io("remove", &made)),
            false => Ok(()),
        }
    }

    fn latent(&self, row: usize) -> Result<ArrayD<f32>> {
        let latent = self.source.latents(row..row + 1)?;
        let values = latent.flatten_all()?.to_vec1::<f32>()?;
        ArrayD::from_shape_vec(latent.dims().to_vec(), values)
            .map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))
    }
}
