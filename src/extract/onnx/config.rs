//! `preprocessor_config.json` beside a model: how the model hub's image processors prepare images.

use super::OnnxRequest;
use super::ports::ImageInput;
use crate::error::{Error, Result};
use crate::extract::squash;
use crate::images::{Color, Filter, Fit, Preprocessing};
use crate::remedy::Remedy;
use serde::Deserialize;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The name of the file.
pub(super) const FILE: &str = "preprocessor_config.json";

/// Largest file that is read; real ones have under a kilobyte.
const MAX_BYTES: u64 = 1 << 20;

/// What is used of it; the rest is of no consequence for images.
#[derive(Debug, Default, Deserialize)]
struct Config {
    size: Option<Size>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    crop_pct: Option<f64>,
    resample: Option<u8>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Vec<f32>>,
    image_std: Option<Vec<f32>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Exact { height: u32, width: u32 },
    Shortest { shortest_edge: u32 },
    Side(u32),
}

impl Size {
    /// Width and height.
    fn sides(self) -> (u32, u32) {
        match self {
            Size::Exact { height, width } => (width, height),
            Size::Shortest { shortest_edge: side } | Size::Side(side) => (side, side),
        }
    }
}

/// The preprocessing that the file beside a model describes; `None` if there is no such file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] if it is damaged or describes what is not done here.
pub(super) fn beside(
    model: &Path,
    input: &ImageInput,
    request: &OnnxRequest,
) -> Result<Option<Preprocessing>> {
    let path = model.with_file_name(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", &path)(e)),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(Error::io("read", &path))?;
    let wrong = |reason: String| Error::malformed(&path, reason, Remedy::CorrectOnnxPreprocessing);
    let config: Config = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let found = config.preprocessing(input, request).map_err(wrong)?;
    found.validate().map_err(|e| wrong(e.to_string()))?;
    Ok(Some(found))
}

impl Config {
    fn preprocessing(&self, input: &ImageInput, request: &OnnxRequest) -> Result<Preprocessing, String> {
        let (mean, std) = self.colours(input.channels, request)?;
        let mut how = squash(super::DEFAULT_SIDE, &mean, &std);
        how.color = if input.channels == 1 { Color::Gray } else { Color::Rgb };
        how.filter = match self.resample {
            Some(1) => Filter::Lanczos,
            None | Some(2) => Filter::Bilinear,
            Some(3) => Filter::Bicubic,
            Some(other) => return Err(format!("`resample` {other} is not one of 1 to 3")),
        };
        let resized = self.size.map(Size::sides);
        let cropped = self.do_center_crop.unwrap_or(false);
        let target = if cropped { self.crop_size.map(Size::sides).or(resized) } else { resized };
        let (width, height) = target.unwrap_or((super::DEFAULT_SIDE, super::DEFAULT_SIDE));
        (how.width, how.height) = match target {
            Some(target) => target,
            None => (input.width.unwrap_or(width), input.height.unwrap_or(height)),
        };
        if let Some(ratio) = self.crop_pct {
            (how.fit, how.crop_ratio) = (Fit::Crop, ratio);
        } else if cropped {
            let resized = resized.map_or(width.min(height), |(width, height)| width.min(height));
            (how.fit, how.crop_ratio) = (Fit::Crop, f64::from(width.min(height)) / f64::from(resized.max(1)));
        } else if matches!(self.size, Some(Size::Shortest { .. })) {
            how.fit = Fit::Crop;
        }
        Ok(how)
    }

    /// Mean and standard deviation for values in 0..=1.
    fn colours(&self, channels: usize, request: &OnnxRequest) -> Result<(Vec<f32>, Vec<f32>), String> {
        /// A byte is scaled to 0..=1 before mean and standard deviation here.
        const BYTE: f64 = 255.0;
        /// Two float64 that were written as decimal text.
        const CLOSE: f64 = 1e-6;
        let factor = match self.do_rescale {
            Some(false) => 1.0,
            _ => self.rescale_factor.unwrap_or(1.0 / BYTE),
        };
        if !factor.is_finite() || factor <= 0.0 {
            return Err(format!("`rescale_factor` {factor} is not above 0"));
        }
        let scale = factor * BYTE;
        let scaled = |values: Vec<f32>| -> Vec<f32> {
            match (scale - 1.0).abs() < CLOSE {
                true => values,
                false => values.iter().map(|v| (f64::from(*v) / scale) as f32).collect(),
            }
        };
        let normalize = self.do_normalize.unwrap_or(true);
        let of = |name: &str, value: &Option<Vec<f32>>, given: &Option<Vec<f32>>, neutral: f32| match value {
            _ if !normalize => Ok(vec![neutral; channels]),
            Some(values) => Ok(values.clone()),
            // It will be overruled.
            None if given.is_some() => Ok(vec![neutral; channels]),
            None => Err(format!("`{name}` is missing")),
        };
        let mean = of("image_mean", &self.image_mean, &request.mean, 0.0)?;
        let std = of("image_std", &self.image_std, &request.std, 1.0)?;
        Ok((scaled(mean), scaled(std)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ports::Layout;
    use super::*;

    fn input(side: Option<u32>) -> ImageInput {
        let name = "pixel_values".into();
        ImageInput { name, layout: Layout::ChannelsFirst, channels: 3, height: side, width: side }
    }

    fn read(text: &str) -> Result<Preprocessing> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), text).unwrap();
        let model = directory.path().join("model.onnx");
        Ok(beside(&model, &input(None), &OnnxRequest::default())?.unwrap())
    }

    const HALF: &str = r#""image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]"#;

    #[test]
    fn each_way_of_the_hub_to_give_a_size_is_understood() {
        // google/vit-base-patch16-224, openai/clip-vit-base-patch32, facebook/dinov2-base, facebook/convnext-tiny-224.
        for (text, expected) in [
            (
                r#""size": {"height": 224, "width": 200}, "resample": 2"#,
                (200, 224, Fit::Squash, 1.0, Filter::Bilinear),
            ),
            (
                r#""size": 224, "do_center_crop": true, "crop_size": 224, "resample": 3"#,
                (224, 224, Fit::Crop, 1.0, Filter::Bicubic),
            ),
            (
                r#""size": {"shortest_edge": 256}, "do_center_crop": true, "crop_size": {"height": 224, "width": 224}, "resample": 3"#,
                (224, 224, Fit::Crop, 0.875, Filter::Bicubic),
            ),
            (
                r#""size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3"#,
                (224, 224, Fit::Crop, 0.875, Filter::Bicubic),
            ),
            (r#""size": {"shortest_edge": 96}, "resample": 1"#, (96, 96, Fit::Crop, 1.0, Filter::Lanczos)),
            (r#""do_resize": true"#, (224, 224, Fit::Squash, 1.0, Filter::Bilinear)),
        ] {
            let how = read(&format!("{{{HALF}, {text}}}")).unwrap();
            assert_eq!((how.width, how.height, how.fit, how.crop_ratio, how.filter), expected, "{text}");
            assert_eq!((how.mean, how.std), (vec![0.5; 3], vec![0.5; 3]));
        }
    }

    #[test]
    fn a_scale_other_than_that_of_bytes_goes_into_mean_and_deviation() {
        let means = r#""image_mean": [127.5, 127.5, 127.5], "image_std": [51, 51, 51]"#;
        let how = read(&format!(r#"{{{means}, "do_rescale": false}}"#)).unwrap();
        assert_eq!((how.mean, how.std), (vec![0.5; 3], vec![0.2; 3]));
        let how = read(r#"{"do_normalize": false, "rescale_factor": 0.00392156862745098}"#).unwrap();
        assert_eq!((how.mean, how.std), (vec![0.0; 3], vec![1.0; 3]));
    }

    #[test]
    fn what_is_missing_or_not_done_here_is_named() {
        for (text, reason) in [
            ("", "EOF"),
            ("[]", "invalid"),
            ("{}", "`image_mean` is missing"),
            (&format!(r#"{{{HALF}, "resample": 0}}"#), "`resample` 0"),
            (&format!(r#"{{{HALF}, "rescale_factor": 0}}"#), "`rescale_factor` 0"),
            (&format!(r#"{{{HALF}, "size": 0}}"#), "input size"),
            (&format!(r#"{{{HALF}, "size": 4000000000}}"#), "input size"),
            (&format!(r#"{{{HALF}, "crop_pct": 7}}"#), "crop ratio"),
            (&format!(r#"{{{HALF}, "size": 224, "crop_size": 256, "do_center_crop": true}}"#), "crop ratio"),
            (r#"{"image_mean": [0.5], "image_std": [0.5]}"#, "channels need as many"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
            assert!(error.to_string().contains(FILE));
        }
    }
}
