//! Adam's step on float32 parameters in the memory of the host: three passes in place instead of candle's seventeen that each make a
//! tensor. Every number comes from the same operations in the same order, so the bits are the same.

use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

/// Added to the root of the second moment, as in PyTorch.
pub(super) const EPSILON: f64 = 1e-8;

/// The numbers of one step, with the corrections for moments that start at 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// The step size over the correction of the first moment.
    pub step_size: f64,
    /// The root of the correction of the second moment.
    pub root: f64,
}

/// Values that one task changes.
const CHUNK: usize = 1 << 14;

/// Whether [`step`] can change this parameter.
pub(super) fn applies(parameter: &Var) -> bool {
    parameter.device().is_cpu() && parameter.dtype() == DType::F32 && parameter.is_contiguous()
}

/// Moves `parameter` against `gradient`, and its moments with it.
///
/// # Errors
/// If they are not of one shape, or not float32 in the memory of the host.
pub(super) fn step(
    parameter: &Var,
    gradient: &Tensor,
    first: &Tensor,
    second: &Tensor,
    step: Step,
) -> Result<()> {
    let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
    let Step { beta1, beta2, step_size, root } = step;
    first.inplace_op2(&gradient, &Decay { beta: beta1, squared: false })?;
    second.inplace_op2(&gradient, &Decay { beta: beta2, squared: true })?;
    parameter.inplace_op3(first, second, &Move { step_size, root })
}

/// A moment decays and takes in its part of the gradient, or of its square.
struct Decay {
    beta: f64,
    squared: bool,
}

impl InplaceOp2 for Decay {
    fn name(&self) -> &'static str {
        "adam-moment"
    }

    fn cpu_fwd(
        &self,
        moment: &mut CpuStorage,
        moment_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let moment = floats_mut(moment, moment_layout)?;
        let gradient = floats(gradient, gradient_layout)?;
        check_lengths(self.name(), moment, [gradient])?;
        let (beta, part) = (self.beta as f32, (1.0 - self.beta) as f32);
        moment.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).for_each(|(moment, gradient)| {
            for (m, &g) in moment.iter_mut().zip(gradient) {
                let g = if self.squared { g * g } else { g };
                *m = scaled(*m, beta) + scaled(g, part);
            }
        });
        Ok(())
    }
}

/// A parameter moves by its moments, corrected for their start at 0.
struct Move {
    step_size: f64,
    root: f64,
}

impl InplaceOp3 for Move {
    fn name(&self) -> &'static str {
        "adam-step"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
    ) -> Result<()> {
        let parameter = floats_mut(parameter, parameter_layout)?;
        let (first, second) = (floats(first, first_layout)?, floats(second, second_layout)?);
        check_lengths(self.name(), parameter, [first, second])?;
        let (over_root, epsilon, step_size) =
            ((1.0 / self.root) as f32, EPSILON as f32, self.step_size as f32);
        let moments = first.par_chunks(CHUNK).zip(second.par_chunks(CHUNK));
        parameter.par_chunks_mut(CHUNK).zip(moments).for_each(|(parameter, (first, second))| {
            for ((p, &m), &v) in parameter.iter_mut().zip(first).zip(second) {
                let denominator = scaled(v.sqrt(), over_root) + epsilon;
                *p -= scaled(m / denominator, step_size);
            }
        });
        Ok(())
    }
}

/// As candle multiplies a tensor with a number: it adds 0, which turns -0 into 0.
#[inline(always)]
fn scaled(x: f32, by: f32) -> f32 {
    x * by + 0.0
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("Adam's step needs contiguous tensors"),
    }
}

fn floats_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("Adam's step needs contiguous tensors of float32"),
    }
}

fn check_lengths<const N: usize>(name: &str, target: &[f32], others: [&[f32]; N]) -> Result<()> {
    if others.iter().any(|other| other.len() != target.len()) {
        bail!("{name}: the operands are not of one shape");
    }
    Ok(())
}
