//! `predictor.safetensors`: `layers.0.weight` `[512, D]`, `layers.0.bias` `[512]`, …, `features.mean` and `features.std` `[D]`.

use super::standardize::Standardization;
use super::{DensityPredictor, layer_name, layer_widths, linear_layers};
use crate::error::{Error, Result};
use crate::formats::regular::open_regular;
use crate::remedy::Remedy;
use candle_core::{Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

/// A predictor of features 100 000 wide has a fifth of this.
const MAX_BYTES: u64 = 1 << 30;
const MEAN: &str = "features.mean";
const STD: &str = "features.std";
const REMEDY: Remedy = Remedy::IndexReference(None);

impl DensityPredictor {
    /// The content of the file; the same predictor gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Data`] if the tensors cannot be written as safetensors, [`Error::Tensor`] if their device does not give them.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut add = |name: String, tensor: &Tensor| -> Result<()> {
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.push((name, tensor.dims().to_vec(), bytes));
            Ok(())
        };
        for (number, layer) in self.layers.iter().enumerate() {
            add(weight_name(number), layer.weight())?;
            if let Some(bias) = layer.bias() {
                add(bias_name(number), bias)?;
            }
        }
        add(MEAN.to_string(), &self.standardization.mean)?;
        add(STD.to_string(), &self.standardization.std)?;
        let unwritable = |error| Error::data(format!("the density predictor cannot be written: {error}"), "");
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect();
        safetensors::serialize(views.map_err(unwritable)?, None).map_err(unwritable)
    }

    /// Reads the content of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are no density predictor for features of width `width`.
    pub fn from_bytes(bytes: &[u8], width: usize, path: &Path) -> Result<DensityPredictor> {
        let malformed = |reason: String| Error::malformed(path, reason, REMEDY);
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| malformed(format!("no safetensors file: {error}")))?;
        let found = file.tensor(MEAN).map_err(|_| malformed(format!("it has no tensor {MEAN}")))?;
        if found.shape() != [width] {
            return Err(malformed(format!(
                "it was trained on features of shape {:?}, the reference has width {width}",
                found.shape()
            )));
        }
        let read = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
            let tensor = file.tensor(name).map_err(|_| malformed(format!("it has no tensor {name}")))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
                let (dtype, found) = (tensor.dtype(), tensor.shape());
                return Err(malformed(format!("{name} is {dtype:?} {found:?} instead of F32 {shape:?}")));
            }
            let values: Vec<f32> =
                tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            if values.iter().any(|value| !value.is_finite()) {
                return Err(malformed(format!("{name} holds a value that is not finite")));
            }
            Ok(values)
        };
        let std = read(STD, &[width])?;
        if std.iter().any(|std| *std <= 0.0) {
            return Err(malformed(format!("{STD} holds a value that is not above 0")));
        }
        let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
        let standardization =
            Standardization { mean: tensor(read(MEAN, &[width])?, &[width])?, std: tensor(std, &[width])? };
        let mut tensors = HashMap::new();
        for (number, (inputs, outputs)) in layer_widths(width).into_iter().enumerate() {
            for (name, shape) in
                [(weight_name(number), &[outputs, inputs][..]), (bias_name(number), &[outputs])]
            {
                let values = read(&name, shape)?;
                tensors.insert(name, tensor(values, shape)?);
            }
        }
        DensityPredictor::new(standardization, linear_layers(width, tensors)?)
    }

    /// Writes the file under a temporary name beside `path` and renames it.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        fs::write(&temporary, self.to_bytes()?).map_err(Error::io("write", &temporary))?;
        fs::rename(&temporary, path).map_err(Error::io("create", path))
    }

    /// Reads a predictor for features of width `width`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Malformed`] if it holds no predictor for features of this width.
    pub fn load(path: &Path, width: usize) -> Result<DensityPredictor> {
        let file = open_regular(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Error::malformed(path, "it is larger than any density predictor", REMEDY));
        }
        DensityPredictor::from_bytes(&bytes, width, path)
    }
}

pub(super) fn weight_name(layer: usize) -> String {
    format!("{}.weight", layer_name(layer))
}

pub(super) fn bias_name(layer: usize) -> String {
    format!("{}.bias", layer_name(layer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    /// A file of this content, whatever its numbers are.
    fn file(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    /// The tensors of a predictor: all of its values differ.
    fn tensors(width: usize) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let mut next = 0.0f32;
        let mut values = |count: usize| -> Vec<f32> {
            (0..count)
                .map(|_| {
                    next += 1.0;
                    (next * 0.37).sin()
                })
                .collect()
        };
        let mut tensors = Vec::new();
        for (number, (inputs, outputs)) in layer_widths(width).into_iter().enumerate() {
            tensors.push((weight_name(number), vec![outputs, inputs], values(outputs * inputs)));
            tensors.push((bias_name(number), vec![outputs], values(outputs)));
        }
        tensors.push((MEAN.to_owned(), vec![width], vec![0.5; width]));
        tensors.push((STD.to_owned(), vec![width], vec![2.0; width]));
        tensors
    }

    fn predictor(width: usize) -> DensityPredictor {
        read(&file(&tensors(width)), width).unwrap()
    }

    fn read(bytes: &[u8], width: usize) -> Result<DensityPredictor> {
        DensityPredictor::from_bytes(bytes, width, Path::new("ref/predictor.safetensors"))
    }

    #[test]
    fn a_file_gives_the_predictor_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictor.safetensors");
        let saved = predictor(7);
        saved.save(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes, file(&tensors(7)));
        assert_eq!(DensityPredictor::load(&path, 7).unwrap().to_bytes().unwrap(), bytes);
    }

    #[test]
    fn the_names_and_shapes_are_those_of_the_contract() {
        let bytes = predictor(7).to_bytes().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for (name, shape) in [
            ("layers.0.weight", &[512, 7][..]),
            ("layers.0.bias", &[512]),
            ("layers.1.weight", &[256, 512]),
            ("layers.2.weight", &[128, 256]),
            ("layers.3.weight", &[1, 128]),
            ("layers.3.bias", &[1]),
            ("features.mean", &[7]),
            ("features.std", &[7]),
        ] {
            assert_eq!(file.tensor(name).unwrap().shape(), shape);
        }
        assert_eq!(file.len(), 10);
    }

    #[test]
    fn another_width_is_refused_with_both() {
        let error = read(&predictor(7).to_bytes().unwrap(), 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ref/predictor.safetensors: it was trained on features of shape [7], the reference has width 8"
        );
        assert_eq!(error.remedy(), Some(&REMEDY));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        /// Changes shape and values of a tensor.
        type Change = fn(&mut Vec<usize>, &mut Vec<f32>);
        let spoil: [(&str, Change); 5] = [
            ("layers.2.weight", |_, values| values[5] = f32::NAN),
            ("layers.0.bias", |_, values| values[0] = f32::INFINITY),
            ("features.std", |_, values| values[1] = 0.0),
            ("layers.1.weight", |shape, values| {
                shape[0] = 128;
                values.truncate(128 * 512);
            }),
            ("layers.3.weight", |shape, _| shape.reverse()),
        ];
        for (spoilt, change) in spoil {
            let mut tensors = tensors(4);
            let (_, shape, values) = tensors.iter_mut().find(|(name, ..)| name == spoilt).unwrap();
            change(shape, values);
            let error = read(&file(&tensors), 4).unwrap_err();
            assert!(
                matches!(&error, Error::Malformed { .. }) && error.to_string().contains(spoilt),
                "{error}"
            );
        }
        let missing = file(&tensors(4)[1..]);
        assert!(read(&missing, 4).unwrap_err().to_string().contains("layers.0.weight"));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused() {
        let bytes = predictor(2).to_bytes().unwrap();
        for length in (0..bytes.len()).step_by(9973).chain([1, 7, 8, 9, 100, bytes.len() - 1]) {
            assert!(matches!(read(&bytes[..length], 2), Err(Error::Malformed { .. })), "{length}");
        }
        assert!(matches!(
            DensityPredictor::load(Path::new("nowhere/p.safetensors"), 2),
            Err(Error::Io { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_damage_to_the_head_makes_the_reader_panic(place in 0usize..900, value: u8) {
            static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| predictor(1).to_bytes().unwrap());
            let mut bytes = WHOLE.clone();
            bytes[place] = value;
            let _ = read(&bytes, 1);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&bytes, 1).is_err());
        }
    }
}
