//! Rates, bands and sizes of StyleGAN3's layers (Karras et al. 2021, section 3.2; `SynthesisNetwork.__init__`).

use super::config::Stylegan3Config;
use crate::error::{Error, Result};
use std::f64::consts::PI;
use std::path::Path;

/// Largest map that a layer may work on, along one side and between its filters.
const MAX_SIDE: usize = 1 << 14;

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerGeometry {
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
    pub fn name(&self) -> String {
        format!("L{}_{}_{}", self.index, self.out_size, self.out_channels)
    }

    /// Zeros before and after the map between convolution and filters; negative to cut off.
    pub fn padding(&self, kernel: usize) -> (isize, isize) {
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
    pub fn check(&self, path: &Path, kernel: usize) -> Result<()> {
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
pub fn geometry(config: &Stylegan3Config) -> Vec<LayerGeometry> {
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

/// A Kaiser-windowed low-pass filter of unit sum: `scipy.signal.firwin(numtaps, cutoff, width=width, fs=fs)`.
pub fn lowpass_filter(numtaps: usize, cutoff: f64, width: f64, fs: f64) -> Vec<f64> {
    let nyquist = fs / 2.0;
    // Kaiser's formulas for attenuation and shape.
    let attenuation = 2.285 * (numtaps as f64 - 1.0) * PI * width / nyquist + 7.95;
    let beta = match attenuation {
        a if a > 50.0 => 0.1102 * (a - 8.7),
        a if a > 21.0 => 0.5842 * (a - 21.0).powf(0.4) + 0.078_86 * (a - 21.0),
        _ => 0.0,
    };
    let middle = (numtaps as f64 - 1.0) / 2.0;
    let relative = cutoff / nyquist;
    let tap = |i: usize| {
        let t = i as f64 - middle;
        let phase = PI * relative * t;
        let sinc = if t == 0.0 { 1.0 } else { phase.sin() / phase };
        let place = if middle > 0.0 { t / middle } else { 0.0 };
        relative * sinc * bessel_i0(beta * (1.0 - place * place).max(0.0).sqrt()) / bessel_i0(beta)
    };
    let taps: Vec<f64> = (0..numtaps).map(tap).collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| tap / sum).collect()
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
