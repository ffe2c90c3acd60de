//! Two planes laid over each other: what each pixel of one meets in the other. Steps are done for all pixels at once, in vector registers.

use super::plane::Plane;
use super::transform::Transform;
use crate::ops::simd::{self, Kernel};

/// Numbers are kept in multiples of so many: what fills up the last ones is outside.
const SIDE_BY_SIDE: usize = 32;

/// Pixels whose places are found side by side.
const LANES: usize = 8;

/// Pixels of a plane, and what they meet in another one under a map.
pub(super) struct Overlap {
    /// Places, and values there.
    pub(super) x: Vec<f32>,
    pub(super) y: Vec<f32>,
    pub(super) ours: Vec<f32>,
    /// 1 where the map leads into the other plane, else 0.
    pub(super) inside: Vec<f32>,
    /// Values of the other plane there (bilinear), and its slopes along x and y.
    pub(super) theirs: Vec<f32>,
    pub(super) right: Vec<f32>,
    pub(super) below: Vec<f32>,
    /// Upper left of the four pixels around a place, where it is between them, and their values.
    at: Vec<u32>,
    fx: Vec<f32>,
    fy: Vec<f32>,
    corners: [Vec<f32>; 4],
    pixels: usize,
    area: f32,
}

impl Overlap {
    /// Of every `every`-th pixel of every `every`-th row of a plane; nothing is met yet.
    pub(super) fn of(plane: &Plane, every: usize) -> Self {
        let pixels = plane.width.div_ceil(every) * plane.height.div_ceil(every);
        let padded = pixels.next_multiple_of(SIDE_BY_SIDE);
        let (mut x, mut y, mut ours) =
            (Vec::with_capacity(padded), Vec::with_capacity(padded), Vec::with_capacity(padded));
        for (row, values) in plane.rows().enumerate().step_by(every) {
            x.extend((0..plane.width).step_by(every).map(|x| x as f32));
            y.extend(std::iter::repeat_n(row as f32, plane.width.div_ceil(every)));
            ours.extend(values.iter().step_by(every));
        }
        for numbers in [&mut x, &mut y, &mut ours] {
            numbers.resize(padded, 0.0);
        }
        let zeros = || vec![0.0; padded];
        Self {
            x,
            y,
            ours,
            inside: zeros(),
            theirs: zeros(),
            right: zeros(),
            below: zeros(),
            at: vec![0; padded],
            fx: zeros(),
            fy: zeros(),
            corners: std::array::from_fn(|_| zeros()),
            pixels,
            area: plane.values.len() as f32,
        }
    }

    /// How many pixels of the first plane are used.
    pub(super) fn pixels(&self) -> usize {
        self.pixels
    }

    /// How many pixels the first plane has, used or not.
    pub(super) fn area(&self) -> f32 {
        self.area
    }

    /// How many numbers there are of each kind.
    pub(super) fn len(&self) -> usize {
        self.x.len()
    }

    /// What is met in `other` under a map; returns how many pixels are inside.
    pub(super) fn meet(&mut self, other: &Plane, map: &Transform) -> usize {
        simd::run(Places { map, other, overlap: self });
        // What fills up is outside.
        self.inside[self.pixels..].fill(0.0);
        let width = other.width;
        let pair = |at: usize| {
            other.values.get(at..).and_then(|values| values.first_chunk()).copied().unwrap_or([0.0; 2])
        };
        let [a, b, c, d] = &mut self.corners;
        let corners = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
        for (((a, b), (c, d)), &at) in corners.zip(&self.at) {
            [*a, *b] = pair(at as usize);
            [*c, *d] = pair(at as usize + width);
        }
        simd::run(Between(self));
        sum(&self.inside) as usize
    }
}

/// Where the map leads.
struct Places<'a> {
    map: &'a Transform,
    other: &'a Plane,
    overlap: &'a mut Overlap,
}

impl Kernel for Places<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { map, other, overlap } = self;
        let (right, bottom) = ((other.width - 1) as f32, (other.height - 1) as f32);
        let (last_left, last_top) = ((right - 1.0).max(0.0), (bottom - 1.0).max(0.0));
        let width = other.width as f32;
        let places = overlap.x.as_chunks::<LANES>().0.iter().zip(overlap.y.as_chunks::<LANES>().0);
        let between =
            overlap.fx.as_chunks_mut::<LANES>().0.iter_mut().zip(overlap.fy.as_chunks_mut::<LANES>().0);
        let found =
            overlap.at.as_chunks_mut::<LANES>().0.iter_mut().zip(overlap.inside.as_chunks_mut::<LANES>().0);
        let Transform { a, b, c, d, e, f } = *map;
        for ((x, y), ((fx, fy), (at, inside))) in places.zip(between.zip(found)) {
            // Arrays of their own, so that the compiler sees that nothing overlaps.
            let u: [f32; LANES] = std::array::from_fn(|i| a * x[i] + b * y[i] + c);
            let v: [f32; LANES] = std::array::from_fn(|i| d * x[i] + e * y[i] + f);
            let left: [f32; LANES] = u.map(|u| whole(u.max(0.0).min(last_left)));
            let top: [f32; LANES] = v.map(|v| whole(v.max(0.0).min(last_top)));
            *inside = std::array::from_fn(|i| {
                let is_inside = (u[i] >= 0.0) & (v[i] >= 0.0) & (u[i] <= right) & (v[i] <= bottom);
                if is_inside { 1.0 } else { 0.0 }
            });
            *at = std::array::from_fn(|i| (top[i] * width + left[i] + WHOLE).to_bits() - WHOLE.to_bits());
            *fx = std::array::from_fn(|i| u[i] - left[i]);
            *fy = std::array::from_fn(|i| v[i] - top[i]);
        }
    }
}

/// From here on float32 holds whole numbers only, one for each bit pattern.
const WHOLE: f32 = (1 << 23) as f32;

/// The whole part of a number from 0 to 2^22: without a cast, which would keep loops from becoming vector code.
#[inline(always)]
fn whole(number: f32) -> f32 {
    let nearest = (number + WHOLE) - WHOLE;
    if nearest > number { nearest - 1.0 } else { nearest }
}

/// Values and slopes between pixels; 0 outside.
struct Between<'a>(&'a mut Overlap);

impl Kernel for Between<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Overlap { theirs, right, below, corners: [a, b, c, d], fx, fy, inside, .. } = self.0;
        let corners = a.iter().zip(b.iter()).zip(c.iter().zip(d.iter()));
        let places = fx.iter().zip(fy.iter()).zip(inside.iter());
        let outs = theirs.iter_mut().zip(right.iter_mut()).zip(below.iter_mut());
        for (((theirs, right), below), (((a, b), (c, d)), ((fx, fy), inside))) in
            outs.zip(corners.zip(places))
        {
            let (upper, lower) = (a + (b - a) * fx, c + (d - c) * fx);
            *theirs = (upper + (lower - upper) * fy) * inside;
            *right = ((b - a) + ((d - c) - (b - a)) * fy) * inside;
            *below = (lower - upper) * inside;
        }
    }
}

/// The sum of products of numbers, in an order that does not depend on the registers.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; SIDE_BY_SIDE];
    for (a, b) in a.as_chunks::<SIDE_BY_SIDE>().0.iter().zip(b.as_chunks::<SIDE_BY_SIDE>().0) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// The sum of numbers, likewise.
#[inline(always)]
pub(super) fn sum(a: &[f32]) -> f32 {
    let mut sums = [0.0f32; SIDE_BY_SIDE];
    for a in a.as_chunks::<SIDE_BY_SIDE>().0 {
        for (sum, a) in sums.iter_mut().zip(a) {
            *sum += a;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_meet_what_is_between_the_pixels_of_the_other() {
        let plane = |width: usize, height: usize| {
            // A slope: bilinear values are exact.
            let values =
                (0..width * height).map(|i| 3.0 * (i % width) as f32 + 5.0 * (i / width) as f32).collect();
            Plane { width, height, values }
        };
        let (ours, theirs) = (plane(9, 7), plane(6, 5));
        let map = Transform { a: 0.8, b: 0.1, c: -0.75, d: -0.2, e: 0.9, f: 0.5 };
        for every in [1, 2] {
            let mut overlap = Overlap::of(&ours, every);
            let inside = overlap.meet(&theirs, &map);
            assert_eq!(overlap.pixels(), if every == 1 { 63 } else { 20 });
            let mut count = 0;
            for i in 0..overlap.len() {
                let (x, y) = (overlap.x[i], overlap.y[i]);
                let (u, v) = map.apply(x, y);
                let is_inside = i < overlap.pixels() && u >= 0.0 && v >= 0.0 && u <= 5.0 && v <= 4.0;
                let expected = if is_inside { [1.0, 3.0 * u + 5.0 * v, 3.0, 5.0] } else { [0.0; 4] };
                let found = [overlap.inside[i], overlap.theirs[i], overlap.right[i], overlap.below[i]];
                assert!(
                    found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4),
                    "{found:?} {expected:?}"
                );
                count += usize::from(is_inside);
            }
            assert_eq!(inside, count);
            assert!(count > 4);
        }
    }
}
