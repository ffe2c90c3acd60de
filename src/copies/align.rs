//! Lays one picture over another: starting from a map that is about right, Gauss-Newton steps on the difference of gray levels, for an
//! affine map, a gain and an offset (Lucas and Kanade). Pixels that differ much, such as text written over a copy, count little.

use super::overlap::{Overlap, dot, sum};
use super::plane::Plane;
use super::transform::Transform;
use crate::ops::simd::{self, Kernel};

/// Unknowns: six of the map, gain and offset.
const UNKNOWNS: usize = 8;
/// Pixels that are worked on side by side, in vector registers.
const LANES: usize = 8;
/// Fewest pixels that a step is computed from.
const FEWEST: usize = 40;
/// Gray level that sums are taken around.
const MIDDLE: f32 = 128.0;
/// Times that gain and offset are fitted, each time with less weight on what does not fit.
const ROUNDS: usize = 3;
/// Steps shorter than this, in pixels, end the search.
const ENOUGH: f32 = 0.02;

/// Improves `start`, which maps the pixels of `fixed` to `moving`, in at most `steps` steps, each computed from every `every`-th pixel of
/// every `every`-th row; `None` where the pictures no longer overlap or there is nothing to hold on to.
pub(super) fn refined(
    fixed: &Plane,
    moving: &Plane,
    start: &Transform,
    steps: usize,
    every: usize,
) -> Option<Transform> {
    let mut map = *start;
    let (cx, cy) = (0.5 * (fixed.width - 1) as f32, 0.5 * (fixed.height - 1) as f32);
    let size = fixed.width.max(fixed.height) as f32;
    let mut seen = Overlap::of(fixed, every);
    let mut light = Light { gain: 1.0, offset: 0.0, spread: f32::INFINITY };
    for step in 0..steps {
        if seen.meet(moving, &map) < FEWEST {
            return None;
        }
        if step == 0 {
            light = Light::of(&seen)?;
        }
        let sums = simd::run(StepSums { seen: &seen, light, centre: (cx, cy), size });
        let [a, b, c, d, e, f, gain, offset] = solved(sums.normal)?.map(|v| v as f32);
        // Of coordinates (x - cx) / size.
        map.a += a / size;
        map.b += b / size;
        map.c += c - (a * cx + b * cy) / size;
        map.d += d / size;
        map.e += e / size;
        map.f += f - (d * cx + e * cy) / size;
        light.gain += gain;
        light.offset += offset;
        if !map.is_plausible() {
            return None;
        }
        light.spread = 1.5 * (sums.squares / sums.weights.max(1e-6)).sqrt() + 1.0;
        if [a, b, c, d, e, f].iter().all(|v| v.abs() < ENOUGH) {
            break;
        }
    }
    Some(map)
}

/// How gray levels of one picture become those of the other, and how far apart they still are: pixels further apart count little.
#[derive(Clone, Copy)]
struct Light {
    gain: f32,
    offset: f32,
    spread: f32,
}

impl Light {
    /// The gain and offset with which the pixels are most alike.
    fn of(seen: &Overlap) -> Option<Self> {
        let mut light = Self { gain: 1.0, offset: 0.0, spread: f32::INFINITY };
        for _ in 0..ROUNDS {
            light = simd::run(LightFit { seen, light })?;
        }
        Some(Self { offset: MIDDLE + light.offset - light.gain * MIDDLE, ..light })
    }

    /// What a pixel that is `error` apart counts: 1 where nothing is known of how far apart they are.
    #[inline(always)]
    fn weight(inverse_spread: f32, error: f32) -> f32 {
        let times = error * inverse_spread;
        1.0 / (1.0 + times * times)
    }
}

/// A better fit of gain and offset, of gray levels around [`MIDDLE`].
struct LightFit<'a> {
    seen: &'a Overlap,
    light: Light,
}

impl Kernel for LightFit<'_> {
    type Output = Option<Light>;

    #[inline(always)]
    fn call(self) -> Option<Light> {
        let Overlap { ours, theirs, inside, .. } = self.seen;
        let (gain, offset, inverse) = (self.light.gain, self.light.offset, 1.0 / self.light.spread);
        let mut weights = vec![0.0; inside.len()];
        let (mut values, mut wanted, mut weighted) = (weights.clone(), weights.clone(), weights.clone());
        for ((value, theirs), (wanted, ours)) in
            values.iter_mut().zip(theirs).zip(wanted.iter_mut().zip(ours))
        {
            (*value, *wanted) = (theirs - MIDDLE, ours - MIDDLE);
        }
        for ((weight, inside), (value, wanted)) in
            weights.iter_mut().zip(inside).zip(values.iter().zip(&wanted))
        {
            *weight = inside * Light::weight(inverse, wanted - gain * value - offset);
        }
        for (out, (value, weight)) in weighted.iter_mut().zip(values.iter().zip(&weights)) {
            *out = value * weight;
        }
        let (n, sx, sy) = (sum(&weights), sum(&weighted), dot(&weights, &wanted));
        let (sxx, sxy) = (dot(&weighted, &values), dot(&weighted, &wanted));
        let variance = sxx - sx * sx / n;
        if variance.is_nan() || variance <= 0.5 * n {
            return None;
        }
        let gain = ((sxy - sx * sy / n) / variance).clamp(0.1, 5.0);
        let offset = (sy - gain * sx) / n;
        for (out, (value, wanted)) in weighted.iter_mut().zip(values.iter().zip(&wanted)) {
            *out = (wanted - gain * value - offset).abs();
        }
        let spread = dot(&weighted, inside) / sum(inside) + 1.0;
        Some(Light { gain, offset, spread })
    }
}

/// What a step is computed from.
struct Sums {
    /// Normal equations, the right side in the last column.
    normal: [[f64; UNKNOWNS + 1]; UNKNOWNS],
    /// Weighted squares of what is left, and the weights.
    squares: f32,
    weights: f32,
}

struct StepSums<'a> {
    seen: &'a Overlap,
    light: Light,
    centre: (f32, f32),
    size: f32,
}

impl Kernel for StepSums<'_> {
    type Output = Sums;

    #[inline(always)]
    fn call(self) -> Sums {
        let Self { seen, light: Light { gain, offset, spread }, centre: (cx, cy), size } = self;
        let (inverse, scale) = (1.0 / spread, 1.0 / size);
        // What each pixel says of each unknown, and its error, as columns.
        let mut columns: [Vec<f32>; UNKNOWNS + 1] = std::array::from_fn(|_| vec![0.0; seen.len()]);
        let mut weights = vec![0.0; seen.len()];
        let places = seen
            .x
            .as_chunks::<LANES>()
            .0
            .iter()
            .zip(seen.y.as_chunks::<LANES>().0)
            .zip(seen.inside.as_chunks::<LANES>().0);
        let levels = seen.ours.as_chunks::<LANES>().0.iter().zip(seen.theirs.as_chunks::<LANES>().0);
        let slopes = seen.right.as_chunks::<LANES>().0.iter().zip(seen.below.as_chunks::<LANES>().0);
        for (block, (((x, y), inside), ((ours, theirs), (right, below)))) in
            places.zip(levels.zip(slopes)).enumerate()
        {
            let mut numbers = [[0.0; LANES]; UNKNOWNS + 1];
            let mut weight = [0.0; LANES];
            for lane in 0..LANES {
                let error = ours[lane] - (gain * theirs[lane] + offset);
                weight[lane] = inside[lane] * Light::weight(inverse, error);
                let (gx, gy) = (gain * right[lane], gain * below[lane]);
                let (nx, ny) = ((x[lane] - cx) * scale, (y[lane] - cy) * scale);
                let of_pixel = [gx * nx, gx * ny, gx, gy * nx, gy * ny, gy, theirs[lane], 1.0, error];
                for (column, number) in numbers.iter_mut().zip(of_pixel) {
                    column[lane] = number;
                }
            }
            let start = block * LANES;
            for (column, numbers) in columns.iter_mut().zip(&numbers) {
                column[start..start + LANES].copy_from_slice(numbers);
            }
            weights[start..start + LANES].copy_from_slice(&weight);
        }
        let mut normal = [[0.0; UNKNOWNS + 1]; UNKNOWNS];
        let mut weighted = vec![0.0; seen.len()];
        let mut squares = 0.0;
        for i in 0..UNKNOWNS + 1 {
            for (out, (value, weight)) in weighted.iter_mut().zip(columns[i].iter().zip(&weights)) {
                *out = value * weight;
            }
            for j in i..UNKNOWNS + 1 {
                let sum = dot(&weighted, &columns[j]);
                match (i < UNKNOWNS, j < UNKNOWNS) {
                    (true, true) => (normal[i][j], normal[j][i]) = (sum.into(), sum.into()),
                    (true, false) => normal[i][j] = sum.into(),
                    (false, _) => squares = sum,
                }
            }
        }
        // The column of the offset is all ones.
        Sums { weights: normal[UNKNOWNS - 1][UNKNOWNS - 1] as f32, normal, squares }
    }
}

/// Solves normal equations, a little damped; `None` if they are singular.
fn solved(mut m: [[f64; UNKNOWNS + 1]; UNKNOWNS]) -> Option<[f64; UNKNOWNS]> {
    for (i, row) in m.iter_mut().enumerate() {
        row[i] = row[i] * 1.001 + 1e-3;
    }
    for i in 0..UNKNOWNS {
        let (upper, lower) = m.split_at_mut(i + 1);
        let above = upper[i];
        if !above[i].is_finite() || above[i].abs() < 1e-9 {
            return None;
        }
        for row in lower {
            let factor = row[i] / above[i];
            row.iter_mut().zip(&above).skip(i).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut x = [0.0; UNKNOWNS];
    for (i, row) in m.iter().enumerate().rev() {
        let known: f64 = row.iter().zip(&x).skip(i + 1).map(|(value, x)| value * x).sum();
        x[i] = (row[UNKNOWNS] - known) / row[i];
    }
    x.iter().all(|v| v.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_map_is_found_though_a_part_is_covered_and_the_light_differs() {
        let picture = |x: f32, y: f32| {
            120.0 + 50.0 * (0.13 * x).sin() * (0.09 * y + 0.4).cos() + 30.0 * (0.05 * (x + 2.0 * y)).sin()
        };
        let plane = |of: &dyn Fn(f32, f32) -> f32| {
            let values = (0..64 * 64).map(|i| of((i % 64) as f32, (i / 64) as f32)).collect();
            Plane { width: 64, height: 64, values }
        };
        let map = Transform { a: 0.95, b: 0.03, c: 2.5, d: -0.02, e: 1.04, f: -1.5 };
        let moving = plane(&picture);
        let fixed = plane(&|x, y| {
            let (u, v) = map.apply(x, y);
            if y > 54.0 { 250.0 } else { 0.7 * picture(u, v) + 20.0 }
        });
        let start = Transform { a: 1.0, b: 0.0, c: 1.0, d: 0.0, e: 1.0, f: 0.0 };
        let found = refined(&fixed, &moving, &start, 40, 1).unwrap();
        for (x, y) in [(5.0, 5.0), (50.0, 8.0), (20.0, 45.0)] {
            let (p, q) = (map.apply(x, y), found.apply(x, y));
            assert!((p.0 - q.0).hypot(p.1 - q.1) < 0.3, "{p:?} {q:?}");
        }
        assert!(
            refined(&Plane::filled(64, 64, 9.0), &moving, &start, 10, 1).is_none_or(|map| map.is_plausible())
        );
    }
}
