//! The random numbers of `numpy.random.RandomState(seed).randn`, so that a seed shows the image that the official programs show.
//!
//! MT19937 (Matsumoto and Nishimura 1998) seeded by `init_genrand`, 53-bit doubles, and numpy's legacy polar method
//! (Marsaglia), which keeps the second value of each pair:
//! <https://github.com/numpy/numpy/blob/main/numpy/random/src/legacy/legacy-distributions.c>.

const N: usize = 624;
const M: usize = 397;

/// numpy's legacy generator.
pub struct RandomState {
    state: [u32; N],
    next: usize,
    /// The second value of the last pair.
    kept: Option<f64>,
}

impl RandomState {
    /// `numpy.random.RandomState(seed)`.
    pub fn new(seed: u32) -> Self {
        const MULTIPLIER: u32 = 1_812_433_253;
        let mut state = [0; N];
        let mut value = seed;
        for (i, word) in (0u32..).zip(&mut state) {
            if i > 0 {
                value = MULTIPLIER.wrapping_mul(value ^ (value >> 30)).wrapping_add(i);
            }
            *word = value;
        }
        Self { state, next: N, kept: None }
    }

    fn refill(&mut self) {
        const UPPER: u32 = 0x8000_0000;
        const MATRIX: u32 = 0x9908_b0df;
        for i in 0..N {
            let y = (self.state[i] & UPPER) | (self.state[(i + 1) % N] & !UPPER);
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ if y & 1 == 1 { MATRIX } else { 0 };
        }
        self.next = 0;
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in 0..1 with 53 bits.
    fn double(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// The next standard normal number.
    fn normal(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        loop {
            let x1 = 2.0 * self.double() - 1.0;
            let x2 = 2.0 * self.double() - 1.0;
            let r2 = x1 * x1 + x2 * x2;
            if r2 < 1.0 && r2 != 0.0 {
                let f = (-2.0 * r2.ln() / r2).sqrt();
                self.kept = Some(f * x1);
                return f * x2;
            }
        }
    }

    /// `randn(n)`, one after the other.
    pub fn randn(&mut self) -> impl Iterator<Item = f64> {
        std::iter::from_fn(|| Some(self.normal()))
    }

    /// `permutation(count)`, of which `choice(count, size, replace=False)` takes the first.
    pub fn permutation(&mut self, count: u32) -> Vec<u32> {
        let mut all: Vec<u32> = (0..count).collect();
        for last in (1..count).rev() {
            // The bits that it takes, drawn until they are no larger.
            let mask = u32::MAX >> last.leading_zeros();
            let other = loop {
                let drawn = self.word() & mask;
                if drawn <= last {
                    break drawn;
                }
            };
            all.swap(last as usize, other as usize);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Printed by numpy 2: `r = RandomState(2020); r.permutation(10), r.choice(1000, 4, replace=False), r.permutation(1)`.
    #[test]
    fn permutations_are_those_of_numpy() {
        let mut random = RandomState::new(2020);
        assert_eq!(random.permutation(10), [2, 4, 9, 1, 5, 7, 6, 3, 8, 0]);
        assert_eq!(random.permutation(1000)[..4], [358, 763, 430, 530]);
        assert_eq!((random.permutation(1), random.permutation(0)), (vec![0], vec![]));
    }

    // Printed by numpy 2: `numpy.random.RandomState(seed).randn(n)`.
    #[test]
    fn normal_numbers_are_those_of_numpy() {
        let draw = |seed, n: usize| RandomState::new(seed).randn().take(n).collect::<Vec<f64>>();
        assert_eq!(
            draw(0, 7),
            [
                1.764052345967664,
                0.4001572083672233,
                0.9787379841057392,
                2.240893199201458,
                1.8675579901499675,
                -0.977277879876411,
                0.9500884175255894
            ]
        );
        let last = draw(u32::MAX, 1000);
        assert_eq!(
            [0, 1, 2, 500, 998, 999].map(|i: usize| last[i]),
            [
                0.6484086742306527,
                0.6693235306338161,
                -1.0805437227474493,
                -0.3371512942463259,
                -1.8762881428743927,
                0.8396779525796308
            ]
        );
        let many = draw(12345, 512);
        assert_eq!(
            [0, 1, 255, 511].map(|i: usize| many[i]),
            [-0.20470765948471295, 0.47894333805754824, -1.2114110666621245, -0.7267081317912971]
        );
    }
}
