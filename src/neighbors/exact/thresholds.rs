//! A tile of products is compared with thresholds at once: most pairs are too far apart to matter, and are never looked at one by one.

use crate::ops::gemm::{MR, NR, Tile};
use crate::ops::simd::{self, Kernel};

/// A tile of products with what its rows and columns are compared by.
#[derive(Clone, Copy)]
pub(in crate::neighbors) struct Above<'a> {
    pub tile: &'a Tile,
    pub half_left: &'a [f32; MR],
    pub floor_left: &'a [f32; MR],
    pub half_right: &'a [f32; NR],
    pub floor_right: &'a [f32; NR],
}

impl Above<'_> {
    /// Bit `j` of element `i` is set where the product of row `i` and column `j` lies above the smaller of their two thresholds,
    /// the half norm of the one plus the floor of the other.
    pub(in crate::neighbors) fn bits(self) -> [u32; MR] {
        match simd::isa() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `isa` gives only what the processor has.
            simd::Isa::Avx512 => unsafe { x86::above_avx512(self) },
            _ => simd::run(self),
        }
    }
}

impl Kernel for Above<'_> {
    type Output = [u32; MR];

    /// Looks first whether a row has any such product, which vectorises, and rarely further.
    #[inline(always)]
    fn call(self) -> [u32; MR] {
        let Above { tile, half_left, floor_left, half_right, floor_right } = self;
        std::array::from_fn(|i| {
            let above = |j: usize| {
                let (own, other) = (half_right[j] + floor_left[i], half_left[i] + floor_right[j]);
                tile[i][j] > if own < other { own } else { other }
            };
            let mut any = false;
            for j in 0..NR {
                any |= above(j);
            }
            if any { (0..NR).fold(0, |bits, j| bits | u32::from(above(j)) << j) } else { 0 }
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Above, MR, NR};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub(super) fn above_avx512(above: Above<'_>) -> [u32; MR] {
        const LANES: usize = 16;
        let Above { tile, half_left, floor_left, half_right, floor_right } = above;
        // SAFETY: every load of sixteen values stays inside an array of `NR`, which is two of them.
        unsafe {
            let load = |values: &[f32; NR], half: usize| _mm512_loadu_ps(values.as_ptr().add(half * LANES));
            let half_right = [load(half_right, 0), load(half_right, 1)];
            let floor_right = [load(floor_right, 0), load(floor_right, 1)];
            let mut passed = [0u32; MR];
            for i in 0..MR {
                let (half_left, floor_left) = (_mm512_set1_ps(half_left[i]), _mm512_set1_ps(floor_left[i]));
                for half in 0..2 {
                    let own = _mm512_add_ps(half_right[half], floor_left);
                    let other = _mm512_add_ps(half_left, floor_right[half]);
                    let bits =
                        _mm512_cmp_ps_mask::<_CMP_GT_OQ>(load(&tile[i], half), _mm512_min_ps(own, other));
                    passed[i] |= u32::from(bits) << (half * LANES);
                }
            }
            passed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_comparison_of_a_tile_gives_the_bits_of_the_plain_one() {
        let value = |seed: usize, i: usize| ((i * 7919 + seed * 104_729) % 1013) as f32 / 507.0 - 1.0;
        let tile: Tile = std::array::from_fn(|i| std::array::from_fn(|j| value(1, i * NR + j)));
        let mut half_left: [f32; MR] = std::array::from_fn(|i| value(2, i).abs());
        let mut floor_left: [f32; MR] = std::array::from_fn(|i| value(3, i));
        let half_right: [f32; NR] = std::array::from_fn(|j| value(4, j).abs());
        let mut floor_right: [f32; NR] = std::array::from_fn(|j| value(5, j));
        floor_left[2] = crate::neighbors::exact::top_k::ACCEPT_ALL;
        (half_left[3], floor_left[3]) = (f32::MAX, f32::MAX);
        floor_right[9] = f32::MAX;
        let above = Above {
            tile: &tile,
            half_left: &half_left,
            floor_left: &floor_left,
            half_right: &half_right,
            floor_right: &floor_right,
        };
        let plain = above.call();
        simd::testing::with_each_isa(|isa| assert_eq!(above.bits(), plain, "{isa:?}"));
        assert_eq!(plain[2], u32::MAX);
        assert_eq!(plain[3], 0);
        assert!(plain.iter().any(|&bits| bits != 0 && bits != u32::MAX));
    }
}
