//! Rule 3: a network that predicts the pseudo density of a feature, cheaply and differentiably.
//! An MLP `D -> 512 -> 256 -> 128 -> 1` with ReLU on standardised features (Li et al., TMLR 2024, section 3.2).
//! Trained here on plain matrices, used on these or on candle tensors, saved as safetensors.

pub mod adam;
mod file;
mod linear;
mod network;
mod standardize;
mod step;
mod tensor;
mod train;

pub use standardize::Standardization;
pub use tensor::TensorPredictor;
pub use train::PredictorQuality;

use crate::error::{Error, Result};
use crate::ops::gemm::{MR, NR};
use linear::Linear;
use ndarray::ArrayView2;
use network::{Activations, Network};
use rayon::prelude::*;

/// Widths of the hidden layers.
const HIDDEN: [usize; 3] = [512, 256, 128];
const _: () =
    assert!(HIDDEN[0].is_multiple_of(NR) && HIDDEN[1].is_multiple_of(NR) && HIDDEN[2].is_multiple_of(NR));

/// Rows that one task predicts.
const ROWS_PER_TASK: usize = 16 * MR;

/// (inputs, outputs) of each layer of a predictor for features of this width.
fn layer_widths(width: usize) -> [(usize, usize); HIDDEN.len() + 1] {
    let mut inputs = width;
    std::array::from_fn(|i| {
        let outputs = HIDDEN.get(i).copied().unwrap_or(1);
        (std::mem::replace(&mut inputs, outputs), outputs)
    })
}

/// A trained density predictor.
#[derive(Debug, Clone, PartialEq)]
pub struct DensityPredictor {
    standardization: Standardization,
    layers: Vec<Linear>,
}

impl DensityPredictor {
    /// Width D of the features it takes.
    pub fn width(&self) -> usize {
        self.standardization.mean.len()
    }

    /// Predicted pseudo density of each row of `features` `[B, D]`, `[B]`. A row's value depends on no other row.
    ///
    /// # Errors
    /// [`Error::Data`] if the features have another width.
    pub fn predict_rows(&self, features: ArrayView2<f32>) -> Result<Vec<f32>> {
        self.check_width(features.ncols())?;
        Ok(predict(
            &Network::pack(&self.layers),
            &self.standardization,
            features,
            &Vec::from_iter(0..features.nrows()),
        ))
    }

    fn check_width(&self, width: usize) -> Result<()> {
        if width == self.width() {
            return Ok(());
        }
        Err(Error::data(
            format!("the density predictor takes features of width {}, these have {width}", self.width()),
            "use the extractor that the reference was made with",
        ))
    }
}

/// The network's output for the given rows of `features`, in their order.
fn predict(
    network: &Network,
    standardization: &Standardization,
    features: ArrayView2<f32>,
    rows: &[usize],
) -> Vec<f32> {
    let mut predicted = vec![0.0; rows.len()];
    predicted.par_chunks_mut(ROWS_PER_TASK).zip(rows.par_chunks(ROWS_PER_TASK)).for_each(
        |(predicted, rows)| {
            let mut activations = Activations::default();
            for (predicted, rows) in predicted.chunks_mut(MR).zip(rows.chunks(MR)) {
                network.forward(features, standardization, rows, false, &mut activations);
                predicted.copy_from_slice(&activations.output[..rows.len()]);
            }
        },
    );
    predicted
}
