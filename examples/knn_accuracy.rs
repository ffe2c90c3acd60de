//! How well the neighbours of an image tell its class, by extractor or by raw pixels:
//!
//! ```sh
//! cargo run --release --example knn_accuracy -- IMAGES EXTRACTOR|pixels [WEIGHTS]
//! ```
//!
//! The class is the folder of an image. Images below `test/` are judged by those below `train/`; where there are no such
//! folders, every fifth by the others.

use ndarray::{Array2, Axis};
use pseudo_density::Silent;
use pseudo_density::internals::extract::{ExtractorRequest, LoadedExtractor, tiny};
use pseudo_density::internals::images::{ImageSet, load};
use pseudo_density::internals::neighbors::{ExactIndex, NeighborIndex, Search};
use pseudo_density::internals::reference::embed::{EmbedOptions, embed};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

const NEIGHBORS: usize = 20;
const EVERY: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [images, extractor, rest @ ..] = arguments.as_slice() else {
        return Err("usage: knn_accuracy IMAGES EXTRACTOR|pixels [WEIGHTS]".into());
    };
    let set = ImageSet::open(Path::new(images), &Silent)?;
    let (features, paths) = match extractor.as_str() {
        "pixels" => pixels(&set)?,
        name => {
            let mut request = ExtractorRequest::default();
            (request.name, request.weights) = (Some(name.into()), rest.first().map(Into::into));
            let extractor = LoadedExtractor::load(&request)?;
            let mut options = EmbedOptions::default();
            options.strict = true;
            let found = embed(&set, &extractor, options, &Silent)?;
            (found.features, found.images.into_iter().map(|i| i.path).collect())
        }
    };
    let split = paths.iter().any(|p| p.starts_with("train/"));
    let is_test = |i: usize| if split { paths[i].starts_with("test/") } else { i.is_multiple_of(EVERY) };
    let is_train = |i: usize| if split { paths[i].starts_with("train/") } else { !i.is_multiple_of(EVERY) };
    let train: Vec<usize> = (0..paths.len()).filter(|&i| is_train(i)).collect();
    let test: Vec<usize> = (0..paths.len()).filter(|&i| is_test(i)).collect();
    let class = |i: usize| paths[i].rsplit('/').nth(1).unwrap_or_default();
    let indexed = features.select(Axis(0), &train).into_shared();
    let index = ExactIndex::new(indexed)?;
    let search = Search { k: NEIGHBORS, skip_zero: false };
    let neighbors = index.search(features.select(Axis(0), &test).view(), None, search, &Silent)?;
    let mut right = 0;
    for (q, &row) in test.iter().enumerate() {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for &neighbor in neighbors.of(q).0 {
            *votes.entry(class(train[neighbor as usize])).or_default() += 1;
        }
        let winner = votes.iter().max_by_key(|(_, votes)| **votes).map(|(class, _)| *class);
        right += usize::from(winner == Some(class(row)));
    }
    let share = 100.0 * f64::from(right as u32) / test.len() as f64;
    println!(
        "{extractor}: {share:.2} % of {} test images by {NEIGHBORS} of {} others",
        test.len(),
        train.len()
    );
    Ok(())
}

/// The pixels of the images in the size and colours that `tiny` sees.
fn pixels(set: &ImageSet) -> Result<(Array2<f32>, Vec<String>), Box<dyn Error>> {
    let preprocessing = tiny::preprocessing();
    let mut values = Vec::new();
    let mut paths = Vec::new();
    for (i, image) in load(set, 0..set.len(), &preprocessing).into_iter().enumerate() {
        values.extend(
            image
                .map_err(|s| format!("{}: {}", s.path, s.reason))?
                .pixels
                .into_bytes()
                .into_iter()
                .map(f32::from),
        );
        paths.push(set.path(i).to_string());
    }
    Ok((Array2::from_shape_vec((paths.len(), preprocessing.values()), values)?, paths))
}
