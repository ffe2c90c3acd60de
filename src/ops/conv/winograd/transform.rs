//! The three transforms of F(M x M, K x K), of eight tiles or kernels at a time. The variants are named by `SIDE`, M + K - 1:
//! F(2 x 2, 2 x 2) is 3, F(2 x 2, 3 x 3) is 4, F(4 x 4, 3 x 3) is 6.
//!
//! The last one's points are 0, +-1/sqrt(2), +-sqrt(2) and infinity: half the error of the usual 0, +-1, +-2 (1.0e-6 against 2.0e-6 of
//! 128 channels, where the plain sum has 0.4e-6).

use crate::ops::gemm::{NR, Tile};
use crate::ops::host::LANES;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Of tiles or kernels that are transformed together.
pub(super) type Lanes = [f32; LANES];

/// Pixels of a row of the largest output tiles of a panel, with space for a whole register after the last run.
pub(super) const ROW: usize = outputs(6) * NR + LANES;

/// Pixels of an output tile along an axis.
pub(super) const fn outputs(side: usize) -> usize {
    match side {
        6 => 4,
        _ => 2,
    }
}

/// Pixels of the kernel along an axis.
pub(super) const fn kernel(side: usize) -> usize {
    side + 1 - outputs(side)
}

#[inline(always)]
fn add(a: &Lanes, b: &Lanes) -> Lanes {
    let mut sum = *a;
    for i in 0..LANES {
        sum[i] += b[i];
    }
    sum
}

#[inline(always)]
fn subtract(a: &Lanes, b: &Lanes) -> Lanes {
    let mut difference = *a;
    for i in 0..LANES {
        difference[i] -= b[i];
    }
    difference
}

#[inline(always)]
fn scaled(a: &Lanes, by: f32) -> Lanes {
    let mut product = *a;
    for value in &mut product {
        *value *= by;
    }
    product
}

/// `a + by * b`.
#[inline(always)]
fn plus(a: &Lanes, by: f32, b: &Lanes) -> Lanes {
    let mut sum = *a;
    for i in 0..LANES {
        sum[i] = b[i].mul_add(by, a[i]);
    }
    sum
}

/// One axis of `G g Gᵀ`; `g` ends with anything for a kernel of 2.
#[inline(always)]
fn weight_axis<const SIDE: usize>(g: [&Lanes; 3]) -> [Lanes; SIDE] {
    let mut u = [*g[0]; SIDE];
    match SIDE {
        3 => {
            u[1] = add(g[0], g[1]);
            u[2] = *g[1];
        }
        4 => {
            let (ends, middle) = (scaled(&add(g[0], g[2]), 0.5), scaled(g[1], 0.5));
            u[1] = add(&ends, &middle);
            u[2] = subtract(&ends, &middle);
            u[3] = *g[2];
        }
        _ => {
            let (ends, middle) = (plus(g[0], 0.5, g[2]), scaled(g[1], FRAC_1_SQRT_2));
            u[1] = scaled(&add(&ends, &middle), -2.0 / 3.0);
            u[2] = scaled(&subtract(&ends, &middle), -2.0 / 3.0);
            let (ends, middle) = (plus(g[0], 2.0, g[2]), scaled(g[1], SQRT_2));
            u[3] = scaled(&add(&ends, &middle), 1.0 / 6.0);
            u[4] = scaled(&subtract(&ends, &middle), 1.0 / 6.0);
            u[5] = *g[2];
        }
    }
    u
}

/// One axis of `Bᵀ d B`.
#[inline(always)]
fn input_axis<const SIDE: usize>(d: [&Lanes; SIDE]) -> [Lanes; SIDE] {
    let mut v = [*d[1]; SIDE];
    match SIDE {
        3 => {
            v[0] = subtract(d[0], d[1]);
            v[2] = subtract(d[2], d[1]);
        }
        4 => {
            v[0] = subtract(d[0], d[2]);
            v[1] = add(d[1], d[2]);
            v[2] = subtract(d[2], d[1]);
            v[3] = subtract(d[1], d[3]);
        }
        _ => {
            v[0] = plus(&add(d[0], d[4]), -2.5, d[2]);
            let (even, odd) = (plus(d[4], -2.0, d[2]), plus(&scaled(d[3], FRAC_1_SQRT_2), -SQRT_2, d[1]));
            v[1] = add(&even, &odd);
            v[2] = subtract(&even, &odd);
            let (even, odd) = (plus(d[4], -0.5, d[2]), plus(&scaled(d[3], SQRT_2), -FRAC_1_SQRT_2, d[1]));
            v[3] = add(&even, &odd);
            v[4] = subtract(&even, &odd);
            v[5] = plus(&add(d[1], d[5]), -2.5, d[3]);
        }
    }
    v
}

/// One axis of `Aᵀ m A`: the first [`outputs`] are of use.
#[inline(always)]
fn output_axis<const SIDE: usize>(m: [&Lanes; SIDE]) -> [Lanes; 4] {
    match SIDE {
        3 => [add(m[0], m[1]), add(m[1], m[2]), *m[0], *m[0]],
        4 => {
            let (sum, difference) = (add(m[0], m[1]), subtract(m[1], m[2]));
            [add(&sum, m[2]), subtract(&difference, m[3]), *m[0], *m[0]]
        }
        _ => {
            let (near, far) = (add(m[1], m[2]), add(m[3], m[4]));
            let (near_odd, far_odd) = (subtract(m[1], m[2]), subtract(m[3], m[4]));
            [
                add(&add(m[0], &near), &far),
                plus(&scaled(&near_odd, FRAC_1_SQRT_2), SQRT_2, &far_odd),
                plus(&scaled(&near, 0.5), 2.0, &far),
                plus(&plus(m[5], FRAC_1_SQRT_2 / 2.0, &near_odd), 2.0 * SQRT_2, &far_odd),
            ]
        }
    }
}

/// Tiles, row by row. What is between the two axes of a transform is given from outside: clearing it would take as long as an axis.
pub(super) type Square<const SIDE: usize> = [[Lanes; SIDE]; SIDE];

/// `U = G g Gᵀ` of kernels `g`, the taps row by row.
#[inline(always)]
pub(super) fn weight_transform<const SIDE: usize>(
    g: &[Lanes; 9],
    between: &mut [[Lanes; 3]; SIDE],
    u: &mut Square<SIDE>,
) {
    let k = kernel(SIDE);
    for x in 0..k {
        let column = weight_axis::<SIDE>([&g[x], &g[k + x], &g[(2 * k + x) % 9]]);
        for y in 0..SIDE {
            between[y][x] = column[y];
        }
    }
    for (u, [left, middle, right]) in u.iter_mut().zip(between) {
        *u = weight_axis::<SIDE>([left, middle, right]);
    }
}

/// `V = Bᵀ d B` of tiles of inputs: `d` holds a value of the tiles every `step`, `v` is given one every `stride`, both row by row.
#[inline(always)]
pub(super) fn input_transform<const SIDE: usize>(
    (d, step): (&[Lanes], usize),
    between: &mut Square<SIDE>,
    (v, stride): (&mut [f32], usize),
) {
    for x in 0..SIDE {
        let mut axis = [&d[x * step]; SIDE];
        for y in 1..SIDE {
            axis[y] = &d[(y * SIDE + x) * step];
        }
        let column = input_axis::<SIDE>(axis);
        for y in 0..SIDE {
            between[y][x] = column[y];
        }
    }
    for (y, between) in between.iter().enumerate() {
        let row = input_axis::<SIDE>(between.each_ref());
        for x in 0..SIDE {
            v[(y * SIDE + x) * stride..][..LANES].copy_from_slice(&row[x]);
        }
    }
}

/// `Y = Aᵀ m A` of the products at `[row][first..first + LANES]` of the tiles `m`: the pixels of tile after tile to `y`, a slice for
/// each of the [`outputs`] rows.
#[inline(always)]
pub(super) fn output_transform<const SIDE: usize>(
    (m, row, first): (&[Tile], usize, usize),
    between: &mut Square<SIDE>,
    y: &mut [[f32; ROW]],
) {
    let outs = outputs(SIDE);
    for x in 0..SIDE {
        let mut axis = [&[0.0; LANES]; SIDE];
        for y in 0..SIDE {
            axis[y] = lanes(&m[y * SIDE + x][row], first);
        }
        let column = output_axis::<SIDE>(axis);
        for y in 0..outs {
            between[y][x] = column[y];
        }
    }
    for (between, y) in between.iter().zip(y) {
        let pixels = output_axis::<SIDE>(between.each_ref());
        let y = &mut y[outs * first..][..outs * LANES];
        for lane in 0..LANES {
            for x in 0..outs {
                y[outs * lane + x] = pixels[x][lane];
            }
        }
    }
}

#[inline(always)]
fn lanes(row: &[f32; NR], first: usize) -> &Lanes {
    &row.as_chunks().0[first / LANES]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gemm::{MR, ZERO_TILE};
    use proptest::prelude::*;

    /// Small integers: exact but for F(4 x 4, 3 x 3), whose points are not rational.
    fn check<const SIDE: usize>(g: [i8; 9], d: [i8; 36]) {
        let (k, outs) = (kernel(SIDE), outputs(SIDE));
        let tile: Vec<Lanes> = d[..SIDE * SIDE]
            .iter()
            .map(|&d| std::array::from_fn(|lane| f32::from(d) * (lane as f32 + 1.0)))
            .collect();
        let mut between = [[[0.0; LANES]; SIDE]; SIDE];
        let mut v = vec![0.0; SIDE * SIDE * LANES];
        input_transform::<SIDE>((&tile, 1), &mut between, (&mut v, LANES));
        let mut u = between;
        let g_lanes = g.map(|g| [f32::from(g); LANES]);
        weight_transform::<SIDE>(&g_lanes, &mut [[[0.0; LANES]; 3]; SIDE], &mut u);
        // In the last lanes of one row of a tile.
        let (row, first) = (MR - 1, NR - LANES);
        let mut products = vec![ZERO_TILE; SIDE * SIDE];
        for ((tile, u), v) in products.iter_mut().zip(u.as_flattened()).zip(v.chunks(LANES)) {
            for (lane, (u, v)) in u.iter().zip(v).enumerate() {
                tile[row][first + lane] = u * v;
            }
        }
        let mut result = vec![[0.0; ROW]; outs];
        output_transform::<SIDE>((&products, row, first), &mut between, &mut result);
        let bound = if SIDE == 6 { 1e-3 } else { 0.0 };
        for (y, x) in (0..outs).flat_map(|y| (0..outs).map(move |x| (y, x))) {
            let at = |tap: usize| (y + tap / k) * SIDE + x + tap % k;
            let sum: i32 = (0..k * k).map(|tap| i32::from(g[tap]) * i32::from(d[at(tap)])).sum();
            for lane in 0..LANES {
                let value = result[y][outs * (first + lane) + x];
                assert!((value - (sum * (lane as i32 + 1)) as f32).abs() <= bound, "{value} and {sum}");
            }
        }
    }

    proptest! {
        #[test]
        fn transformed_products_are_the_sums_of_a_kernel_over_a_tile(
            g in prop::array::uniform9(-4i8..5), d in prop::collection::vec(-4i8..5, 36)
        ) {
            let d = d.try_into().unwrap();
            check::<3>(g, d);
            check::<4>(g, d);
            check::<6>(g, d);
        }
    }
}
