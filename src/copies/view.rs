//! A picture prepared to be compared: brought to one size, in several scales, with its corners.

use super::plane::Plane;
use super::points::{self, Point};
use crate::images::RgbImage;

/// Pixels of the longer side at which pictures are compared.
pub(super) const SIDE: usize = 128;
/// Halvings: 128, 64 and 32 pixels.
pub(super) const LEVELS: usize = 3;

/// A picture prepared to be compared with others.
#[derive(Debug)]
pub(super) struct View {
    /// Red, green, blue at each level, `[LEVELS][3]`; the finest first.
    pub(super) colours: Vec<[Plane; 3]>,
    /// Luma (ITU-R 601-2) at each level.
    pub(super) luma: Vec<Plane>,
    pub(super) points: Vec<Point>,
    /// The points of the mirrored picture.
    pub(super) mirrored_points: Vec<Point>,
}

impl View {
    /// Of a small picture.
    pub(super) fn of(image: &RgbImage) -> Self {
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
        let mut colours = vec![[channel(0), channel(1), channel(2)]];
        while colours.len() < LEVELS {
            let Some([r, g, b]) = colours.last() else { break };
            let next = [r.halved(), g.halved(), b.halved()];
            colours.push(next);
        }
        let luma: Vec<Plane> = colours.iter().map(|channels| mixed(channels, &LUMA)).collect();
        let points = points::find(&luma[0]);
        let mirrored_points = points.iter().map(|point| point.mirrored(luma[0].width)).collect();
        Self { colours, luma, points, mirrored_points }
    }
}

/// Weights of red, green and blue, and a constant.
pub(super) type Mix = [f32; 4];
/// ITU-R 601-2 luma.
pub(super) const LUMA: Mix = [0.299, 0.587, 0.114, 0.0];

/// A sum of channels.
pub(super) fn mixed([r, g, b]: &[Plane; 3], mix: &Mix) -> Plane {
    let values = r.values.iter().zip(&g.values).zip(&b.values);
    let values = values.map(|((r, g), b)| mix[0] * r + mix[1] * g + mix[2] * b + mix[3]).collect();
    Plane { width: r.width, height: r.height, values }
}
