//! Sums over the processes of a data-parallel run, differentiable to any order.
//!
//! Every process's loss counts: what comes back is the gradient of the sum of all losses, so that the gradient of a sum is a sum
//! over processes again.

use super::composed::with_gradient;
use candle_core::{DType, Result, Tensor};
use std::fmt::Debug;
use std::sync::Arc;

/// Adds up over the processes that hold one batch together. Each of them calls the same methods in the same order, with as many
/// values.
pub trait AllReduce: Debug + Send + Sync {
    /// How many processes there are.
    fn size(&self) -> usize;

    /// Each value becomes its sum over all processes.
    fn all_reduce_sum(&self, values: &mut [f32]);

    /// Each value becomes its sum over all processes.
    fn all_reduce_sum_f64(&self, values: &mut [f64]);

    /// The sum over all processes of a tensor of float32 or float64 that each has in the same shape, where its device can take it;
    /// `None` where it has to go through the memory of the host.
    ///
    /// # Errors
    /// What the device's library returns.
    fn all_reduce_sum_on_device(&self, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// As operations hold it until their gradient is taken. Where `None` stands for it, one process holds the whole batch.
pub type Reducer = Arc<dyn AllReduce>;

/// How many processes hold a batch together.
pub(crate) fn processes(reducer: Option<&Reducer>) -> usize {
    reducer.map_or(1, |reducer| reducer.size())
}

/// The reducer, unless there is nothing to add up.
fn of_several(reducer: Option<&Reducer>) -> Option<&Reducer> {
    reducer.filter(|reducer| reducer.size() > 1)
}

/// The sum over all processes of a tensor that each has in the same shape.
///
/// # Errors
/// What candle's operations return.
pub fn sum(x: &Tensor, reducer: Option<&Reducer>) -> Result<Tensor> {
    let Some(reducer) = of_several(reducer) else { return Ok(x.clone()) };
    let (value, reducer) = (added_up(&x.detach(), reducer)?, Arc::clone(reducer));
    with_gradient(x, value, move |_, _, dy| sum(dy, Some(&reducer)))
}

/// The mean over all processes of a tensor that each has in the same shape.
///
/// # Errors
/// What candle's operations return.
pub fn mean(x: &Tensor, reducer: Option<&Reducer>) -> Result<Tensor> {
    match of_several(reducer) {
        Some(several) => sum(x, Some(several))? / several.size() as f64,
        None => Ok(x.clone()),
    }
}

/// On its device, or through the memory of the host: float64 as it is, every other type as float32.
fn added_up(x: &Tensor, reducer: &Reducer) -> Result<Tensor> {
    let wide = match x.dtype() {
        DType::F64 => x.clone(),
        _ => x.to_dtype(DType::F32)?,
    };
    let total = match (reducer.all_reduce_sum_on_device(&wide)?, wide.dtype()) {
        (Some(total), _) => total,
        (None, DType::F64) => {
            let mut values = wide.flatten_all()?.to_vec1::<f64>()?;
            reducer.all_reduce_sum_f64(&mut values);
            Tensor::from_vec(values, x.shape(), x.device())?
        }
        (None, _) => {
            let mut values = wide.flatten_all()?.to_vec1::<f32>()?;
            reducer.all_reduce_sum(&mut values);
            Tensor::from_vec(values, x.shape(), x.device())?
        }
    };
    total.to_dtype(x.dtype())
}
