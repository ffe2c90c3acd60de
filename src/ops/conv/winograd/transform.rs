//! The three transforms of F(2 x 2, 3 x 3), of eight tiles or kernels at a time.

/// Values of a transformed tile, row by row.
pub const POINTS: usize = 16;
/// Weights of a kernel.
pub const TAPS: usize = 9;
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

/// One axis of `G g Gᵀ`.
#[inline(always)]
fn weight_axis(g: [&Lanes; 3]) -> [Lanes; 4] {
    let mut axis = [*g[0], [0.0; LANES], [0.0; LANES], *g[2]];
    for i in 0..LANES {
        let (ends, middle) = (0.5 * (g[0][i] + g[2][i]), 0.5 * g[1][i]);
        (axis[1][i], axis[2][i]) = (ends + middle, ends - middle);
    }
    axis
}

/// `U = G g Gᵀ` of kernels `[3, 3]`.
#[inline(always)]
pub fn weight_transform(g: &[Lanes; TAPS]) -> [Lanes; POINTS] {
    let mut columns = [[0.0; LANES]; 4 * 3];
    for x in 0..3 {
        let [a, b, c, d] = weight_axis([&g[x], &g[3 + x], &g[6 + x]]);
        (columns[x], columns[3 + x], columns[6 + x], columns[9 + x]) = (a, b, c, d);
    }
    let mut u = [[0.0; LANES]; POINTS];
    for (u, row) in u.as_chunks_mut::<4>().0.iter_mut().zip(columns.as_chunks::<3>().0) {
        *u = weight_axis([&row[0], &row[1], &row[2]]);
    }
    u
}

/// One axis of `Bᵀ d B`.
#[inline(always)]
fn input_axis(d: [&Lanes; 4]) -> [Lanes; 4] {
    [subtract(d[0], d[2]), add(d[1], d[2]), subtract(d[2], d[1]), subtract(d[1], d[3])]
}

/// `V = Bᵀ d B` of tiles of inputs `[4, 4]`.
#[inline(always)]
pub fn input_transform(d: &[Lanes; POINTS]) -> [Lanes; POINTS] {
    let mut columns = [[0.0; LANES]; POINTS];
    for x in 0..4 {
        let [a, b, c, d] = input_axis([&d[x], &d[4 + x], &d[8 + x], &d[12 + x]]);
        (columns[x], columns[4 + x], columns[8 + x], columns[12 + x]) = (a, b, c, d);
    }
    let mut v = [[0.0; LANES]; POINTS];
    for y in 0..4 {
        let row = &columns[4 * y..4 * y + 4];
        let [a, b, c, d] = input_axis([&row[0], &row[1], &row[2], &row[3]]);
        (v[4 * y], v[4 * y + 1], v[4 * y + 2], v[4 * y + 3]) = (a, b, c, d);
    }
    v
}

/// One axis of `Aᵀ m A`.
#[inline(always)]
fn output_axis(m: [&Lanes; 4]) -> [Lanes; 2] {
    [add(&add(m[0], m[1]), m[2]), subtract(&subtract(m[1], m[2]), m[3])]
}

/// `Y = Aᵀ m A` of products `m` `[4, 4]`: outputs `[2, 2]`.
#[inline(always)]
pub fn output_transform(m: &[Lanes; POINTS]) -> [[Lanes; 2]; 2] {
    let mut rows = [[[0.0; LANES]; 4]; 2];
    for x in 0..4 {
        let [a, b] = output_axis([&m[x], &m[4 + x], &m[8 + x], &m[12 + x]]);
        (rows[0][x], rows[1][x]) = (a, b);
    }
    let [a, b] = rows;
    [output_axis([&a[0], &a[1], &a[2], &a[3]]), output_axis([&b[0], &b[1], &b[2], &b[3]])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn transformed_products_are_the_sums_of_a_kernel_over_a_tile(
            g in prop::array::uniform9(-4i8..5), d in prop::array::uniform16(-4i8..5)
        ) {
            let lanes = |value: i8| std::array::from_fn(|lane| f32::from(value) * (lane as f32 + 1.0));
            let (u, v) = (weight_transform(&g.map(|g| [f32::from(g); LANES])), input_transform(&d.map(lanes)));
            let product = std::array::from_fn(|point| std::array::from_fn(|lane| u[point][lane] * v[point][lane]));
            let y = output_transform(&product);
            for (oy, ox) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let tap = |tap: usize| i32::from(g[tap]) * i32::from(d[(oy + tap / 3) * 4 + ox + tap % 3]);
                let sum: i32 = (0..9).map(tap).sum();
                // Small integers: exact.
                prop_assert_eq!(y[oy][ox], std::array::from_fn(|lane| (sum * (lane as i32 + 1)) as f32));
            }
        }
    }
}
