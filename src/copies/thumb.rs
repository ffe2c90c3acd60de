//! A picture seen from afar: its gray levels, averaged over 8 x 8 parts. Blur, compression and noise leave them as they are.

use crate::images::{Filter, RgbImage, resize};
use serde::{Deserialize, Serialize};

/// Parts along each side.
const SIDE: usize = 8;
/// A byte for each part.
pub(crate) const BYTES: usize = SIDE * SIDE;
/// Distance of the numbers from which two thumbnails are those of different pictures: of 3 068 photographs, 93 % of the nearest of another
/// picture are further away, and nearly all copies that features lose are nearer.
pub(crate) const ALIKE: f64 = 0.35;
/// Gray levels that do not count in a picture that is plain all over.
const PLAIN: f32 = 8.0;

/// Gray levels, row by row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thumb(Vec<u8>);

impl Thumb {
    /// From its bytes.
    pub(super) fn new(bytes: [u8; BYTES]) -> Self {
        Self(bytes.to_vec())
    }

    /// Of a picture.
    pub(super) fn of(image: &RgbImage) -> Self {
        let size = (SIDE as u32, SIDE as u32);
        let small = resize(&image.pixels, (image.width, image.height), 3, size, Filter::Bilinear);
        let luma =
            |&[r, g, b]: &[u8; 3]| (299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)) / 1000;
        Self(small.as_chunks().0.iter().map(|pixel| luma(pixel) as u8).collect())
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// With left and right exchanged.
    pub(super) fn mirrored(&self) -> Self {
        Self(self.0.chunks(SIDE).flat_map(|row| row.iter().rev().copied()).collect())
    }

    /// Numbers `[64]` of which the distance tells how unlike two thumbnails are, whatever their brightness and contrast.
    pub(crate) fn numbers(&self) -> Vec<f32> {
        let mean = self.0.iter().map(|&v| f32::from(v)).sum::<f32>() / self.0.len().max(1) as f32;
        let norm = self.0.iter().map(|&v| (f32::from(v) - mean).powi(2)).sum::<f32>().sqrt();
        self.0.iter().map(|&v| (f32::from(v) - mean) / (norm + PLAIN)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness_and_contrast_change_little_and_the_mirror_is_that_of_the_mirrored_picture() {
        let level = |x: u32, y: u32| (10 + 3 * x + 40 * u32::from(x < y)) as u8;
        let picture = |change: &dyn Fn(u8) -> u8| RgbImage {
            width: 32,
            height: 16,
            pixels: (0..16).flat_map(|y| (0..32).flat_map(move |x| [level(x, y); 3])).map(change).collect(),
        };
        let (one, other) = (picture(&|v| v), picture(&|v| v / 2 + 90));
        let (a, b) = (Thumb::of(&one).numbers(), Thumb::of(&other).numbers());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.03), "{a:?} {b:?}");
        assert_eq!(Thumb::of(&one.mirrored()), Thumb::of(&one).mirrored());
        let plain = RgbImage { width: 1, height: 1, pixels: vec![7; 3] };
        assert!(Thumb::of(&plain).numbers().iter().all(|v| *v == 0.0));
    }
}
