//! A picture prepared to be compared: small, in two sizes, with its corners; and in colour, where a pair is looked at closely.

use super::colours::{Colours, LUMA, mixed};
use super::plane::Plane;
use super::points::{self, Point};
use crate::images::RgbImage;

/// Pixels of the longer side at which pictures are looked at closely.
pub(super) const SIDE: usize = 128;
/// How many times smaller than that the sizes of a [`View`] are.
pub(super) const SMALLER: [f32; SIZES] = [2.0, 4.0];
/// Sizes of a [`View`].
pub(super) const SIZES: usize = 2;

/// A picture prepared to be compared with others; about 50 kB.
#[derive(Debug)]
pub(super) struct View {
    /// Luma (ITU-R 601-2), with longer sides of 64 and of 32 pixels.
    pub(super) luma: [Plane; SIZES],
    /// Corners, in pixels of a picture with a longer side of [`SIDE`].
    pub(super) points: Vec<Point>,
    /// Width of that picture.
    pub(super) width: usize,
}

impl View {
    /// Of a small picture.
    pub(super) fn of(image: &RgbImage) -> Self {
        let luma = mixed(&colours(image), &LUMA);
        let half = luma.halved();
        let quarter = half.halved();
        Self { points: points::find(&luma), width: luma.width, luma: [half, quarter] }
    }
}

/// The colours of a small picture.
pub(super) fn colours(image: &RgbImage) -> Colours {
    let (width, height) = (image.width as usize, image.height as usize);
    let longer = width.max(height) as f32;
    let size = |n: usize| ((n as f32 * SIDE as f32 / longer).round() as usize).max(8);
    let channel = |c: usize| {
        let values = image.pixels.iter().skip(c).step_by(3).map(|&v| f32::from(v)).collect();
        let plane = Plane { width, height, values };
        if (size(width), size(height)) == (width, height) {
            plane
        } else {
            plane.resized(size(width), size(height))
        }
    };
    [channel(0), channel(1), channel(2)]
}
