//! Your own network as an extractor: `custom_extractor IMAGES`. Any [`candle_nn::Module`] that turns images into one vector each will do.
//! The one here takes the mean colours of a grid of 8 x 8 fields, so that images are alike where their colours are in the same places.
//! Prints the five most typical images and the five most unusual.

use candle_core::{Device, Tensor};
use candle_nn::Module;
use ndarray::Array2;
use pseudo_density::Extractor;
use pseudo_density::Result;
use pseudo_density::Silent;
use pseudo_density::{Alpha, Color, Filter, Fit, ImageSet, Preprocessing, load_images};
use pseudo_density::{ScoreOptions, score_set};

const SIDE: usize = 64;
const FIELDS: usize = 8;

/// Put your network here.
struct ColourGrid;

impl Module for ColourGrid {
    /// `[B, 3, 64, 64]` to `[B, 192]`; of tensor operations, so that it is differentiable.
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        images.avg_pool2d(SIDE / FIELDS)?.flatten_from(1)
    }
}

/// What makes an extractor of a network.
struct ModuleExtractor<M> {
    network: M,
    /// Length of a feature vector.
    dimension: usize,
}

impl<M: Module + Send + Sync> Extractor for ModuleExtractor<M> {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.network.forward(images)?)
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: custom_extractor IMAGES")?;
    let preprocessing = Preprocessing {
        width: SIDE as u32,
        height: SIDE as u32,
        fit: Fit::Squash,
        crop_ratio: 1.0,
        filter: Filter::Bilinear,
        alpha: Alpha::White,
        color: Color::Rgb,
        fast_decode: false,
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    let set = ImageSet::open(folder.as_ref(), &Silent)?;
    let (mut paths, mut input) = (Vec::new(), Vec::new());
    for image in load_images(&set, 0..set.len(), &preprocessing) {
        match image {
            Ok(image) => {
                let start = input.len();
                input.resize(start + preprocessing.values(), 0.0);
                preprocessing.normalise(&image.pixels, &mut input[start..]);
                paths.push(set.path(paths.len()).to_owned());
            }
            // A name must not be given to another image: stop where `pd` would skip.
            Err(skipped) => return Err(format!("{}: {}", skipped.path, skipped.reason).into()),
        }
    }
    let images = Tensor::from_vec(input, (paths.len(), 3, SIDE, SIDE), &Device::Cpu)?;
    let extractor = ModuleExtractor { network: ColourGrid, dimension: 3 * FIELDS * FIELDS };
    let features = extractor.forward(&images)?.flatten_all()?.to_vec1()?;
    let features = Array2::from_shape_vec((paths.len(), extractor.dimension()), features)?;
    let scored = score_set(&features.into_shared(), ScoreOptions::default(), &Device::Cpu, &Silent)?;

    let density = scored.scores.pseudo_density;
    let mut rows: Vec<usize> = (0..density.len()).collect();
    rows.sort_by(|&a, &b| density[b].total_cmp(&density[a]));
    for &row in rows.iter().take(5).chain(rows.iter().rev().take(5)) {
        println!("{:.3} {}", density[row], paths[row]);
    }
    Ok(())
}
