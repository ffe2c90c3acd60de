//! From a generator's images in -1..=1 to what is scored (0..=1, RGB) and to what is written (bytes).

use super::info::Quantization;
use crate::error::{Error, Result};
use candle_core::{DType, Tensor};

/// `[B, C, H, W]` in -1..=1 to `[B, 3, H, W]` in 0..=1, differentiable: values beyond are cut, gray becomes three equal channels.
///
/// # Errors
/// [`Error::Data`] if there are neither one nor three channels.
pub fn to_unit_rgb(images: &Tensor) -> Result<Tensor> {
    let (_, channels, _, _) = images.dims4()?;
    let unit = ((images + 1.0)? * 0.5)?.maximum(0.0)?.minimum(1.0)?;
    match channels {
        1 => Ok(Tensor::cat(&[&unit, &unit, &unit], 1)?),
        3 => Ok(unit),
        _ => Err(Error::data(format!("images of {channels} channels are neither gray nor colour"), "")),
    }
}

/// `[B, C, H, W]` in -1..=1 to bytes, image by image, channels last (`H x W x C`).
///
/// # Errors
/// [`Error::Data`] naming the first image with a value that is not finite.
pub fn to_bytes(images: &Tensor, quantization: Quantization) -> Result<Vec<Vec<u8>>> {
    let (_, channels, height, width) = images.dims4()?;
    let rows =
        images.detach().permute((0, 2, 3, 1))?.flatten_from(1)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let mut bytes = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        if row.iter().any(|v| !v.is_finite()) {
            return Err(Error::data(
                format!(
                    "image {i} of the batch has values that are not finite ({channels} x {height} x {width})"
                ),
                "the generator is broken, or its latent is far outside what it was trained on",
            ));
        }
        bytes.push(row.iter().map(|&v| byte(v, quantization)).collect());
    }
    Ok(bytes)
}

fn byte(value: f32, quantization: Quantization) -> u8 {
    let unit = (value / 2.0 + 0.5).clamp(0.0, 1.0);
    let rounded = match quantization {
        Quantization::HalfUp => (unit * 255.0 + 0.5).floor(),
        Quantization::HalfToEven => (unit * 255.0).round_ties_even(),
        Quantization::Truncated => (value * 127.5 + 128.0).clamp(0.0, 255.0).floor(),
        Quantization::Floor => ((value + 1.0) * 127.5).clamp(0.0, 255.0).floor(),
    };
    rounded.min(255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn bytes_are_rounded_as_the_family_does() {
        let halves = |byte: f32| (byte + 0.5) / 127.5 - 1.0;
        assert_eq!(byte(-7.0, Quantization::HalfUp), 0);
        assert_eq!(byte(7.0, Quantization::HalfToEven), 255);
        assert_eq!(byte(0.0, Quantization::HalfUp), 128);
        assert_eq!(byte(0.0, Quantization::HalfToEven), 128);
        assert_eq!(byte(halves(2.0) + 1e-4, Quantization::HalfToEven), 3);
        assert_eq!(byte(halves(2.0) - 1e-4, Quantization::HalfUp), 2);
        let truncated = [-1.1, -1.0, -0.9995, 0.0, 0.999, 1.0].map(|x| byte(x, Quantization::Truncated));
        assert_eq!(truncated, [0, 0, 0, 128, 255, 255]);
        let floor = [-1.1, -1.0, -0.9995, 0.0, 0.999, 1.0].map(|x| byte(x, Quantization::Floor));
        assert_eq!(floor, [0, 0, 0, 127, 254, 255]);
    }

    #[test]
    fn gray_images_are_scored_as_three_equal_channels_within_bounds() {
        let images =
            Tensor::new(&[-3f32, -1.0, 0.0, 1.5], &Device::Cpu).unwrap().reshape((1, 1, 2, 2)).unwrap();
        let rgb = to_unit_rgb(&images).unwrap();
        assert_eq!(rgb.dims(), [1, 3, 2, 2]);
        assert_eq!(rgb.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0, 0.5, 1.0].repeat(3));
        assert!(to_unit_rgb(&Tensor::zeros((1, 2, 2, 2), DType::F32, &Device::Cpu).unwrap()).is_err());
    }

    #[test]
    fn channels_come_last_and_a_broken_image_is_named() {
        let images = Tensor::new(&[-1f32, -1.0, 1.0, 1.0, 0.0, 1.0], &Device::Cpu).unwrap();
        let images = images.reshape((1, 3, 1, 2)).unwrap();
        assert_eq!(to_bytes(&images, Quantization::HalfUp).unwrap(), [[0, 255, 128, 0, 255, 255]]);
        let broken = (images / 0.0).unwrap();
        let broken = Tensor::cat(&[broken.zeros_like().unwrap(), broken], 0).unwrap();
        assert!(to_bytes(&broken, Quantization::HalfUp).unwrap_err().to_string().contains("image 1"));
    }
}
