//! Where latents come from: seeds, or the rows of a file.

use super::record::CandidateRecord;
use crate::error::{Error, Result};
use crate::generate::{
    ForwardOptions, Generator, LatentSpace, NoiseMode, Seeds, Truncation, latents_of_seeds,
};
use candle_core::{DType, Device, Tensor};
use ndarray::ArrayD;
use std::ops::Range;

/// Latents `[B, …]` as an array of float32, whatever their type and wherever they are.
///
/// # Errors
/// What the device returns.
pub(crate) fn latent_array(latents: &Tensor) -> Result<ArrayD<f32>> {
    let values = latents.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    ArrayD::from_shape_vec(latents.dims(), values)
        .map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))
}

/// What latents are drawn from or read from.
#[derive(Debug, Clone)]
pub enum LatentOrigin {
    /// One latent for each seed, as numpy draws it.
    Seeds(Seeds),
    /// Given latents `[n, …]`.
    Rows {
        /// `[n, …]`, of the space that is worked in.
        values: Tensor,
        /// What an image is called by, before the number of its row: `row` gives `row0012.png`.
        prefix: &'static str,
    },
}

/// Latents in any number, and what all images of them have in common. Seeds become latents batch by batch, so that their number takes
/// no memory.
#[derive(Debug, Clone)]
pub struct LatentSource {
    /// What they are drawn from or read from.
    pub origin: LatentOrigin,
    /// The name of the latent space that is worked in; the generator's first if not given. Latents of seeds are drawn in the first
    /// space and mapped to this one.
    pub space: Option<String>,
    /// The class of every image, where the generator has classes.
    pub class: Option<u32>,
    /// Truncation.
    pub truncation: Option<Truncation>,
    /// Noise between the layers.
    pub noise: NoiseMode,
    /// The type of the generator's numbers.
    pub dtype: DType,
    /// Where the generator computes.
    pub device: Device,
}

/// Latents that are worked on together; no result depends on which they are.
#[derive(Debug, Clone)]
pub struct LatentBatch {
    /// `[B, …]`
    pub values: Tensor,
    /// The seed of each; `None` for given latents.
    pub seeds: Vec<Option<u32>>,
    /// What the random streams of each are keyed by: its seed, or else its row.
    pub keys: Vec<u64>,
    /// The name of each, for messages and files: `seed0007`.
    pub names: Vec<String>,
    /// The class of each, where the generator has classes.
    pub classes: Option<Vec<u32>>,
}

impl LatentBatch {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// `common` with the classes and keys of these latents.
    pub fn conditions<'a>(&'a self, common: ForwardOptions<'a>) -> ForwardOptions<'a> {
        ForwardOptions { classes: self.classes.as_deref(), keys: Some(&self.keys), ..common }
    }

    /// The first `count` of them.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn first(&self, count: usize) -> Result<Self> {
        Ok(Self {
            values: self.values.narrow(0, 0, count)?,
            seeds: self.seeds.iter().copied().take(count).collect(),
            keys: self.keys.iter().copied().take(count).collect(),
            names: self.names.iter().take(count).cloned().collect(),
            classes: self.classes.as_ref().map(|classes| classes.iter().copied().take(count).collect()),
        })
    }
}

impl LatentSource {
    /// Latents of the generator's first space, without class and truncation, for a generator that computes in `dtype` on `device`.
    pub fn new(origin: LatentOrigin, dtype: DType, device: &Device) -> Self {
        Self {
            origin,
            space: None,
            class: None,
            truncation: None,
            noise: NoiseMode::default(),
            dtype,
            device: device.clone(),
        }
    }

    /// How many latents there are.
    pub fn len(&self) -> u64 {
        match &self.origin {
            LatentOrigin::Seeds(seeds) => seeds.count(),
            LatentOrigin::Rows { values, .. } => values.dim(0).unwrap_or(0) as u64,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an image depends on beside its latent, class and key.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if the generator does not take these, or latents of this space.
    pub fn conditions(&self, generator: &dyn Generator) -> Result<ForwardOptions<'_>> {
        let space = self.space(generator)?;
        // Latents that are mapped to another space arrive there truncated.
        let truncation = if self.is_mapped(generator, space)? { None } else { self.truncation };
        let conditions = ForwardOptions { space: self.space.as_deref(), truncation, ..self.drawn() };
        let dims: Vec<usize> = [1].into_iter().chain(space.shape.iter().copied()).collect();
        let one = Tensor::zeros(dims, self.dtype, &self.device)?;
        let classes = self.classes(1);
        generator
            .info()
            .check(&one, &ForwardOptions { classes: classes.as_deref(), keys: Some(&[0]), ..conditions })?;
        Ok(conditions)
    }

    /// What is known of the image of each latent of a range before it is made.
    pub fn records(&self, range: Range<usize>) -> Vec<CandidateRecord> {
        let record = |(row, seed): (usize, Option<u32>)| CandidateRecord {
            name: format!("{}.png", self.name(row, seed)),
            key: key(row, seed),
            seed,
            class: self.class,
            prompt: None,
        };
        range.clone().zip(self.seeds(range)).map(record).collect()
    }

    /// The latents of a range in the space that is worked in.
    ///
    /// # Errors
    /// If nothing is drawn in the generator's first space; what mapping returns.
    pub fn batch(&self, generator: &dyn Generator, range: Range<usize>) -> Result<LatentBatch> {
        let seeds = self.seeds(range.clone());
        let rows = || range.clone().zip(seeds.iter().copied());
        let keys: Vec<u64> = rows().map(|(row, seed)| key(row, seed)).collect();
        let names = rows().map(|(row, seed)| self.name(row, seed)).collect();
        let classes = self.classes(range.len());
        let values = match &self.origin {
            LatentOrigin::Rows { values, .. } => values.narrow(0, range.start, range.len())?,
            LatentOrigin::Seeds(_) => {
                let seeds: Vec<u32> = seeds.iter().copied().flatten().collect();
                let first = generator.info().space(None)?;
                let latents = latents_of_seeds(first, &seeds, self.dtype, &self.device)?;
                let space = self.space(generator)?;
                if space == first {
                    latents
                } else {
                    let conditions =
                        ForwardOptions { classes: classes.as_deref(), keys: Some(&keys), ..self.drawn() };
                    generator.map_latents(&latents, space.name, &conditions)?
                }
            }
        };
        Ok(LatentBatch { values, seeds, keys, names, classes })
    }

    /// The latents of a range in batches of `size`, each made when it is asked for.
    pub fn batches<'a>(
        &'a self,
        generator: &'a dyn Generator,
        range: Range<usize>,
        size: usize,
    ) -> impl Iterator<Item = Result<LatentBatch>> + 'a {
        let size = size.max(1);
        let (start, end) = (range.start, range.end);
        (start..end).step_by(size).map(move |at| self.batch(generator, at..(at + size).min(end)))
    }

    fn space<'g>(&self, generator: &'g dyn Generator) -> Result<&'g LatentSpace> {
        generator.info().space(self.space.as_deref())
    }

    fn is_mapped(&self, generator: &dyn Generator, space: &LatentSpace) -> Result<bool> {
        let drawn = matches!(self.origin, LatentOrigin::Seeds(_));
        Ok(drawn && space != generator.info().space(None)?)
    }

    /// What latents of the first space depend on.
    fn drawn(&self) -> ForwardOptions<'static> {
        ForwardOptions { truncation: self.truncation, noise: self.noise, ..ForwardOptions::default() }
    }

    fn classes(&self, count: usize) -> Option<Vec<u32>> {
        self.class.map(|class| vec![class; count])
    }

    fn seeds(&self, range: Range<usize>) -> Vec<Option<u32>> {
        match &self.origin {
            LatentOrigin::Seeds(seeds) => seeds.at(range).map(Some).collect(),
            LatentOrigin::Rows { .. } => vec![None; range.len()],
        }
    }

    /// `seed0012`, as the StyleGAN programs have it, or by the row.
    fn name(&self, row: usize, seed: Option<u32>) -> String {
        match (&self.origin, seed) {
            (LatentOrigin::Rows { prefix, .. }, None) => format!("{prefix}{row:04}"),
            (_, seed) => format!("seed{:04}", key(row, seed)),
        }
    }
}

fn key(row: usize, seed: Option<u32>) -> u64 {
    seed.map_or(row as u64, u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{GeneratorRequest, load};

    fn source(origin: LatentOrigin) -> LatentSource {
        LatentSource::new(origin, DType::F32, &Device::Cpu)
    }

    fn generator() -> Box<dyn Generator> {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/generators/dcgan/weights.safetensors");
        load(path, &GeneratorRequest::default()).unwrap()
    }

    #[test]
    fn seeds_and_rows_are_named_and_keyed_by_themselves_in_any_batch() {
        let generator = generator();
        let seeds = source(LatentOrigin::Seeds("7,0-3".parse().unwrap()));
        let all = seeds.batch(generator.as_ref(), 0..5).unwrap();
        assert_eq!((seeds.len(), all.keys.as_slice()), (5, [7, 0, 1, 2, 3].as_slice()));
        assert_eq!(all.names[..2], ["seed0007", "seed0000"]);
        assert_eq!(seeds.records(1..2)[0].name, "seed0000.png");
        let rows = source(LatentOrigin::Rows { values: all.values.clone(), prefix: "row" });
        let given = rows.batch(generator.as_ref(), 3..5).unwrap();
        assert_eq!((given.names[1].as_str(), given.keys.as_slice()), ("row0004", [3, 4].as_slice()));
        assert_eq!((rows.records(4..5)[0].key, rows.records(4..5)[0].seed), (4, None));
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let cut: Vec<f32> = seeds
            .batches(generator.as_ref(), 0..5, 2)
            .flat_map(|batch| flat(&batch.unwrap().values))
            .collect();
        assert_eq!(cut, flat(&all.values));
        assert_eq!(flat(&given.values), flat(&all.values.narrow(0, 3, 2).unwrap()));
    }

    #[test]
    fn what_the_generator_does_not_take_is_refused_before_anything_is_made() {
        let generator = generator();
        let mut source = source(LatentOrigin::Seeds("0-3".parse().unwrap()));
        assert!(source.conditions(generator.as_ref()).is_ok());
        source.class = Some(1);
        assert!(source.conditions(generator.as_ref()).is_err(), "it has no classes");
        (source.class, source.space) = (None, Some("w".into()));
        assert!(source.conditions(generator.as_ref()).is_err(), "it has no such space");
    }
}
