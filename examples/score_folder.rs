//! Scores a folder of images with the embedded network: `score_folder IMAGES`. Prints the ten most unusual.

use candle_core::Device;
use pseudo_density::ImageSet;
use pseudo_density::Silent;
use pseudo_density::{EmbedOptions, embed};
use pseudo_density::{ExtractorRequest, LoadedExtractor};
use pseudo_density::{ScoreOptions, score_set};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: score_folder IMAGES")?;
    let images = ImageSet::open(folder.as_ref(), &Silent)?;
    let extractor = LoadedExtractor::load(&ExtractorRequest::default())?;
    let embedded = embed(&images, &extractor, EmbedOptions::default(), &Silent)?;
    let scored = score_set(&embedded.features.into_shared(), ScoreOptions::default(), &Device::Cpu, &Silent)?;

    let density = &scored.scores.pseudo_density;
    let mut rows: Vec<usize> = (0..density.len()).collect();
    rows.sort_by(|&a, &b| density[a].total_cmp(&density[b]));
    for &row in rows.iter().take(10) {
        println!("{:.3} {}", density[row], embedded.images[row].path);
    }
    Ok(())
}
