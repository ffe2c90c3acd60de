//! The three transforms of F(2 x 2, K x K) for kernels of 2 or 3 pixels, of eight tiles or kernels at a time. Tiles of inputs and
//! products are `[K + 1, K + 1]`, row by row.

/// Most values of a transformed tile.
pub const POINTS: usize = 16;
/// Tiles or kernels that are transformed together: a register of AVX2, half of one of AVX-512.
pub const LANES: usize = 8;

type Lanes = [f32; LANES];

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

/// One axis of `G g Gᵀ`.
#[inline(always)]
fn weight_axis<const K: usize>(g: [&Lanes; 3]) -> [Lanes; 4] {
    if K == 2 {
        return [*g[0], add(g[0], g[1]), *g[1], [0.0; LANES]];
    }
    let (ends, middle) = (scaled(&add(g[0], g[2]), 0.5), scaled(g[1], 0.5));
    [*g[0], add(&ends, &middle), subtract(&ends, &middle), *g[2]]
}

/// One axis of `Bᵀ d B`.
#[inline(always)]
fn input_axis<const K: usize>(d: [&Lanes; 4]) -> [Lanes; 4] {
    if K == 2 {
        return [subtract(d[0], d[1]), *d[1], subtract(d[2], d[1]), [0.0; LANES]];
    }
    [subtract(d[0], d[2]), add(d[1], d[2]), subtract(d[2], d[1]), subtract(d[1], d[3])]
}

/// One axis of `Aᵀ m A`.
#[inline(always)]
fn output_axis<const K: usize>(m: [&Lanes; 4]) -> [Lanes; 2] {
    if K == 2 {
        return [add(m[0], m[1]), add(m[1], m[2])];
    }
    [add(&add(m[0], m[1]), m[2]), subtract(&subtract(m[1], m[2]), m[3])]
}

/// Values at `first`, `first + step`, … as an axis takes them; beyond `count` any.
#[inline(always)]
fn along<const N: usize>(values: &[Lanes; POINTS], first: usize, step: usize, count: usize) -> [&Lanes; N] {
    let mut axis = [&values[first]; N];
    for (i, value) in axis.iter_mut().enumerate().take(count) {
        *value = &values[first + i * step];
    }
    axis
}

/// `U = G g Gᵀ` of kernels `[K, K]`.
#[inline(always)]
pub fn weight_transform<const K: usize>(g: &[Lanes; POINTS]) -> [Lanes; POINTS] {
    let mut columns = [[0.0; LANES]; POINTS];
    for x in 0..K {
        let column = weight_axis::<K>(along(g, x, K, K));
        for y in 0..=K {
            columns[y * K + x] = column[y];
        }
    }
    let mut u = [[0.0; LANES]; POINTS];
    for y in 0..=K {
        let row = weight_axis::<K>(along(&columns, y * K, 1, K));
        for x in 0..=K {
            u[y * (K + 1) + x] = row[x];
        }
    }
    u
}

/// `V = Bᵀ d B` of tiles of inputs.
#[inline(always)]
pub fn input_transform<const K: usize>(d: &[Lanes; POINTS]) -> [Lanes; POINTS] {
    let side = K + 1;
    let mut columns = [[0.0; LANES]; POINTS];
    for x in 0..side {
        let column = input_axis::<K>(along(d, x, side, side));
        for y in 0..side {
            columns[y * side + x] = column[y];
        }
    }
    let mut v = [[0.0; LANES]; POINTS];
    for y in 0..side {
        let row = input_axis::<K>(along(&columns, y * side, 1, side));
        for x in 0..side {
            v[y * side + x] = row[x];
        }
    }
    v
}

/// `Y = Aᵀ m A` of products `m`: outputs `[2, 2]`.
#[inline(always)]
pub fn output_transform<const K: usize>(m: &[Lanes; POINTS]) -> [[Lanes; 2]; 2] {
    let side = K + 1;
    let mut rows = [[0.0; LANES]; POINTS];
    for x in 0..side {
        let [first, second] = output_axis::<K>(along(m, x, side, side));
        (rows[x], rows[side + x]) = (first, second);
    }
    [output_axis::<K>(along(&rows, 0, 1, side)), output_axis::<K>(along(&rows, side, 1, side))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Small integers: exact.
    fn check<const K: usize>(g: [i8; POINTS], d: [i8; POINTS]) {
        let lanes = |value: i8| std::array::from_fn(|lane| f32::from(value) * (lane as f32 + 1.0));
        let u = weight_transform::<K>(&g.map(|g| [f32::from(g); LANES]));
        let v = input_transform::<K>(&d.map(lanes));
        let product =
            std::array::from_fn(|point| std::array::from_fn(|lane| u[point][lane] * v[point][lane]));
        let y = output_transform::<K>(&product);
        for (oy, ox) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let at = |tap: usize| (oy + tap / K) * (K + 1) + ox + tap % K;
            let sum: i32 = (0..K * K).map(|tap| i32::from(g[tap]) * i32::from(d[at(tap)])).sum();
            assert_eq!(y[oy][ox], std::array::from_fn(|lane| (sum * (lane as i32 + 1)) as f32));
        }
    }

    proptest! {
        #[test]
        fn transformed_products_are_the_sums_of_a_kernel_over_a_tile(
            g in prop::array::uniform16(-4i8..5), d in prop::array::uniform16(-4i8..5)
        ) {
            check::<2>(g, d);
            check::<3>(g, d);
        }
    }
}
