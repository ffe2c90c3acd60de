//! Distances between two rows: the exact one that results are made of, and a fast one that walks a graph.
//! Each is one sequence of roundings, whatever the instruction set: a fixed number of lanes, summed in a fixed tree.
//! The plain versions are the definition; the vector versions give their bits. They are written with intrinsics because compilers make
//! far slower code of the plain ones (of the exact one eight times, with AVX2).

use crate::ops::simd;

/// Lanes of the exact sum: element `k` is added to lane `k % EXACT_LANES`.
const EXACT_LANES: usize = 16;
/// Lanes of the fast sum.
const FAST_LANES: usize = 32;
/// Elements between two looks at the limit of [`squared_l2_within`].
const LOOK_EVERY: usize = 8 * EXACT_LANES;

/// Squared Euclidean distance of two rows `[D]`: differences, squares and sum in float64.
///
/// Zero exactly where the rows are equal. The same bits on every machine and for either order of the arguments.
///
/// # Panics
/// If the rows differ in length.
pub fn squared_l2(a: &[f32], b: &[f32]) -> f64 {
    squared_l2_within(a, b, f64::INFINITY).unwrap_or(f64::INFINITY)
}

/// [`squared_l2`] where it is at most `limit`, `None` where it is above; a far pair is given up early.
///
/// # Panics
/// If the rows differ in length.
pub fn squared_l2_within(a: &[f32], b: &[f32], limit: f64) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "rows of different width");
    match simd::isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` gives only what the processor has.
        simd::Isa::Avx512 => unsafe { x86::exact_avx512(a, b, limit) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        simd::Isa::Avx2 => unsafe { x86::exact_avx2(a, b, limit) },
        _ => exact_lanes(a, b, limit),
    }
}

/// Squared Euclidean distance of `scale * a` and `scale * b` in float32, for ordering candidates.
///
/// The relative error is below `(D + 2) * 2^-24` as long as the squares stay inside the range of float32, which `scale` is for.
/// Never NaN and never negative for finite rows.
///
/// # Panics
/// If the rows differ in length.
pub fn squared_l2_f32(a: &[f32], b: &[f32], scale: f32) -> f32 {
    assert_eq!(a.len(), b.len(), "rows of different width");
    match simd::isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` gives only what the processor has.
        simd::Isa::Avx512 => unsafe { x86::fast_avx512(a, b, scale) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        simd::Isa::Avx2 => unsafe { x86::fast_avx2(a, b, scale) },
        _ => fast_lanes(a, b, scale),
    }
}

/// Twice the relative error of [`squared_l2_f32`] for rows of `width` values.
pub(in crate::neighbors) fn squared_l2_f32_error(width: usize) -> f64 {
    (width + 2) as f64 * f64::from(f32::EPSILON)
}

/// Giving up early changes no answer: a partial sum of squares never exceeds the rounded whole, since every rounding is monotone.
#[inline(always)]
fn exact_lanes(a: &[f32], b: &[f32], limit: f64) -> Option<f64> {
    let mut lanes = [0.0f64; EXACT_LANES];
    let mut stretches = a.chunks(LOOK_EVERY).zip(b.chunks(LOOK_EVERY)).peekable();
    while let Some((a, b)) = stretches.next() {
        let (groups_a, rest_a) = a.as_chunks::<EXACT_LANES>();
        let (groups_b, rest_b) = b.as_chunks::<EXACT_LANES>();
        for (a, b) in groups_a.iter().zip(groups_b) {
            for l in 0..EXACT_LANES {
                let difference = f64::from(a[l]) - f64::from(b[l]);
                lanes[l] += difference * difference;
            }
        }
        for ((a, b), lane) in rest_a.iter().zip(rest_b).zip(&mut lanes) {
            let difference = f64::from(*a) - f64::from(*b);
            *lane += difference * difference;
        }
        if limit < f64::INFINITY && stretches.peek().is_some() && sum_tree(lanes) > limit {
            return None;
        }
    }
    let sum = sum_tree(lanes);
    (sum <= limit).then_some(sum)
}

#[inline(always)]
fn sum_tree(mut lanes: [f64; EXACT_LANES]) -> f64 {
    let mut width = EXACT_LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn fast_lanes(a: &[f32], b: &[f32], scale: f32) -> f32 {
    let mut lanes = [0.0f32; FAST_LANES];
    let (groups_a, rest_a) = a.as_chunks::<FAST_LANES>();
    let (groups_b, rest_b) = b.as_chunks::<FAST_LANES>();
    for (a, b) in groups_a.iter().zip(groups_b) {
        for l in 0..FAST_LANES {
            let difference = a[l] * scale - b[l] * scale;
            lanes[l] = difference.mul_add(difference, lanes[l]);
        }
    }
    for ((a, b), lane) in rest_a.iter().zip(rest_b).zip(&mut lanes) {
        let difference = a * scale - b * scale;
        *lane = difference.mul_add(difference, *lane);
    }
    let mut width = FAST_LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{EXACT_LANES, FAST_LANES, LOOK_EVERY};
    use std::arch::x86_64::*;

    /// `rest` with zeros behind it: what they add to a lane leaves its bits as they are.
    #[inline(always)]
    fn padded<const LANES: usize>(rest: &[f32]) -> [f32; LANES] {
        let mut group = [0.0; LANES];
        group[..rest.len()].copy_from_slice(rest);
        group
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn exact_avx512(a: &[f32], b: &[f32], limit: f64) -> Option<f64> {
        let mut lanes = [_mm512_setzero_pd(); 2];
        let add = |lanes: &mut [__m512d; 2], a: &[f32; EXACT_LANES], b: &[f32; EXACT_LANES]| {
            for (half, lanes) in lanes.iter_mut().enumerate() {
                // SAFETY: two loads of eight values from arrays of sixteen.
                let (a, b) = unsafe {
                    (_mm256_loadu_ps(a.as_ptr().add(8 * half)), _mm256_loadu_ps(b.as_ptr().add(8 * half)))
                };
                let difference = _mm512_sub_pd(_mm512_cvtps_pd(a), _mm512_cvtps_pd(b));
                *lanes = _mm512_add_pd(*lanes, _mm512_mul_pd(difference, difference));
            }
        };
        let sum = |lanes: [__m512d; 2]| {
            let eight = _mm512_add_pd(lanes[0], lanes[1]);
            sum_of_four(_mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd::<1>(eight)))
        };
        let bounded = limit < f64::INFINITY;
        for (a, b) in a.chunks(LOOK_EVERY).zip(b.chunks(LOOK_EVERY)) {
            let (groups_a, rest_a) = a.as_chunks::<EXACT_LANES>();
            let (groups_b, rest_b) = b.as_chunks::<EXACT_LANES>();
            for (a, b) in groups_a.iter().zip(groups_b) {
                add(&mut lanes, a, b);
            }
            if !rest_a.is_empty() {
                add(&mut lanes, &padded(rest_a), &padded(rest_b));
            }
            if bounded && sum(lanes) > limit {
                return None;
            }
        }
        Some(sum(lanes)).filter(|&sum| sum <= limit)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn exact_avx2(a: &[f32], b: &[f32], limit: f64) -> Option<f64> {
        let mut lanes = [_mm256_setzero_pd(); 4];
        let add = |lanes: &mut [__m256d; 4], a: &[f32; EXACT_LANES], b: &[f32; EXACT_LANES]| {
            for (quarter, lanes) in lanes.iter_mut().enumerate() {
                let at = 4 * quarter;
                // SAFETY: four loads of four values from arrays of sixteen.
                let (a, b) = unsafe { (_mm_loadu_ps(a.as_ptr().add(at)), _mm_loadu_ps(b.as_ptr().add(at))) };
                let difference = _mm256_sub_pd(_mm256_cvtps_pd(a), _mm256_cvtps_pd(b));
                *lanes = _mm256_add_pd(*lanes, _mm256_mul_pd(difference, difference));
            }
        };
        let sum = |lanes: [__m256d; 4]| {
            let (low, high) = (_mm256_add_pd(lanes[0], lanes[2]), _mm256_add_pd(lanes[1], lanes[3]));
            sum_of_four(_mm256_add_pd(low, high))
        };
        let bounded = limit < f64::INFINITY;
        for (a, b) in a.chunks(LOOK_EVERY).zip(b.chunks(LOOK_EVERY)) {
            let (groups_a, rest_a) = a.as_chunks::<EXACT_LANES>();
            let (groups_b, rest_b) = b.as_chunks::<EXACT_LANES>();
            for (a, b) in groups_a.iter().zip(groups_b) {
                add(&mut lanes, a, b);
            }
            if !rest_a.is_empty() {
                add(&mut lanes, &padded(rest_a), &padded(rest_b));
            }
            if bounded && sum(lanes) > limit {
                return None;
            }
        }
        Some(sum(lanes)).filter(|&sum| sum <= limit)
    }

    #[target_feature(enable = "avx2")]
    fn sum_of_four(four: __m256d) -> f64 {
        let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
        _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn fast_avx512(a: &[f32], b: &[f32], scale: f32) -> f32 {
        let scale = _mm512_set1_ps(scale);
        let mut lanes = [_mm512_setzero_ps(); 2];
        let add = |lanes: &mut [__m512; 2], a: &[f32; FAST_LANES], b: &[f32; FAST_LANES]| {
            for (half, lanes) in lanes.iter_mut().enumerate() {
                // SAFETY: two loads of sixteen values from arrays of thirty-two.
                let (a, b) = unsafe {
                    (_mm512_loadu_ps(a.as_ptr().add(16 * half)), _mm512_loadu_ps(b.as_ptr().add(16 * half)))
                };
                let difference = _mm512_sub_ps(_mm512_mul_ps(a, scale), _mm512_mul_ps(b, scale));
                *lanes = _mm512_fmadd_ps(difference, difference, *lanes);
            }
        };
        let (groups_a, rest_a) = a.as_chunks::<FAST_LANES>();
        let (groups_b, rest_b) = b.as_chunks::<FAST_LANES>();
        for (a, b) in groups_a.iter().zip(groups_b) {
            add(&mut lanes, a, b);
        }
        if !rest_a.is_empty() {
            add(&mut lanes, &padded(rest_a), &padded(rest_b));
        }
        let sixteen = _mm512_castps_pd(_mm512_add_ps(lanes[0], lanes[1]));
        let low = _mm256_castpd_ps(_mm512_castpd512_pd256(sixteen));
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(sixteen));
        sum_of_eight(_mm256_add_ps(low, high))
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn fast_avx2(a: &[f32], b: &[f32], scale: f32) -> f32 {
        let scale = _mm256_set1_ps(scale);
        let mut lanes = [_mm256_setzero_ps(); 4];
        let add = |lanes: &mut [__m256; 4], a: &[f32; FAST_LANES], b: &[f32; FAST_LANES]| {
            for (quarter, lanes) in lanes.iter_mut().enumerate() {
                let at = 8 * quarter;
                // SAFETY: four loads of eight values from arrays of thirty-two.
                let (a, b) =
                    unsafe { (_mm256_loadu_ps(a.as_ptr().add(at)), _mm256_loadu_ps(b.as_ptr().add(at))) };
                let difference = _mm256_sub_ps(_mm256_mul_ps(a, scale), _mm256_mul_ps(b, scale));
                *lanes = _mm256_fmadd_ps(difference, difference, *lanes);
            }
        };
        let (groups_a, rest_a) = a.as_chunks::<FAST_LANES>();
        let (groups_b, rest_b) = b.as_chunks::<FAST_LANES>();
        for (a, b) in groups_a.iter().zip(groups_b) {
            add(&mut lanes, a, b);
        }
        if !rest_a.is_empty() {
            add(&mut lanes, &padded(rest_a), &padded(rest_b));
        }
        let (low, high) = (_mm256_add_ps(lanes[0], lanes[2]), _mm256_add_ps(lanes[1], lanes[3]));
        sum_of_eight(_mm256_add_ps(low, high))
    }

    #[target_feature(enable = "avx2")]
    fn sum_of_eight(eight: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seed: usize, width: usize) -> Vec<f32> {
        (0..width).map(|i| ((i * 7919 + seed * 104_729) % 2027) as f32 / 509.0 - 2.0).collect()
    }

    #[test]
    fn every_width_agrees_with_a_plain_sum() {
        for width in 0..300 {
            let (a, b) = (row(1, width), row(2, width));
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            let exact = squared_l2(&a, &b);
            assert!((exact - plain).abs() <= 1e-13 * plain, "{width}: {exact} {plain}");
            let fast = f64::from(squared_l2_f32(&a, &b, 1.0));
            assert!((fast - plain).abs() <= 1e-5 * plain, "{width}: {fast} {plain}");
            let scaled = f64::from(squared_l2_f32(&a, &b, 0.25));
            assert_eq!(scaled * 16.0, fast);
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for width in [1, 15, 16, 17, 64, 127, 129, 768, 1000] {
            let (a, b) = (row(3, width), row(4, width));
            simd::testing::with_each_isa(|isa| {
                assert_eq!(Some(squared_l2(&a, &b)), exact_lanes(&a, &b, f64::INFINITY), "{isa:?}");
                assert_eq!(squared_l2(&a, &b), squared_l2(&b, &a), "{isa:?}");
                assert_eq!(squared_l2_f32(&a, &b, 1.0), fast_lanes(&a, &b, 1.0), "{isa:?}");
            });
        }
    }

    #[test]
    fn a_limit_refuses_what_is_above_it_and_nothing_else() {
        let (a, b) = (row(5, 500), row(6, 500));
        let exact = squared_l2(&a, &b);
        assert_eq!(squared_l2_within(&a, &b, exact), Some(exact));
        assert_eq!(squared_l2_within(&a, &b, exact.next_down()), None);
        assert_eq!(squared_l2_within(&a, &b, exact / 100.0), None);
    }

    #[test]
    fn near_rows_far_from_the_origin_keep_their_distance() {
        let a = vec![1000.0f32; 64];
        let mut b = a.clone();
        b[7] = 1000.0f32.next_up();
        assert_eq!(squared_l2(&a, &b), (f64::from(b[7]) - 1000.0).powi(2));
        assert_eq!(squared_l2(&a, &a), 0.0);
        assert!(squared_l2(&[f32::MAX], &[-f32::MAX]).is_finite());
        assert!(squared_l2(&[f32::from_bits(1)], &[0.0]) > 0.0);
    }
}
