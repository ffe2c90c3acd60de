//! Your own network as a generator, scored like any other. Any [`candle_nn::Module`] that turns latents into images will do. The one
//! here paints a disc whose place and size its latent says. The densities of new images are taken against 500 earlier ones; discs in
//! the middle are typical, those at the border are not.

use candle_core::{DType, Device, Tensor};
use candle_nn::Module;
use ndarray::Array2;
use pseudo_density::Result;
use pseudo_density::ScoreOptions;
use pseudo_density::Scorer;
use pseudo_density::Silent;
use pseudo_density::{ExtractorRequest, LoadedExtractor};
use pseudo_density::{
    ForwardOptions, Generator, GeneratorInfo, LatentSpace, Variables, latents_of_seeds, pixels,
};

const SIDE: usize = 32;

/// Put your network here.
struct Discs;

impl Module for Discs {
    /// `z` `[B, 3]` (x, y, size) to images `[B, 1, 32, 32]` in -1..=1; of tensor operations, so that it is differentiable.
    fn forward(&self, z: &Tensor) -> candle_core::Result<Tensor> {
        let at = |i: usize| z.narrow(1, i, 1)?.reshape(((), 1, 1, 1));
        let line: Vec<f32> = (0..SIDE).map(|i| 6.0 * i as f32 / (SIDE - 1) as f32 - 3.0).collect();
        let x = Tensor::from_slice(&line, (1, 1, 1, SIDE), z.device())?;
        let y = x.reshape((1, 1, SIDE, 1))?;
        let (dx, dy) = (x.broadcast_sub(&at(0)?)?.sqr()?, y.broadcast_sub(&at(1)?)?.sqr()?);
        let radius = at(2)?.affine(0.3, 1.0)?.sqr()?;
        dx.broadcast_add(&dy)?.broadcast_sub(&radius)?.affine(-2.0, 0.0)?.tanh()
    }
}

/// What makes a generator of a network.
struct ModuleGenerator<M> {
    network: M,
    info: GeneratorInfo,
}

impl<M: Module + Send + Sync> Generator for ModuleGenerator<M> {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    /// There is nothing to train.
    fn variables(&self) -> Option<&Variables> {
        None
    }

    fn stage(&self, _: usize, latents: &Tensor, _: &ForwardOptions) -> Result<Tensor> {
        Ok(self.network.forward(latents)?)
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let z = LatentSpace::normal("z", &[3]);
    let info = GeneratorInfo::new("discs", serde_json::json!({}), [1, SIDE, SIDE], [z]);
    let discs: &dyn Generator = &ModuleGenerator { network: Discs, info };
    let extractor = LoadedExtractor::load(&ExtractorRequest::default())?;
    let scored = |seeds: &[u32]| -> Result<(Tensor, Array2<f32>)> {
        let latents = latents_of_seeds(&discs.info().spaces[0], seeds, DType::F32, &Device::Cpu)?;
        let images = discs.generate(&latents, &ForwardOptions::default())?;
        let features = extractor.features_of_images(&pixels::to_unit_rgb(&images)?)?;
        let shape = features.dims2()?;
        let features = Array2::from_shape_vec(shape, features.flatten_all()?.to_vec1()?);
        Ok((latents, features.map_err(|e| pseudo_density::Error::data(e.to_string(), ""))?))
    };
    let (_, reference) = scored(&(0..500).collect::<Vec<u32>>())?;
    let (scorer, _) =
        Scorer::of_features(reference.into_shared(), ScoreOptions::default(), &Device::Cpu, &Silent)?;
    let (latents, features) = scored(&(1000..1010).collect::<Vec<u32>>())?;
    let scores = scorer.score(features.view(), None, &Silent)?;
    for (z, density) in latents.to_vec2::<f32>()?.iter().zip(&scores.pseudo_density) {
        println!("{density:.3}  x {:5.2}  y {:5.2}  size {:5.2}", z[0], z[1], z[2]);
    }
    Ok(())
}
