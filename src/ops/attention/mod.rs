//! Softmax attention of tokens that lie side by side (`[B, C, T]`), in blocks of queries: no more than one block of
//! one head's weights is in memory per task, and both products run on the register kernel of [`super::gemm`].
//! The gradient computes the weights again, block by block (Dao et al., 2022, <https://arxiv.org/abs/2205.14135>).

mod head;

use super::composed::wide;
use super::host::floats;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, Layout, Result, Shape, Tensor, bail};
use head::{Head, Scratch};
use rayon::prelude::*;
use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `softmax(q^T k / sqrt(width)) v` per head: `qkv` `[B, 3 * C, T]` (queries, keys and values, each `heads` times `width`
/// channels) to `[B, C, queries]` for the first `queries` tokens. Differentiable (first order).
///
/// # Errors
/// If the channels are no three times `heads`, or there are fewer tokens than `queries`.
pub(crate) fn attention(qkv: &Tensor, heads: usize, queries: usize) -> Result<Tensor> {
    let (_, channels, tokens) = qkv.dims3()?;
    if heads == 0 || channels == 0 || !channels.is_multiple_of(3 * heads) || queries > tokens {
        bail!("{queries} queries of {heads} heads cannot be had from {:?}", qkv.shape());
    }
    if !qkv.device().is_cpu() || qkv.dtype() != DType::F32 {
        return plain(qkv, heads, queries);
    }
    qkv.contiguous()?.apply_op1(Attention { heads, queries })
}

/// The same on candle's own operations, with all weights in memory.
fn plain(qkv: &Tensor, heads: usize, queries: usize) -> Result<Tensor> {
    let (batch, channels, tokens) = qkv.dims3()?;
    let width = channels / 3 / heads;
    let qkv = qkv.reshape((batch, 3, heads, width, tokens))?;
    let part = |i: usize| qkv.narrow(1, i, 1)?.squeeze(1)?.contiguous();
    let (q, k, v) = (part(0)?.narrow(3, 0, queries)?, part(1)?, part(2)?);
    let scores = q.transpose(2, 3)?.contiguous()?.matmul(&k)?.to_dtype(wide(qkv.dtype()))?;
    let scores = (scores / (width as f64).sqrt())?;
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?.to_dtype(qkv.dtype())?;
    let out = v.matmul(&weights.transpose(2, 3)?.contiguous()?)?;
    out.reshape((batch, channels / 3, queries))
}

#[derive(Clone, Copy)]
struct Attention {
    heads: usize,
    queries: usize,
}

impl Attention {
    /// Head `index` (counted over the batch) of `qkv` `[B, 3 * C, tokens]`.
    fn head<'a>(&self, qkv: &'a [f32], (channels, tokens): (usize, usize), index: usize) -> Head<'a> {
        let width = channels / 3 / self.heads;
        let (image, head) = (index / self.heads, index % self.heads);
        let part = |i: usize| {
            &qkv[(image * channels + (i * self.heads + head) * width) * tokens..][..width * tokens]
        };
        Head { q: part(0), k: part(1), v: part(2), width, tokens, queries: self.queries }
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, tokens) = layout.shape().dims3()?;
        let qkv = floats(qkv, layout)?;
        let mut out = vec![0f32; batch * channels / 3 * self.queries];
        let one = channels / 3 / self.heads * self.queries;
        out.par_chunks_mut(one.max(1)).enumerate().for_each(|(i, out)| {
            let head = self.head(qkv, (channels, tokens), i);
            SCRATCH.with_borrow_mut(|scratch| head.forward(scratch, out));
        });
        Ok((CpuStorage::F32(out), Shape::from((batch, channels / 3, self.queries))))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(qkv.contiguous()?.apply_op2_no_bwd(&dy.contiguous()?, &AttentionGrad(*self))?))
    }
}

struct AttentionGrad(Attention);

impl CustomOp2 for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention-grad"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, tokens) = layout.shape().dims3()?;
        let (qkv, dy) = (floats(qkv, layout)?, floats(dy, dy_layout)?);
        let mut gradient = vec![0f32; qkv.len()];
        let part = channels / 3 * tokens;
        let one = part / self.0.heads;
        let mut tasks = Vec::new();
        for image in gradient.chunks_exact_mut((3 * part).max(1)) {
            let (dq, rest) = image.split_at_mut(part);
            let (dk, dv) = rest.split_at_mut(part);
            let heads = dq.chunks_exact_mut(one).zip(dk.chunks_exact_mut(one)).zip(dv.chunks_exact_mut(one));
            tasks.extend(heads.map(|((dq, dk), dv)| [dq, dk, dv]));
        }
        let out = channels / 3 / self.0.heads * self.0.queries;
        tasks.into_par_iter().zip(dy.par_chunks(out.max(1))).enumerate().for_each(|(i, (gradient, dy))| {
            let head = self.0.head(qkv, (channels, tokens), i);
            SCRATCH.with_borrow_mut(|scratch| head.backward(scratch, dy, gradient));
        });
        Ok((CpuStorage::F32(gradient), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    fn values(dims: &[usize], seed: usize) -> Tensor {
        let n: usize = dims.iter().product();
        let data: Vec<f32> =
            (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 250.0 - 2.0).collect();
        Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
    }

    fn relative(a: &Tensor, b: &Tensor) -> f64 {
        let a = a.to_dtype(DType::F64).unwrap();
        let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
        norm(&(&a - b).unwrap()) / norm(b).max(1e-30)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn values_and_gradient_agree_with_plain_operations_in_float64(
            batch in 1usize..3, heads in 1usize..4, width in 1usize..70, tokens in 1usize..90, part in 0.0f64..1.0
        ) {
            let queries = ((tokens as f64 * part) as usize).max(1);
            let qkv = Var::from_tensor(&values(&[batch, 3 * heads * width, tokens], 1)).unwrap();
            let wide = Var::from_tensor(&qkv.to_dtype(DType::F64).unwrap()).unwrap();
            let (fast, slow) = (attention(&qkv, heads, queries).unwrap(), attention(&wide, heads, queries).unwrap());
            prop_assert_eq!(fast.dims(), &[batch, heads * width, queries]);
            prop_assert!(relative(&fast, &slow) < 1e-5);
            let probe = values(fast.dims(), 2);
            let grads = (fast * &probe).unwrap().backward().unwrap();
            let expected = (slow * probe.to_dtype(DType::F64).unwrap()).unwrap().backward().unwrap();
            prop_assert!(relative(grads.get(&qkv).unwrap(), expected.get(&wide).unwrap()) < 2e-5);
        }
    }

    #[test]
    fn rows_do_not_depend_on_the_batch_nor_on_how_many_queries_are_asked() {
        let both = values(&[2, 3 * 2 * 16, 45], 3);
        let all = attention(&both, 2, 45).unwrap();
        let second = attention(&both.narrow(0, 1, 1).unwrap(), 2, 3).unwrap();
        let expected = all.narrow(0, 1, 1).unwrap().narrow(2, 0, 3).unwrap().contiguous().unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&second), flat(&expected));
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        assert!(attention(&values(&[1, 10, 4], 0), 1, 4).is_err());
        assert!(attention(&values(&[1, 12, 4], 0), 2, 5).is_err());
    }
}
