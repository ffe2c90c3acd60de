//! `predictor.safetensors`: `layers.0.weight` `[512, D]`, `layers.0.bias` `[512]`, …, `features.mean` and `features.std` `[D]`.

use super::standardize::Standardization;
use super::{DensityPredictor, layer_name, layer_widths, linear_layers};
use crate::error::{Error, Result};
use crate::formats::regular::open_regular;
use crate::formats::safetensors::{SafetensorsReader, write_safetensors};
use crate::formats::{HostTensor, StateDict};
use crate::remedy::Remedy;
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

const MEAN: &str = "features.mean";
const STD: &str = "features.std";

impl DensityPredictor {
    /// Writes the file; the same predictor gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, [`Error::Tensor`] if the device of its tensors does not give them.
    pub fn save(&self, path: &Path) -> Result<()> {
        let Standardization { mean, std } = &self.standardization;
        let mut tensors = vec![(MEAN.to_owned(), mean), (STD.to_owned(), std)];
        for (number, layer) in self.layers.iter().enumerate() {
            tensors.push((weight_name(number), layer.weight()));
            tensors.extend(layer.bias().map(|bias| (bias_name(number), bias)));
        }
        let mut dict = StateDict::new(path);
        for (name, tensor) in tensors {
            dict.insert(name, HostTensor::of(tensor)?);
        }
        write_safetensors(path, &dict)
    }

    /// Reads a predictor for features of width `width`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Malformed`] if it holds no predictor for features of this width.
    pub fn load(path: &Path, width: usize) -> Result<DensityPredictor> {
        read(BufReader::new(open_regular(path)?), width, path)
    }
}

/// Reads the content of a file; `path` is for messages.
fn read(source: impl Read + Seek, width: usize, path: &Path) -> Result<DensityPredictor> {
    predictor(source, width, path).map_err(|error| match error {
        // The remedy is that of a predictor, and not that of any file.
        Error::Malformed { path, reason, .. } => Error::malformed(path, reason, Remedy::IndexReference(None)),
        other => other,
    })
}

fn predictor(source: impl Read + Seek, width: usize, path: &Path) -> Result<DensityPredictor> {
    let malformed = |reason: String| Error::malformed(path, reason, "");
    let mut file = SafetensorsReader::new(source, path)?;
    let shapes: HashMap<String, Vec<usize>> = file.tensors().into_iter().collect();
    if let Some(found) = shapes.get(MEAN).filter(|shape| **shape != [width]) {
        return Err(malformed(format!(
            "it was trained on features of shape {found:?}, the reference has width {width}"
        )));
    }
    let mut tensor = |name: &str, shape: &[usize]| -> Result<Tensor> {
        // Before any memory is taken for it.
        match shapes.get(name) {
            Some(found) if found == shape => {}
            Some(found) => return Err(malformed(format!("{name} is {found:?} instead of {shape:?}"))),
            None => return Err(malformed(format!("it has no tensor {name}"))),
        }
        let (values, _) = file.array(name)?.into_raw_vec_and_offset();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(malformed(format!("{name} holds a value that is not finite")));
        }
        if name == STD && values.iter().any(|std| *std <= 0.0) {
            return Err(malformed(format!("{name} holds a value that is not above 0")));
        }
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    };
    let standardization = Standardization { mean: tensor(MEAN, &[width])?, std: tensor(STD, &[width])? };
    let mut tensors = HashMap::new();
    for (number, (inputs, outputs)) in layer_widths(width).into_iter().enumerate() {
        for (name, shape) in [(weight_name(number), &[outputs, inputs][..]), (bias_name(number), &[outputs])]
        {
            tensors.insert(name.clone(), tensor(&name, shape)?);
        }
    }
    DensityPredictor::new(standardization, linear_layers(width, tensors)?)
}

pub(super) fn weight_name(layer: usize) -> String {
    format!("{}.weight", layer_name(layer))
}

pub(super) fn bias_name(layer: usize) -> String {
    format!("{}.bias", layer_name(layer))
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The file of a predictor.
    pub(in super::super) fn bytes(predictor: &DensityPredictor) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictor.safetensors");
        predictor.save(&path).unwrap();
        std::fs::read(path).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::bytes;
    use super::*;
    use proptest::prelude::*;
    use safetensors::tensor::TensorView;
    use safetensors::{Dtype, SafeTensors};
    use std::fs;
    use std::io::Cursor;
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
        super::read(Cursor::new(bytes), width, Path::new("ref/predictor.safetensors"))
    }

    #[test]
    fn a_file_gives_the_predictor_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictor.safetensors");
        let saved = predictor(7);
        saved.save(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        let written = fs::read(&path).unwrap();
        assert_eq!(written, file(&tensors(7)));
        assert_eq!(bytes(&DensityPredictor::load(&path, 7).unwrap()), written);
    }

    #[test]
    fn the_names_and_shapes_are_those_of_the_contract() {
        let bytes = bytes(&predictor(7));
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
        let error = read(&bytes(&predictor(7)), 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ref/predictor.safetensors: it was trained on features of shape [7], the reference has width 8"
        );
        assert_eq!(error.remedy(), Some(&Remedy::IndexReference(None)));
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
        let bytes = bytes(&predictor(2));
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
            static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| bytes(&predictor(1)));
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
