//! Adversarial losses on logits, and the R1 penalty.
//!
//! Binary cross entropy on a sigmoid, as DCGAN's program has it with label 1 for the generator's step, *is* the non-saturating
//! logistic loss: `-log sigmoid(x) = softplus(-x)` and `-log(1 - sigmoid(x)) = softplus(x)`. Both names mean one formula here.

use crate::error::{Error, Result};
use crate::generate::{Discriminator, ForwardOptions, GanLoss};
use crate::remedy::Remedy;
use candle_core::{Device, Tensor, Var};

/// `log(1 + exp(x))` of each element, without overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    Ok(((x.abs()?.neg()?.exp()? + 1.0)?.log()? + x.relu()?)?)
}

impl GanLoss {
    /// What the discriminator minimises: a scalar from logits, `[B]` or `[B, P]`, of real and of generated images.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn discriminator(self, real: &Tensor, fake: &Tensor) -> Result<Tensor> {
        let (real, fake) = match self {
            GanLoss::Logistic => (softplus(&real.neg()?)?, softplus(fake)?),
            GanLoss::Hinge => (real.affine(-1.0, 1.0)?.relu()?, (fake + 1.0)?.relu()?),
        };
        Ok((real.mean_all()? + fake.mean_all()?)?)
    }

    /// What the generator minimises: a scalar from logits, `[B]` or `[B, P]`, of its images.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn generator(self, fake: &Tensor) -> Result<Tensor> {
        Ok(match self {
            GanLoss::Logistic => softplus(&fake.neg()?)?.mean_all()?,
            GanLoss::Hinge => fake.mean_all()?.neg()?,
        })
    }
}

/// candle keeps the graph of a gradient only where this variable is set before a thread's first backward pass.
pub const SECOND_ORDER_VARIABLE: &str = "CANDLE_GRAD_DO_NOT_DETACH";

/// Whether gradients of gradients are right in this thread: `x^3` at 1 has the second derivative 6.
///
/// # Errors
/// [`Error::Usage`] if the graph of a gradient is not kept (see [`SECOND_ORDER_VARIABLE`]).
pub fn check_second_order() -> Result<()> {
    let x = Var::new(1f64, &Device::Cpu)?;
    let cube = ((x.as_tensor() * x.as_tensor())? * x.as_tensor())?;
    let first = cube.backward()?.remove(&x);
    let second = match first {
        Some(first) => first.backward()?.get(&x).map(Tensor::to_scalar::<f64>).transpose()?,
        None => None,
    };
    if second == Some(6.0) {
        return Ok(());
    }
    Err(Error::usage(
        format!(
            "R1 and path-length regularisation need {SECOND_ORDER_VARIABLE}=1 in the environment before the first gradient is computed"
        ),
        Remedy::AllowSecondOrder,
    ))
}

/// R1 (Mescheder et al. 2018, arXiv 1801.04406, eq. 9): `gamma / 2` times the mean over real images `[B, C, H, W]` of the squared
/// norm of the gradient of D's logit with respect to the image. A scalar, differentiable with respect to D's parameters. Of the
/// conditions, classes and ranks count.
///
/// Right only where [`check_second_order`] passes.
///
/// # Errors
/// What the discriminator returns.
pub fn r1_penalty(
    discriminator: &dyn Discriminator,
    images: &Tensor,
    conditions: &ForwardOptions,
    gamma: f64,
) -> Result<Tensor> {
    let images = Var::from_tensor(&images.detach())?;
    let conditions = ForwardOptions { mode: conditions.mode.second_order(), ..*conditions };
    let logits = discriminator.logits(&images, &conditions)?;
    let gradients = logits.sum_all()?.backward()?;
    let gradient = gradients
        .get(&images)
        .ok_or_else(|| Error::data("the discriminator's logits do not depend on its images", ""))?;
    let rows = images.dim(0)? as f64;
    Ok((gradient.sqr()?.sum_all()? * (gamma / 2.0 / rows))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: [f64; 3] = [0.3, -2.0, 40.0];
    const FAKE: [f64; 3] = [-0.7, 1.5, -900.0];

    fn scalar(t: Result<Tensor>) -> f64 {
        t.unwrap().to_scalar().unwrap()
    }

    fn logits(values: &[f64]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn mean(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
        values.iter().map(|&v| f(v)).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_logistic_loss_is_the_cross_entropy_of_a_sigmoid() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let expected =
            mean(&REAL[..2], |x| -sigmoid(x).ln()) + mean(&FAKE[..2], |x| -(1.0 - sigmoid(x)).ln());
        let (real, fake) = (logits(&REAL[..2]), logits(&FAKE[..2]));
        assert!((scalar(GanLoss::Logistic.discriminator(&real, &fake)) - expected).abs() < 1e-12);
        let expected = mean(&FAKE[..2], |x| -sigmoid(x).ln());
        assert!((scalar(GanLoss::Logistic.generator(&fake)) - expected).abs() < 1e-12);
    }

    #[test]
    fn large_logits_stay_finite() {
        let (real, fake) = (logits(&REAL), logits(&FAKE));
        assert!(scalar(GanLoss::Logistic.discriminator(&real, &fake)).is_finite());
        assert!((scalar(GanLoss::Logistic.generator(&logits(&[-900.0]))) - 900.0).abs() < 1e-9);
    }

    #[test]
    fn the_hinge_loss_counts_what_lies_within_the_margin() {
        let (real, fake) = (logits(&REAL), logits(&FAKE));
        let expected = mean(&REAL, |x| (1.0 - x).max(0.0)) + mean(&FAKE, |x| (1.0 + x).max(0.0));
        assert!((scalar(GanLoss::Hinge.discriminator(&real, &fake)) - expected).abs() < 1e-12);
        assert!((scalar(GanLoss::Hinge.generator(&fake)) + mean(&FAKE, |x| x)).abs() < 1e-12);
    }
}
