//! Corners of a small picture and what is around each, as histograms of gradients: what is found again in an edited copy.
//! Orientation is kept, not normalised away: copies are turned by a few degrees at most, and what is upright tells more.

use super::plane::Plane;
use crate::ops::simd::{self, Kernel};

/// Cells of a descriptor along each side.
const CELLS: usize = 4;
/// Directions that a cell tells apart.
const DIRECTIONS: usize = 8;
/// The length of a descriptor, whose numbers are bytes.
pub(super) const LENGTH: f32 = 255.0;
/// Numbers of a descriptor.
pub(super) const WIDTH: usize = CELLS * CELLS * DIRECTIONS;
/// Pixels of a cell along each side, at the point's own scale.
const CELL_PIXELS: usize = 4;
/// Each scale is so many times coarser than the one before.
const SCALE_STEP: f32 = 1.35;
/// Scales and the points kept at each.
const POINTS_AT_SCALE: [usize; 5] = [70, 55, 40, 30, 20];
/// Pixels around the edge, at each scale, where no point is looked for.
const MARGIN: usize = 4;
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
    /// Square roots of the shares of gradients, `[CELLS, CELLS, DIRECTIONS]`, times [`LENGTH`].
    pub(super) histogram: [u8; WIDTH],
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
    let window = Window::new();
    let mut points = Vec::new();
    let mut scale = 1.0f32;
    for count in POINTS_AT_SCALE {
        let size = |n: usize| (n as f32 / scale).round() as usize;
        let (width, height) = (size(plane.width), size(plane.height));
        if width.min(height) < 2 * MARGIN + 2 {
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
                histogram: gradients.histogram(x, y, &window),
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
    /// Lengths of the gradients.
    size: Plane,
    /// Their directions, in [`DIRECTIONS`] to the turn, from 0.
    turn: Plane,
}

impl Gradients {
    fn of(plane: &Plane) -> Self {
        let (width, height) = (plane.width, plane.height);
        let (mut dx, mut dy) = (plane.clone(), plane.clone());
        let rows: Vec<&[f32]> = plane.rows().collect();
        let last = height - 1;
        let outs = dx.values.chunks_exact_mut(width).zip(dy.values.chunks_exact_mut(width));
        for (y, (dx, dy)) in outs.enumerate() {
            let (row, above, below) = (rows[y], rows[y.saturating_sub(1)], rows[(y + 1).min(last)]);
            for (out, (above, below)) in dy.iter_mut().zip(above.iter().zip(below)) {
                *out = 0.5 * (below - above);
            }
            for (out, around) in dx[1..].iter_mut().zip(row.windows(3)) {
                *out = 0.5 * (around[2] - around[0]);
            }
            dx[0] = 0.5 * (row[1] - row[0]);
            dx[width - 1] = 0.5 * (row[width - 1] - row[width - 2]);
        }
        let (mut size, mut turn) = (dx.clone(), dx.clone());
        simd::run(Polar { dx: &dx.values, dy: &dy.values, size: &mut size.values, turn: &mut turn.values });
        Self { dx, dy, size, turn }
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
        let rows: Vec<&[f32]> = strength.rows().collect();
        let mut found = Vec::new();
        for (y, three) in rows.windows(3).enumerate().skip(MARGIN - 1).take(strength.height - 2 * MARGIN) {
            for x in MARGIN..strength.width - MARGIN {
                let here = three[1][x];
                if here < WEAKEST || here <= three[1][x - 1] || here <= three[1][x + 1] {
                    continue;
                }
                let beside = three[0][x - 1..=x + 1].iter().chain(&three[2][x - 1..=x + 1]);
                if beside.copied().all(|other| here > other) {
                    found.push((here, x, y + 1));
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
                let dx = between(rows[y][x - 1], here, rows[y][x + 1]);
                let dy = between(rows[y - 1][x], here, rows[y + 1][x]);
                (x as f32 + dx, y as f32 + dy)
            })
            .collect()
    }

    /// How much gradient of each direction each cell around a point holds.
    fn histogram(&self, x: f32, y: f32, window: &Window) -> [u8; WIDTH] {
        let mut sums = [0.0f32; WIDTH];
        let (width, height) = (self.size.width, self.size.height);
        // The first pixel; those beyond the edge are taken to be those of the edge.
        let first = |at: f32| (at - HALF + 0.5).floor() as isize;
        let place =
            |first: isize, i: usize, size: usize| (first + i as isize).clamp(0, size as isize - 1) as usize;
        let (left, top) = (first(x), first(y));
        let columns: [usize; PIXELS] = std::array::from_fn(|i| place(left, i, width));
        for (j, (weights, down)) in window.weights.iter().zip(&window.cells).enumerate() {
            let start = place(top, j, height) * width;
            let sizes = &self.size.values[start..start + width];
            let turns = &self.turn.values[start..start + width];
            for ((&column, &weight), across) in columns.iter().zip(weights).zip(&window.cells) {
                let size = sizes[column];
                if size < 1e-3 {
                    continue;
                }
                let turn = turns[column];
                let direction = (turn as usize).min(DIRECTIONS - 1);
                let next = (direction + 1) % DIRECTIONS;
                let share = turn - direction as f32;
                for &(cell_y, of_y) in down.iter().filter(|cell| cell.1 > 0.0) {
                    for &(cell_x, of_x) in across.iter().filter(|cell| cell.1 > 0.0) {
                        let cell = &mut sums[(cell_y * CELLS + cell_x) * DIRECTIONS..][..DIRECTIONS];
                        let here = size * weight * of_y * of_x;
                        cell[direction] += here * (1.0 - share);
                        cell[next] += here * share;
                    }
                }
            }
        }
        normalised(&sums)
    }
}

/// Pixels of the part around a point along each side, and half of it.
const PIXELS: usize = CELLS * CELL_PIXELS;
const HALF: f32 = 0.5 * (PIXELS as f32 - 1.0);

/// What pixels around a point count for.
struct Window {
    /// Less further out.
    weights: [[f32; PIXELS]; PIXELS],
    /// The two nearest cells along one side, and the pixel's share in each; beyond the outermost cells there is none.
    cells: [[(usize, f32); 2]; PIXELS],
}

impl Window {
    fn new() -> Self {
        let from_middle = |i: usize| i as f32 - HALF;
        let weight = |i: usize, j: usize| {
            (-(from_middle(i).powi(2) + from_middle(j).powi(2)) / (2.0 * HALF * HALF)).exp()
        };
        let cells = |i: usize| {
            let at = (i as f32 + 0.5) / CELL_PIXELS as f32 - 0.5;
            let share = |cell: f32| match (0.0..CELLS as f32).contains(&cell) {
                true => (cell as usize, 1.0 - (at - cell).abs()),
                false => (0, 0.0),
            };
            [share(at.floor()), share(at.floor() + 1.0)]
        };
        Self {
            weights: std::array::from_fn(|j| std::array::from_fn(|i| weight(i, j))),
            cells: std::array::from_fn(cells),
        }
    }
}

/// Lengths and directions of gradients.
struct Polar<'a> {
    dx: &'a [f32],
    dy: &'a [f32],
    size: &'a mut [f32],
    turn: &'a mut [f32],
}

impl Kernel for Polar<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let gradients = self.dx.iter().zip(self.dy);
        for ((&dx, &dy), (size, turn)) in gradients.zip(self.size.iter_mut().zip(self.turn.iter_mut())) {
            *size = (dx * dx + dy * dy).sqrt();
            *turn = turned(dx, dy);
        }
    }
}

/// The direction of a vector, in [`DIRECTIONS`] to the turn from 0: the arc tangent by a polynomial (Hastings 1955, sheet 11), which is right
/// to 1e-5 and becomes vector code.
#[inline(always)]
fn turned(dx: f32, dy: f32) -> f32 {
    const TO_DIRECTIONS: f32 = DIRECTIONS as f32 / std::f32::consts::TAU;
    let (x, y) = (dx.abs(), dy.abs());
    let z = x.min(y) / x.max(y).max(f32::MIN_POSITIVE);
    let s = z * z;
    let octant = z
        * (0.999_866 + s * (-0.330_299_5 + s * (0.180_141 + s * (-0.085_133 + s * 0.020_835_1))))
        * TO_DIRECTIONS;
    let quarter = 0.25 * DIRECTIONS as f32;
    let quadrant = if y > x { quarter - octant } else { octant };
    let half = if dx < 0.0 { 2.0 * quarter - quadrant } else { quadrant };
    if dy < 0.0 { 4.0 * quarter - half } else { half }
}

/// Clipped shares and their square roots (Arandjelovic and Zisserman 2012).
fn normalised(sums: &[f32; WIDTH]) -> [u8; WIDTH] {
    let length = |v: &[f32; WIDTH]| v.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
    let norm = length(sums);
    let clipped = sums.map(|v| (v / norm).min(CLIP));
    let total = clipped.iter().sum::<f32>().max(1e-6);
    clipped.map(|v| (LENGTH * (v / total).sqrt()).round() as u8)
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
        let length = |h: &[u8; WIDTH]| h.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
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
    fn directions_are_those_of_the_arc_tangent() {
        for i in 0..200 {
            let angle = (i as f32 + 0.3) / 200.0 * std::f32::consts::TAU;
            let (dx, dy) = (7.0 * angle.cos(), 7.0 * angle.sin());
            let expected = angle / std::f32::consts::TAU * DIRECTIONS as f32;
            assert!((turned(dx, dy) - expected).abs() < 1e-4, "{angle}: {}", turned(dx, dy));
        }
        assert_eq!((turned(0.0, 0.0), turned(3.0, 0.0), turned(-2.0, 0.0)), (0.0, 0.0, 4.0));
    }

    #[test]
    fn a_plain_picture_has_no_points() {
        assert!(find(&Plane::filled(128, 90, 77.0)).is_empty());
        assert!(find(&Plane::filled(1, 1, 0.0)).is_empty());
    }
}
