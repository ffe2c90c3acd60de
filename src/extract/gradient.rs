//! Features as functions of images: differentiable for any images, and with the gradient of a function of them for prepared ones.

use super::loaded::{LEAST_ROWS, LoadedExtractor, matrix};
use super::preprocess;
use crate::error::{Error, Result};
use crate::images::Prepared;
use crate::remedy::Remedy;
use candle_core::{DType, Tensor, Var};
use ndarray::{Array2, ArrayView1, ArrayView2};

/// What [`LoadedExtractor::features_with_gradient`] returns.
#[derive(Debug, Clone)]
pub struct FeatureGradient<T> {
    /// `[B, D]`
    pub features: Array2<f32>,
    /// What was wanted of them.
    pub value: T,
    /// Its gradient with respect to the input of the network, `[B, C, H, W]`.
    pub input: Tensor,
}

impl LoadedExtractor {
    /// The network's input for images `[B, 3, H, W]` with values in 0..=1, of any size and on any device, differentiable with respect to
    /// them: what is done to files, without rounding. On [`LoadedExtractor::device`].
    ///
    /// # Errors
    /// If the images are no batch of three channels.
    pub fn input_of_images(&self, images: &Tensor) -> Result<Tensor> {
        preprocess(self.preprocessing(), &images.to_device(self.device())?)
    }

    /// Features `[B, D]`, float32 on [`LoadedExtractor::device`], of images `[B, 3, H, W]` with values in 0..=1, of any size and on any device, differentiable with respect to them: what a
    /// generator makes is scored and improved through this. Values are not rounded to 8 bits on the way, as those of files are.
    ///
    /// # Errors
    /// If the images are no batch of three channels, or what the network returns: an ONNX network takes images from a file or a
    /// generator, but no images whose gradient is wanted ([`Error::Usage`]).
    pub fn features_of_images(&self, images: &Tensor) -> Result<Tensor> {
        let input = self.input_of_images(images)?;
        // A network in float32 takes the type of its images, which checks in float64 rely on.
        let features = match self.dtype() {
            DType::F32 => self.network().forward(&input)?,
            dtype => self.network().forward(&input.to_dtype(dtype)?)?.to_dtype(DType::F32)?,
        };
        if !self.identity().normalize {
            return Ok(features);
        }
        let norms = features.sqr()?.sum_keepdim(1)?.sqrt()?;
        // A row of zeros stays one: its norm is replaced, not divided by.
        let norms = (&norms + norms.eq(0.0)?.to_dtype(norms.dtype())?)?;
        Ok(features.broadcast_div(&norms)?)
    }

    /// Features of prepared images as [`LoadedExtractor::features`] gives them, and how a function of them changes with the input of
    /// the network. `function` takes features `[B, D]` (in float64, before they are rounded to float32) to what is wanted of them and
    /// its gradient with respect to each, `[B, D]`. `dtype` is the type of the input, and of the network where that is float32.
    ///
    /// # Errors
    /// [`Error::Usage`] if the network gives no gradient; what `function` and the network return.
    pub fn features_with_gradient<T>(
        &self,
        images: &[Prepared],
        dtype: DType,
        function: impl FnOnce(ArrayView2<f64>) -> Result<(T, Array2<f64>)>,
    ) -> Result<FeatureGradient<T>> {
        let rows: Vec<_> = images.iter().map(Some).collect();
        let input = Var::from_tensor(&self.input(&rows)?.to_dtype(dtype)?)?;
        let output = match self.dtype() {
            DType::F32 => self.network().forward(&input)?,
            dtype => self.network().forward(&input.to_dtype(dtype)?)?,
        };
        if !output.track_op() {
            return Err(without_gradient("the extractor"));
        }
        let host = output.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let mut features = matrix(host, images.len().max(LEAST_ROWS), self.identity().dimension)?
            .slice_move(ndarray::s![..images.len(), ..]);
        let norms = self.identity().normalize.then(|| norms(features.view()));
        for (mut row, norm) in features.outer_iter_mut().zip(norms.iter().flatten()) {
            row /= *norm;
        }
        let (value, mut slopes) = function(features.view())?;
        for ((mut slope, unit), norm) in
            slopes.outer_iter_mut().zip(features.outer_iter()).zip(norms.iter().flatten())
        {
            // What is along the row does not move it on the sphere.
            let along = slope.dot(&unit);
            slope.scaled_add(-along, &unit);
            slope /= *norm;
        }
        let mut padded = Array2::zeros(output.dims2()?);
        padded.slice_mut(ndarray::s![..images.len(), ..]).assign(&slopes);
        let slopes = Tensor::from_iter(padded, output.device())?.reshape(output.shape())?;
        // Linear in the output, with the slope of the function: its gradient is that of the function.
        let grads = (&output * slopes.to_dtype(output.dtype())?)?.sum_all()?.backward()?;
        let gradient =
            grads.get(&input).ok_or_else(|| without_gradient("the extractor"))?.narrow(0, 0, images.len())?;
        Ok(FeatureGradient { features: features.mapv(|v| v as f32), value, input: gradient.detach() })
    }
}

/// Says that something has no gradient, and what to use instead.
pub(crate) fn without_gradient(what: &str) -> Error {
    Error::usage(
        format!("{what} gives no gradient, which a search along it needs"),
        Remedy::DifferentiableExtractor,
    )
}

/// The length of each row, 1 for a row of zeros. Rounded to float32, rows divided by it are those of [`super::loaded::normalize_rows`].
fn norms(rows: ArrayView2<f64>) -> Vec<f64> {
    let norm = |row: ArrayView1<f64>| row.iter().map(|v| v * v).sum::<f64>().sqrt();
    rows.outer_iter().map(norm).map(|norm| if norm > 0.0 { norm } else { 1.0 }).collect()
}
