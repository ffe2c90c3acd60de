//! Access to the numbers of CPU tensors inside custom operations.

use candle_core::{CpuStorage, Layout, Result, bail};

/// The values of a contiguous float32 storage.
pub fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("this operation needs contiguous tensors"),
    }
}
