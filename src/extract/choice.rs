//! The network that makes features of a set of images: the one that is named, or else the one that fits them.

use super::{ExtractorRequest, LoadedExtractor, architecture};
use crate::error::Result;
use crate::images::{Alpha, ImageSet, decode};
use rayon::prelude::*;

/// The network that tells photographs apart best of those that are small.
pub(crate) const FOR_PHOTOGRAPHS: &str = "efficientnet-lite0";
/// Images are photographs if the shorter side of most of them has at least so many pixels.
const PHOTOGRAPH_SIDE: u32 = 128;
/// Images that are looked at to know.
const LOOKED_AT: usize = 9;

/// Why a network was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy {
    /// It was asked for, or is the default and fits.
    Request,
    /// The images look like photographs, and the weights of the network for them are in the cache.
    Photographs,
    /// The images look like photographs, but the weights of the network for them are not in the cache.
    DefaultForPhotographs,
}

/// A network with why it was taken.
pub struct ChosenExtractor {
    /// The network.
    pub extractor: LoadedExtractor,
    /// Why it was taken.
    pub by: ChosenBy,
}

impl ChosenExtractor {
    /// The network that is asked for. Where none is, `known` (which made what there is already) is taken, or for photographs the one that
    /// was made for them, if its weights are in the cache.
    ///
    /// # Errors
    /// As [`LoadedExtractor::load`].
    pub fn for_images(request: &ExtractorRequest, set: &ImageSet, known: Option<&str>) -> Result<Self> {
        if request.name.is_some() || request.weights.is_some() {
            return Ok(Self { extractor: LoadedExtractor::load(request)?, by: ChosenBy::Request });
        }
        let named = |name: &str| ExtractorRequest { name: Some(name.into()), ..request.clone() };
        if let Some(known) = known.filter(|known| architecture(known).is_ok()) {
            return Ok(Self { extractor: LoadedExtractor::load(&named(known))?, by: ChosenBy::Request });
        }
        if !are_photographs(set) {
            return Ok(Self { extractor: LoadedExtractor::load(request)?, by: ChosenBy::Request });
        }
        match LoadedExtractor::load(&named(FOR_PHOTOGRAPHS)) {
            Ok(extractor) => Ok(Self { extractor, by: ChosenBy::Photographs }),
            Err(_) => {
                let extractor = LoadedExtractor::load(request)?;
                Ok(Self { extractor, by: ChosenBy::DefaultForPhotographs })
            }
        }
    }
}

/// Whether most of some images of a set are large.
fn are_photographs(set: &ImageSet) -> bool {
    let some: Vec<usize> = (0..set.len()).step_by(set.len().div_ceil(LOOKED_AT).max(1)).collect();
    let side = |i: usize| {
        let image = decode(&set.read(i).ok()?, Alpha::White).ok()?;
        Some(image.width.min(image.height))
    };
    let mut sides: Vec<u32> = some.into_par_iter().filter_map(side).collect();
    sides.sort_unstable();
    sides.get(sides.len() / 2).is_some_and(|&median| median >= PHOTOGRAPH_SIDE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{Picture, RgbImage};

    fn set(sides: Vec<u32>) -> ImageSet {
        let names = (0..sides.len()).map(|i| i.to_string()).collect();
        let picture = move |i: usize| {
            let (width, height) = (sides[i], 2 * sides[i]);
            let pixels = (0..width * height * 3).map(|value| (value % 251) as u8).collect();
            Ok(Picture::Pixels(RgbImage { width, height, pixels }))
        };
        ImageSet::of_pictures(names, Box::new(picture)).unwrap()
    }

    #[test]
    fn images_are_photographs_if_most_of_them_are_large() {
        assert!(are_photographs(&set(vec![PHOTOGRAPH_SIDE, 20, 300])));
        assert!(!are_photographs(&set(vec![PHOTOGRAPH_SIDE - 1, 20, 300])));
    }

    #[test]
    fn what_is_asked_for_or_known_is_taken_whatever_the_images_are() {
        let photographs = set(vec![200; 3]);
        let asked = ExtractorRequest { name: Some("tiny".into()), ..ExtractorRequest::default() };
        for (request, known) in [(asked, None), (ExtractorRequest::default(), Some("tiny"))] {
            let chosen = ChosenExtractor::for_images(&request, &photographs, known).unwrap();
            assert_eq!(chosen.by, ChosenBy::Request);
            assert_eq!(chosen.extractor.identity().extractor, "tiny");
        }
        let small = ChosenExtractor::for_images(&ExtractorRequest::default(), &set(vec![30]), None).unwrap();
        assert_eq!(small.by, ChosenBy::Request);
    }
}
