//! Whether a candidate is a copy: of a real image, or of a candidate that was kept before. Features, plain and mirrored, find the few
//! pictures that it may be a copy of; the pictures themselves decide.

use super::features::features_of;
use crate::copies::{ALIKE, Comparer, Descriptor, Level, NEAREST};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::images::{Alpha, RgbImage};
use crate::neighbors::distance::squared_l2;
use crate::progress::Silent;
use crate::reference::{DescriptorFiles, Descriptors, Scorer, ThumbIndex, copies_among};
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// Pictures that are looked at together.
pub(crate) const LOOKED_TOGETHER: usize = 32;

/// The picture that another is a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct CopyOf {
    /// Its row, among the real images or among the candidates.
    pub(crate) row: usize,
    /// How sure that is, from 0.5 to 1.
    pub(crate) score: f64,
}

/// What the second look says of a candidate, and needs for those that come after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Looked {
    /// Features of the mirrored picture, `[D]`.
    pub(crate) mirrored: Vec<f32>,
    /// The picture, small.
    pub(crate) descriptor: Descriptor,
    /// The real image that it is a copy of; `None` also where there are no real ones to compare with.
    pub(crate) real: Option<CopyOf>,
}

/// Looks at the pictures of candidates.
pub(crate) struct SecondLook<'a> {
    extractor: &'a LoadedExtractor,
    level: Level,
    comparer: RefCell<Comparer>,
    real: Option<Real<'a>>,
}

/// Real images, and what is needed to look at them.
struct Real<'a> {
    scorer: &'a Scorer,
    descriptors: RefCell<DescriptorFiles>,
    thumbs: ThumbIndex,
}

impl<'a> SecondLook<'a> {
    /// A picture that is like another at `level` is a copy of it. Real images, where there are any, are given with their descriptors.
    ///
    /// # Errors
    /// If a descriptor cannot be read.
    pub(crate) fn new(
        extractor: &'a LoadedExtractor,
        level: Level,
        real: Option<(&'a Scorer, DescriptorFiles)>,
    ) -> Result<Self> {
        let real = match real {
            Some((scorer, mut descriptors)) => {
                let thumbs = descriptors.thumbs()?;
                Some(Real { scorer, descriptors: RefCell::new(descriptors), thumbs })
            }
            None => None,
        };
        Ok(Self { extractor, level, comparer: RefCell::default(), real })
    }

    /// What becomes of transparency in pictures that are looked at.
    pub(crate) fn alpha(&self) -> Alpha {
        self.extractor.preprocessing().alpha
    }

    /// Looks at pictures with features `[B, D]`; `own[b]` is the row of the reference that is the picture itself.
    ///
    /// # Errors
    /// What the network and the search return; [`Error::Data`] if a picture cannot be made small.
    pub(crate) fn look(
        &self,
        images: &[RgbImage],
        features: ArrayView2<f32>,
        own: Option<&[Option<u32>]>,
    ) -> Result<Vec<Looked>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let flipped: Vec<RgbImage> = images.par_iter().map(RgbImage::mirrored).collect();
        let mirrored = features_of(self.extractor, &flipped)?;
        let small = |image: &RgbImage| Descriptor::of(image).map_err(|reason| Error::data(reason, ""));
        let descriptors = images.par_iter().map(small).collect::<Result<Vec<_>>>()?;
        let real = match &self.real {
            Some(Real { scorer, descriptors: files, thumbs }) => {
                let queries = &[features, mirrored.view()];
                let pairs = thumbs.pairs(&descriptors, queries, scorer.index(), own, &Silent)?;
                let comparer = &mut self.comparer.borrow_mut();
                copies_among(
                    &descriptors,
                    pairs,
                    |row| files.borrow_mut().descriptor(row),
                    comparer,
                    self.level,
                )?
            }
            None => vec![None; images.len()],
        };
        let real =
            real.into_iter().map(|found| found.map(|found| CopyOf { row: found.other, score: found.score }));
        let looked = mirrored.outer_iter().zip(descriptors).zip(real);
        Ok(looked
            .map(|((mirrored, descriptor), real)| Looked { mirrored: mirrored.to_vec(), descriptor, real })
            .collect())
    }
}

/// The pictures that were kept, among which those that come later may have copies.
pub(crate) struct KeptPictures {
    level: Level,
    features: Near,
    thumbs: Near,
    descriptors: Vec<Descriptor>,
    rows: Vec<usize>,
    comparer: RefCell<Comparer>,
}

/// Vectors among which the nearest are looked for, one query at a time.
#[derive(Default)]
struct Near {
    width: usize,
    values: Vec<f32>,
}

impl Near {
    /// The places of the [`NEAREST`] vectors to a query, of those that are nearer than `limit`.
    fn nearest(&self, query: &[f32], limit: f64) -> Vec<usize> {
        let rows = self.values.par_chunks_exact(self.width.max(1)).enumerate();
        let distances = rows.map(|(place, row)| (squared_l2(query, row), place));
        let mut near: Vec<(f64, usize)> = distances.filter(|near| near.0 < limit * limit).collect();
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.into_iter().take(NEAREST).map(|(_, place)| place).collect()
    }

    fn add(&mut self, vector: &[f32]) {
        self.width = vector.len();
        self.values.extend_from_slice(vector);
    }
}

impl KeptPictures {
    /// None yet.
    pub(crate) fn new(level: Level) -> Self {
        let (features, thumbs) = (Near::default(), Near::default());
        Self {
            level,
            features,
            thumbs,
            descriptors: Vec::new(),
            rows: Vec::new(),
            comparer: RefCell::default(),
        }
    }

    /// The kept picture that a candidate with these features `[D]` is a copy of.
    ///
    /// # Errors
    /// [`Error::Data`] if a descriptor is damaged.
    pub(crate) fn copied_by(&self, features: &[f32], looked: &Looked) -> Result<Option<CopyOf>> {
        let mut near = self.features.nearest(features, f64::INFINITY);
        near.extend(self.features.nearest(&looked.mirrored, f64::INFINITY));
        for original in looked.descriptor.originals()? {
            near.extend(self.thumbs.nearest(&original.numbers(), ALIKE));
        }
        let pairs = near.into_iter().map(|kept| (0, kept)).collect();
        let ours = std::slice::from_ref(&looked.descriptor);
        let comparer = &mut self.comparer.borrow_mut();
        let found =
            copies_among(ours, pairs, |kept| Ok(self.descriptors[kept].clone()), comparer, self.level)?;
        Ok(found[0].map(|found| CopyOf { row: self.rows[found.other], score: found.score }))
    }

    /// Adds candidate `row`.
    pub(crate) fn add(&mut self, row: usize, features: &[f32], looked: &Looked) {
        self.features.add(features);
        self.thumbs.add(&looked.descriptor.thumb().numbers());
        self.descriptors.push(looked.descriptor.clone());
        self.rows.push(row);
    }
}
