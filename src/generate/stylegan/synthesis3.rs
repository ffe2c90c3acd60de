//! StyleGAN3's synthesis network: Fourier features, then layers whose signals stay band-limited around each non-linearity.

use super::config::{Stylegan3Config, positive};
use super::generator::{Sizes, StyleGenerator, Synthesis};
use super::geometry::{LayerGeometry, Lowpass, geometry};
use super::layers::{FullyConnected, Modulated, SLOPE};
use super::mapping::Mapping;
use crate::error::{Error, Result};
use crate::generate::config::Config;
use crate::generate::info::ImageShape;
use crate::generate::layers::convolution;
use crate::generate::options::{ForwardOptions, Mode};
use crate::generate::sampler::SamplerRequest;
use crate::generate::traits::Generator;
use crate::generate::variables::{Builder, Init, Parameter};
use crate::ops::conv::{ConvConfig, Padding, PaddingRule};
use crate::ops::filtered_lrelu::{FilteredLrelu, filtered_lrelu};
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::modulate::Finish;
use crate::ops::upfirdn::Filter;
use candle_core::{DType, Device, Tensor, Var};
use std::f64::consts::{SQRT_2, TAU};

/// Name of the family.
pub(super) const FAMILY: &str = "stylegan3";

const WEIGHTS: Init = Init::Normal { mean: 0.0, std: 1.0 };

/// `SynthesisInput`: waves that the first w turns and shifts.
struct Input {
    affine: FullyConnected,
    weight: Parameter,
    /// `[3, 3]`, set from outside to move the image.
    transform: Var,
    /// `[C, 2]`
    freqs: Var,
    /// `[C]`
    phases: Var,
    size: usize,
    sampling_rate: f64,
    bandwidth: f64,
}

impl Input {
    fn new(builder: &mut Builder, config: &Stylegan3Config, first: &LayerGeometry) -> Result<Self> {
        let channels = first.in_channels;
        let name = "synthesis.input";
        let identity = Tensor::eye(3, DType::F64, &Device::Cpu)?;
        // At the start the transformation is the identity for every w.
        let affine = FullyConnected::constant(
            builder,
            &format!("{name}.affine"),
            config.w_dim,
            &[1.0, 0.0, 0.0, 0.0],
        )?;
        let bandwidth = first.in_cutoff;
        let freqs = {
            let draws = builder.draw(&format!("{name}.freqs"), channels * 2)?;
            let scaled = draws.chunks_exact(2).flat_map(|pair| {
                let square: f64 = pair.iter().map(|v| v * v).sum();
                let scale = bandwidth / (square.sqrt() * square.exp().powf(0.25)).max(f64::MIN_POSITIVE);
                [pair[0] * scale, pair[1] * scale]
            });
            Tensor::from_vec(scaled.collect::<Vec<_>>(), (channels, 2), &Device::Cpu)?
        };
        let phases = {
            let draws = builder.draw(&format!("{name}.phases"), channels)?;
            // The fractional part of a wide normal number is uniform.
            let uniform = draws.iter().map(|v| (v * WIDE).rem_euclid(1.0) - 0.5).collect::<Vec<_>>();
            Tensor::from_vec(uniform, channels, &Device::Cpu)?
        };
        Ok(Self {
            affine,
            weight: builder.parameter(&format!("{name}.weight"), &[channels, channels], WEIGHTS)?,
            transform: builder.known_buffer(&format!("{name}.transform"), &identity)?,
            freqs: builder.known_buffer(&format!("{name}.freqs"), &freqs)?,
            phases: builder.known_buffer(&format!("{name}.phases"), &phases)?,
            size: first.in_size,
            sampling_rate: first.in_sampling_rate as f64,
            bandwidth,
        })
    }

    /// `[B, C, H, W]` of w `[B, w_dim]`.
    fn forward(&self, w: &Tensor, mode: Mode) -> Result<Tensor> {
        let t = self.affine.forward(w, mode)?;
        let batch = t.dim(0)?;
        let length = t.narrow(1, 0, 2)?.sqr()?.sum_keepdim(1)?.sqrt()?;
        let t = t.broadcast_div(&length)?;
        let entry = |i: usize| t.narrow(1, i, 1);
        let (cos, sin) = (entry(0)?, entry(1)?);
        let (one, zero) = (cos.ones_like()?.detach(), cos.zeros_like()?.detach());
        let matrix = |entries: [&Tensor; 9]| Tensor::cat(&entries, 1)?.reshape((batch, 3, 3));
        let turn = matrix([&cos, &sin.neg()?, &zero, &sin, &cos, &zero, &zero, &zero, &one])?;
        let (dx, dy) = (entry(2)?.neg()?, entry(3)?.neg()?);
        let shift = matrix([&one, &zero, &dx, &zero, &one, &dy, &zero, &zero, &one])?;
        let given =
            self.transform.as_detached_tensor().unsqueeze(0)?.broadcast_as((batch, 3, 3))?.contiguous()?;
        let transforms = turn.matmul(&shift)?.matmul(&given)?;
        let channels = self.phases.dim(0)?;
        let freqs =
            self.freqs.as_detached_tensor().unsqueeze(0)?.broadcast_as((batch, channels, 2))?.contiguous()?;
        let of = |t: Tensor| t.contiguous();
        let moved = freqs.matmul(&of(transforms.narrow(1, 0, 2)?.narrow(2, 2, 1)?)?)?.squeeze(2)?;
        let phases = moved.broadcast_add(&self.phases.as_detached_tensor().unsqueeze(0)?)?;
        let freqs = freqs.matmul(&of(transforms.narrow(1, 0, 2)?.narrow(2, 0, 2)?)?)?;
        // Frequencies that the transformation moves out of the band are damped.
        let excess = (freqs.sqr()?.sum(2)?.sqrt()? - self.bandwidth)?;
        let amplitudes = excess.affine(-1.0 / (self.sampling_rate / 2.0 - self.bandwidth), 1.0)?;
        let amplitudes = amplitudes.maximum(0.0)?.minimum(1.0)?;

        let grid = self.grid(&t)?;
        let pixels = grid.dim(1)?;
        let angles = freqs.matmul(&grid.unsqueeze(0)?.broadcast_as((batch, 2, pixels))?.contiguous()?)?;
        let waves = (angles.broadcast_add(&phases.unsqueeze(2)?)? * TAU)?.sin()?;
        let waves = waves.broadcast_mul(&amplitudes.unsqueeze(2)?)?.unsqueeze(2)?;
        let weight = (self.weight.tensor(mode.trains()) * (1.0 / (channels as f64).sqrt()))?;
        let weight = weight.unsqueeze(2)?.unsqueeze(3)?;
        let y = convolution(&waves, &weight, None, None, ConvConfig::padded(0), mode)?;
        Ok(y.reshape((batch, channels, self.size, self.size))?)
    }

    /// Coordinates `[2, H W]` of pixel centres, x before y, in units of the image's side.
    fn grid(&self, like: &Tensor) -> Result<Tensor> {
        let size = self.size as f64;
        let at = |i: usize| ((2 * i + 1) as f64 / size - 1.0) * 0.5 * size / self.sampling_rate;
        let rows = (0..self.size).flat_map(|_| (0..self.size).map(at));
        let columns = (0..self.size).flat_map(|i| (0..self.size).map(move |_| at(i)));
        let values: Vec<f64> = rows.chain(columns).collect();
        let grid = Tensor::from_vec(values, (2, self.size * self.size), &Device::Cpu)?;
        Ok(grid.to_dtype(like.dtype())?.to_device(like.device())?)
    }
}

/// Standard deviation of a normal number whose fraction is uniform.
const WIDE: f64 = 1e3;

/// `SynthesisLayer`.
struct Layer {
    geometry: LayerGeometry,
    affine: FullyConnected,
    weight: Parameter,
    bias: Parameter,
    /// Mean square of what comes in, a running average.
    magnitude_ema: Var,
    magnitude_ema_beta: f64,
    up: Option<Filter>,
    down: Option<Filter>,
    clamp: Option<f64>,
    kernel: usize,
}

impl Layer {
    fn new(builder: &mut Builder, config: &Stylegan3Config, geometry: LayerGeometry) -> Result<Self> {
        let g = &geometry;
        let name = format!("synthesis.{}", g.name());
        let kernel = if g.is_torgb { 1 } else { config.synthesis.conv_kernel };
        let mut filter = |suffix: &str, numtaps: usize, (cutoff, half_width): (f64, f64), radial: bool| {
            if numtaps <= 1 {
                return Ok(None);
            }
            let fs = g.tmp_sampling_rate as f64;
            let lowpass = Lowpass { numtaps, cutoff, width: 2.0 * half_width, fs };
            let taps = match radial {
                true => Tensor::from_vec(lowpass.radial(), (numtaps, numtaps), &Device::Cpu)?,
                false => Tensor::from_vec(lowpass.separable(), numtaps, &Device::Cpu)?,
            };
            let buffer = builder.known_buffer(&format!("{name}.{suffix}"), &taps)?;
            Ok::<_, Error>(Some(Filter::new(&buffer.as_detached_tensor().to_device(&Device::Cpu)?)?))
        };
        let radial = config.synthesis.use_radial_filters && !g.is_critically_sampled;
        let up = filter("up_filter", g.up_taps, (g.in_cutoff, g.in_half_width), false)?;
        let down = filter("down_filter", g.down_taps, (g.out_cutoff, g.out_half_width), radial)?;
        let dims = [g.out_channels, g.in_channels, kernel, kernel];
        Ok(Self {
            affine: FullyConnected::affine(builder, &name, config.w_dim, g.in_channels)?,
            weight: builder.parameter(&format!("{name}.weight"), &dims, WEIGHTS)?,
            bias: builder.parameter(&format!("{name}.bias"), &[g.out_channels], Init::Constant(0.0))?,
            magnitude_ema: builder.buffer(&format!("{name}.magnitude_ema"), &[], Init::Constant(1.0))?,
            magnitude_ema_beta: config.synthesis.magnitude_ema_beta,
            up,
            down,
            clamp: config.synthesis.conv_clamp,
            kernel,
            geometry,
        })
    }

    fn forward(&self, x: &Tensor, w: &Tensor, mode: Mode) -> Result<Tensor> {
        let g = &self.geometry;
        if mode.is_first_order() {
            let beta = self.magnitude_ema_beta;
            let now = mode.mean_over_processes(&x.detach().sqr()?.mean_all()?)?;
            let now = now.to_dtype(self.magnitude_ema.dtype())?;
            self.magnitude_ema
                .set(&((self.magnitude_ema.as_detached_tensor() * beta)? + (now * (1.0 - beta))?)?)?;
        }
        let input_gain = self.magnitude_ema.as_detached_tensor().sqrt()?.recip()?.reshape((1, 1))?;
        let mut styles = self.affine.forward(w, mode)?;
        let weight = self.weight.tensor(mode.trains());
        let weight = match g.is_torgb {
            true => {
                styles = (styles * (1.0 / ((g.in_channels * self.kernel * self.kernel) as f64).sqrt()))?;
                weight.clone()
            }
            false => {
                // The original also divides by the mean over the batch, which cancels but for the epsilon of the demodulation.
                styles = styles.broadcast_mul(&styles.sqr()?.mean_keepdim(1)?.sqrt()?.recip()?)?;
                let squares = weight.sqr()?.flatten_from(1)?.mean(1)?;
                weight.broadcast_mul(&squares.sqrt()?.recip()?.reshape(((), 1, 1, 1))?)?
            }
        };
        let padding = PaddingRule::Fixed(Padding::same(self.kernel - 1));
        let config = ConvConfig { padding, ..ConvConfig::padded(0) };
        let modulated = Modulated { weight: &weight, styles: &styles, demodulate: !g.is_torgb };
        let (y, scale) =
            modulated.apply(x, mode, |x, weight| convolution(x, weight, None, None, config, mode))?;
        let scale = match scale {
            Some(scale) => scale.broadcast_mul(&input_gain)?,
            None => input_gain.broadcast_as((y.dim(0)?, y.dim(1)?))?.contiguous()?,
        };
        let finish = Finish {
            scale: Some(&scale),
            map: None,
            bias: self.bias.tensor(mode.trains()),
            activation: LeakyRelu { slope: 1.0, gain: 1.0, clamp: None },
        };
        let y = finish.forward(&y)?;
        let activation = match g.is_torgb {
            true => LeakyRelu { slope: 1.0, gain: 1.0, clamp: self.clamp },
            false => LeakyRelu { slope: SLOPE, gain: SQRT_2, clamp: self.clamp },
        };
        let op = FilteredLrelu {
            up: self.up.as_ref().map(|filter| (filter, g.up_factor)),
            down: self.down.as_ref().map(|filter| (filter, g.down_factor)),
            padding: g.padding(self.kernel),
            activation,
        };
        Ok(filtered_lrelu(&y, op)?)
    }
}

/// `SynthesisNetwork`.
pub(super) struct Synthesis3 {
    input: Input,
    layers: Vec<Layer>,
    output_scale: f64,
}

impl Synthesis for Synthesis3 {
    fn forward(&self, ws: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let w = |place: usize| -> Result<Tensor> { Ok(ws.narrow(1, place, 1)?.squeeze(1)?.contiguous()?) };
        let mut x = self.input.forward(&w(0)?, options.mode)?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &w(i + 1)?, options.mode)?;
        }
        Ok((x * self.output_scale)?)
    }
}

/// StyleGAN3's generator.
pub(super) fn build_generator(
    config: &Config,
    mut builder: Builder,
    _: &SamplerRequest,
) -> Result<Box<dyn Generator>> {
    let config: Stylegan3Config = match config.part() {
        Some(_) => config.parse()?,
        None => return Err(super::official::no_constants(builder.path())),
    };
    config.check(builder.path())?;
    let layers = geometry(&config);
    let Some(first) = layers.first() else {
        return Err(Error::malformed(builder.path(), "describes no layers", ""));
    };
    positive(builder.path(), "input band", first.in_sampling_rate as f64 / 2.0 - first.in_cutoff)?;
    for layer in &layers {
        layer.check(builder.path(), if layer.is_torgb { 1 } else { config.synthesis.conv_kernel })?;
    }
    let mapping =
        Mapping::new(&mut builder, &config.mapping, (config.z_dim, config.c_dim, config.w_dim), true)?;
    let input = Input::new(&mut builder, &config, first)?;
    let num_ws = layers.len() + 1;
    let mut built = Vec::new();
    for layer in layers {
        built.push(Layer::new(&mut builder, &config, layer)?);
    }
    let sizes = Sizes {
        image: ImageShape::square(config.img_channels, config.img_resolution),
        class_count: config.c_dim,
        z_dim: config.z_dim,
        num_ws,
        w_dim: config.w_dim,
    };
    let synthesis = Synthesis3 { input, layers: built, output_scale: config.synthesis.output_scale };
    let (config, variables) = (serde_json::json!(config), builder.finish(&[])?);
    Ok(Box::new(StyleGenerator::new(FAMILY, config, sizes, (mapping, synthesis), variables)))
}

#[cfg(test)]
pub(super) mod probes {
    //! Activations inside the network, for the tests.

    use super::*;

    /// Sizes of the first layer's input and the input itself, then what each layer gives.
    pub(crate) fn activations(network: &Synthesis3, ws: &Tensor) -> Vec<Tensor> {
        let w = |place: usize| ws.narrow(1, place, 1).unwrap().squeeze(1).unwrap().contiguous().unwrap();
        let mut all = vec![network.input.forward(&w(0), Mode::Eval).unwrap()];
        for (i, layer) in network.layers.iter().enumerate() {
            let y = layer.forward(all.last().unwrap(), &w(i + 1), Mode::Eval).unwrap();
            all.push(y);
        }
        all
    }

    pub(crate) fn build(config: &Config, mut builder: Builder) -> Synthesis3 {
        let config: Stylegan3Config = config.parse().unwrap();
        let layers = geometry(&config);
        Mapping::new(&mut builder, &config.mapping, (config.z_dim, config.c_dim, config.w_dim), true)
            .unwrap();
        let input = Input::new(&mut builder, &config, &layers[0]).unwrap();
        let layers =
            layers.into_iter().map(|layer| Layer::new(&mut builder, &config, layer).unwrap()).collect();
        Synthesis3 { input, layers, output_scale: config.synthesis.output_scale }
    }
}
