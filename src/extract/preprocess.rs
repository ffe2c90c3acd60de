//! The preprocessing of an extractor on tensors, differentiable: for images that a generator makes.

use crate::error::Result;
use crate::images::{AxisMap, Color, Preprocessing};
use crate::ops::resize::separable;
use candle_core::{Tensor, bail};

/// ITU-R 601-2 luma, as Pillow's `convert("L")`.
const LUMA: [f64; 3] = [19_595.0 / 65_536.0, 38_470.0 / 65_536.0, 7_471.0 / 65_536.0];

/// Images `[B, 3, H, W]` with values in 0..=1 to the input of a network, `[B, C, height, width]`, normalised.
/// The same linear maps as for files, without rounding to 8 bits and clipping in between.
///
/// # Errors
/// If the images are no batch of three channels or have no pixels.
pub(crate) fn preprocess(preprocessing: &Preprocessing, images: &Tensor) -> Result<Tensor> {
    Ok(on_tensor(preprocessing, images)?)
}

fn on_tensor(preprocessing: &Preprocessing, images: &Tensor) -> candle_core::Result<Tensor> {
    let (_, channels, height, width) = images.dims4()?;
    let (Ok(rows), Ok(columns)) = (u32::try_from(height), u32::try_from(width)) else {
        bail!("an image of {height} x {width} is too large");
    };
    if channels != 3 || height == 0 || width == 0 {
        bail!("images must be [B, 3, H, W], not {:?}", images.dims());
    }
    let like = |values: Vec<f32>, dims: &[usize]| {
        Tensor::from_vec(values, dims, images.device())?.to_dtype(images.dtype())
    };
    let images = match preprocessing.color {
        Color::Rgb => images.clone(),
        Color::Gray => {
            let luma =
                Tensor::new(&LUMA, images.device())?.to_dtype(images.dtype())?.reshape((1, 3, 1, 1))?;
            images.broadcast_mul(&luma)?.sum_keepdim(1)?
        }
    };
    let (down, across) = preprocessing.axis_maps((columns, rows));
    let matrix = |axis: &AxisMap| like(axis.matrix.clone(), &[axis.outputs, axis.inputs]);
    let mut x = separable(&images, &matrix(&down)?, &matrix(&across)?)?;
    let (down, across) = (reached(&down), reached(&across));
    if down.iter().chain(&across).any(|&reached| reached == 0.0) {
        // Padding is white.
        let inside = like(down.clone(), &[1, 1, down.len(), 1])?
            .broadcast_mul(&like(across.clone(), &[1, 1, 1, across.len()])?)?;
        x = x.broadcast_add(&(1.0 - inside)?)?;
    }
    let per_channel = |values: &[f32]| like(values.to_vec(), &[1, values.len(), 1, 1]);
    x.broadcast_sub(&per_channel(&preprocessing.mean)?)?.broadcast_div(&per_channel(&preprocessing.std)?)
}

/// 1 for positions that some input reaches, 0 for padding.
fn reached(axis: &AxisMap) -> Vec<f32> {
    let rows = axis.matrix.chunks_exact(axis.inputs);
    rows.map(|row| f32::from(u8::from(row.iter().any(|&weight| weight != 0.0)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{ARCHITECTURES, center_crop, squash};
    use crate::images::{Filter, Fit, RgbImage};
    use candle_core::{DType, Device, Var};

    /// A smooth image, so that 8-bit rounding is all that differs.
    fn smooth(width: u32, height: u32) -> RgbImage {
        let value = |x: u32, y: u32, c: u32| {
            let (x, y) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
            (127.5 + 100.0 * (3.0 * x + 2.0 * y + f64::from(c)).sin()).round() as u8
        };
        let pixels = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| value(x, y, c))))
            .collect();
        RgbImage { width, height, pixels }
    }

    fn tensor(image: &RgbImage) -> Tensor {
        let (width, height) = (image.width as usize, image.height as usize);
        let values: Vec<f32> = image.pixels.iter().map(|&v| f32::from(v) / 255.0).collect();
        let hwc = Tensor::from_vec(values, (1, height, width, 3), &Device::Cpu).unwrap();
        hwc.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap()
    }

    #[test]
    fn tensors_and_files_are_preprocessed_alike_up_to_rounding() {
        let mut kinds: Vec<Preprocessing> = ARCHITECTURES.iter().map(|a| (a.preprocessing)()).collect();
        kinds.push(Preprocessing { fit: Fit::Pad, ..squash(32, &[0.5; 3], &[0.25; 3]) });
        kinds.push(center_crop(48, Filter::Lanczos, &[0.5; 3], &[0.5; 3]));
        for preprocessing in kinds {
            for size in [(32, 32), (50, 37), (29, 71)] {
                let image = smooth(size.0, size.1);
                let mut expected = vec![0.0; preprocessing.values()];
                preprocessing.normalise(&preprocessing.apply(&image), &mut expected);
                let found = preprocess(&preprocessing, &tensor(&image)).unwrap();
                let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
                let smallest = preprocessing.std.iter().fold(f32::MAX, |a, &b| a.min(b));
                // Three roundings to 8 bits: gray or first pass, second pass, and the filter's gain on them.
                let bound = 2.5 / 255.0 / smallest;
                assert_eq!(found.len(), expected.len());
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() < bound, "{} {size:?}: {a} and {b}", preprocessing.describe());
                }
            }
        }
    }

    #[test]
    fn files_are_not_rounded_where_the_network_resizes_in_float() {
        let filters = [Filter::Interpolate, Filter::InterpolateTf1, Filter::BicubicFloat];
        let fits = [Fit::Squash, Fit::Crop, Fit::Pad];
        for (fit, filter) in fits.into_iter().flat_map(|fit| filters.map(|filter| (fit, filter))) {
            let preprocessing = Preprocessing { filter, fit, ..squash(37, &[0.5; 3], &[0.5; 3]) };
            let image = smooth(90, 51);
            let mut expected = vec![0.0; preprocessing.values()];
            preprocessing.normalise(&preprocessing.apply(&image), &mut expected);
            let found = preprocess(&preprocessing, &tensor(&image)).unwrap();
            let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 2e-6, "{fit:?} {filter:?}: {a} and {b}");
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_central_differences_in_float64() {
        let preprocessing = Preprocessing { fit: Fit::Pad, ..squash(12, &[0.5; 3], &[0.25; 3]) };
        let x = Var::from_tensor(&tensor(&smooth(9, 14)).to_dtype(DType::F64).unwrap()).unwrap();
        let score = |x: &Tensor| preprocess(&preprocessing, x).unwrap().sqr().unwrap().sum_all().unwrap();
        let grads = score(&x).backward().unwrap();
        let grad: Vec<f64> = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
        for i in [0, 17, 125, 126, 300, values.len() - 1] {
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[i] += step;
                let moved = Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap();
                score(&moved).to_scalar::<f64>().unwrap()
            };
            let difference = (at(1e-4) - at(-1e-4)) / 2e-4;
            assert!(
                (difference - grad[i]).abs() < 1e-6 * (1.0 + grad[i].abs()),
                "{difference} and {}",
                grad[i]
            );
        }
    }

    #[test]
    fn images_without_three_channels_are_errors() {
        let gray = Tensor::zeros((1, 1, 8, 8), DType::F32, &Device::Cpu).unwrap();
        assert!(preprocess(&squash(8, &[0.5; 3], &[0.5; 3]), &gray).is_err());
    }
}
