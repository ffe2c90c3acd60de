//! `predictor.safetensors`: `layers.0.weight` `[512, D]`, `layers.0.bias` `[512]`, …, `features.mean` and `features.std` `[D]`.

use super::linear::Linear;
use super::standardize::Standardization;
use super::{DensityPredictor, layer_widths};
use crate::error::{Error, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// A predictor of features 100 000 wide has a fifth of this.
const MAX_BYTES: u64 = 1 << 30;
const MEAN: &str = "features.mean";
const STD: &str = "features.std";
const REMEDY: &str = "train it again with `pd index`";

impl DensityPredictor {
    /// The content of the file; the same predictor gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Data`] if the tensors cannot be written as safetensors.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, values: &[f32]| {
            tensors.push((name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()));
        };
        for (number, layer) in self.layers.iter().enumerate() {
            add(weight_name(number), vec![layer.outputs, layer.inputs], &layer.weight);
            add(bias_name(number), vec![layer.outputs], &layer.bias);
        }
        add(MEAN.to_string(), vec![self.width()], &self.standardization.mean);
        add(STD.to_string(), vec![self.width()], &self.standardization.std);
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
        let standardization = Standardization { mean: read(MEAN, &[width])?, std: read(STD, &[width])? };
        if standardization.std.iter().any(|std| *std <= 0.0) {
            return Err(malformed(format!("{STD} holds a value that is not above 0")));
        }
        let mut layers = Vec::new();
        for (number, (inputs, outputs)) in layer_widths(width).into_iter().enumerate() {
            let weight = read(&weight_name(number), &[outputs, inputs])?;
            layers.push(Linear { inputs, outputs, weight, bias: read(&bias_name(number), &[outputs])? });
        }
        Ok(DensityPredictor { standardization, layers })
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
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Error::malformed(path, "it is larger than any density predictor", REMEDY));
        }
        DensityPredictor::from_bytes(&bytes, width, path)
    }
}

fn weight_name(layer: usize) -> String {
    format!("layers.{layer}.weight")
}

fn bias_name(layer: usize) -> String {
    format!("layers.{layer}.bias")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, keyed};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    fn predictor(width: usize) -> DensityPredictor {
        let layers = layer_widths(width).map(|(inputs, outputs)| {
            Linear::random(inputs, outputs, &mut keyed(1, Purpose::PredictorWeights, inputs as u64))
        });
        let standardization = Standardization { mean: vec![0.5; width], std: vec![2.0; width] };
        DensityPredictor { standardization, layers: layers.into() }
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
        assert_eq!(DensityPredictor::load(&path, 7).unwrap(), saved);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        assert_eq!(saved.to_bytes().unwrap(), fs::read(&path).unwrap());
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
        assert_eq!(error.hint(), Some(REMEDY));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        let spoilt: [fn(&mut DensityPredictor); 4] = [
            |p| p.layers[2].weight[5] = f32::NAN,
            |p| p.layers[0].bias[0] = f32::INFINITY,
            |p| p.standardization.std[1] = 0.0,
            |p| p.layers[1].outputs = 128,
        ];
        for (i, spoil) in spoilt.into_iter().enumerate() {
            let mut predictor = predictor(4);
            spoil(&mut predictor);
            if i == 3 {
                predictor.layers[1].weight.truncate(128 * 512);
                predictor.layers[1].bias.truncate(128);
            }
            assert!(matches!(read(&predictor.to_bytes().unwrap(), 4), Err(Error::Malformed { .. })), "{i}");
        }
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
