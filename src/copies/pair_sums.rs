//! Second moments of pairs of values.

/// Sums over pairs of values, from which their variances and covariance follow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PairSums {
    count: f32,
    x: f32,
    y: f32,
    xx: f32,
    yy: f32,
    xy: f32,
}

impl PairSums {
    /// Adds a pair.
    pub(super) fn add(&mut self, x: f32, y: f32) {
        self.count += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    /// How many pairs there are.
    pub(super) fn count(&self) -> f32 {
        self.count
    }

    /// Sums of squares and of products about the means: count times both variances and the covariance.
    pub(super) fn scatter(&self) -> (f32, f32, f32) {
        let Self { count, x, y, xx, yy, xy } = *self;
        (xx - x * x / count, yy - y * y / count, xy - x * y / count)
    }
}
