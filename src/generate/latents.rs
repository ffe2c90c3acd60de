//! Latents: drawn from seeds as numpy draws them, or read from a .npy file.

use super::info::{LatentSpace, Prior};
use super::numpy::RandomState;
use crate::error::{Error, Result};
use crate::formats::npy::read_npy_array;
use candle_core::{DType, Device, Tensor};
use std::path::Path;

/// Latents `[n, …]` of a space, one for each seed: `numpy.random.RandomState(seed).randn(1, …)`.
///
/// # Errors
/// [`Error::Usage`] if nothing is drawn in this space.
pub fn latents_of_seeds(space: &LatentSpace, seeds: &[u32], dtype: DType, device: &Device) -> Result<Tensor> {
    match space.prior {
        Some(Prior::Normal) => {}
        None => {
            let reason =
                format!("latents are not drawn in {}, but brought there from another space", space.name);
            return Err(Error::usage(reason, ""));
        }
    }
    let count: usize = space.shape.iter().product();
    let values: Vec<f64> = seeds
        .iter()
        .flat_map(|&seed| RandomState::new(seed).randn().take(count).collect::<Vec<_>>())
        .collect();
    let dims: Vec<usize> = [seeds.len()].into_iter().chain(space.shape.iter().copied()).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

/// Latents `[n, …]` of a space from a .npy file.
///
/// # Errors
/// [`Error::Malformed`] if the file does not hold such an array, or one with numbers that are not finite.
pub(crate) fn read_latents(
    path: &Path,
    space: &LatentSpace,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let array = read_npy_array(path)?;
    let fits = array.ndim() > 0 && array.shape()[0] > 0 && array.shape()[1..] == space.shape;
    if !fits {
        let reason = format!("holds an array of shape {:?}", array.shape());
        let wanted: Vec<String> = space.shape.iter().map(usize::to_string).collect();
        let hint = format!("latents in {} are [n, {}]", space.name, wanted.join(", "));
        return Err(Error::malformed(path, reason, hint));
    }
    let row: usize = space.shape.iter().product();
    if let Some(at) = array.iter().position(|v| !v.is_finite()) {
        return Err(Error::malformed(path, format!("latent {} is not finite", at / row.max(1)), ""));
    }
    let dims = array.shape().to_vec();
    let values: Vec<f32> = array.into_iter().collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::npy::write_npy;

    #[test]
    fn each_seed_has_its_own_latent_wherever_it_stands() {
        let space = LatentSpace::normal("noise", &[1, 2, 2]);
        let draw = |seeds: &[u32]| latents_of_seeds(&space, seeds, DType::F64, &Device::Cpu).unwrap();
        let both = draw(&[5, 0]);
        assert_eq!(both.dims(), [2, 1, 2, 2]);
        let second: Vec<f64> = both.get(1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(second, [1.764052345967664, 0.4001572083672233, 0.9787379841057392, 2.240893199201458]);
        let alone: Vec<f64> = draw(&[0]).flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(alone, second);
    }

    #[test]
    fn files_of_another_shape_or_with_holes_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("z.npy");
        let space = LatentSpace::normal("z", &[3]);
        let read = || read_latents(&path, &space, DType::F32, &Device::Cpu);
        write_npy(&path, &ndarray::array![[0f32, 1.0, 2.0], [3.0, 4.0, 5.0]]).unwrap();
        assert_eq!(read().unwrap().to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        write_npy(&path, &ndarray::Array2::<f32>::zeros((3, 2))).unwrap();
        let error = read().unwrap_err();
        assert!(error.to_string().contains("[3, 2]") && error.hint().unwrap().contains("[n, 3]"), "{error}");
        write_npy(&path, &ndarray::Array2::<f32>::zeros((0, 3))).unwrap();
        assert!(read().is_err());
        write_npy(&path, &ndarray::array![[0f32, 0.0, 0.0], [0.0, f32::NAN, 0.0]]).unwrap();
        assert!(read().unwrap_err().to_string().contains("latent 1 is not finite"));
    }
}
