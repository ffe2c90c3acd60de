//! Lays one picture over another: starting from a map that is about right, Gauss-Newton steps on the difference of gray levels, for an
//! affine map, a gain and an offset (Lucas and Kanade). Pixels that differ much, such as text written over a copy, count little.

use super::plane::Plane;
use super::transform::Transform;

/// Unknowns: six of the map, gain and offset.
const UNKNOWNS: usize = 8;
/// Width of the rows of sums: unknowns, the difference, and what fills the registers of a processor.
const WIDE: usize = 12;
/// Fewest pixels that a step is computed from.
const FEWEST: usize = 40;
/// Of a plane of more pixels than this, every second one along each side is used.
const MOST: usize = 5_000;
/// Gray level that sums are taken around.
const MIDDLE: f32 = 128.0;
/// Times that gain and offset are fitted, each time with less weight on what does not fit.
const ROUNDS: usize = 3;
/// Steps shorter than this, in pixels, end the search.
const ENOUGH: f32 = 0.02;

/// Improves `start`, which maps the pixels of `fixed` to `moving`, in at most `steps` steps; `None` where the pictures no longer overlap
/// or there is nothing to hold on to.
pub(super) fn refined(fixed: &Plane, moving: &Plane, start: &Transform, steps: usize) -> Option<Transform> {
    let mut map = *start;
    let every = if fixed.values.len() > MOST { 2 } else { 1 };
    let (cx, cy) = (0.5 * (fixed.width - 1) as f32, 0.5 * (fixed.height - 1) as f32);
    let size = fixed.width.max(fixed.height) as f32;
    let (mut gain, mut offset) = (1.0f32, 0.0f32);
    let mut spread = f32::INFINITY;
    for step in 0..steps {
        if step == 0 {
            (gain, offset, spread) = gain_and_offset(fixed, moving, &map, every)?;
        }
        let mut normal = [[0.0f64; UNKNOWNS + 1]; UNKNOWNS];
        let (mut used, mut squares, mut weights) = (0, 0.0f32, 0.0f32);
        for y in (0..fixed.height).step_by(every) {
            // The sums of a row in float32 are added up in float64.
            let mut sums = [[0.0f32; WIDE]; UNKNOWNS];
            for x in (0..fixed.width).step_by(every) {
                let (u, v) = map.apply(x as f32, y as f32);
                let Some((value, right, below)) = moving.sample_with_slopes(u, v) else { continue };
                let error = fixed.values[y * fixed.width + x] - (gain * value + offset);
                let weight = if spread.is_finite() { 1.0 / (1.0 + (error / spread).powi(2)) } else { 1.0 };
                let (gx, gy) = (gain * right, gain * below);
                let (nx, ny) = ((x as f32 - cx) / size, (y as f32 - cy) / size);
                let row = [gx * nx, gx * ny, gx, gy * nx, gy * ny, gy, value, 1.0, error, 0.0, 0.0, 0.0];
                // Both triangles: whole rows at a time are faster than half of them.
                for (sums, &value) in sums.iter_mut().zip(&row) {
                    let scaled = weight * value;
                    sums.iter_mut().zip(&row).for_each(|(sum, other)| *sum += scaled * other);
                }
                used += 1;
                squares += weight * error * error;
                weights += weight;
            }
            for (total, sums) in normal.iter_mut().zip(&sums) {
                total.iter_mut().zip(sums).for_each(|(t, &s)| *t += f64::from(s));
            }
        }
        if used < FEWEST {
            return None;
        }
        let delta = solved(normal)?;
        let [a, b, c, d, e, f, g, o] = delta.map(|v| v as f32);
        // Of coordinates (x - cx) / size.
        map.a += a / size;
        map.b += b / size;
        map.c += c - (a * cx + b * cy) / size;
        map.d += d / size;
        map.e += e / size;
        map.f += f - (d * cx + e * cy) / size;
        gain += g;
        offset += o;
        if !map.is_plausible() {
            return None;
        }
        spread = 1.5 * (squares / weights.max(1e-6)).sqrt() + 1.0;
        if [a, b, c, d, e, f].iter().all(|v| v.abs() < ENOUGH) {
            break;
        }
    }
    Some(map)
}

/// The gain and offset with which the overlapping pixels are most alike, and how far apart most of them still are; pixels that stay far
/// apart count little.
fn gain_and_offset(fixed: &Plane, moving: &Plane, map: &Transform, every: usize) -> Option<(f32, f32, f32)> {
    let mut pairs = Vec::with_capacity(fixed.values.len());
    for y in (0..fixed.height).step_by(every) {
        for x in (0..fixed.width).step_by(every) {
            let (u, v) = map.apply(x as f32, y as f32);
            if let Some(value) = moving.sample(u, v) {
                pairs.push((value - MIDDLE, fixed.values[y * fixed.width + x] - MIDDLE));
            }
        }
    }
    if pairs.len() < FEWEST {
        return None;
    }
    let (mut gain, mut offset, mut spread) = (1.0, 0.0, f32::INFINITY);
    for _ in 0..ROUNDS {
        let (mut n, mut sx, mut sy, mut sxx, mut sxy) = (0.0f32, 0.0, 0.0, 0.0, 0.0);
        for &(value, wanted) in &pairs {
            let error = wanted - gain * value - offset;
            let weight = if spread.is_finite() { 1.0 / (1.0 + (error / spread).powi(2)) } else { 1.0 };
            n += weight;
            sx += weight * value;
            sy += weight * wanted;
            sxx += weight * value * value;
            sxy += weight * value * wanted;
        }
        let variance = sxx - sx * sx / n;
        if variance.is_nan() || variance <= 0.5 * n {
            return None;
        }
        gain = ((sxy - sx * sy / n) / variance).clamp(0.1, 5.0);
        offset = (sy - gain * sx) / n;
        let errors: f32 = pairs.iter().map(|(value, wanted)| (wanted - gain * value - offset).abs()).sum();
        spread = errors / pairs.len() as f32 + 1.0;
    }
    Some((gain, MIDDLE + offset - gain * MIDDLE, spread))
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
        let found = refined(&fixed, &moving, &start, 40).unwrap();
        for (x, y) in [(5.0, 5.0), (50.0, 8.0), (20.0, 45.0)] {
            let (p, q) = (map.apply(x, y), found.apply(x, y));
            assert!((p.0 - q.0).hypot(p.1 - q.1) < 0.3, "{p:?} {q:?}");
        }
        assert!(
            refined(&Plane::filled(64, 64, 9.0), &moving, &start, 10).is_none_or(|map| map.is_plausible())
        );
    }
}
