//! An extractor ready for use: network, preprocessing, and where it is computed.

use super::identity::{EXTERNAL, FIRST_REVISION, Identity};
use super::onnx::{self, ONNX, OnnxFile, OnnxPorts, OnnxRequest};
use super::taken::Taken;
use super::weights::Found;
use super::{Architecture, Extractor, Family, FileParameters, Parameters, architecture, weights};
use crate::device::Precision;
use crate::error::{Error, Result};
use crate::formats::digest::{sha256, sha256_of_file};
use crate::formats::onnx::is_onnx;
use crate::images::{Alpha, Fit, Prepared, Preprocessing};
use crate::remedy::Remedy;
use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// What a user asks for; everything left out is the architecture's own.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExtractorRequest {
    /// Name of the architecture, or an ONNX file; the first of [`super::ARCHITECTURES`] if not given.
    pub name: Option<String>,
    /// A weights file instead of the cache or the embedded weights; an ONNX file is the network too.
    pub weights: Option<PathBuf>,
    /// Another way to bring images into shape.
    pub fit: Option<Fit>,
    /// Another treatment of transparency.
    pub alpha: Option<Alpha>,
    /// Whether JPEG files are decoded at a reduced size ([`Preprocessing::fast_decode`]).
    pub fast_decode: Option<bool>,
    /// Whether features are put on the unit sphere.
    pub normalize: Option<bool>,
    /// What only an ONNX file needs.
    pub onnx: OnnxRequest,
    /// Where the network is computed; an ONNX file on the CPU whatever it says.
    pub device: Device,
    /// The numbers it computes with; float32 if not given.
    pub precision: Option<Precision>,
    /// What another program does to images before a built-in network, in the place of what is published with it.
    pub protocol: Option<fn(&mut Preprocessing)>,
    /// What has to succeed before an ONNX file is loaded that was not loaded before: its runtime takes as much memory as the file says.
    pub trial: Option<fn(&Path, &OnnxRequest) -> Result<()>>,
}

impl Default for ExtractorRequest {
    /// The default network as it is, on the CPU.
    fn default() -> Self {
        Self {
            name: None,
            weights: None,
            fit: None,
            alpha: None,
            fast_decode: None,
            normalize: None,
            onnx: OnnxRequest::default(),
            device: Device::Cpu,
            precision: None,
            protocol: None,
            trial: None,
        }
    }
}

impl ExtractorRequest {
    /// The precision asked for, as it stands in an [`Identity`].
    pub(crate) fn checked_precision(&self, on_cpu: bool) -> Result<Option<Precision>> {
        match self.precision {
            Some(Precision::Bf16) if on_cpu => Err(Error::usage(
                "bfloat16 features are computed by CUDA devices only, and this one would be computed on the CPU",
                Remedy::CudaOrFloat32,
            )),
            Some(Precision::Bf16) => Ok(self.precision),
            Some(Precision::F32) | None => Ok(None),
        }
    }

    /// What is done to an image before a built-in network.
    pub(super) fn preprocessing_of(&self, architecture: &Architecture) -> Preprocessing {
        let mut preprocessing = (architecture.preprocessing)();
        if let Some(protocol) = self.protocol {
            protocol(&mut preprocessing);
        }
        self.changes(&mut preprocessing);
        preprocessing
    }

    /// Changes what a network or file says of itself to what was asked for.
    fn changes(&self, preprocessing: &mut Preprocessing) {
        preprocessing.fit = self.fit.unwrap_or(preprocessing.fit);
        preprocessing.alpha = self.alpha.unwrap_or(preprocessing.alpha);
        preprocessing.fast_decode = self.fast_decode.unwrap_or(preprocessing.fast_decode);
    }

    /// The ONNX file that is asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] if a network is named besides, or options are given that only such a file takes.
    fn onnx_file(&self) -> Result<Option<PathBuf>> {
        let named = self.name.as_ref().map(PathBuf::from).filter(|path| is_onnx(path));
        let weights = self.weights.clone().filter(|path| is_onnx(path));
        match (named, weights, &self.name, &self.weights) {
            (Some(file), _, _, None) | (None, Some(file), None, _) => Ok(Some(file)),
            (Some(file), ..) | (None, Some(file), ..) => Err(Error::usage(
                format!("{} holds network and weights, but others are named too", file.display()),
                Remedy::NameOnnxAlone,
            )),
            _ if self.onnx != OnnxRequest::default() => Err(Error::usage(
                "inputs, outputs and colours of an ONNX file were given, but no such file",
                Remedy::NameOnnxOrDropItsOptions,
            )),
            _ => Ok(None),
        }
    }
}

/// Rows of a batch, at least: a product of a single row may take another kernel, which differs in the last bits.
pub(super) const LEAST_ROWS: usize = 2;

/// A network with its weights and preprocessing.
pub struct LoadedExtractor {
    network: Box<dyn Extractor>,
    preprocessing: Preprocessing,
    identity: Identity,
    remark: Option<String>,
    device: Device,
    dtype: DType,
}

impl LoadedExtractor {
    /// Reads the weights (from the file given, else embedded, else from the user's cache) and builds the network.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name; [`Error::Malformed`] if the weights do not fit, naming the first wrong tensor;
    /// what [`weights::resolve`] returns where there are none. An ONNX file: [`Error::Malformed`] if it cannot be run,
    /// [`Error::Usage`] with the names to choose from where its input or output are not clear.
    pub fn load(request: &ExtractorRequest) -> Result<Self> {
        if let Some(file) = request.onnx_file()? {
            return Self::load_onnx(&file, request, None);
        }
        let name = request.name.as_deref().unwrap_or(super::ARCHITECTURES[0].name);
        let architecture = architecture(name)?;
        match (&request.weights, architecture.embedded) {
            (None, Some(bytes)) => {
                let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
                let parameters = FileParameters { path: name.into(), architecture: name.into(), tensors };
                Self::build(architecture, architecture.build, &parameters, sha256(bytes), request)
            }
            _ => Self::load_file(architecture, name, architecture.build, request),
        }
    }

    /// Networks of one family in one pass, made like the first `request` asks for; their features stand side by side.
    ///
    /// # Errors
    /// As [`LoadedExtractor::load`].
    pub(super) fn load_family(
        family: &Family,
        members: &[&Architecture],
        request: &ExtractorRequest,
    ) -> Result<Self> {
        let names: Vec<&str> = members.iter().map(|member| member.name).collect();
        let Some(first) = members.first() else {
            return Err(Error::usage("there is no network to load", ""));
        };
        let all = names.join("+");
        let make = |parameters: &Parameters| (family.build)(parameters, &names);
        let mut loaded = Self::load_file(first, &all, make, request)?;
        loaded.identity.extractor = all;
        Ok(loaded)
    }

    /// A network of a weights file, which `name` stands for in messages.
    fn load_file(
        architecture: &Architecture,
        name: &str,
        make: impl FnOnce(&Parameters) -> Result<Box<dyn Extractor>>,
        request: &ExtractorRequest,
    ) -> Result<Self> {
        let explicit = request.weights.as_deref();
        let Found { path, sha256: digest } = weights::resolve(architecture.name, explicit)?;
        let parameters = FileParameters::read(name, &path)?;
        let loaded = Self::build(architecture, make, &parameters, digest.clone(), request)?;
        if explicit.is_some() {
            // Only a convenience for later commands: a cache that cannot be written is no reason to stop.
            let _ = weights::remember_file(&digest, &path);
        }
        Ok(loaded)
    }

    /// The extractor that a reference was made with. `request` may name a weights file, and must not contradict `identity`.
    ///
    /// # Errors
    /// [`Error::Usage`] naming both sides where the request, or the weights that are found, differ from `identity`;
    /// what [`LoadedExtractor::load`] returns.
    pub fn for_identity(identity: &Identity, request: &ExtractorRequest) -> Result<Self> {
        if identity.extractor == EXTERNAL {
            return Err(Error::usage(
                "the reference was made from features of another program, which cannot be computed from images here",
                "give features of the same kind instead of images",
            ));
        }
        let loaded = match &identity.onnx {
            Some(ports) => Self::same_onnx(identity, ports, request)?,
            None => Self::same_architecture(identity, request)?,
        };
        match identity.difference(&loaded.identity) {
            None => Ok(loaded),
            Some(difference) => Err(Error::usage(
                format!("the reference was made differently: {difference}"),
                Remedy::UseReferenceExtractor,
            )),
        }
    }

    fn same_architecture(identity: &Identity, request: &ExtractorRequest) -> Result<Self> {
        let preprocessing = identity.preprocessing.as_ref();
        let mut filled = ExtractorRequest {
            name: request.name.clone().or_else(|| Some(identity.extractor.clone())),
            weights: request.weights.clone(),
            fit: request.fit.or(preprocessing.map(|p| p.fit)),
            alpha: request.alpha.or(preprocessing.map(|p| p.alpha)),
            fast_decode: request.fast_decode.or(preprocessing.map(|p| p.fast_decode)),
            normalize: request.normalize.or(Some(identity.normalize)),
            onnx: request.onnx.clone(),
            device: request.device.clone(),
            precision: request.precision.or(identity.precision),
            protocol: request.protocol,
            trial: request.trial,
        };
        let wanted = identity.weights_sha256.as_deref().unwrap_or_default();
        if filled.weights.is_none() {
            filled.weights = weights::known_file(wanted).ok().flatten();
        }
        Self::load(&filled)
    }

    fn same_onnx(identity: &Identity, ports: &OnnxPorts, request: &ExtractorRequest) -> Result<Self> {
        let named = request.name.is_some() || request.weights.is_some();
        let file = match request.onnx_file() {
            Ok(Some(file)) => Some(file),
            // Another network: the difference is for the caller to tell.
            Ok(None) if named => return Self::load(request),
            Err(error) if named => return Err(error),
            _ => {
                let wanted = identity.weights_sha256.as_deref().unwrap_or_default();
                weights::known_file(wanted).ok().flatten()
            }
        };
        let Some(file) = file else {
            let digest = identity.weights_sha256.as_deref().unwrap_or("unknown");
            return Err(Error::data(
                format!(
                    "the reference was made with an ONNX file (SHA-256 {digest}) that is not where it was"
                ),
                Remedy::NameOnnxAlone,
            ));
        };
        let filled = ExtractorRequest {
            normalize: request.normalize.or(Some(identity.normalize)),
            onnx: OnnxRequest {
                input: request.onnx.input.clone().or_else(|| Some(ports.input.clone())),
                output: request.onnx.output.clone().or_else(|| Some(ports.output.clone())),
                ..request.onnx.clone()
            },
            ..request.clone()
        };
        Self::load_onnx(&file, &filled, identity.preprocessing.as_ref())
    }

    /// `known` is the preprocessing that a reference asks for.
    fn load_onnx(file: &Path, request: &ExtractorRequest, known: Option<&Preprocessing>) -> Result<Self> {
        if let Some(trial) = request.trial
            && weights::known_file(&sha256_of_file(file)?).ok().flatten().is_none()
        {
            trial(file, &request.onnx)?;
        }
        let OnnxFile { network, mut preprocessing, ports, sha256, remark } =
            onnx::open(file, &request.onnx, known)?;
        request.changes(&mut preprocessing);
        // Only a convenience for later commands, as above.
        let _ = weights::remember_file(&sha256, file);
        let identity = Identity {
            extractor: ONNX.into(),
            dimension: network.dimension(),
            weights_sha256: Some(sha256),
            preprocessing: Some(preprocessing.clone()),
            revision: None,
            normalize: request.normalize.unwrap_or(false),
            onnx: Some(ports),
            precision: request.checked_precision(true)?,
        };
        let on_cpu = (!request.device.is_cpu()).then(|| "ONNX files run on the CPU".to_string());
        let remarks: Vec<String> = remark.into_iter().chain(on_cpu).collect();
        let remark = (!remarks.is_empty()).then(|| remarks.join("; "));
        let network = Box::new(network);
        Ok(Self { network, preprocessing, identity, remark, device: Device::Cpu, dtype: DType::F32 })
    }

    fn build(
        architecture: &Architecture,
        make: impl FnOnce(&Parameters) -> Result<Box<dyn Extractor>>,
        parameters: &FileParameters,
        weights_sha256: String,
        request: &ExtractorRequest,
    ) -> Result<Self> {
        let precision = request.checked_precision(request.device.is_cpu())?;
        let (device, dtype) = (request.device.clone(), precision.unwrap_or_default().dtype());
        let taken = Taken::of(parameters);
        let network = make(&Parameters::new(&taken).on(&device, dtype))?;
        taken.check_blocks()?;
        let preprocessing = request.preprocessing_of(architecture);
        let identity = Identity {
            extractor: architecture.name.into(),
            dimension: network.dimension(),
            weights_sha256: Some(weights_sha256),
            preprocessing: Some(preprocessing.clone()),
            revision: (architecture.revision > FIRST_REVISION).then_some(architecture.revision),
            normalize: request.normalize.unwrap_or(architecture.normalize),
            onnx: None,
            precision,
        };
        Ok(Self { network, preprocessing, identity, remark: None, device, dtype })
    }

    /// The same with another network of this preprocessing.
    #[cfg(test)]
    pub(crate) fn with_network(mut self, network: Box<dyn Extractor>) -> Self {
        self.identity.dimension = network.dimension();
        self.network = network;
        self
    }

    /// What every result made with this carries.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What had to be assumed, for the user to know of.
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// What is done to an image before the network.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Where the network is computed.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of the network's numbers.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The network, for gradients: normalised images `[B, C, H, W]` to features `[B, D]`, before [`Identity::normalize`]; on
    /// [`LoadedExtractor::device`] and in [`Identity::precision`].
    pub fn network(&self) -> &dyn Extractor {
        self.network.as_ref()
    }

    /// Features `[B, D]` of prepared images. Where one is missing its row is of no meaning: it keeps its place, so that
    /// the others are computed as they would be beside it. Row values do not depend on the batch.
    ///
    /// # Errors
    /// [`Error::Data`] naming the first row whose features are not finite.
    pub fn features(&self, images: &[Option<&Prepared>]) -> Result<Array2<f32>> {
        let input = self.input(images)?.to_dtype(self.dtype)?;
        let output = self.network.forward(&input)?;
        let output = output.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let mut features = matrix(output, images.len().max(LEAST_ROWS), self.identity.dimension)?;
        if self.identity.normalize {
            normalize_rows(&mut features);
        }
        Ok(features.slice_move(ndarray::s![..images.len(), ..]))
    }

    /// The network's input `[B, C, H, W]` in float32 for prepared images, zeros where one is missing; at least two rows.
    pub(super) fn input(&self, images: &[Option<&Prepared>]) -> Result<Tensor> {
        let rows = images.len().max(LEAST_ROWS);
        let values = self.preprocessing.values();
        let mut input = vec![0f32; rows * values];
        input.par_chunks_mut(values).zip(images).for_each(|(out, image)| {
            if let Some(image) = image {
                self.preprocessing.normalise(&image.pixels, out);
            }
        });
        let (height, width) = (self.preprocessing.height as usize, self.preprocessing.width as usize);
        let dims = (rows, self.preprocessing.channels(), height, width);
        Ok(Tensor::from_vec(input, dims, &self.device)?)
    }
}

/// A network's output `[B, D]`, given row by row.
pub(super) fn matrix<T>(values: Vec<T>, rows: usize, width: usize) -> Result<Array2<T>> {
    Array2::from_shape_vec((rows, width), values)
        .map_err(|_| Error::data("the network returned features of another width", ""))
}

/// Puts each row on the unit sphere; a row of zeros stays.
pub(crate) fn normalize_rows(features: &mut Array2<f32>) {
    for mut row in features.outer_iter_mut() {
        let norm = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.mapv_inplace(|v| (f64::from(v) / norm) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Pixels;

    #[test]
    fn a_tensor_and_a_file_of_the_same_pixels_have_the_same_features() {
        for normalize in [false, true] {
            let request = ExtractorRequest { normalize: Some(normalize), ..ExtractorRequest::default() };
            let extractor = LoadedExtractor::load(&request).unwrap();
            let side = extractor.preprocessing().width as usize;
            let pixels: Vec<u8> = (0..side * side * 3).map(|i| (i * 7919 % 251) as u8).collect();
            let image = Prepared {
                pixels: Pixels::Bytes(pixels.clone()),
                width: 64,
                height: 64,
                note: String::new(),
            };
            let of_file = extractor.features(&[Some(&image), None]).unwrap();
            let values: Vec<f32> = pixels.iter().map(|&v| f32::from(v) / 255.0).collect();
            let tensor = Tensor::from_vec(values, (1, side, side, 3), &Device::Cpu).unwrap();
            let tensor = tensor.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
            let of_tensor = extractor.features_of_images(&tensor).unwrap().to_vec2::<f32>().unwrap();
            let norm = of_file.row(0).iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!(!normalize || (norm - 1.0).abs() < 1e-6);
            for (a, b) in of_file.row(0).iter().zip(&of_tensor[0]) {
                assert!((a - b).abs() < 1e-5 * norm, "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_reference_of_another_revision_of_a_network_is_told_apart() {
        let request = ExtractorRequest::default();
        let loaded = LoadedExtractor::load(&request).unwrap();
        assert_eq!(loaded.identity().revision, None);
        assert_eq!(architecture("dinov2-l14").unwrap().revision, 2);
        let other = Identity { revision: Some(7), ..loaded.identity().clone() };
        let error = LoadedExtractor::for_identity(&other, &request).err().unwrap().to_string();
        assert!(error.contains("revision 7 of tiny there, of 1 here"), "{error}");
    }

    #[test]
    fn bfloat16_on_the_cpu_is_refused_and_a_reference_in_it_asks_for_it() {
        let request = ExtractorRequest { precision: Some(Precision::Bf16), ..ExtractorRequest::default() };
        let error = LoadedExtractor::load(&request).err().unwrap();
        assert!(matches!(error, Error::Usage { .. }) && error.hint().unwrap().contains("CudaOrFloat32"));
        let plain = LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
        assert_eq!(plain.identity().precision, None);
        let coarse = Identity { precision: Some(Precision::Bf16), ..plain.identity().clone() };
        let error = |precision| {
            let request = ExtractorRequest { precision, ..ExtractorRequest::default() };
            LoadedExtractor::for_identity(&coarse, &request).err().unwrap().to_string()
        };
        assert!(error(None).contains("CUDA devices only"));
        assert!(error(Some(Precision::F32)).contains("computed in bfloat16 there, float32 here"));
    }
}
