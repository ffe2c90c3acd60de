//! Gradients with respect to latents through any number of stages in the memory of one.

use super::options::ForwardOptions;
use super::traits::Generator;
use crate::error::Result;
use candle_core::{Tensor, Var};

/// What [`value_and_gradient`] returns.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "tests compare the forward pass with the reference programs")
)]
pub(crate) struct ValueAndGradient {
    /// The images `[B, C, H, W]`.
    pub images: Tensor,
    /// What the objective said of them.
    pub value: Tensor,
    /// Gradient of the sum of `value` with respect to the latents, of their shape.
    pub gradient: Tensor,
}

/// An objective of the images of `latents`, and its gradient with respect to these. The states between the generator's stages
/// are kept, what happens inside them is computed again on the way back: memory is that of one stage and the objective. For
/// [`super::Mode::Eval`]: a stage that moves running statistics would move them twice.
///
/// # Errors
/// What the generator or the objective return.
pub(crate) fn value_and_gradient(
    generator: &dyn Generator,
    latents: &Tensor,
    options: &ForwardOptions,
    objective: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<ValueAndGradient> {
    let info = generator.info();
    info.check(latents, options)?;
    let last = info.stages.saturating_sub(1);
    let mut states = vec![latents.detach()];
    for index in 0..last {
        states.push(generator.stage(index, &states[index], options)?.detach());
    }
    let state = Var::from_tensor(&states[last])?;
    let images = generator.stage(last, &state, options)?;
    let value = objective(&images)?;
    let mut gradient = gradient_of(&value, &state)?;
    for (index, state) in states[..last].iter().enumerate().rev() {
        let state = Var::from_tensor(state)?;
        let next = generator.stage(index, &state, options)?;
        gradient = gradient_of(&(next * gradient)?, &state)?;
    }
    Ok(ValueAndGradient { images: images.detach(), value: value.detach(), gradient })
}

/// The gradient of the sum of `value`; zero where it does not depend on `variable`.
fn gradient_of(value: &Tensor, variable: &Var) -> Result<Tensor> {
    match value.sum_all()?.backward()?.get(variable) {
        Some(gradient) => Ok(gradient.detach()),
        None => Ok(variable.zeros_like()?.detach()),
    }
}
