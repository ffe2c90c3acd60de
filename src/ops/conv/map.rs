//! The three maps of a convolution, or of a product of matrices, and their derivatives.

use candle_core::{Result, Tensor};

/// Which of the three trilinear maps; the operands in brackets.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) enum Kind {
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

    /// The gradients of those operands that have one, where `map` computes a map of two tensors.
    ///
    /// # Errors
    /// What `map` returns.
    pub(in crate::ops) fn gradients(
        self,
        a: &Tensor,
        b: &Tensor,
        grad: &Tensor,
        map: impl Fn(Kind, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [first, second] = self.derivatives(a, b, grad);
        let of = |(kind, a, b)| map(kind, a, b);
        Ok((a.track_op().then(|| of(first)).transpose()?, b.track_op().then(|| of(second)).transpose()?))
    }
}
