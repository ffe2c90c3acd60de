//! Candidates that a source makes, in blocks that are kept on disk until the end, so that an interrupted run continues.

use super::draw::{BLOCK, CandidateBlocks};
use crate::candidates::{
    CandidateImage, CandidateRecord, CandidateScores, CandidateSource, DensityScorer, KeptSource, Looked,
    SecondLook, each_image_once, features_of,
};
use crate::error::{Error, Result};
use crate::formats::atomic::{link_or_copy, write_json};
use crate::formats::npy::{read_npy, write_npy};
use crate::images::{Alpha, RgbImage, decode};
use crate::progress::{Progress, check_stop};
use crate::runs::Partial;
use ndarray::{Array2, ArrayD, ArrayView2, Axis};
use rayon::prelude::*;
use std::borrow::Cow;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What a stop leaves behind.
const CONTINUES: &str = "finished blocks are kept; the same command continues";

/// What the second look at a candidate found, beside its image.
const LOOKED: &str = "looked.json";

/// A source with what scores its images, and where its finished blocks are.
pub(crate) struct GeneratedCandidates<'a> {
    source: KeptSource<'a>,
    scorer: Option<&'a DensityScorer>,
    look: Option<&'a SecondLook<'a>>,
    partial: Partial,
    progress: &'a dyn Progress,
}

impl<'a> GeneratedCandidates<'a> {
    /// Candidates of `source`; finished blocks are in `partial`. Without a scorer images are made and nothing else.
    pub(crate) fn new(
        source: &'a dyn CandidateSource,
        scorer: Option<&'a DensityScorer>,
        partial: Partial,
        progress: &'a dyn Progress,
    ) -> Self {
        let source = KeptSource::new(source, partial.path(""));
        Self { source, scorer, look: None, partial, progress }
    }

    /// The same, whose pictures can be looked at.
    pub(crate) fn looking(self, look: Option<&'a SecondLook<'a>>) -> Self {
        Self { look, ..self }
    }

    /// Whether pictures can be looked at.
    pub(super) fn looks(&self) -> bool {
        self.look.is_some()
    }

    /// Removes the blocks: the run is complete.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn finish(self) -> Result<()> {
        self.partial.remove()
    }

    /// Gives the image of a finished block another name too.
    pub(super) fn link_image(&self, name: &str, to: &Path) -> Result<()> {
        link_or_copy(&self.partial.path(name), to)
    }

    /// Makes and writes the images of a range, but for those that an earlier run has written before it was stopped; `also` takes them as
    /// they come, each with its place in the range.
    fn make(
        &self,
        range: Range<usize>,
        also: &mut dyn FnMut(Vec<(usize, CandidateImage)>) -> Result<()>,
    ) -> Result<()> {
        let continue_or_stop = || check_stop(self.progress, || CONTINUES.into());
        continue_or_stop()?;
        let mut take = |placed: Vec<(usize, CandidateImage)>| {
            also(placed)?;
            continue_or_stop()
        };
        each_image_once(&self.source, range, &mut take, self.progress)
    }

    /// Features of a block of candidates, whose images are on disk then; from an earlier run where it was finished.
    fn features(&self, range: Range<usize>, scorer: &DensityScorer) -> Result<Array2<f32>> {
        let index = index_of(&range);
        if self.partial.has(index) && self.partial.read::<usize>(index)? == range.len() {
            return read_npy(self.partial.data(index));
        }
        let extractor = &scorer.extractor;
        let alpha = extractor.preprocessing().alpha;
        let mut features = Array2::zeros((range.len(), extractor.identity().dimension));
        self.make(range.clone(), &mut |placed| {
            let images =
                placed.par_iter().map(|(_, image)| image.pixels(alpha)).collect::<Result<Vec<_>>>()?;
            let rows = features_of(extractor, &images)?;
            for ((place, _), row) in placed.iter().zip(rows.outer_iter()) {
                features.row_mut(*place).assign(&row);
            }
            Ok(())
        })?;
        write_npy(self.partial.data(index), &features)?;
        self.partial.finish(index, &range.len())?;
        Ok(features)
    }
}

/// The number under which a block is kept on disk. One that begins within a block of [`BLOCK`] stands beyond all that do not.
fn index_of(range: &Range<usize>) -> usize {
    const WITHIN: usize = 1 << 40;
    if range.start.is_multiple_of(BLOCK) { range.start / BLOCK } else { WITHIN + range.start }
}

impl CandidateBlocks for GeneratedCandidates<'_> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>> {
        self.source.records(range)
    }

    fn images(&self, range: Range<usize>) -> Result<()> {
        if let Some(scorer) = self.scorer {
            return self.features(range, scorer).map(drop);
        }
        let index = index_of(&range);
        if !self.partial.has(index) {
            self.make(range.clone(), &mut |_| Ok(()))?;
            self.partial.finish(index, &range.len())?;
        }
        Ok(())
    }

    fn block(&self, range: Range<usize>) -> Result<(Array2<f32>, CandidateScores)> {
        let Some(scorer) = self.scorer else {
            return Err(Error::usage("without a reference nothing is scored", "name one"));
        };
        let features = self.features(range, scorer)?;
        let scores = scorer.density.scores(features.view(), None, self.progress)?;
        Ok((features, scores))
    }

    fn keep(&self, _: usize, name: &str, target: &Path) -> Result<()> {
        let made = self.partial.path(name);
        if made.exists() || !target.exists() {
            fs::rename(&made, target).map_err(Error::io("move", &made))?;
        }
        Ok(())
    }

    fn look(&self, rows: &[usize], features: ArrayView2<f32>) -> Result<Vec<Looked>> {
        let Some(look) = self.look else {
            return Err(Error::data("the pictures of candidates cannot be looked at", ""));
        };
        let name = |&row: &usize| Ok(self.records(row..row + 1)?.pop().unwrap_or_default().name);
        let names: Vec<String> = rows.iter().map(name).collect::<Result<_>>()?;
        let known = |name: &String| self.partial.path(&format!("{name}.{LOOKED}"));
        let new: Vec<usize> = (0..names.len()).filter(|&i| !known(&names[i]).is_file()).collect();
        let (alpha, paths): (Alpha, Vec<PathBuf>) =
            (look.alpha(), new.iter().map(|&i| self.partial.path(&names[i])).collect());
        let picture = |path: &PathBuf| -> Result<RgbImage> {
            let bytes = fs::read(path).map_err(Error::io("read", path))?;
            decode(&bytes, alpha).map_err(|reason| Error::malformed(path, reason, ""))
        };
        let pictures = paths.par_iter().map(picture).collect::<Result<Vec<_>>>()?;
        let found = look.look(&pictures, features.select(Axis(0), &new).view(), None)?;
        new.iter().zip(&found).try_for_each(|(&i, found)| write_json(known(&names[i]), found))?;
        let mut found = new.into_iter().zip(found).peekable();
        let answer = |(i, name): (usize, &String)| match found.next_if(|(new, _)| *new == i) {
            Some((_, found)) => Ok(found),
            None => {
                let path = known(name);
                let text = fs::read(&path).map_err(Error::io("read", &path))?;
                serde_json::from_slice(&text).map_err(|e| Error::malformed(&path, e.to_string(), ""))
            }
        };
        names.iter().enumerate().map(answer).collect()
    }

    fn discard(&self, _: usize, name: &str) -> Result<()> {
        let made = self.partial.path(name);
        match made.exists() {
            true => fs::remove_file(&made).map_err(Error::io("remove", &made)),
            false => Ok(()),
        }
    }

    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>> {
        self.source.latents(range)
    }

    fn real_names(&self) -> Cow<'_, [String]> {
        Cow::Borrowed(self.scorer.map_or(&[], |scorer| scorer.density.scorer().paths()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidates::{Deliver, Delivered, ReferenceDensity};
    use crate::extract::{ExtractorRequest, LoadedExtractor};
    use crate::images::write_png;
    use crate::progress::Silent;
    use crate::reference::score::ScoreOptions;
    use crate::reference::{DensityBy, Scorer};
    use crate::runs::PARTIAL;
    use candle_core::Device;

    /// Images of different sizes, some in memory and some in files, that come in another order than they were asked for. They have
    /// prompts and no latents.
    struct Foreign<'a> {
        images: Vec<RgbImage>,
        dir: &'a Path,
        lost: Option<usize>,
    }

    impl CandidateSource for Foreign<'_> {
        fn len(&self) -> u64 {
            self.images.len() as u64
        }

        fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>> {
            let record = |number: usize| CandidateRecord {
                name: format!("image-{number}.png"),
                key: number as u64,
                prompt: Some(format!("a shoe, number {number}")),
                ..CandidateRecord::default()
            };
            Ok(range.map(record).collect())
        }

        fn images(&self, range: Range<usize>, deliver: &mut Deliver, _: &dyn Progress) -> Result<()> {
            for number in range.rev().filter(|&number| Some(number) != self.lost) {
                let pixels = self.images[number].clone();
                let path = self.dir.join(format!("{number}.png"));
                write_png(&path, &pixels)?;
                let image = match number % 2 {
                    0 => CandidateImage::Pixels(pixels),
                    _ => CandidateImage::Encoded(path.clone(), fs::read(&path).unwrap()),
                };
                deliver(vec![Delivered { number, image }])?;
            }
            Ok(())
        }
    }

    fn image(number: usize) -> RgbImage {
        let (width, height) = (20 + number as u32 % 7, 16 + number as u32 % 5);
        let value = |i: u32| ((i * 31 + number as u32 * 97) % 251) as u8;
        RgbImage { width, height, pixels: (0..width * height * 3).map(value).collect() }
    }

    #[test]
    fn images_without_latents_that_come_out_of_order_as_files_get_their_own_features() {
        let dir = tempfile::tempdir().unwrap();
        let extractor = LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
        let images: Vec<RgbImage> = (0..40).map(image).collect();
        let features = features_of(&extractor, &images).unwrap();
        let options = ScoreOptions { k: 5, ..ScoreOptions::default() };
        let (real, _) =
            Scorer::of_features(features.clone().into_shared(), options, &Device::Cpu, &Silent).unwrap();
        let density = ReferenceDensity::new(real, None, DensityBy::Knn).unwrap();
        let scorer = DensityScorer { extractor, density };
        let mut source = Foreign { images: images.clone(), dir: dir.path(), lost: None };
        let blocks = |source: &Foreign, place: &str| {
            let partial = Partial::open(dir.path().join(place).join(PARTIAL), &"a run").unwrap();
            GeneratedCandidates::new(source, Some(&scorer), partial, &Silent).block(0..40)
        };
        let (found, scores) = blocks(&source, "whole").unwrap();
        assert_eq!(found, features);
        assert_eq!(scores, scorer.scores(&images, &Silent).unwrap());
        assert_eq!(scores.densities(), scorer.densities(&images).unwrap());
        source.lost = Some(7);
        let error = blocks(&source, "lost").unwrap_err();
        assert!(error.to_string().contains("no image of candidate 7"), "{error}");
    }
}
