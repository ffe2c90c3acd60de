//! Sums over the ranks of a data-parallel run, differentiable to any order.
//!
//! Every rank's loss counts: what comes back is the gradient of the sum of all ranks' losses, so that the gradient of a sum is a sum
//! over ranks again.

use super::composed::with_gradient;
use crate::collective::Ranks;
use candle_core::{DType, Result, Tensor};
use std::sync::Arc;

/// The sum over all ranks of a tensor that each has in the same shape.
///
/// # Errors
/// What candle's operations return.
pub fn sum(x: &Tensor, ranks: &Ranks) -> Result<Tensor> {
    if ranks.size() == 1 {
        return Ok(x.clone());
    }
    let (value, ranks) = (added_up(&x.detach(), ranks)?, Arc::clone(ranks));
    with_gradient(x, value, move |_, _, dy| sum(dy, &ranks))
}

/// The mean over all ranks of a tensor that each has in the same shape.
///
/// # Errors
/// What candle's operations return.
pub fn mean(x: &Tensor, ranks: &Ranks) -> Result<Tensor> {
    if ranks.size() == 1 {
        return Ok(x.clone());
    }
    sum(x, ranks)? / ranks.size() as f64
}

/// On its device, or through the memory of the host: float64 as it is, every other type as float32.
fn added_up(x: &Tensor, ranks: &Ranks) -> Result<Tensor> {
    let wide = match x.dtype() {
        DType::F64 => x.clone(),
        _ => x.to_dtype(DType::F32)?,
    };
    let total = match (ranks.sum_on_device(&wide)?, wide.dtype()) {
        (Some(total), _) => total,
        (None, DType::F64) => {
            let mut values = wide.flatten_all()?.to_vec1::<f64>()?;
            ranks.sum_f64(&mut values);
            Tensor::from_vec(values, x.shape(), x.device())?
        }
        (None, _) => {
            let mut values = wide.flatten_all()?.to_vec1::<f32>()?;
            ranks.sum_f32(&mut values);
            Tensor::from_vec(values, x.shape(), x.device())?
        }
    };
    total.to_dtype(x.dtype())
}
