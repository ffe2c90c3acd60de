//! `exp`, `erf` and GELU in float32 that compilers turn into vector code: polynomials without branches or tables.
//! Every step is an exactly rounded operation, so that all instruction sets give the same bits.

/// Below and above these, `exp` is no normal float32 number.
const EXP_RANGE: (f32, f32) = (-87.0, 88.0);
/// Added and subtracted, this rounds to an integer: 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;
const EXPONENT_BIAS: u32 = 127;
const MANTISSA_BITS: u32 = 23;
/// `ln 2` in two parts, the first with trailing zeros (Cody and Waite).
const LN_2: (f32, f32) = (0.693_145_75, 1.428_606_8e-6);

/// `e^x` to 1 unit in the last place; `x` is kept within -87..=88.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(EXP_RANGE.0, EXP_RANGE.1);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    let f = n.mul_add(-LN_2.1, n.mul_add(-LN_2.0, x));
    let series = [8.373_124_5e-3, 4.166_953_6e-2, 1.666_647_2e-1, 4.999_998_5e-1, 1.0, 1.0];
    let value = series.into_iter().fold(1.378_059_4e-3f32, |sum, c| sum.mul_add(f, c));
    let exponent = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(EXPONENT_BIAS);
    value * f32::from_bits(exponent << MANTISSA_BITS)
}

/// Where the series around 0 gives way to the exponential.
const ERF_SPLIT: f32 = 0.927_734_4;
/// `erf` is 1 from here on.
const ERF_END: f32 = 4.0;

/// The error function to about 1 unit in the last place.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let (t, s) = (x.abs().min(ERF_END), x * x);
    let inner = [4.991_194e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1];
    let inner = inner.into_iter().fold(-5.967_617e-4f32, |sum, c| sum.mul_add(s, c)).mul_add(x, x);
    let outer =
        [3.831_97e-4, -3.883_964_4e-3, 2.425_462_2e-2, -1.067_777_9e-1, -6.348_469e-1, -1.287_175_1e-1];
    let outer = outer.into_iter().fold(-1.728_534_7e-5f32, |sum, c| sum.mul_add(t, c)).mul_add(t, -t);
    let outer = (1.0 - exp(outer)).copysign(x);
    if t > ERF_SPLIT { outer } else { inner }
}

/// `x * Phi(x)`, the exact GELU (Hendrycks and Gimpel, 2016).
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The derivative of [`gelu`]: `Phi(x) + x * phi(x)`.
#[inline(always)]
pub(super) fn gelu_slope(x: f32) -> f32 {
    const INVERSE_SQRT_TAU: f32 = 0.398_942_3;
    let cumulative = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
    (x * INVERSE_SQRT_TAU).mul_add(exp(-0.5 * x * x), cumulative)
}

/// `1 / (1 + e^-x)`, and what it lacks to 1, which is exact where it is small.
#[inline(always)]
fn logistic(x: f32) -> (f32, f32) {
    let inverse = exp(-x);
    let value = 1.0 / (1.0 + inverse);
    (value, inverse * value)
}

/// What the error function of GELU is replaced by where it is approximated by `tanh`: `sqrt(2 / pi) * (x + 0.044715 x^3)`.
pub(super) const TANH_GELU: (f64, f64) = (0.797_884_560_802_865_4, 0.044_715);
/// The factor of [`quick_gelu`].
pub(super) const QUICK_GELU: f64 = 1.702;

/// Twice the argument of `tanh` by [`TANH_GELU`], and its derivative.
#[inline(always)]
fn tanh_argument(x: f32) -> (f32, f32) {
    let (scale, cubic) = (2.0 * TANH_GELU.0 as f32, TANH_GELU.1 as f32);
    (scale * x * (cubic * x).mul_add(x, 1.0), scale * (3.0 * cubic * x).mul_add(x, 1.0))
}

/// GELU by `tanh`: `x / 2 * (1 + tanh(u)) = x * logistic(2 u)`, `u` by [`TANH_GELU`].
#[inline(always)]
pub(super) fn tanh_gelu(x: f32) -> f32 {
    x * logistic(tanh_argument(x).0).0
}

/// The derivative of [`tanh_gelu`].
#[inline(always)]
pub(super) fn tanh_gelu_slope(x: f32) -> f32 {
    let (argument, slope) = tanh_argument(x);
    let (gate, rest) = logistic(argument);
    (x * slope * rest).mul_add(gate, gate)
}

/// `x * logistic(1.702 x)`, what OpenAI's CLIP has for GELU.
#[inline(always)]
pub(super) fn quick_gelu(x: f32) -> f32 {
    x * logistic(QUICK_GELU as f32 * x).0
}

/// The derivative of [`quick_gelu`].
#[inline(always)]
pub(super) fn quick_gelu_slope(x: f32) -> f32 {
    let (gate, rest) = logistic(QUICK_GELU as f32 * x);
    (x * QUICK_GELU as f32 * rest).mul_add(gate, gate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Maclaurin series of `erf` in float64; enough for `|x| <= 4`.
    fn erf_series(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn exp_and_erf_are_right_to_the_last_places() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 1.5e-7, "exp({x}) = {}", exp(x));
        }
        for i in -3999..4000 {
            let x = i as f32 / 1000.0;
            let exact = erf_series(f64::from(x));
            let bound = 1.5e-7 * exact.abs() + 1e-30;
            assert!((f64::from(erf(x)) - exact).abs() < bound, "erf({x}) = {}, not {exact}", erf(x));
        }
        assert_eq!((erf(30.0), erf(-30.0), erf(f32::INFINITY)), (1.0, -1.0, 1.0));
    }

    #[test]
    fn gelu_passes_a_nan_on_and_its_slope_is_that_of_differences() {
        assert!(gelu(f32::NAN).is_nan() && gelu_slope(f32::NAN).is_nan() && exp(f32::NAN).is_nan());
        let exact = |x: f64| 0.5 * x * (1.0 + erf_series(x / 2f64.sqrt()));
        for i in -50..50 {
            let x = f64::from(i) / 10.0;
            assert!((f64::from(gelu(x as f32)) - exact(x)).abs() < 1e-6);
            let difference = (exact(x + 1e-5) - exact(x - 1e-5)) / 2e-5;
            assert!((f64::from(gelu_slope(x as f32)) - difference).abs() < 1e-6, "{x}");
        }
    }
}
