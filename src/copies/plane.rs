//! A channel of a small picture in float32, with what is needed to lay one picture over another: smoothing, halving, sampling.

use super::transform::Transform;

/// A channel, `[height, width]`, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

impl Plane {
    /// A plane of one value.
    pub(super) fn filled(width: usize, height: usize, value: f32) -> Self {
        Self { width, height, values: vec![value; width * height] }
    }

    /// The rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// The value at integer coordinates, which are clamped to the plane.
    pub(super) fn at(&self, x: isize, y: isize) -> f32 {
        let x = x.clamp(0, self.width as isize - 1) as usize;
        let y = y.clamp(0, self.height as isize - 1) as usize;
        self.values.get(y * self.width + x).copied().unwrap_or_default()
    }

    /// The value between pixels (bilinear); `None` outside of the centres of the outermost pixels.
    #[inline]
    pub(super) fn sample(&self, x: f32, y: f32) -> Option<f32> {
        if !(x >= 0.0 && y >= 0.0 && x <= (self.width - 1) as f32 && y <= (self.height - 1) as f32) {
            return None;
        }
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let right = usize::from(left + 1 < self.width);
        let below = if top + 1 < self.height { self.width } else { 0 };
        let at = top * self.width + left;
        let corner = |offset: usize| self.values.get(at + offset).copied().unwrap_or_default();
        let (a, b) = (corner(0), corner(right));
        let (c, d) = (corner(below), corner(below + right));
        let upper = a + (b - a) * fx;
        let lower = c + (d - c) * fx;
        Some(upper + (lower - upper) * fy)
    }

    /// As [`Plane::sample`], with the slopes along x and y.
    #[inline]
    pub(super) fn sample_with_slopes(&self, x: f32, y: f32) -> Option<(f32, f32, f32)> {
        let (left, top) = (x as usize, y as usize);
        if !(x >= 0.0 && y >= 0.0 && left + 1 < self.width && top + 1 < self.height) {
            return None;
        }
        let (fx, fy) = (x - left as f32, y - top as f32);
        let at = top * self.width + left;
        let [a, b] = *self.values.get(at..at + 2)? else { return None };
        let [c, d] = *self.values.get(at + self.width..at + self.width + 2)? else { return None };
        let (upper, lower) = (a + (b - a) * fx, c + (d - c) * fx);
        let along = (b - a) + ((d - c) - (b - a)) * fy;
        Some((upper + (lower - upper) * fy, along, lower - upper))
    }

    /// Smoothed by a Gaussian of `sigma` pixels; the outermost pixels are repeated beyond the edge.
    pub(super) fn smoothed(&self, sigma: f32) -> Self {
        let radius = (3.0 * sigma).ceil() as usize;
        let weight = |i: usize| (-0.5 * (i as f32 / sigma).powi(2)).exp();
        let total = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f32>();
        let taps: Vec<f32> = (0..=radius).map(|i| weight(i) / total).collect();
        let mut across = Self::filled(self.width, self.height, 0.0);
        let mut padded = vec![0.0; self.width + 2 * radius];
        for (row, out) in self.rows().zip(across.values.chunks_exact_mut(self.width)) {
            let (Some(&first), Some(&last)) = (row.first(), row.last()) else { continue };
            padded[..radius].fill(first);
            padded[radius..radius + row.len()].copy_from_slice(row);
            padded[radius + row.len()..].fill(last);
            for (i, &tap) in taps.iter().enumerate() {
                let left = &padded[radius - i..][..row.len()];
                let right = &padded[radius + i..][..row.len()];
                if i == 0 {
                    out.iter_mut().zip(left).for_each(|(o, v)| *o = tap * v);
                } else {
                    out.iter_mut().zip(left.iter().zip(right)).for_each(|(o, (l, r))| *o += tap * (l + r));
                }
            }
        }
        let mut down = Self::filled(self.width, self.height, 0.0);
        let rows: Vec<&[f32]> = across.rows().collect();
        for (y, out) in down.values.chunks_exact_mut(self.width).enumerate() {
            for (i, &tap) in taps.iter().enumerate() {
                let above = rows[y.saturating_sub(i)];
                let below = rows[(y + i).min(rows.len() - 1)];
                let tap = if i == 0 { 0.5 * tap } else { tap };
                out.iter_mut().zip(above.iter().zip(below)).for_each(|(o, (a, b))| *o += tap * (a + b));
            }
        }
        down
    }

    /// Half as wide and high: means of 2 x 2 pixels.
    pub(super) fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height as isize {
            for x in 0..width as isize {
                let at = |dx, dy| self.at(2 * x + dx, 2 * y + dy);
                values.push(0.25 * (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)));
            }
        }
        Self { width, height, values }
    }

    /// Resized to `width` x `height` by bilinear sampling, after smoothing where it becomes smaller.
    pub(super) fn resized(&self, width: usize, height: usize) -> Self {
        let shrink = (self.width as f32 / width as f32).max(self.height as f32 / height as f32);
        let smooth;
        let source = if shrink > 1.05 {
            smooth = self.smoothed(0.5 * (shrink * shrink - 1.0).sqrt().max(0.2));
            &smooth
        } else {
            self
        };
        let (sx, sy) = (self.width as f32 / width as f32, self.height as f32 / height as f32);
        let limit = |v: f32, n: usize| v.clamp(0.0, (n - 1) as f32);
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            let v = limit((y as f32 + 0.5) * sy - 0.5, self.height);
            for x in 0..width {
                let u = limit((x as f32 + 0.5) * sx - 0.5, self.width);
                values.push(source.sample(u, v).unwrap_or_default());
            }
        }
        Self { width, height, values }
    }

    /// Left and right exchanged.
    pub(super) fn mirrored(&self) -> Self {
        let values = self.rows().flat_map(|row| row.iter().rev().copied()).collect();
        Self { width: self.width, height: self.height, values }
    }

    /// The plane as it is seen from a grid of `width` x `height` whose coordinates `transform` maps to this plane's; `NAN` outside.
    pub(super) fn warped(&self, transform: &Transform, width: usize, height: usize) -> Self {
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (u, v) = transform.apply(x as f32, y as f32);
                values.push(self.sample(u, v).unwrap_or(f32::NAN));
            }
        }
        Self { width, height, values }
    }
}
