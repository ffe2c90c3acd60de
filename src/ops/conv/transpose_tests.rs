//! Transposed convolutions against their definition.

use super::*;
use candle_core::{Device, Var};
use proptest::prelude::*;

fn values(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let data: Vec<f64> = (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f64 / 507.0 - 1.0).collect();
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(actual: &Tensor, expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let actual = flat(actual);
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() <= tolerance * largest.max(1e-3), "{a} and {e}");
    }
}

/// Every input pixel adds the kernel, times itself, to the output: the sum over outputs of `f(x index, w index, y index)`.
fn each_product(
    x: &[usize; 4],
    w: &[usize; 4],
    (stride, padding): (usize, usize),
    mut f: impl FnMut(usize, usize, usize),
) -> [usize; 4] {
    let out = |n: usize, k: usize| (n - 1) * stride + k - 2 * padding;
    let y = [x[0], w[1], out(x[2], w[2]), out(x[3], w[3])];
    let at = |d: &[usize; 4], i: [usize; 4]| ((i[0] * d[1] + i[1]) * d[2] + i[2]) * d[3] + i[3];
    for b in 0..x[0] {
        for (c, o) in (0..w[0]).flat_map(|c| (0..w[1]).map(move |o| (c, o))) {
            for (i, j) in (0..x[2]).flat_map(|i| (0..x[3]).map(move |j| (i, j))) {
                for (ky, kx) in (0..w[2]).flat_map(|ky| (0..w[3]).map(move |kx| (ky, kx))) {
                    let (row, column) = (i * stride + ky, j * stride + kx);
                    if (padding..padding + y[2]).contains(&row) && (padding..padding + y[3]).contains(&column)
                    {
                        let pixel = [b, o, row - padding, column - padding];
                        f(at(x, [b, c, i, j]), at(w, [c, o, ky, kx]), at(&y, pixel));
                    }
                }
            }
        }
    }
    y
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn values_and_gradients_are_those_of_the_definition(
        (batch, ins, outs) in (1usize..4, 1usize..12, 1usize..12),
        (height, width) in (1usize..7, 1usize..7),
        (kernel, stride, padding) in (1usize..5, 1usize..4, 0usize..2),
    ) {
        prop_assume!((height.min(width) - 1) * stride + kernel > 2 * padding);
        let dims = [batch, ins, height, width];
        let (x, w) = (values(&dims, 1), values(&[ins, outs, kernel, kernel], 2));
        let shape = each_product(&dims, &[ins, outs, kernel, kernel], (stride, padding), |_, _, _| ());
        let probe = values(&shape, 3);
        let (xs, ws, ps) = (flat(&x), flat(&w), flat(&probe));
        let (mut y, mut dx, mut dw) = (vec![0.0; ps.len()], vec![0.0; xs.len()], vec![0.0; ws.len()]);
        each_product(&dims, &[ins, outs, kernel, kernel], (stride, padding), |i, j, k| {
            y[k] += xs[i] * ws[j];
            dx[i] += ps[k] * ws[j];
            dw[j] += ps[k] * xs[i];
        });
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            let var = |t: &Tensor| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap();
            let (x, w) = (var(&x), var(&w));
            let result = conv_transpose2d(&x, &w, stride, padding).unwrap();
            prop_assert_eq!(result.dims(), &shape);
            assert_close(&result, &y, tolerance);
            let grads = (result * probe.to_dtype(dtype).unwrap()).unwrap().backward().unwrap();
            assert_close(grads.get(&x).unwrap(), &dx, tolerance);
            assert_close(grads.get(&w).unwrap(), &dw, tolerance);
        }
    }
}

#[test]
fn shapes_without_an_output_are_refused() {
    let image = |dims: [usize; 4]| values(&dims, 1).to_dtype(DType::F32).unwrap();
    let w = values(&[3, 2, 2, 2], 2).to_dtype(DType::F32).unwrap();
    assert!(conv_transpose2d(&image([1, 4, 5, 5]), &w, 2, 0).is_err());
    assert!(conv_transpose2d(&image([1, 3, 1, 1]), &w, 1, 2).is_err());
    assert!(conv_transpose2d(&image([1, 3, 5, 5]), &w, 0, 0).is_err());
}
