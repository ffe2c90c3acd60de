//! Affine maps between the coordinates of two pictures.

/// `(x, y) -> (a x + b y + c, d x + e y + f)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Transform {
    pub(super) a: f32,
    pub(super) b: f32,
    pub(super) c: f32,
    pub(super) d: f32,
    pub(super) e: f32,
    pub(super) f: f32,
}

/// A place in one picture and the same in another.
pub(super) type Pair = ((f32, f32), (f32, f32));

impl Transform {
    /// Scaled along each axis, then moved.
    pub(super) fn scaled(scale: (f32, f32), shift: (f32, f32)) -> Self {
        Self { a: scale.0, b: 0.0, c: shift.0, d: 0.0, e: scale.1, f: shift.1 }
    }

    /// Where a point lands.
    #[inline]
    pub(super) fn apply(&self, x: f32, y: f32) -> (f32, f32) {
        (self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f)
    }

    /// The similarity that takes two points to two others; `None` if the first two are one.
    pub(super) fn similarity(from: [(f32, f32); 2], to: [(f32, f32); 2]) -> Option<Self> {
        let (ux, uy) = (from[1].0 - from[0].0, from[1].1 - from[0].1);
        let (vx, vy) = (to[1].0 - to[0].0, to[1].1 - to[0].1);
        let norm = ux * ux + uy * uy;
        if norm <= f32::EPSILON {
            return None;
        }
        let (re, im) = ((ux * vx + uy * vy) / norm, (ux * vy - uy * vx) / norm);
        let c = to[0].0 - re * from[0].0 + im * from[0].1;
        let f = to[0].1 - im * from[0].0 - re * from[0].1;
        Some(Self { a: re, b: -im, c, d: im, e: re, f })
    }

    /// The affine map with the least squares of errors over weighted pairs of points, drawn a little towards `prior`, so that few
    /// points do not bend it; `None` if it cannot be solved.
    pub(super) fn fitted(pairs: &[Pair], prior: &Self) -> Option<Self> {
        let n = pairs.len() as f64;
        let (mx, my) =
            pairs.iter().fold((0.0, 0.0), |(x, y), (p, _)| (x + f64::from(p.0) / n, y + f64::from(p.1) / n));
        let (mut xx, mut xy, mut yy) = (PULL, 0.0, PULL);
        let (mut ux, mut uy, mut vx, mut vy, mut mu, mut mv) = (
            PULL * f64::from(prior.a),
            PULL * f64::from(prior.b),
            PULL * f64::from(prior.d),
            PULL * f64::from(prior.e),
            0.0,
            0.0,
        );
        for (p, q) in pairs {
            let (x, y) = (f64::from(p.0) - mx, f64::from(p.1) - my);
            let (u, v) = (f64::from(q.0), f64::from(q.1));
            (xx, xy, yy) = (xx + x * x, xy + x * y, yy + y * y);
            (ux, uy, vx, vy) = (ux + u * x, uy + u * y, vx + v * x, vy + v * y);
            (mu, mv) = (mu + u / n, mv + v / n);
        }
        let det = xx * yy - xy * xy;
        if pairs.is_empty() || det <= f64::EPSILON {
            return None;
        }
        let (a, b) = ((ux * yy - uy * xy) / det, (uy * xx - ux * xy) / det);
        let (d, e) = ((vx * yy - vy * xy) / det, (vy * xx - vx * xy) / det);
        let (c, f) = (mu - a * mx - b * my, mv - d * mx - e * my);
        let [a, b, c, d, e, f] = [a, b, c, d, e, f].map(|v| v as f32);
        Some(Self { a, b, c, d, e, f })
    }

    /// The map between grids of which each is `factor` times as fine.
    pub(super) fn at_scale(&self, factor: f32) -> Self {
        // The centre of the first pixel is at 0: coordinates of a finer grid are (x + 1/2) factor - 1/2.
        let offset = 0.5 * factor - 0.5;
        let c = self.c * factor + offset - (self.a + self.b) * offset;
        let f = self.f * factor + offset - (self.d + self.e) * offset;
        Self { c, f, ..*self }
    }

    /// How areas grow.
    pub(super) fn determinant(&self) -> f32 {
        self.a * self.e - self.b * self.d
    }

    /// The lengths that the axes get.
    fn lengths(&self) -> (f32, f32) {
        (self.a.hypot(self.d), self.b.hypot(self.e))
    }

    /// How much more one axis is stretched than the other, as the absolute logarithm of their ratio.
    pub(super) fn stretch(&self) -> f32 {
        let (x, y) = self.lengths();
        (x.max(1e-6) / y.max(1e-6)).ln().abs()
    }

    /// By what angle the axes turn on average, in radians, and how far they are from being at right angles (cosine).
    pub(super) fn turn_and_shear(&self) -> (f32, f32) {
        let (x, y) = self.lengths();
        let turn = 0.5 * (self.d.atan2(self.a) + (-self.b).atan2(self.e));
        (turn.abs(), ((self.a * self.b + self.d * self.e) / (x * y).max(1e-6)).abs())
    }

    /// Whether this is how a picture is edited: no more than three times as large or small, turned or stretched a little.
    pub(super) fn is_plausible(&self) -> bool {
        let det = self.determinant();
        let (turn, shear) = self.turn_and_shear();
        let all = [self.a, self.b, self.c, self.d, self.e, self.f];
        all.iter().all(|v| v.is_finite())
            && (1.0 / MOST_AREA..=MOST_AREA).contains(&det)
            && self.stretch() <= MOST_STRETCH
            && turn <= MOST_TURN
            && shear <= MOST_SHEAR
    }
}

/// How strongly few points are drawn to the map that selected them, in squared pixels.
const PULL: f64 = 50.0;
/// Largest change of area.
const MOST_AREA: f32 = 9.0;
/// Largest difference between the scales of the axes, as a logarithm.
const MOST_STRETCH: f32 = 0.5;
/// Largest turn in radians: 20 degrees.
const MOST_TURN: f32 = 0.35;
/// Largest cosine between the axes.
const MOST_SHEAR: f32 = 0.15;

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Transform = Transform { a: 1.2, b: 0.1, c: -3.0, d: -0.05, e: 0.9, f: 7.0 };

    #[test]
    fn a_map_is_recovered_from_the_places_it_brings_together() {
        let places: Vec<(f32, f32)> =
            (0..30).map(|i| ((i * 37 % 101) as f32, (i * 53 % 97) as f32)).collect();
        let pairs: Vec<_> = places.iter().map(|&(x, y)| ((x, y), MAP.apply(x, y))).collect();
        let found = Transform::fitted(&pairs, &MAP).unwrap();
        for &(x, y) in &places {
            let (p, q) = (MAP.apply(x, y), found.apply(x, y));
            assert!((p.0 - q.0).abs() < 1e-2 && (p.1 - q.1).abs() < 1e-2, "{p:?} {q:?}");
        }
    }

    #[test]
    fn a_similarity_takes_two_points_to_two_others() {
        let (from, to) = ([(1.0, 2.0), (5.0, -1.0)], [(0.0, 3.0), (7.0, 4.0)]);
        let map = Transform::similarity(from, to).unwrap();
        for (from, to) in from.into_iter().zip(to) {
            let (x, y) = map.apply(from.0, from.1);
            assert!((x - to.0).abs() < 1e-5 && (y - to.1).abs() < 1e-5);
        }
        assert_eq!((map.a, map.b), (map.e, -map.d));
        assert!(Transform::similarity([(1.0, 1.0); 2], to).is_none());
    }

    #[test]
    fn on_a_grid_twice_as_fine_the_same_places_are_brought_together() {
        // The centre of pixel x of the coarse grid is at 2 x + 1/2 of the fine one.
        let fine = MAP.at_scale(2.0);
        for (x, y) in [(0.0, 0.0), (10.0, 3.0)] {
            let (u, v) = MAP.apply(x, y);
            let (p, q) = fine.apply(2.0 * x + 0.5, 2.0 * y + 0.5);
            assert!((p - (2.0 * u + 0.5)).abs() < 1e-4 && (q - (2.0 * v + 0.5)).abs() < 1e-4);
        }
    }

    #[test]
    fn what_no_edit_does_is_not_plausible() {
        let scaled = |x, y| Transform::scaled((x, y), (0.0, 0.0));
        assert!(scaled(1.0, 1.0).is_plausible() && scaled(0.5, 0.55).is_plausible());
        assert!(!scaled(4.0, 4.0).is_plausible() && !scaled(1.0, 2.0).is_plausible());
        assert!(!scaled(-1.0, 1.0).is_plausible() && !scaled(f32::NAN, 1.0).is_plausible());
    }
}
