//! Filters that images are resized with.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Keys' cubic with a = -0.5, support 2.
    Bicubic,
    /// Sinc windowed by its own main lobe, support 3.
    Lanczos,
    /// The two nearest pixels per axis whatever the scale, in float and never rounded to 8 bits: PyTorch's
    /// `interpolate(mode="bilinear", align_corners=False)`, which aliases when it shrinks.
    Interpolate,
    /// As [`Filter::Interpolate`], with the first pixels of both sizes at the same place instead of their first edges: `resize_bilinear`
    /// of TensorFlow 1, which the Inception network of 2015 was made with.
    #[serde(rename = "interpolate-tf1")]
    InterpolateTf1,
    /// [`Filter::Bicubic`] in float, never rounded to 8 bits: PyTorch's `interpolate(mode="bicubic", antialias=True)`.
    #[serde(rename = "bicubic-float")]
    BicubicFloat,
    /// [`Filter::BicubicFloat`], kept within the range of the colours: clean-fid's.
    #[serde(rename = "bicubic-clipped")]
    BicubicClipped,
}

impl Filter {
    pub(super) fn support(self) -> f64 {
        match self {
            Filter::Bilinear | Filter::Interpolate | Filter::InterpolateTf1 => 1.0,
            Filter::Bicubic | Filter::BicubicFloat | Filter::BicubicClipped => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    pub(super) fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let distance = x.abs();
        match self {
            Filter::Bilinear | Filter::Interpolate | Filter::InterpolateTf1 => (1.0 - distance).max(0.0),
            Filter::Bicubic | Filter::BicubicFloat | Filter::BicubicClipped if distance < 1.0 => {
                ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
            }
            Filter::Bicubic | Filter::BicubicFloat | Filter::BicubicClipped if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A
            }
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }

    /// Whether it widens with the scale, so that shrinking averages.
    pub(super) fn antialiases(self) -> bool {
        !matches!(self, Filter::Interpolate | Filter::InterpolateTf1)
    }

    /// Whether values stay real numbers.
    pub(super) fn is_float(self) -> bool {
        match self {
            Filter::Bilinear | Filter::Bicubic | Filter::Lanczos => false,
            Filter::Interpolate | Filter::InterpolateTf1 | Filter::BicubicFloat | Filter::BicubicClipped => {
                true
            }
        }
    }

    /// Where the middle of output position `at` lies in the input, in which the first pixel reaches from 0 to 1.
    pub(super) fn centre(self, at: f64, scale: f64) -> f64 {
        match self {
            Filter::InterpolateTf1 => at * scale + 0.5,
            _ => (at + 0.5) * scale,
        }
    }

    /// The name, as it is typed and stored.
    pub fn name(self) -> &'static str {
        match self {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
            Filter::Lanczos => "lanczos",
            Filter::Interpolate => "interpolate",
            Filter::InterpolateTf1 => "interpolate-tf1",
            Filter::BicubicFloat => "bicubic-float",
            Filter::BicubicClipped => "bicubic-clipped",
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}
