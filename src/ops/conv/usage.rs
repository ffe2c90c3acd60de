//! How often the weights of a convolution are used, which decides how much work making them ready is worth.

use super::shape::Shape;

/// How often weights are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// For many batches.
    Kept,
    /// For one forward pass with outputs of this size: the time to prepare them counts.
    Once { height: usize, width: usize },
}

impl Usage {
    /// For one forward pass of this shape.
    pub(super) fn once(shape: &Shape) -> Self {
        Self::Once { height: shape.out_height, width: shape.out_width }
    }

    /// For the gradient of one forward pass of this shape with respect to its input, as each phase of the stride takes it.
    pub(super) fn once_for_input_grad(shape: &Shape) -> Self {
        Self::Once { height: shape.height.div_ceil(shape.stride), width: shape.width.div_ceil(shape.stride) }
    }
}
