//! Scaled dot-product attention (Vaswani et al. 2017) between the pixels of an image, differentiable to any order.

use candle_core::{Result, Tensor};

/// `softmax(q^T k / sqrt(d)) v` of `heads` heads. `q`, `k` and `v` are `[B, heads * d, N]`, one column for each pixel, and so is the result.
///
/// # Errors
/// If the shapes do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, channels, pixels) = q.dims3()?;
    let width = channels / heads.max(1);
    let split = |t: &Tensor| t.contiguous()?.reshape((batch, heads, width, pixels));
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let q = (q.transpose(2, 3)? * (1.0 / (width as f64).sqrt()))?;
    let weights = softmax(&q.contiguous()?.matmul(&k)?)?;
    v.matmul(&weights.transpose(2, 3)?)?.reshape((batch, channels, pixels))
}

/// Softmax over the last dimension.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let last = x.rank() - 1;
    // The maximum only keeps the exponentials finite: a constant.
    let exponentials = x.broadcast_sub(&x.detach().max_keepdim(last)?)?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(last)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn each_pixel_is_a_mean_weighted_by_its_similarities() {
        const PIXELS: usize = 3;
        let at = |c: usize, p: usize, seed: usize| (((c * 5 + p * 3 + seed) % 7) as f64 - 3.0) / 2.0;
        let tensor = |seed: usize| {
            let values: Vec<f64> = (0..4 * PIXELS).map(|i| at(i / PIXELS, i % PIXELS, seed)).collect();
            Tensor::from_vec(values, (1, 4, PIXELS), &Device::Cpu).unwrap()
        };
        let out = attention(&tensor(0), &tensor(1), &tensor(2), 2).unwrap();
        let out = out.squeeze(0).unwrap().to_vec2::<f64>().unwrap();
        for (c, row) in out.iter().enumerate() {
            let head = c / 2 * 2;
            for (i, value) in row.iter().enumerate() {
                let score = |j: usize| {
                    (0..2).map(|d| at(head + d, i, 0) * at(head + d, j, 1)).sum::<f64>() / 2f64.sqrt()
                };
                let total: f64 = (0..PIXELS).map(|j| score(j).exp()).sum();
                let mean: f64 = (0..PIXELS).map(|j| score(j).exp() / total * at(c, j, 2)).sum();
                assert!((value - mean).abs() < 1e-12);
            }
        }
    }
}
