//! From an image of any size to the numbers that a network takes.
//! Geometry and colours are done in 8 bits as Pillow, torchvision and timm do them; only the last step, and
//! filters that are for it, is in float32.
//! The whole description is one value, which is printed and stored with every reference.

use super::alpha::Alpha;
use super::filter::Filter;
use super::resize::{AxisMap, Window, resize_window, resize_window_exact};
use super::rgb::RgbImage;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the shape of an image is brought to that of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Resized to the input size; the aspect ratio is not kept.
    Squash,
    /// Resized until the input size is covered, then the centre is cut out (timm's and torchvision's evaluation transform).
    Crop,
    /// Resized until it fits into the input size, centred on white (`PIL.ImageOps.pad`).
    Pad,
}

impl Fit {
    /// The name, as it is typed and stored.
    pub fn name(self) -> &'static str {
        match self {
            Fit::Squash => "squash",
            Fit::Crop => "crop",
            Fit::Pad => "pad",
        }
    }
}

impl std::str::FromStr for Fit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fit> {
        [Fit::Squash, Fit::Crop, Fit::Pad]
            .into_iter()
            .find(|fit| fit.name() == text)
            .ok_or_else(|| Error::usage(format!("no fit is called {text}"), "squash, crop or pad"))
    }
}

/// The colours a network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Three channels.
    Rgb,
    /// One channel, Pillow's `convert("L")` (ITU-R 601-2 luma), before resizing.
    Gray,
}

/// Longest side of the input, far above that of any published network.
const MAX_INPUT_SIDE: u32 = 8192;

/// Smallest part of the shorter side that a crop may keep.
const MIN_CROP_RATIO: f64 = 0.05;

/// An image in the shape and colours of a network's input, `[H, W, C]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// 0..=255, as Pillow leaves them.
    Bytes(Vec<u8>),
    /// 0..=1, of filters that do not round; bicubic ones may be beyond.
    Unrounded(Vec<f32>),
}

impl Pixels {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Pixels::Bytes(values) => values.len(),
            Pixels::Unrounded(values) => values.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In 8 bits, rounded if they are not.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Pixels::Bytes(values) => values,
            Pixels::Unrounded(values) => values.iter().map(|v| (v * 255.0).round() as u8).collect(),
        }
    }
}

/// What is done to an image between its file and the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Input width in pixels.
    pub width: u32,
    /// Input height in pixels.
    pub height: u32,
    /// How the shape is brought to that of the input.
    pub fit: Fit,
    /// With [`Fit::Crop`], the part of the shorter side that is kept, 0.05 to 1 (timm's `crop_pct`).
    pub crop_ratio: f64,
    /// The resampling filter.
    pub filter: Filter,
    /// How transparent pixels are resolved.
    pub alpha: Alpha,
    /// One channel or three.
    pub color: Color,
    /// Whether JPEG files are decoded at the smallest of libjpeg's sizes that covers what an image is resized to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fast_decode: bool,
    /// Subtracted per channel, after scaling to 0..=1.
    pub mean: Vec<f32>,
    /// Divided by per channel, after the mean is subtracted.
    pub std: Vec<f32>,
}

impl Preprocessing {
    /// Channels of the input: 1 or 3.
    pub fn channels(&self) -> usize {
        match self.color {
            Color::Rgb => 3,
            Color::Gray => 1,
        }
    }

    /// Values of one prepared image, `C * H * W`.
    pub fn values(&self) -> usize {
        self.channels() * self.width as usize * self.height as usize
    }

    /// Checks a description that was read from a file or typed, which must be done before it is used.
    ///
    /// # Errors
    /// If a size or the crop ratio is out of range, or mean and standard deviation do not fit the channels.
    pub fn validate(&self) -> Result<()> {
        let sides = 1..=MAX_INPUT_SIDE;
        let wrong = if !sides.contains(&self.width) || !sides.contains(&self.height) {
            format!("input size {} x {} is not within 1..{MAX_INPUT_SIDE}", self.width, self.height)
        } else if !(MIN_CROP_RATIO..=1.0).contains(&self.crop_ratio) {
            format!("crop ratio {} is not within {MIN_CROP_RATIO}..1", self.crop_ratio)
        } else if self.mean.len() != self.channels() || self.std.len() != self.channels() {
            format!("{} channels need as many means and standard deviations", self.channels())
        } else if !self.mean.iter().all(|m| m.is_finite())
            || !self.std.iter().all(|s| s.is_finite() && *s > 0.0)
        {
            "means must be finite and standard deviations positive".to_string()
        } else {
            return Ok(());
        };
        Err(Error::usage(format!("preprocessing: {wrong}"), ""))
    }

    /// The image in the shape and colours of the input.
    ///
    /// # Panics
    /// If the image has no pixels, or [`Preprocessing::validate`] would refuse the sizes.
    pub fn apply(&self, image: &RgbImage) -> Pixels {
        let gray: Vec<u8>;
        let pixels = match self.color {
            Color::Rgb => &image.pixels,
            Color::Gray => {
                gray = image.pixels.as_chunks().0.iter().map(luma).collect();
                &gray
            }
        };
        let (size, channels) = ((image.width, image.height), self.channels());
        let (new_size, window) = self.placed(size);
        if self.filter.is_float() {
            let values = resize_window_exact(pixels, size, channels, new_size, window, self.filter);
            return Pixels::Unrounded(self.padded(values, window, 1.0));
        }
        let values = resize_window(pixels, size, channels, new_size, window, self.filter);
        Pixels::Bytes(self.padded(values, window, u8::MAX))
    }

    /// The size that an image of `size` is resized to, and the part of it that is wanted: the size of the input, or less where
    /// white is put around it.
    fn placed(&self, size: (u32, u32)) -> ((u64, u64), Window) {
        let target = (self.width, self.height);
        let whole = |(width, height): (u32, u32)| {
            ((width.into(), height.into()), Window { left: 0, top: 0, width, height })
        };
        match self.fit {
            Fit::Squash => whole(target),
            Fit::Pad => whole(contained(size, target)),
            Fit::Crop => {
                let new_size = covering(size, target, self.crop_ratio);
                let window = Window {
                    left: half_to_even(new_size.0 - u64::from(target.0)),
                    top: half_to_even(new_size.1 - u64::from(target.1)),
                    width: target.0,
                    height: target.1,
                };
                (new_size, window)
            }
        }
    }

    /// The smallest size at which an image of `size` (width, height) may be decoded.
    pub(crate) fn least_size(&self, size: (u32, u32)) -> (u64, u64) {
        if self.fast_decode { self.placed(size).0 } else { (size.0.into(), size.1.into()) }
    }

    fn padded<T: Copy>(&self, values: Vec<T>, window: Window, white: T) -> Vec<T> {
        let (inner, target) = ((window.width, window.height), (self.width, self.height));
        if inner == target { values } else { on_white(&values, inner, target, self.channels(), white) }
    }

    /// The geometry as linear maps of (rows, columns), for images of `size` (width, height) whose values stay real numbers:
    /// [`Preprocessing::apply`] without its rounding to 8 bits.
    ///
    /// # Panics
    /// As [`Preprocessing::apply`].
    pub fn axis_maps(&self, size: (u32, u32)) -> (AxisMap, AxisMap) {
        let (target, filter) = ((self.width, self.height), self.filter);
        let axis = |input: u32, output: u64, start: u64, count: u32, padding: (usize, usize)| {
            AxisMap::new(filter, (input, output), (start, count), padding)
        };
        match self.fit {
            Fit::Squash => (
                axis(size.1, target.1.into(), 0, target.1, (0, 0)),
                axis(size.0, target.0.into(), 0, target.0, (0, 0)),
            ),
            Fit::Crop => {
                let new_size = covering(size, target, self.crop_ratio);
                let start = |new: u64, target: u32| half_to_even(new - u64::from(target));
                (
                    axis(size.1, new_size.1, start(new_size.1, target.1), target.1, (0, 0)),
                    axis(size.0, new_size.0, start(new_size.0, target.0), target.0, (0, 0)),
                )
            }
            Fit::Pad => {
                let inner = contained(size, target);
                let padding = |inner: u32, target: u32| {
                    let before = half_to_even((target - inner).into()) as usize;
                    (before, (target - inner) as usize - before)
                };
                (
                    axis(size.1, inner.1.into(), 0, inner.1, padding(inner.1, target.1)),
                    axis(size.0, inner.0.into(), 0, inner.0, padding(inner.0, target.0)),
                )
            }
        }
    }

    /// `[H, W, C]` to `[C, H, W]`: `(v - mean) / std` in float32 of values in 0..=1, as torchvision's `ToTensor` and `Normalize`.
    ///
    /// # Panics
    /// If `pixels` and `out` do not hold [`Preprocessing::values`] values.
    pub fn normalise(&self, pixels: &Pixels, out: &mut [f32]) {
        let (channels, plane) = (self.channels(), self.width as usize * self.height as usize);
        assert!(pixels.len() == self.values() && out.len() == self.values(), "an image of another size");
        let scales = self.mean.iter().zip(&self.std);
        for (c, (out, (&mean, &std))) in out.chunks_exact_mut(plane).zip(scales).enumerate() {
            match pixels {
                Pixels::Bytes(pixels) => {
                    let table: [f32; 256] = std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std);
                    for (to, from) in out.iter_mut().zip(pixels.chunks_exact(channels)) {
                        *to = table[usize::from(from[c])];
                    }
                }
                Pixels::Unrounded(values) => {
                    for (to, from) in out.iter_mut().zip(values.chunks_exact(channels)) {
                        *to = (from[c] - mean) / std;
                    }
                }
            }
        }
    }

    /// One line for a person: `224 x 224, crop 0.875, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5`.
    pub fn describe(&self) -> String {
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
        let mut parts = vec![format!("{} x {}", self.width, self.height)];
        parts.push(match self.fit {
            Fit::Crop => format!("crop {}", self.crop_ratio),
            fit => fit.name().to_string(),
        });
        parts.push(self.filter.name().to_string());
        if self.color == Color::Gray {
            parts.push("gray".to_string());
        }
        if self.alpha == Alpha::Drop {
            parts.push("transparency dropped".to_string());
        }
        if self.fast_decode {
            parts.push("decoded at a reduced size".to_string());
        }
        parts.push(format!("mean {}", list(&self.mean)));
        parts.push(format!("std {}", list(&self.std)));
        parts.join(", ")
    }
}

/// Pillow's `convert("L")`: ITU-R 601-2 in 16-bit fixed point.
fn luma(&[r, g, b]: &[u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// Half of `n`, halves rounded to even (Python's `round`).
fn half_to_even(n: u64) -> u64 {
    n / 2 + u64::from(n % 4 == 3)
}

/// The size that an image of `size` is resized to before its centre of `target` is cut out.
///
/// A square target: the shorter side becomes `floor(side / ratio)`, the longer `int(that * longer / shorter)` (timm,
/// torchvision). Others: timm's `ResizeKeepRatio`, both sides rounded.
fn covering(size: (u32, u32), target: (u32, u32), ratio: f64) -> (u64, u64) {
    let scaled =
        |side: u32| ((f64::from(side) / ratio.clamp(MIN_CROP_RATIO, 1.0)).floor() as u64).max(side.into());
    let (width, height) = (u64::from(size.0), u64::from(size.1));
    let (new_width, new_height) = (scaled(target.0), scaled(target.1));
    if target.0 == target.1 {
        let shorter = new_width;
        return if width <= height {
            (shorter, shorter * height / width)
        } else {
            (shorter * width / height, shorter)
        };
    }
    let shrink = (width as f64 / new_width as f64).min(height as f64 / new_height as f64);
    let side = |n: u64, least: u32| ((n as f64 / shrink).round_ties_even() as u64).max(least.into());
    (side(width, target.0), side(height, target.1))
}

/// The largest size of the shape of `size` within `target`, as `PIL.ImageOps.contain` rounds it.
fn contained(size: (u32, u32), target: (u32, u32)) -> (u32, u32) {
    let of = |a: u32, b: u32, side: u32| {
        ((f64::from(a) / f64::from(b) * f64::from(side)).round_ties_even() as u32).max(1)
    };
    let (shape, wanted) = (f64::from(size.0) / f64::from(size.1), f64::from(target.0) / f64::from(target.1));
    if shape > wanted {
        (target.0, of(size.1, size.0, target.0).min(target.1))
    } else {
        (of(size.0, size.1, target.1).min(target.0), target.1)
    }
}

/// `[h, w, C]` of `inner` size in the middle of a white image of `target` size.
fn on_white<T: Copy>(
    pixels: &[T],
    inner: (u32, u32),
    target: (u32, u32),
    channels: usize,
    white: T,
) -> Vec<T> {
    let row = target.0 as usize * channels;
    let left = half_to_even((target.0 - inner.0).into()) as usize * channels;
    let top = half_to_even((target.1 - inner.1).into()) as usize;
    let inner_row = inner.0 as usize * channels;
    let mut out = vec![white; target.1 as usize * row];
    for (to, from) in out.chunks_exact_mut(row).skip(top).zip(pixels.chunks_exact(inner_row)) {
        to[left..left + inner_row].copy_from_slice(from);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn how() -> Preprocessing {
        Preprocessing {
            width: 224,
            height: 224,
            fit: Fit::Crop,
            crop_ratio: 0.875,
            filter: Filter::Bicubic,
            alpha: Alpha::White,
            color: Color::Rgb,
            fast_decode: false,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.5; 3],
        }
    }

    #[test]
    fn sizes_and_offsets_are_those_of_torchvision() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/preprocess/expected.json");
        let expected: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let pair = |v: &Value| -> [u32; 2] { serde_json::from_value(v.clone()).unwrap() };
        for case in expected["geometry"]["shorter_side"].as_array().unwrap() {
            let ([h, w], [new_h, new_w]) = (pair(&case["in_hw"]), pair(&case["out_hw"]));
            let side: u32 = serde_json::from_value(case["size"].clone()).unwrap();
            assert_eq!(covering((w, h), (side, side), 1.0), (new_w.into(), new_h.into()), "{case}");
        }
        for case in expected["geometry"]["center_crop"].as_array().unwrap() {
            let ([h, w], [top, left]) = (pair(&case["in_hw"]), pair(&case["top_left_kept_pixel"]));
            for (side, offset) in [(h, top), (w, left)] {
                if side >= 64 {
                    assert_eq!(half_to_even(u64::from(side) - 64), u64::from(offset), "{case}");
                }
            }
        }
    }

    #[test]
    fn halves_are_rounded_to_even() {
        assert_eq!([0, 1, 2, 3, 4, 5, 7, 9].map(half_to_even), [0, 0, 1, 2, 2, 2, 4, 4]);
    }

    #[test]
    fn the_description_names_everything_that_matters() {
        assert_eq!(
            how().describe(),
            "224 x 224, crop 0.875, bicubic, mean 0.485 0.456 0.406, std 0.5 0.5 0.5"
        );
        let gray = Preprocessing {
            fit: Fit::Pad,
            color: Color::Gray,
            alpha: Alpha::Drop,
            fast_decode: true,
            mean: vec![0.0],
            std: vec![1.0],
            ..how()
        };
        assert_eq!(
            gray.describe(),
            "224 x 224, pad, bicubic, gray, transparency dropped, decoded at a reduced size, mean 0, std 1"
        );
    }

    #[test]
    fn it_is_stored_in_fixed_order_and_read_back() {
        let json = serde_json::to_string(&how()).unwrap();
        assert!(
            json.starts_with(
                r#"{"width":224,"height":224,"fit":"crop","crop_ratio":0.875,"filter":"bicubic""#
            )
        );
        assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), how());
        let fast = Preprocessing { fast_decode: true, ..how() };
        let json = serde_json::to_string(&fast).unwrap();
        assert!(json.contains(r#""fast_decode":true"#));
        assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), fast);
        assert!(serde_json::from_str::<Preprocessing>(&json.replace("}", r#","more":1}"#)).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        how().validate().unwrap();
        for wrong in [
            Preprocessing { width: 0, ..how() },
            Preprocessing { height: 100_000, ..how() },
            Preprocessing { crop_ratio: f64::NAN, ..how() },
            Preprocessing { crop_ratio: 1.5, ..how() },
            Preprocessing { mean: vec![0.5], ..how() },
            Preprocessing { std: vec![0.0; 3], ..how() },
            Preprocessing { color: Color::Gray, ..how() },
        ] {
            assert!(wrong.validate().is_err(), "{wrong:?}");
        }
        assert_eq!("pad".parse::<Fit>().unwrap(), Fit::Pad);
        assert!("stretch".parse::<Fit>().is_err());
    }

    #[test]
    fn an_image_is_decoded_whole_unless_less_is_allowed() {
        assert_eq!(how().least_size((4000, 3000)), (4000, 3000));
        let fast = Preprocessing { fast_decode: true, ..how() };
        assert_eq!(fast.least_size((4000, 3000)), (341, 256));
        assert_eq!(Preprocessing { fit: Fit::Pad, ..fast.clone() }.least_size((4000, 3000)), (224, 168));
        assert_eq!(Preprocessing { fit: Fit::Squash, ..fast }.least_size((10, 3000)), (224, 224));
    }

    #[test]
    fn extreme_shapes_and_oblong_targets_come_out_in_the_target_size() {
        for (width, height) in [(1, 1), (1, 5000), (5000, 1), (7, 3), (224, 224)] {
            let image = RgbImage { width, height, pixels: vec![9; (width * height * 3) as usize] };
            for fit in [Fit::Squash, Fit::Crop, Fit::Pad] {
                for (w, h) in [(224, 224), (40, 90), (90, 40)] {
                    let how = Preprocessing { width: w, height: h, fit, ..how() };
                    let pixels = how.apply(&image).into_bytes();
                    assert_eq!(pixels.len(), how.values(), "{width} x {height} {fit:?}");
                    assert!(pixels.iter().all(|&v| v == 9 || (v == 255 && fit == Fit::Pad)));
                    let unrounded = Preprocessing { filter: Filter::Interpolate, ..how };
                    assert_eq!(unrounded.apply(&image).into_bytes(), pixels);
                }
            }
        }
    }
}
