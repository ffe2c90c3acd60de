//! Spectral normalisation (Miyato et al. 2018, <https://arxiv.org/abs/1802.05957>) by the stored singular vectors, as `torch.nn.utils.spectral_norm`
//! has it. On candle's own operations: weights are small beside activations, and the gradient can be differentiated again.

use candle_core::{Result, Tensor};

/// The smallest length that a vector is divided by.
const EPS: f64 = 1e-12;

/// The weight as a matrix: dimension `axis` by the rest.
fn matrix(weight: &Tensor, axis: usize) -> Result<Tensor> {
    weight.transpose(0, axis)?.contiguous()?.flatten_from(1)
}

/// `weight / (u . W v)`, `W` the weight as a matrix with `axis` first; `u` `[rows]` and `v` `[columns]` are constants. Differentiable with respect
/// to the weight, the singular value included.
///
/// # Errors
/// If the vectors do not fit.
pub(crate) fn spectral_norm(weight: &Tensor, u: &Tensor, v: &Tensor, axis: usize) -> Result<Tensor> {
    let (u, v) = (u.detach(), v.detach());
    let value = matrix(weight, axis)?.broadcast_mul(&v)?.sum(1)?.mul(&u)?.sum_all()?;
    weight.broadcast_div(&value)
}

/// One step of the power iteration from `u`: `v` first, then `u` again, both of unit length and constants.
///
/// # Errors
/// If `u` does not fit.
pub(crate) fn power_iteration(weight: &Tensor, u: &Tensor, axis: usize) -> Result<(Tensor, Tensor)> {
    let w = matrix(&weight.detach(), axis)?;
    let unit = |t: Tensor| -> Result<Tensor> {
        let length = t.sqr()?.sum_all()?.sqrt()?.maximum(EPS)?;
        t.broadcast_div(&length)
    };
    let v = unit(w.t()?.contiguous()?.broadcast_mul(&u.detach())?.sum(1)?)?;
    let u = unit(w.broadcast_mul(&v)?.sum(1)?)?;
    Ok((u, v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn values(dims: &[usize], seed: usize) -> Tensor {
        let n: usize = dims.iter().product();
        let data: Vec<f64> =
            (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f64 / 500.0 - 1.0).collect();
        Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
    }

    fn scalar(t: Tensor) -> f64 {
        t.to_scalar().unwrap()
    }

    #[test]
    fn iterations_lead_to_the_largest_singular_value_along_either_axis() {
        // Diagonal after the reordering of axes: singular values 3 and 2.
        let weight = Tensor::new(&[[[3f64, 0.0]], [[0.0, 2.0]]], &Device::Cpu).unwrap();
        for (axis, rows) in [(0, 2), (1, 1)] {
            let mut u = values(&[rows], 1);
            let mut v = values(&[4 / rows], 1);
            for _ in 0..60 {
                (u, v) = power_iteration(&weight, &u, axis).unwrap();
            }
            let value =
                scalar((&weight / spectral_norm(&weight, &u, &v, axis).unwrap()).unwrap().max_all().unwrap());
            let expected = if axis == 0 { 3.0 } else { 13f64.sqrt() };
            assert!((value - expected).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn the_gradient_agrees_with_differences_along_either_axis() {
        for (axis, rows, columns) in [(0, 3, 8), (1, 4, 6)] {
            let start = values(&[3, 4, 2], 1);
            let (u, v) = (values(&[rows], 2), values(&[columns], 3));
            let (probe, direction) = (values(&[3, 4, 2], 4), values(&[3, 4, 2], 5));
            let at = |weight: &Tensor| (spectral_norm(weight, &u, &v, axis)? * &probe)?.sqr()?.sum_all();
            let weight = Var::from_tensor(&start).unwrap();
            let grads = at(&weight).unwrap().backward().unwrap();
            let slope = scalar((grads.get(&weight).unwrap() * &direction).unwrap().sum_all().unwrap());
            const STEP: f64 = 1e-6;
            let moved = |step: f64| scalar(at(&(&start + (&direction * step).unwrap()).unwrap()).unwrap());
            let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            assert!((slope - difference).abs() < 1e-6 * difference.abs().max(1.0), "{slope} {difference}");
        }
    }
}
