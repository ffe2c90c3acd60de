//! Gray levels of a picture in colour: its luma, or what is most like the gray levels of another.

use super::plane::Plane;
use super::transform::Transform;

/// Red, green and blue.
pub(super) type Colours = [Plane; 3];
/// Weights of red, green and blue, and a constant.
pub(super) type Mix = [f32; 4];
/// ITU-R 601-2 luma.
pub(super) const LUMA: Mix = [0.299, 0.587, 0.114, 0.0];

/// A sum of channels.
pub(super) fn mixed([r, g, b]: &Colours, mix: &Mix) -> Plane {
    let values = r.values.iter().zip(&g.values).zip(&b.values);
    let values = values.map(|((r, g), b)| mix[0] * r + mix[1] * g + mix[2] * b + mix[3]).collect();
    Plane { width: r.width, height: r.height, values }
}

/// The sum of the second picture's channels that is most like the first one's luma where they overlap: a copy whose hue was turned, or
/// that lost its colours, has gray levels of its own. Drawn towards luma, so that a gray picture stays one.
pub(super) fn colour_mix(fixed: &Plane, channels: &Colours, map: &Transform) -> Mix {
    const STEP: usize = 3;
    const RIDGE: f32 = 0.02;
    let mut rows: Vec<[f32; 4]> = Vec::new();
    for y in (0..fixed.height).step_by(STEP) {
        for x in (0..fixed.width).step_by(STEP) {
            let (u, v) = map.apply(x as f32, y as f32);
            if let [Some(r), Some(g), Some(b)] = channels.each_ref().map(|c| c.sample(u, v)) {
                rows.push([r, g, b, fixed.values[y * fixed.width + x]]);
            }
        }
    }
    let n = rows.len() as f32;
    if n < 40.0 {
        return LUMA;
    }
    let mean = |i: usize| rows.iter().map(|row| row[i]).sum::<f32>() / n;
    let means = [mean(0), mean(1), mean(2), mean(3)];
    let mut m = [[0.0f32; 4]; 3];
    for row in &rows {
        let mut centred = *row;
        centred.iter_mut().zip(&means).for_each(|(value, mean)| *value -= mean);
        for (sums, one) in m.iter_mut().zip(&centred) {
            sums.iter_mut().zip(&centred).for_each(|(sum, other)| *sum += one * other);
        }
    }
    // The gain of luma alone is what the ridge draws to.
    let luma_row = |j: usize| (0..3).map(|i| LUMA[i] * m[i][j]).sum::<f32>();
    let luma_variance: f32 = (0..3).map(|j| LUMA[j] * luma_row(j)).sum();
    let gain = if luma_variance > 0.0 { (luma_row(3) / luma_variance).clamp(0.2, 5.0) } else { 1.0 };
    let ridge = RIDGE * (m[0][0] + m[1][1] + m[2][2]) + n;
    for (i, row) in m.iter_mut().enumerate() {
        row[i] += ridge;
        row[3] += ridge * gain * LUMA[i];
    }
    let det = |c: [[f32; 3]; 3]| {
        c[0][0] * (c[1][1] * c[2][2] - c[1][2] * c[2][1]) - c[0][1] * (c[1][0] * c[2][2] - c[1][2] * c[2][0])
            + c[0][2] * (c[1][0] * c[2][1] - c[1][1] * c[2][0])
    };
    let whole = m.map(|row| [row[0], row[1], row[2]]);
    let total = det(whole);
    if total.is_nan() || total == 0.0 {
        return LUMA;
    }
    let mut mix = [0.0; 4];
    for k in 0..3 {
        let mut changed = whole;
        changed.iter_mut().zip(&m).for_each(|(row, known)| row[k] = known[3]);
        mix[k] = det(changed) / total;
    }
    mix[3] = means[3] - (0..3).map(|k| mix[k] * means[k]).sum::<f32>();
    if mix.iter().all(|v| v.is_finite()) { mix } else { LUMA }
}
