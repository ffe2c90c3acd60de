//! The three maps of a convolution and their derivatives.

use candle_core::Tensor;

/// Which of the three trilinear maps; the operands in brackets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// (x, w) to y
    Output,
    /// (dy, w) to dx
    InputGrad,
    /// (x, dy) to dw
    WeightGrad,
}

impl Kind {
    /// The gradients of the two operands, each as a map of two tensors.
    pub(super) fn derivatives<'a>(
        self,
        a: &'a Tensor,
        b: &'a Tensor,
        grad: &'a Tensor,
    ) -> [(Kind, &'a Tensor, &'a Tensor); 2] {
        match self {
            Kind::Output => [(Kind::InputGrad, grad, b), (Kind::WeightGrad, a, grad)],
            Kind::InputGrad => [(Kind::Output, grad, b), (Kind::WeightGrad, grad, a)],
            Kind::WeightGrad => [(Kind::InputGrad, b, grad), (Kind::Output, a, grad)],
        }
    }
}
