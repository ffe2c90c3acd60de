//! Pictures of a set with what finding copies among them needs: features of each, also mirrored, and descriptors for the second look.

use super::Reference;
use super::descriptors::Descriptors as _;
use super::embed::{EmbedOptions, features_of, join, nothing_usable, unlisted};
use super::lookalikes::ThumbIndex;
use crate::copies::{Compared, Comparer, Descriptor, Group, Level, Measures, best_copies, grouped};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::images::{Alpha, ImageSet, Prepared, RgbImage, Skipped, decode};
use crate::neighbors::{AnyIndex, BuildOptions, build};
use crate::progress::{Progress, Unreported, check_stop};
use crate::remedy::Remedy;
use candle_core::Device;
use ndarray::{ArcArray2, Array2, ArrayView2};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Pictures that could be read, in the order of their set; all vectors are of one length.
pub struct Pictures {
    /// As the set names them.
    pub(crate) paths: Vec<String>,
    /// For the second look.
    pub(crate) descriptors: Vec<Descriptor>,
    /// Bytes of their files.
    pub(crate) bytes: Vec<u64>,
    /// What was measured of them; empty for those of a reference, which holds no pictures in full.
    pub(crate) measures: Vec<Measures>,
    /// Features `[N, D]`; `None` where only exact copies are looked for.
    pub(crate) features: Option<ArcArray2<f32>>,
    /// Features of the mirrored pictures `[N, D]`; a reference has none.
    mirrored: Option<Array2<f32>>,
    /// The inputs that could not be read.
    pub skipped: Vec<Skipped>,
}

impl Pictures {
    /// Reads a set. Without `extractor` the pictures have no features: exact copies are found without.
    ///
    /// # Errors
    /// [`Error::Strict`] as asked; [`Error::Data`] if no picture could be used; [`Error::Interrupted`]; what the network returns.
    pub fn read(
        set: &ImageSet,
        extractor: Option<&LoadedExtractor>,
        options: EmbedOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut all = Self {
            paths: Vec::new(),
            descriptors: Vec::new(),
            bytes: Vec::new(),
            measures: Vec::new(),
            features: None,
            mirrored: None,
            skipped: unlisted(set, options)?,
        };
        let (mut plain, mut mirrored) = (Vec::<Array2<f32>>::new(), Vec::new());
        let batch = options.batch.max(1);
        progress.start("reading pictures", set.len() as u64, "images");
        for start in (0..set.len()).step_by(batch) {
            check_stop(progress, String::new)?;
            let range = start..(start + batch).min(set.len());
            let read: Vec<Result<Read, String>> =
                range.clone().into_par_iter().with_max_len(1).map(|i| Read::of(set, i, extractor)).collect();
            if let Some(extractor) = extractor {
                for (parts, mirror) in [(&mut plain, false), (&mut mirrored, true)] {
                    let inputs = read.iter().map(|read| {
                        let (plain, mirrored) = read.as_ref().ok()?.prepared.as_ref()?;
                        Some(if mirror { mirrored } else { plain })
                    });
                    let places: Vec<Option<&Prepared>> = inputs.collect();
                    parts.extend(features_of(extractor, &places)?);
                }
            }
            for (i, read) in range.clone().zip(read) {
                match read {
                    Ok(read) => {
                        all.paths.push(set.path(i).to_owned());
                        all.descriptors.push(read.descriptor);
                        all.bytes.push(set.size(i));
                        all.measures.push(read.measures);
                    }
                    Err(reason) if options.strict => {
                        return Err(Error::Strict { path: set.path(i).to_owned(), reason });
                    }
                    Err(reason) => all.skipped.push(Skipped { path: set.path(i).to_owned(), reason }),
                }
            }
            progress.advance(range.len() as u64);
        }
        progress.finish();
        if all.paths.is_empty() {
            return Err(nothing_usable(&all.skipped));
        }
        if extractor.is_some() {
            all.features = Some(join(&plain)?.into_shared());
            all.mirrored = Some(join(&mirrored)?);
        }
        Ok(all)
    }

    /// Those of a reference, of which nothing is made again.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it does not hold what is needed of its pictures, or its files are damaged.
    pub fn of_reference(reference: &Reference, with_features: bool) -> Result<Self> {
        let Some(mut files) = reference.descriptors()? else {
            let reason = "does not hold what is needed of its pictures to look for copies";
            return Err(Error::malformed(&reference.dir, reason, Remedy::RemakeFeatures));
        };
        let paths = reference.paths()?;
        let descriptors = (0..paths.len()).map(|row| files.descriptor(row)).collect::<Result<_>>()?;
        Ok(Self {
            descriptors,
            bytes: reference.bytes()?,
            measures: Vec::new(),
            features: with_features.then(|| reference.features()).transpose()?.map(Array2::into_shared),
            mirrored: None,
            skipped: Vec::new(),
            paths,
        })
    }

    /// Features to look for others with: their own, and those of them mirrored where they are there.
    fn queries(&self) -> Vec<ArrayView2<'_, f32>> {
        let plain = self.features.iter().map(|features| features.view());
        plain.chain(self.mirrored.iter().map(|features| features.view())).collect()
    }

    /// Their thumbnails, to search in.
    fn thumbs(&self) -> Result<ThumbIndex> {
        ThumbIndex::new(self.descriptors.iter().map(|descriptor| descriptor.thumb().numbers()).collect())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// The groups of copies among the pictures themselves.
    ///
    /// # Errors
    /// [`Error::Interrupted`], and what the search returns.
    pub(crate) fn groups(
        &self,
        level: Level,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Vec<Group>> {
        let mut pairs = Vec::new();
        let mut first: BTreeMap<_, usize> = BTreeMap::new();
        for (row, descriptor) in self.descriptors.iter().enumerate() {
            match first.get(&descriptor.pixels()) {
                Some(&same) => pairs.push((same, row)),
                None => _ = first.insert(descriptor.pixels(), row),
            }
        }
        if let Some(features) = self.features.as_ref().filter(|_| self.len() > 1) {
            let index = index(features, device, progress)?;
            let own: Vec<Option<u32>> = (0..self.len()).map(|row| Some(row as u32)).collect();
            let thumbs = self.thumbs()?;
            let near = thumbs.pairs(&self.descriptors, &self.queries(), &index, Some(&own), progress)?;
            pairs.extend(near.into_iter().map(|(row, other)| (row.min(other), row.max(other))));
        }
        pairs.sort_unstable();
        pairs.dedup();
        let mut comparer = Comparer::default();
        let compared = comparer.compare(&self.descriptors, &self.descriptors, &pairs, progress)?;
        grouped(&compared, level, |pairs| {
            comparer.compare(&self.descriptors, &self.descriptors, pairs, &Unreported(progress))
        })
    }

    /// For each picture the one of `others` that it is the best copy of, if it is one; `is_itself` says of a row here and a row there that
    /// they are one file.
    ///
    /// # Errors
    /// As [`Pictures::groups`].
    pub(crate) fn copies_of(
        &self,
        others: &Self,
        level: Level,
        is_itself: impl Fn(usize, usize) -> bool,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Vec<Option<Compared>>> {
        let mut pairs = Vec::new();
        let mut exact: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (row, descriptor) in others.descriptors.iter().enumerate() {
            exact.entry(descriptor.pixels()).or_default().push(row);
        }
        let mut own: Vec<Option<u32>> = Vec::with_capacity(self.len());
        for (row, descriptor) in self.descriptors.iter().enumerate() {
            let same = exact.get(&descriptor.pixels()).map_or(&[][..], Vec::as_slice);
            own.push(same.iter().find(|&&other| is_itself(row, other)).map(|&other| other as u32));
            pairs.extend(same.iter().find(|&&other| !is_itself(row, other)).map(|&other| (row, other)));
        }
        if let (Some(_), Some(theirs)) = (&self.features, &others.features) {
            let index = index(theirs, device, progress)?;
            let thumbs = others.thumbs()?;
            pairs.extend(thumbs.pairs(&self.descriptors, &self.queries(), &index, Some(&own), progress)?);
        }
        pairs.sort_unstable();
        pairs.dedup();
        let compared =
            Comparer::default().compare(&self.descriptors, &others.descriptors, &pairs, progress)?;
        Ok(best_copies(compared, self.len(), level))
    }
}

/// What is read of a picture.
struct Read {
    descriptor: Descriptor,
    measures: Measures,
    /// The input of the network, plain and mirrored.
    prepared: Option<(Prepared, Prepared)>,
}

impl Read {
    fn of(set: &ImageSet, i: usize, extractor: Option<&LoadedExtractor>) -> Result<Self, String> {
        let alpha = extractor.map_or(Alpha::White, |extractor| extractor.preprocessing().alpha);
        let image = decode(&set.read(i)?, alpha)?;
        let prepared = extractor.map(|extractor| {
            let of = |image: &RgbImage| Prepared::of_image(image, extractor.preprocessing());
            (of(&image), of(&image.mirrored()))
        });
        Ok(Self { descriptor: Descriptor::of(&image)?, measures: Measures::of(&image), prepared })
    }
}

fn index(features: &ArcArray2<f32>, device: &Device, progress: &dyn Progress) -> Result<AnyIndex> {
    let options = BuildOptions { k: 1, device: device.clone(), ..BuildOptions::default() };
    Ok(build(features.clone(), &options, progress)?.0)
}
