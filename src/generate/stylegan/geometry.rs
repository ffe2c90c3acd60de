//! Rates, bands and sizes of StyleGAN3's layers (Karras et al. 2021, section 3.2; `SynthesisNetwork.__init__`).

use super::config::Stylegan3Config;
use crate::error::{Error, Result};
use std::f64::consts::PI;
use std::path::Path;

/// Largest map that a layer may work on, along one side and between its filters.
const MAX_SIDE: usize = 1 << 14;

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LayerGeometry {
    pub index: usize,
    pub is_torgb: bool,
    pub is_critically_sampled: bool,
    pub in_channels: usize,
    pub out_channels: usize,
    pub in_size: usize,
    pub out_size: usize,
    pub in_sampling_rate: usize,
    pub tmp_sampling_rate: usize,
    pub in_cutoff: f64,
    pub out_cutoff: f64,
    pub in_half_width: f64,
    pub out_half_width: f64,
    pub up_factor: usize,
    pub down_factor: usize,
    pub up_taps: usize,
    pub down_taps: usize,
}

impl LayerGeometry {
    /// The official name, which holds size and channels.
    pub(super) fn name(&self) -> String {
        format!("L{}_{}_{}", self.index, self.out_size, self.out_channels)
    }

    /// Zeros before and after the map between convolution and filters; negative to cut off.
    pub(super) fn padding(&self, kernel: usize) -> (isize, isize) {
        let [out, down, ins, up, up_taps, down_taps, kernel] = [
            self.out_size,
            self.down_factor,
            self.in_size,
            self.up_factor,
            self.up_taps,
            self.down_taps,
            kernel,
        ]
        .map(|n| n as isize);
        let total = (out - 1) * down + 1 - (ins + kernel - 1) * up + up_taps + down_taps - 2;
        let before = (total + up).div_euclid(2);
        (before, total - before)
    }

    /// Whether its maps can be made.
    pub(super) fn check(&self, path: &Path, kernel: usize) -> Result<()> {
        let between = (self.in_size + kernel).checked_mul(self.up_factor);
        let fits = between.is_some_and(|side| side <= MAX_SIDE)
            && (1..=MAX_SIDE).contains(&self.out_size)
            && [self.in_channels, self.out_channels].iter().all(|channels| (1..=MAX_SIDE).contains(channels));
        match fits {
            true => Ok(()),
            false => {
                Err(Error::malformed(path, format!("layer {} has no or too large maps", self.name()), ""))
            }
        }
    }
}

/// The layers of a network, the one that makes the image last.
pub(super) fn geometry(config: &Stylegan3Config) -> Vec<LayerGeometry> {
    let (layers, resolution) = (config.synthesis.num_layers, config.img_resolution as f64);
    let last_cutoff = resolution / 2.0;
    let last_stopband = last_cutoff * config.synthesis.last_stopband_rel;
    // Everything at boundary i, after which layer i begins.
    struct Boundary {
        cutoff: f64,
        half_width: f64,
        rate: usize,
        size: usize,
        channels: usize,
    }
    let boundary = |i: usize| {
        let exponent = (i as f64 / (layers - config.synthesis.num_critical) as f64).min(1.0);
        let cutoff =
            config.synthesis.first_cutoff * (last_cutoff / config.synthesis.first_cutoff).powf(exponent);
        let stopband = config.synthesis.first_stopband
            * (last_stopband / config.synthesis.first_stopband).powf(exponent);
        let rate = (stopband * 2.0).min(resolution).log2().ceil().exp2();
        let size = if i + 1 >= layers {
            config.img_resolution
        } else {
            rate as usize + 2 * config.synthesis.margin_size
        };
        let channels =
            (config.synthesis.channel_base as f64 / 2.0 / cutoff).min(config.synthesis.channel_max as f64);
        Boundary {
            cutoff,
            half_width: stopband.max(rate / 2.0) - cutoff,
            rate: rate as usize,
            size,
            channels: if i == layers { config.img_channels } else { channels.round_ties_even() as usize },
        }
    };
    let layer = |index: usize| {
        let (a, b) = (boundary(index.saturating_sub(1)), boundary(index));
        let is_torgb = index == layers;
        let is_critically_sampled = index >= layers - config.synthesis.num_critical;
        let tmp_sampling_rate =
            a.rate.max(b.rate) * if is_torgb { 1 } else { config.synthesis.lrelu_upsampling };
        let (up_factor, down_factor) = (tmp_sampling_rate / a.rate.max(1), tmp_sampling_rate / b.rate.max(1));
        let taps =
            |factor: usize| if factor > 1 && !is_torgb { config.synthesis.filter_size * factor } else { 1 };
        LayerGeometry {
            index,
            is_torgb,
            is_critically_sampled,
            in_channels: a.channels,
            out_channels: b.channels,
            in_size: a.size,
            out_size: b.size,
            in_sampling_rate: a.rate,
            tmp_sampling_rate,
            in_cutoff: a.cutoff,
            out_cutoff: b.cutoff,
            in_half_width: a.half_width,
            out_half_width: b.half_width,
            up_factor,
            down_factor,
            up_taps: taps(up_factor),
            down_taps: taps(down_factor),
        }
    };
    (0..=layers).map(layer).collect()
}

/// A low-pass filter as `design_lowpass_filter` of the official layers takes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lowpass {
    pub numtaps: usize,
    pub cutoff: f64,
    /// Of the transition band.
    pub width: f64,
    /// Sampling rate.
    pub fs: f64,
}

impl Lowpass {
    /// Kaiser-windowed taps of unit sum: `scipy.signal.firwin(numtaps, cutoff, width=width, fs=fs)`.
    pub(super) fn separable(self) -> Vec<f64> {
        let relative = self.cutoff / (self.fs / 2.0);
        let taps = self.places().zip(self.kaiser()).map(|(place, window)| {
            let phase = PI * relative * place;
            let sinc = if phase == 0.0 { 1.0 } else { phase.sin() / phase };
            relative * sinc * window
        });
        of_unit_sum(taps.collect())
    }

    /// `[numtaps, numtaps]` taps of unit sum, the same in all directions but for their window: the inverse Fourier transform of a disc,
    /// `J1(2 pi cutoff r) / (pi r)` (Karras et al. 2021, section 3.2).
    pub(super) fn radial(self) -> Vec<f64> {
        let places: Vec<(f64, f64)> = self.places().zip(self.kaiser()).collect();
        let taps = places.iter().flat_map(|&(y, of_row)| {
            places.iter().map(move |&(x, of_column)| {
                let r = x.hypot(y) / self.fs;
                let jinc = match r {
                    0.0 => self.cutoff,
                    r => bessel_j1(2.0 * PI * self.cutoff * r) / (PI * r),
                };
                jinc * of_row * of_column
            })
        });
        of_unit_sum(taps.collect())
    }

    fn middle(self) -> f64 {
        (self.numtaps as f64 - 1.0) / 2.0
    }

    /// Places of the taps, in samples from the middle.
    fn places(self) -> impl Iterator<Item = f64> {
        (0..self.numtaps).map(move |i| i as f64 - self.middle())
    }

    /// Kaiser's window, by his formulas for attenuation and shape.
    fn kaiser(self) -> impl Iterator<Item = f64> {
        let attenuation = 2.285 * (self.numtaps as f64 - 1.0) * PI * self.width / (self.fs / 2.0) + 7.95;
        let beta = match attenuation {
            a if a > 50.0 => 0.1102 * (a - 8.7),
            a if a > 21.0 => 0.5842 * (a - 21.0).powf(0.4) + 0.078_86 * (a - 21.0),
            _ => 0.0,
        };
        let middle = self.middle();
        self.places().map(move |place| {
            let place = if middle > 0.0 { place / middle } else { 0.0 };
            bessel_i0(beta * (1.0 - place * place).max(0.0).sqrt()) / bessel_i0(beta)
        })
    }
}

fn of_unit_sum(taps: Vec<f64>) -> Vec<f64> {
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| tap / sum).collect()
}

/// The Bessel function of order 1 by Bessel's integral, `1 / pi` times that of `cos(t - x sin t)` over half a turn: the trapezoidal rule
/// on a periodic function is exact to rounding once it has more points than the function has waves.
fn bessel_j1(x: f64) -> f64 {
    const SPARE_POINTS: usize = 64;
    let points = 2 * x.abs() as usize + SPARE_POINTS;
    let at = |i: usize| {
        let t = 2.0 * PI * i as f64 / points as f64;
        (t - x * t.sin()).cos()
    };
    (0..points).map(at).sum::<f64>() / points as f64
}

/// The modified Bessel function of order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    const TERMS: usize = 64;
    let quarter = x * x / 4.0;
    let terms = (1..TERMS).scan(1.0, |term, k| {
        *term *= quarter / (k * k) as f64;
        Some(*term)
    });
    1.0 + terms.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The power series of the Bessel function of order 1.
    fn series(x: f64) -> f64 {
        let terms = (0..60).scan(x / 2.0, |term, k| {
            let this = *term;
            *term *= -(x * x / 4.0) / ((k + 1) * (k + 2)) as f64;
            Some(this)
        });
        terms.sum()
    }

    #[test]
    fn the_bessel_function_has_its_tabulated_values_and_those_of_its_series() {
        // Abramowitz and Stegun, tables 9.1 and 9.5: values, and the first zero.
        for (x, value) in
            [(1.0, 0.440_050_585_744_933_5), (10.0, 0.043_472_746_168_861_44), (3.831_705_970_207_512_3, 0.0)]
        {
            assert!((bessel_j1(x) - value).abs() < 1e-14, "{x}: {}", bessel_j1(x));
        }
        for x in (0..60).map(|i| i as f64 * 0.21) {
            assert!((bessel_j1(x) - series(x)).abs() < 1e-11, "{x}: {} {}", bessel_j1(x), series(x));
        }
        // Far out it is a wave: the leading terms of its expansion.
        let x = 400.0f64;
        let phase = x - 0.75 * PI;
        let wave = (2.0 / (PI * x)).sqrt() * (phase.cos() - 0.375 / x * phase.sin());
        assert!((bessel_j1(x) - wave).abs() < 1e-7);
    }

    #[test]
    fn radial_filters_follow_their_definition_with_the_series_and_pass_what_separable_ones_pass() {
        let filter = Lowpass { numtaps: 12, cutoff: 7.3, width: 9.0, fs: 64.0 };
        let taps = filter.radial();
        let window: Vec<f64> = filter.kaiser().collect();
        let value = |y: usize, x: usize| {
            let r = ((y as f64 - 5.5).powi(2) + (x as f64 - 5.5).powi(2)).sqrt() / filter.fs;
            series(2.0 * filter.cutoff * PI * r) / (PI * r) * window[y] * window[x]
        };
        let places = || (0..12).flat_map(|y| (0..12).map(move |x| (y, x)));
        let sum: f64 = places().map(|(y, x)| value(y, x)).sum();
        for (tap, (y, x)) in taps.iter().zip(places()) {
            assert!((tap - value(y, x) / sum).abs() < 1e-12);
            assert!((tap - taps[x * 12 + y]).abs() < 1e-15);
        }
        // How much of a wave comes through, along the rows and along the diagonal: the same for a radial filter, within its ripple.
        let passed = |taps: &[f64], frequency: f64, (dy, dx): (f64, f64)| -> f64 {
            let wave = |(y, x): (usize, usize)| {
                let along = (y as f64 - 5.5) * dy + (x as f64 - 5.5) * dx;
                (2.0 * PI * frequency / filter.fs * along).cos()
            };
            taps.iter().zip(places()).map(|(tap, place)| tap * wave(place)).sum()
        };
        let diagonal = (0.5f64.sqrt(), 0.5f64.sqrt());
        for frequency in [0.0, 4.0, 7.3, 11.0, 20.0] {
            let difference = passed(&taps, frequency, (0.0, 1.0)) - passed(&taps, frequency, diagonal);
            assert!(difference.abs() < 0.04, "{frequency}: {difference}");
        }
        let line = filter.separable();
        let square: Vec<f64> = places().map(|(y, x)| line[y] * line[x]).collect();
        assert!((passed(&square, 11.0, (0.0, 1.0)) - passed(&square, 11.0, diagonal)).abs() > 0.1);
        assert!((passed(&taps, 11.0, (0.0, 1.0)) - passed(&taps, 11.0, diagonal)).abs() < 0.01);
        // The middle of an odd number of taps is a limit.
        let odd = Lowpass { numtaps: 13, ..filter }.radial();
        let near = Lowpass { numtaps: 13, ..filter };
        let direct = |place: usize| {
            let r = (place as f64 - 6.0) / near.fs;
            series(2.0 * near.cutoff * PI * r) / (PI * r) * near.kaiser().nth(place).unwrap()
        };
        assert!((odd[6 * 13 + 6] / odd[6 * 13 + 7] - near.cutoff / direct(7)).abs() < 1e-9);
    }
}
