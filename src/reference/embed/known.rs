//! Which images of a set a reference holds already: of the same path and the same content.
//! As rsync and make do, a file whose size and time are as they were is taken to be the same; of any other, the content decides.

use super::times::Times;
use super::{ImageRow, files};
use crate::copies::Descriptor;
use crate::error::{Error, Result};
use crate::formats::FeatureRows as _;
use crate::formats::table::Columns;
use crate::images::{ImageSet, Skipped};
use crate::progress::{Progress, check_stop};
use crate::reference::store::{FeatureFiles, read_skipped};
use crate::reference::{DescriptorFiles, Descriptors as _, Reference};
use ndarray::{Array2, s};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// Images compared between two checks for a request to stop.
const STEP: usize = 4096;

/// What a finished reference holds.
pub(in crate::reference) struct Known {
    images: Vec<ImageRow>,
    skipped: Vec<Skipped>,
    features: FeatureFiles,
    descriptors: DescriptorFiles,
    columns: usize,
    /// For each image of the set that was compared, the row that has the same path and the same content.
    same: Vec<Option<usize>>,
}

/// How a set differs from what a reference holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Images that are as they were.
    pub kept: usize,
    /// Images of the same path and another content.
    pub changed: usize,
    /// Images that the reference does not hold.
    pub new: usize,
    /// Images of the reference that are no longer there.
    pub gone: usize,
}

impl Known {
    /// Opens what a reference holds; `None` if an earlier version made it, which kept no digests or descriptors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is damaged.
    pub(super) fn open(reference: &Reference) -> Result<Option<Self>> {
        let path = reference.dir.join(files::IMAGES);
        let table = Columns::read(&path)?;
        if !table.has("sha256") || !table.has("bytes") {
            return Ok(None);
        }
        let wrong = || Error::malformed(&path, "holds a number that is none", "make the reference again");
        let number = |text: &String| text.parse().map_err(|_| wrong());
        let (paths, notes, digests) = (table.text("path")?, table.text("note")?, table.text("sha256")?);
        let (widths, heights, bytes) = (table.text("width")?, table.text("height")?, table.text("bytes")?);
        let mut images = Vec::with_capacity(paths.len());
        let sizes = widths.iter().zip(heights).zip(bytes);
        for (((path, note), sha256), ((width, height), bytes)) in
            paths.iter().zip(notes).zip(digests).zip(sizes)
        {
            images.push(ImageRow {
                path: path.clone(),
                width: number(width)?,
                height: number(height)?,
                note: note.clone(),
                bytes: bytes.parse().map_err(|_| wrong())?,
                sha256: sha256.clone(),
            });
        }
        if images.len() != reference.manifest.rows {
            return Ok(None);
        }
        let Some(descriptors) = reference.descriptors()? else { return Ok(None) };
        let features = reference.feature_files()?;
        let columns = reference.manifest.identity.dimension;
        let skipped = read_skipped(&reference.dir)?;
        Ok(Some(Self { images, skipped, features, descriptors, columns, same: Vec::new() }))
    }

    /// Compares the images of a set with what is known.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub(super) fn compare(
        &mut self,
        set: &ImageSet,
        times: Option<&Times>,
        progress: &dyn Progress,
    ) -> Result<Changes> {
        let rows: HashMap<&str, usize> = self.images.iter().map(|i| i.path.as_str()).zip(0..).collect();
        let mut changes = Changes::default();
        let mut same = Vec::with_capacity(set.len());
        progress.start("comparing images", set.len() as u64, "images");
        for start in (0..set.len()).step_by(STEP) {
            check_stop(progress, || "the reference is as it was".into())?;
            let range = start..(start + STEP).min(set.len());
            let found: Vec<Option<(usize, bool)>> = range
                .clone()
                .into_par_iter()
                .map(|i| {
                    let row = *rows.get(set.path(i))?;
                    let image = self.images.get(row)?;
                    let time = times.and_then(|times| times.of_row(row));
                    let same_time = time == Some(set.modified(i)) && time != Some(0);
                    let is_same = image.bytes == set.size(i)
                        && (same_time || set.sha256(i).is_ok_and(|found| found == image.sha256));
                    Some((row, is_same))
                })
                .collect();
            for found in found {
                match found {
                    Some((_, true)) => changes.kept += 1,
                    Some((_, false)) => changes.changed += 1,
                    None => changes.new += 1,
                }
                same.push(found.and_then(|(row, is_same)| is_same.then_some(row)));
            }
            progress.advance(range.len() as u64);
        }
        progress.finish();
        changes.gone = self.images.len() - changes.kept - changes.changed;
        self.same = same;
        Ok(changes)
    }

    /// Whether any input of the set was an input of the reference.
    pub(super) fn shares_an_input(&self, set: &ImageSet) -> bool {
        let known = self.images.iter().map(|image| &image.path).chain(self.skipped.iter().map(|s| &s.path));
        let known: HashSet<&str> = known.map(String::as_str).collect();
        (0..set.len()).any(|i| known.contains(set.path(i)))
    }

    /// How many images the reference holds.
    pub(super) fn len(&self) -> usize {
        self.images.len()
    }

    /// What was skipped when the reference was made.
    pub(super) fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// For each image of the set that was compared, the row of its features, if they are there.
    pub(super) fn same(&self) -> &[Option<usize>] {
        &self.same
    }

    /// What is known of the image of a row.
    pub(super) fn image(&self, row: usize) -> &ImageRow {
        &self.images[row]
    }

    /// The descriptor of the image of a row.
    pub(super) fn descriptor(&mut self, row: usize) -> Result<Descriptor> {
        self.descriptors.descriptor(row)
    }

    /// The features of a batch, `[n, D]`: for each of its images the row that is known, or else the next one of `computed`.
    pub(super) fn fill(
        &mut self,
        rows: &[Option<usize>],
        computed: Option<&Array2<f32>>,
    ) -> Result<Array2<f32>> {
        let mut filled = Array2::zeros((rows.len(), self.columns));
        let mut next = 0;
        let mut at = 0;
        while at < rows.len() {
            match rows[at] {
                None => {
                    if let Some(computed) = computed {
                        filled.row_mut(at).assign(&computed.row(next));
                    }
                    next += 1;
                    at += 1;
                }
                Some(row) => {
                    let mut end = at + 1;
                    while rows.get(end).is_some_and(|&other| other == Some(row + end - at)) {
                        end += 1;
                    }
                    let known = self.features.read(row..row + end - at)?;
                    filled.slice_mut(s![at..end, ..]).assign(&known);
                    at = end;
                }
            }
        }
        Ok(filled)
    }
}
