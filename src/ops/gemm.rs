//! The register kernel under every dense product on the CPU: an [`MR`] x [`NR`] tile from two packed panels.
//!
//! Convolutions, linear layers and exact neighbour search pack their operands into panels and call
//! [`multiply_panels`]. Each element of the tile is one chain of fused multiply-adds in the order of `k`,
//! whatever the instruction set: AVX-512, AVX2 and NEON machines give the same bits, and no result depends
//! on how many rows or columns are computed beside it.

use super::simd;

/// Rows of a tile: the height of a packed panel of the left operand. Six rows of half a line are twelve accumulators, which
/// with what they are multiplied by fill the sixteen registers of AVX2.
pub(crate) const MR: usize = 6;
/// Columns of a tile: the width of a packed panel of the right operand.
pub(crate) const NR: usize = 32;
/// Columns that the vector kernels can compute alone.
pub(crate) const HALF: usize = NR / 2;

/// A tile of the product, row-major.
pub(crate) type Tile = [[f32; NR]; MR];

/// A tile of zeros.
pub(crate) const ZERO_TILE: Tile = [[0.0; NR]; MR];

/// `tile[i][j] += sum over k of a[k * MR + i] * b[k * NR + j]`.
///
/// `a` holds `depth` groups of [`MR`] values, `b` `depth` groups of [`NR`].
///
/// # Panics
/// If a panel is shorter than `depth` groups.
#[inline]
pub(crate) fn multiply_panels(depth: usize, a: &[f32], b: &[f32], tile: &mut Tile) {
    multiply_columns(NR, Start::Tile, depth, a, b, tile);
}

/// What products are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// What the tile holds.
    Tile,
    /// Zeros.
    Zeros,
}

/// [`multiply_panels`] of which only the first `columns` columns are needed: what the others hold afterwards depends on the
/// instruction set. More than [`NR`] are all.
///
/// # Panics
/// If a panel is shorter than `depth` groups.
#[inline]
pub(crate) fn multiply_columns(
    columns: usize,
    start: Start,
    depth: usize,
    a: &[f32],
    b: &[f32],
    tile: &mut Tile,
) {
    assert!(a.len() >= depth * MR && b.len() >= depth * NR, "a packed panel is shorter than its depth");
    let columns = columns.min(NR);
    match simd::isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` gives only what the processor has, and the lengths were checked above.
        simd::Isa::Avx512 if columns <= HALF => unsafe {
            x86::tile_avx512::<1>(start, depth, a.as_ptr(), b.as_ptr(), tile);
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        simd::Isa::Avx512 => unsafe { x86::tile_avx512::<2>(start, depth, a.as_ptr(), b.as_ptr(), tile) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        simd::Isa::Avx2 => unsafe {
            x86::tile_avx2(columns.div_ceil(HALF), start, depth, a.as_ptr(), b.as_ptr(), tile)
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every aarch64 processor has NEON, and the lengths were checked above.
        simd::Isa::Neon => unsafe { neon::tile(columns, start, depth, a.as_ptr(), b.as_ptr(), tile) },
        _ => {
            if start == Start::Zeros {
                *tile = ZERO_TILE;
            }
            tile_portable(depth, a, b, tile);
        }
    }
}

/// The plain version.
fn tile_portable(depth: usize, a: &[f32], b: &[f32], tile: &mut Tile) {
    for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(NR)).take(depth) {
        for (row, &a) in tile.iter_mut().zip(a) {
            for (c, &b) in row.iter_mut().zip(b) {
                *c = a.mul_add(b, *c);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{HALF, MR, NR, Start, Tile};
    use std::arch::x86_64::*;

    /// The first `HALVES` halves.
    ///
    /// # Safety
    /// Needs AVX-512F; `a` and `b` must hold `depth` groups of `MR` and `NR` values.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn tile_avx512<const HALVES: usize>(
        start: Start,
        depth: usize,
        mut a: *const f32,
        mut b: *const f32,
        tile: &mut Tile,
    ) {
        // SAFETY: the pointers advance `depth` times over the groups that the caller vouches for.
        unsafe {
            let mut acc = [[_mm512_setzero_ps(); HALVES]; MR];
            if start == Start::Tile {
                for (acc, row) in acc.iter_mut().zip(tile.iter()) {
                    for (half, acc) in acc.iter_mut().enumerate() {
                        *acc = _mm512_loadu_ps(row.as_ptr().add(half * HALF));
                    }
                }
            }
            for _ in 0..depth {
                let mut line = [_mm512_setzero_ps(); HALVES];
                for (half, line) in line.iter_mut().enumerate() {
                    *line = _mm512_loadu_ps(b.add(half * HALF));
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let a = _mm512_set1_ps(*a.add(i));
                    for (acc, line) in acc.iter_mut().zip(line) {
                        *acc = _mm512_fmadd_ps(a, line, *acc);
                    }
                }
                a = a.add(MR);
                b = b.add(NR);
            }
            for (acc, row) in acc.iter().zip(tile.iter_mut()) {
                for (half, acc) in acc.iter().enumerate() {
                    _mm512_storeu_ps(row.as_mut_ptr().add(half * HALF), *acc);
                }
            }
        }
    }

    /// The first `halves` halves, one after the other, so that accumulators stay in the sixteen registers.
    ///
    /// # Safety
    /// Needs AVX2 and FMA; `a` and `b` must hold `depth` groups of `MR` and `NR` values.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn tile_avx2(
        halves: usize,
        start: Start,
        depth: usize,
        a: *const f32,
        b: *const f32,
        tile: &mut Tile,
    ) {
        // SAFETY: every offset stays inside the groups that the caller vouches for.
        unsafe {
            for first in [0, HALF].into_iter().take(halves) {
                let mut acc = [[_mm256_setzero_ps(); 2]; MR];
                if start == Start::Tile {
                    for (acc, row) in acc.iter_mut().zip(tile.iter()) {
                        let c = row.as_ptr().add(first);
                        *acc = [_mm256_loadu_ps(c), _mm256_loadu_ps(c.add(8))];
                    }
                }
                let (mut a, mut b) = (a, b.add(first));
                for _ in 0..depth {
                    let b0 = _mm256_loadu_ps(b);
                    let b1 = _mm256_loadu_ps(b.add(8));
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let a = _mm256_set1_ps(*a.add(i));
                        acc[0] = _mm256_fmadd_ps(a, b0, acc[0]);
                        acc[1] = _mm256_fmadd_ps(a, b1, acc[1]);
                    }
                    a = a.add(MR);
                    b = b.add(NR);
                }
                for (acc, row) in acc.iter().zip(tile.iter_mut()) {
                    let c = row.as_mut_ptr().add(first);
                    _mm256_storeu_ps(c, acc[0]);
                    _mm256_storeu_ps(c.add(8), acc[1]);
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::{MR, NR, Start, Tile};
    use std::arch::aarch64::*;

    /// Columns that are computed together: twelve accumulators of four columns in the thirty-two registers.
    const STRIP: usize = 8;

    /// The first `columns` columns, in whole strips one after the other.
    ///
    /// # Safety
    /// `columns` is at most `NR`; `a` and `b` must hold `depth` groups of `MR` and `NR` values.
    #[target_feature(enable = "neon")]
    pub unsafe fn tile(
        columns: usize,
        start: Start,
        depth: usize,
        a: *const f32,
        b: *const f32,
        tile: &mut Tile,
    ) {
        // SAFETY: every offset stays inside the groups that the caller vouches for.
        unsafe {
            for first in (0..columns).step_by(STRIP) {
                let mut acc = [[vdupq_n_f32(0.0); 2]; MR];
                if start == Start::Tile {
                    for (acc, row) in acc.iter_mut().zip(tile.iter()) {
                        let c = row.as_ptr().add(first);
                        *acc = [vld1q_f32(c), vld1q_f32(c.add(4))];
                    }
                }
                let (mut a, mut b) = (a, b.add(first));
                for _ in 0..depth {
                    let b0 = vld1q_f32(b);
                    let b1 = vld1q_f32(b.add(4));
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let a = vdupq_n_f32(*a.add(i));
                        acc[0] = vfmaq_f32(acc[0], a, b0);
                        acc[1] = vfmaq_f32(acc[1], a, b1);
                    }
                    a = a.add(MR);
                    b = b.add(NR);
                }
                for (acc, row) in acc.iter().zip(tile.iter_mut()) {
                    let c = row.as_mut_ptr().add(first);
                    vst1q_f32(c, acc[0]);
                    vst1q_f32(c.add(4), acc[1]);
                }
            }
        }
    }
}

/// The relative error of a tile's element: it differs from the exact sum by at most this much of `sum |a_ik b_kj|`
/// (`gamma_n` of Higham, *Accuracy and Stability of Numerical Algorithms*, for `n = depth` roundings).
pub(crate) fn multiplication_error(depth: usize) -> f64 {
    let roundings = depth as f64 * f64::from(f32::EPSILON) / 2.0;
    if roundings < 0.5 { roundings / (1.0 - roundings) } else { 1.0 }
}

/// Packs `rows` (each `depth` long, contiguous) into panels of `WIDTH` rows: `[ceil(rows / WIDTH), depth, WIDTH]`,
/// zeros where the last panel has no row. `value(row, k)` gives the elements.
pub(crate) fn pack<const WIDTH: usize>(
    rows: usize,
    depth: usize,
    packed: &mut Vec<f32>,
    value: impl Fn(usize, usize) -> f32,
) {
    packed.clear();
    packed.resize(rows.div_ceil(WIDTH) * depth * WIDTH, 0.0);
    for (panel, chunk) in packed.chunks_exact_mut((depth * WIDTH).max(1)).enumerate() {
        pack_panel::<WIDTH>(panel, rows, chunk, &value);
    }
}

/// Panel `panel` of [`pack`]; zeros have to be where it has no row.
#[inline(always)]
pub(crate) fn pack_panel<const WIDTH: usize>(
    panel: usize,
    rows: usize,
    packed: &mut [f32],
    value: &impl Fn(usize, usize) -> f32,
) {
    let first = panel * WIDTH;
    for i in 0..WIDTH.min(rows - first) {
        for (k, line) in packed.chunks_exact_mut(WIDTH).enumerate() {
            line[i] = value(first + i, k);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_plain_version() {
        let value = |seed: usize, i: usize| ((i * 7919 + seed * 104_729) % 1013) as f32 / 507.0 - 1.0;
        for depth in [0, 1, 2, 31, 300] {
            let a: Vec<f32> = (0..depth * MR).map(|i| value(1, i)).collect();
            let b: Vec<f32> = (0..depth * NR).map(|i| value(2, i)).collect();
            let start: Tile = std::array::from_fn(|i| std::array::from_fn(|j| value(3, i * NR + j)));
            let (mut onto_tile, mut from_zeros) = (start, ZERO_TILE);
            tile_portable(depth, &a, &b, &mut onto_tile);
            tile_portable(depth, &a, &b, &mut from_zeros);
            simd::testing::with_each_isa(|isa| {
                for (begin, expected) in [(Start::Tile, onto_tile), (Start::Zeros, from_zeros)] {
                    for columns in [0, 1, 8, 9, HALF, HALF + 1, NR] {
                        let mut tile = start;
                        multiply_columns(columns, begin, depth, &a, &b, &mut tile);
                        for (row, expected) in tile.iter().zip(&expected) {
                            assert_eq!(row[..columns], expected[..columns], "{isa:?}, {columns} columns");
                        }
                    }
                }
            });
        }
    }

    #[test]
    fn packing_pads_the_last_panel_with_zeros() {
        let mut packed = Vec::new();
        pack::<4>(5, 2, &mut packed, |row, k| (10 * row + k) as f32);
        assert_eq!(packed, [0., 10., 20., 30., 1., 11., 21., 31., 40., 0., 0., 0., 41., 0., 0., 0.]);
    }
}
