//! Corners of a small picture and what is around each, as histograms of gradients: what is found again in an edited copy.
//! Orientation is kept, not normalised away: copies are turned by a few degrees at most, and what is upright tells more.

use super::plane::Plane;

/// Cells of a descriptor along each side.
const CELLS: usize = 4;
/// Directions that a cell tells apart.
const DIRECTIONS: usize = 8;
/// Numbers of a descriptor.
pub(super) const WIDTH: usize = CELLS * CELLS * DIRECTIONS;
/// Pixels of a cell along each side, at the point's own scale.
const CELL_PIXELS: usize = 4;
/// Each scale is so many times coarser than the one before.
const SCALE_STEP: f32 = 1.35;
/// Scales and the points kept at each.
const POINTS_AT_SCALE: [usize; 5] = [70, 55, 40, 30, 20];
/// Pixels around the edge, at each scale, where no point is looked for.
const MARGIN: isize = 4;
/// Smoothing before gradients are taken, in pixels of the scale.
const SMOOTHING: f32 = 0.8;
/// Window over which corners are measured.
const WINDOW: f32 = 1.2;
/// Corners weaker than this, in squared gray levels of 0..255, are noise.
const WEAKEST: f32 = 12.0;
/// Largest share of a descriptor that one number may have.
const CLIP: f32 = 0.2;

/// A corner.
#[derive(Debug, Clone)]
pub(super) struct Point {
    /// In pixels of the finest scale.
    pub(super) x: f32,
    pub(super) y: f32,
    /// Square roots of the shares of gradients, `[CELLS, CELLS, DIRECTIONS]`, times 512: their products are those of float32 to 1 %.
    pub(super) histogram: [i16; WIDTH],
}

impl Point {
    /// The same point in the mirrored picture, which is `width` pixels wide.
    pub(super) fn mirrored(&self, width: usize) -> Self {
        let mut histogram = [0; WIDTH];
        for (i, out) in histogram.iter_mut().enumerate() {
            let (cell_y, cell_x, direction) =
                (i / (CELLS * DIRECTIONS), i / DIRECTIONS % CELLS, i % DIRECTIONS);
            // A direction (dx, dy) becomes (-dx, dy).
            let direction = (DIRECTIONS + DIRECTIONS / 2 - direction) % DIRECTIONS;
            *out = self.histogram[(cell_y * CELLS + CELLS - 1 - cell_x) * DIRECTIONS + direction];
        }
        Self { x: (width - 1) as f32 - self.x, y: self.y, histogram }
    }
}

/// The strongest corners of a plane at each scale.
pub(super) fn find(plane: &Plane) -> Vec<Point> {
    let mut points = Vec::new();
    let mut scale = 1.0f32;
    for count in POINTS_AT_SCALE {
        let size = |n: usize| (n as f32 / scale).round() as usize;
        let (width, height) = (size(plane.width), size(plane.height));
        if width.min(height) < 2 * MARGIN as usize + 2 {
            break;
        }
        let level = if scale == 1.0 {
            plane.smoothed(SMOOTHING)
        } else {
            plane.resized(width, height).smoothed(SMOOTHING)
        };
        let gradients = Gradients::of(&level);
        let (sx, sy) = (plane.width as f32 / width as f32, plane.height as f32 / height as f32);
        for (x, y) in gradients.corners(count) {
            points.push(Point {
                x: (x + 0.5) * sx - 0.5,
                y: (y + 0.5) * sy - 0.5,
                histogram: gradients.histogram(x, y),
            });
        }
        scale *= SCALE_STEP;
    }
    points
}

/// Gradients of a plane.
struct Gradients {
    dx: Plane,
    dy: Plane,
}

impl Gradients {
    fn of(plane: &Plane) -> Self {
        let (mut dx, mut dy) = (plane.clone(), plane.clone());
        for y in 0..plane.height as isize {
            for x in 0..plane.width as isize {
                let at = y as usize * plane.width + x as usize;
                dx.values[at] = 0.5 * (plane.at(x + 1, y) - plane.at(x - 1, y));
                dy.values[at] = 0.5 * (plane.at(x, y + 1) - plane.at(x, y - 1));
            }
        }
        Self { dx, dy }
    }

    /// Local maxima of the smaller eigenvalue of the structure tensor, the strongest first, between pixels.
    fn corners(&self, count: usize) -> Vec<(f32, f32)> {
        let product = |a: &Plane, b: &Plane| {
            let values = a.values.iter().zip(&b.values).map(|(a, b)| a * b).collect();
            Plane { width: a.width, height: a.height, values }.smoothed(WINDOW)
        };
        let (xx, xy, yy) =
            (product(&self.dx, &self.dx), product(&self.dx, &self.dy), product(&self.dy, &self.dy));
        let values = xx
            .values
            .iter()
            .zip(&xy.values)
            .zip(&yy.values)
            .map(|((&xx, &xy), &yy)| 0.5 * (xx + yy) - (0.25 * (xx - yy) * (xx - yy) + xy * xy).sqrt());
        let strength = Plane { width: xx.width, height: xx.height, values: values.collect() };
        let mut found = Vec::new();
        for y in MARGIN..strength.height as isize - MARGIN {
            for x in MARGIN..strength.width as isize - MARGIN {
                let here = strength.at(x, y);
                if here < WEAKEST {
                    continue;
                }
                let around = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];
                if around.iter().all(|&(dx, dy)| here > strength.at(x + dx, y + dy)) {
                    found.push((here, x, y));
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.2, a.1).cmp(&(b.2, b.1))));
        found.truncate(count);
        let between = |before: f32, here: f32, after: f32| {
            let bend = before - 2.0 * here + after;
            if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 }
        };
        found
            .into_iter()
            .map(|(here, x, y)| {
                let dx = between(strength.at(x - 1, y), here, strength.at(x + 1, y));
                let dy = between(strength.at(x, y - 1), here, strength.at(x, y + 1));
                (x as f32 + dx, y as f32 + dy)
            })
            .collect()
    }

    /// How much gradient of each direction each cell around a point holds.
    fn histogram(&self, x: f32, y: f32) -> [i16; WIDTH] {
        let mut sums = [0.0f32; WIDTH];
        let pixels = CELLS * CELL_PIXELS;
        let half = 0.5 * (pixels as f32 - 1.0);
        for j in 0..pixels {
            for i in 0..pixels {
                let (ox, oy) = (i as f32 - half, j as f32 - half);
                let (px, py) = ((x + ox).round() as isize, (y + oy).round() as isize);
                let (dx, dy) = (self.dx.at(px, py), self.dy.at(px, py));
                let size = dx.hypot(dy);
                if size < 1e-3 {
                    continue;
                }
                let weight = size * (-(ox * ox + oy * oy) / (2.0 * half * half)).exp();
                let turn = dy.atan2(dx) / std::f32::consts::TAU * DIRECTIONS as f32;
                let turn = if turn < 0.0 { turn + DIRECTIONS as f32 } else { turn };
                let (cx, cy) = (
                    (i as f32 + 0.5) / CELL_PIXELS as f32 - 0.5,
                    (j as f32 + 0.5) / CELL_PIXELS as f32 - 0.5,
                );
                spread(&mut sums, cx, cy, turn, weight);
            }
        }
        normalised(&sums)
    }
}

/// Adds `weight` to the two nearest cells along each axis and the two nearest directions.
fn spread(sums: &mut [f32; WIDTH], cx: f32, cy: f32, turn: f32, weight: f32) {
    let (x0, y0, d0) = (cx.floor(), cy.floor(), turn.floor());
    let (fx, fy, fd) = (cx - x0, cy - y0, turn - d0);
    for (dy, wy) in [(0, 1.0 - fy), (1, fy)] {
        let row = y0 as isize + dy;
        if !(0..CELLS as isize).contains(&row) {
            continue;
        }
        for (dx, wx) in [(0, 1.0 - fx), (1, fx)] {
            let column = x0 as isize + dx;
            if !(0..CELLS as isize).contains(&column) {
                continue;
            }
            let cell = (row as usize * CELLS + column as usize) * DIRECTIONS;
            for (dd, wd) in [(0, 1.0 - fd), (1, fd)] {
                sums[cell + (d0 as usize + dd) % DIRECTIONS] += weight * wy * wx * wd;
            }
        }
    }
}

/// Clipped shares and their square roots (Arandjelovic and Zisserman 2012).
fn normalised(sums: &[f32; WIDTH]) -> [i16; WIDTH] {
    let length = |v: &[f32; WIDTH]| v.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
    let norm = length(sums);
    let clipped = sums.map(|v| (v / norm).min(CLIP));
    let total = clipped.iter().sum::<f32>().max(1e-6);
    clipped.map(|v| (512.0 * (v / total).sqrt()).round() as i16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waves of several directions, whose corners are everywhere.
    fn waves(width: usize, height: usize) -> Plane {
        let wave =
            |x: f32, y: f32| 120.0 + 60.0 * (0.31 * x + 0.17 * y).sin() + 50.0 * (0.22 * y - 0.4 * x).cos();
        let values = (0..width * height).map(|i| wave((i % width) as f32, (i / width) as f32)).collect();
        Plane { width, height, values }
    }

    #[test]
    fn the_points_of_the_mirrored_picture_are_the_mirrored_points() {
        let plane = waves(128, 96);
        let there = find(&plane.mirrored());
        let here = find(&plane);
        assert!(here.len() > 30, "{} points", here.len());
        let length = |h: &[i16; WIDTH]| h.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let mut found = 0;
        for point in here.iter().map(|point| point.mirrored(plane.width)) {
            let near = |other: &&Point| {
                let product: f64 = other
                    .histogram
                    .iter()
                    .zip(&point.histogram)
                    .map(|(&a, &b)| f64::from(a) * f64::from(b))
                    .sum();
                (other.x - point.x).hypot(other.y - point.y) < 1.0
                    && product > 0.9 * length(&other.histogram) * length(&point.histogram)
            };
            found += usize::from(there.iter().any(|other| near(&other)));
        }
        assert!(found * 10 >= here.len() * 9, "{found} of {}", here.len());
    }

    #[test]
    fn a_plain_picture_has_no_points() {
        assert!(find(&Plane::filled(128, 90, 77.0)).is_empty());
        assert!(find(&Plane::filled(1, 1, 0.0)).is_empty());
    }
}
