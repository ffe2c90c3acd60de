//! Activations that are fused into the operation before them.

use super::elementary::gelu;
use super::host::floats;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// An element-wise non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x * Phi(x)`, exact. Its gradient needs the value before it: see [`super::gelu`].
    Gelu,
}

impl Activation {
    /// The value at `x`.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Activation::Identity => x,
            // A comparison, so that a NaN passes through, as in PyTorch.
            Activation::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Gelu => gelu(x),
        }
    }

    /// Whether the gradient passes at output `y`, where it is 0 or 1 (0 at the kinks, as in PyTorch).
    #[inline(always)]
    pub fn passes(self, y: f32) -> bool {
        match self {
            Activation::Identity | Activation::Gelu => true,
            Activation::Relu => y > 0.0,
            Activation::Relu6 => y > 0.0 && y < 6.0,
        }
    }

    /// The gradient at `x` from the one after the activation, `dy`. Not for GELU, whose gradient is not a mask.
    #[inline(always)]
    pub fn masked(self, x: f32, dy: f32) -> f32 {
        if self.passes(self.apply(x)) { dy } else { 0.0 }
    }
}

/// An expression of an activation that is a constant in there: loops over it have no branches, and become vector code.
macro_rules! with_activation {
    ($given:expr, $activation:ident => $run:expr) => {
        match $given {
            Activation::Identity => {
                let $activation = Activation::Identity;
                $run
            }
            Activation::Relu => {
                let $activation = Activation::Relu;
                $run
            }
            Activation::Relu6 => {
                let $activation = Activation::Relu6;
                $run
            }
            Activation::Gelu => {
                let $activation = Activation::Gelu;
                $run
            }
        }
    };
}
pub(super) use with_activation;

/// The activation on candle's own operations.
pub(crate) fn plain(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.relu()?.minimum(6.0),
        Activation::Gelu => x.gelu_erf(),
    }
}

/// The gradient before the activation, from its output `y` and the gradient `dy` after it.
pub(super) fn gradient(y: &Tensor, dy: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => return Ok(dy.clone()),
        Activation::Gelu => bail!("the gradient of GELU needs the value before it, not the one after it"),
        Activation::Relu | Activation::Relu6 => {}
    }
    if !y.device().is_cpu() || y.dtype() != DType::F32 {
        let mut passes = y.gt(0.0)?;
        if activation == Activation::Relu6 {
            passes = (passes * y.lt(6.0)?)?;
        }
        return dy * passes.to_dtype(dy.dtype())?;
    }
    y.contiguous()?.apply_op2_no_bwd(&dy.contiguous()?, &Mask(activation))
}

struct Mask(Activation);

impl CustomOp2 for Mask {
    fn name(&self) -> &'static str {
        "activation-grad"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        const CHUNK: usize = 1 << 14;
        let (y, dy) = (floats(y, y_layout)?, floats(dy, dy_layout)?);
        let mut out = vec![0f32; y.len()];
        out.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)).for_each(
            |((out, y), dy)| {
                for ((out, y), dy) in out.iter_mut().zip(y).zip(dy) {
                    *out = if self.0.passes(*y) { *dy } else { 0.0 };
                }
            },
        );
        Ok((CpuStorage::F32(out), y_layout.shape().clone()))
    }
}
