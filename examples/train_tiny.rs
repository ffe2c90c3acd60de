//! Trains the embedded extractor `tiny`:
//!
//! ```sh
//! cargo run --release --example train_tiny -- DATA OUT.safetensors [--epochs 14] [--without clothing]
//! ```
//!
//! `DATA` holds `cifar10.zip` (`train/<class>/*`), `mnist-test.zip` (`<digit>/*`, of which every fifth is held out)
//! and `clothing/train/<kind>/*`. One classifier for all classes of all sets; then batch norm is folded into the
//! convolutions and the weights are written in half precision.

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Result, Tensor, Var};
use pseudo_density::Silent;
use pseudo_density::internals::extract::tiny;
use pseudo_density::internals::images::{Alpha, Color, Filter, Fit, ImageSet, Preprocessing, load};
use pseudo_density::internals::ops::activation::Activation::{self, Identity, Relu};
use pseudo_density::internals::ops::batch_norm::{batch_norm, batch_statistics};
use pseudo_density::internals::ops::conv::{ConvConfig, conv2d};
use pseudo_density::internals::ops::pool::global_average_pool;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Large blocks come and go with every layer: without this each is mapped and zeroed anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Anything<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Side of the network's input and of the stored training images, from which crops are taken.
const SIDE: usize = 64;
const STORED: usize = 80;
const BATCH: usize = 128;
const PEAK_LEARNING_RATE: f64 = 2e-3;
const WARM_UP: f64 = 0.15;
const WEIGHT_DECAY: f64 = 0.05;
const LABEL_SMOOTHING: f64 = 0.1;
const NORM_EPS: f64 = 1e-5;
const AVERAGE: f64 = 0.998;

fn main() -> Anything<()> {
    pseudo_density::cli::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1));
    let [data, out, ..] = arguments.as_slice() else {
        return Err("usage: train_tiny DATA OUT.safetensors [--epochs N] [--without SET]".into());
    };
    let epochs: usize = option("--epochs").map_or(Ok(14), |n| n.parse())?;
    let samples = Samples::read(Path::new(data), option("--without").map(String::as_str))?;
    println!("{} images, {} classes", samples.labels.len(), samples.classes.len());

    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let network = Network::new(samples.classes.len(), &mut rng)?;
    let mut optimizer = AdamW::new(&network.variables);
    let steps_per_epoch = samples.epoch_len() / BATCH;
    let total = (epochs * steps_per_epoch) as f64;
    let mut step = 0;
    for epoch in 0..epochs {
        let order = samples.shuffled(&mut rng);
        let mut batches = order.chunks_exact(BATCH);
        let (mut loss_sum, mut right) = (0.0, 0.0);
        let started = std::time::Instant::now();
        let mut next = batches.next().map(|rows| samples.batch(rows, rng.next_u64()));
        while let Some((images, targets, labels)) = next.take().transpose()? {
            let seed = rng.next_u64();
            let rows = batches.next();
            let (trained, prepared) = rayon::join(
                || -> Result<(f64, f64)> {
                    let logits = network.logits(&network.features(&images, None)?)?;
                    let loss = cross_entropy(&logits, &targets)?;
                    let hits = logits.argmax(D::Minus1)?.eq(&labels)?.to_dtype(DType::F64)?.sum_all()?;
                    let grads = loss.backward()?;
                    optimizer.step(&network.variables, &grads, learning_rate(f64::from(step) / total))?;
                    Ok((f64::from(loss.to_scalar::<f32>()?), hits.to_scalar()?))
                },
                || rows.map(|rows| samples.batch(rows, seed)),
            );
            let (loss, hits) = trained?;
            next = prepared;
            loss_sum += loss;
            right += hits;
            step += 1;
        }
        let n = steps_per_epoch as f64;
        println!(
            "epoch {:2}: loss {:.4}, accuracy on augmented images {:.2} %, {:.0} s",
            epoch + 1,
            loss_sum / n,
            100.0 * right / (n * BATCH as f64),
            started.elapsed().as_secs_f64()
        );
    }
    optimizer.use_average(&network.variables)?;
    let statistics = network.average_statistics(&samples, &mut rng)?;
    network.write(&statistics, Path::new(out))?;
    println!("wrote {out}");
    Ok(())
}

/// One cycle: linear up, cosine down. `at` runs from 0 to 1.
fn learning_rate(at: f64) -> f64 {
    let shape = if at < WARM_UP {
        at / WARM_UP
    } else {
        0.5 + 0.5 * (std::f64::consts::PI * (at - WARM_UP) / (1.0 - WARM_UP)).cos()
    };
    PEAK_LEARNING_RATE * shape.max(1e-3)
}

fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let logits = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    let log_sum = logits.exp()?.sum_keepdim(1)?.log()?;
    let log_probabilities = logits.broadcast_sub(&log_sum)?;
    (targets * log_probabilities)?.sum_all()? * (-1.0 / targets.dim(0)? as f64)
}

/// All training images, [STORED, STORED, 3] each.
struct Samples {
    pixels: Vec<Vec<u8>>,
    labels: Vec<u32>,
    /// How often an image is seen in an epoch, on average: garments are few and count several times.
    shares: Vec<f64>,
    mirrored: Vec<bool>,
    classes: Vec<String>,
}

impl Samples {
    fn read(data: &Path, without: Option<&str>) -> Anything<Self> {
        let stored = Preprocessing {
            width: STORED as u32,
            height: STORED as u32,
            fit: Fit::Squash,
            crop_ratio: 1.0,
            filter: Filter::Bilinear,
            alpha: Alpha::White,
            color: Color::Rgb,
            fast_decode: false,
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
        };
        let mut samples =
            Samples { pixels: vec![], labels: vec![], shares: vec![], mirrored: vec![], classes: vec![] };
        for (name, file, share, mirrored) in [
            ("cifar", "cifar10.zip", 0.5, true),
            ("digits", "mnist-test.zip", 0.4, false),
            ("clothing", "clothing/train", 3.0, true),
        ] {
            if without == Some(name) {
                continue;
            }
            let set = ImageSet::open(&data.join(file), &Silent)?;
            let mut classes: BTreeMap<String, u32> = BTreeMap::new();
            for (i, image) in load(&set, 0..set.len(), &stored).into_iter().enumerate() {
                let path = set.path(i);
                let held_out = path.starts_with("test/") || (name == "digits" && i % 5 == 0);
                let Ok(image) = image else { continue };
                if held_out {
                    continue;
                }
                let class = path.rsplit('/').nth(1).unwrap_or_default();
                let label = match classes.get(class) {
                    Some(label) => *label,
                    None => {
                        samples.classes.push(format!("{name}/{class}"));
                        let label = samples.classes.len() as u32 - 1;
                        classes.insert(class.to_string(), label);
                        label
                    }
                };
                samples.pixels.push(image.pixels.into_bytes());
                samples.labels.push(label);
                samples.shares.push(share);
                samples.mirrored.push(mirrored);
            }
        }
        Ok(samples)
    }

    fn epoch_len(&self) -> usize {
        self.shares.iter().sum::<f64>() as usize
    }

    fn shuffled(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut rows = Vec::new();
        for (i, share) in self.shares.iter().enumerate() {
            let times = (share + f64::from(uniform(rng))).floor() as usize;
            rows.extend(std::iter::repeat_n(i, times));
        }
        for i in (1..rows.len()).rev() {
            rows.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
        }
        rows
    }

    /// Augmented images `[B, 3, SIDE, SIDE]`, smoothed targets `[B, classes]` and labels `[B]`.
    fn batch(&self, rows: &[usize], seed: u64) -> Result<(Tensor, Tensor, Tensor)> {
        let mut images = vec![0f32; rows.len() * 3 * SIDE * SIDE];
        images.par_chunks_mut(3 * SIDE * SIDE).zip(rows).enumerate().for_each(|(i, (out, &row))| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(i as u64);
            augment(&self.pixels[row], self.mirrored[row], &mut rng, out);
        });
        let classes = self.classes.len();
        let mut targets = vec![(LABEL_SMOOTHING / classes as f64) as f32; rows.len() * classes];
        for (target, &row) in targets.chunks_exact_mut(classes).zip(rows) {
            target[self.labels[row] as usize] += 1.0 - LABEL_SMOOTHING as f32;
        }
        let labels: Vec<u32> = rows.iter().map(|&row| self.labels[row]).collect();
        Ok((
            Tensor::from_vec(images, (rows.len(), 3, SIDE, SIDE), &Device::Cpu)?,
            Tensor::from_vec(targets, (rows.len(), classes), &Device::Cpu)?,
            Tensor::from_vec(labels, rows.len(), &Device::Cpu)?,
        ))
    }
}

fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

/// A random window of the stored image, mirrored half of the time, with a random gain per channel.
fn augment(pixels: &[u8], mirrored: bool, rng: &mut ChaCha8Rng, out: &mut [f32]) {
    let side = |rng: &mut ChaCha8Rng| (0.8 + 0.35 * uniform(rng)) * STORED as f32;
    let (height, width) = (side(rng), side(rng));
    let top = uniform(rng) * (STORED as f32 - height);
    let left = uniform(rng) * (STORED as f32 - width);
    let mirror = mirrored && uniform(rng) < 0.5;
    let gains: [f32; 3] = std::array::from_fn(|_| 0.85 + 0.3 * uniform(rng));
    let shift = 0.2 * (uniform(rng) - 0.5);
    let last = (STORED - 1) as f32;
    for y in 0..SIDE {
        let v = (top + (y as f32 + 0.5) * height / SIDE as f32 - 0.5).clamp(0.0, last);
        for x in 0..SIDE {
            let u = (left + (x as f32 + 0.5) * width / SIDE as f32 - 0.5).clamp(0.0, last);
            let (y0, x0) = (v as usize, u as usize);
            let (y1, x1) = ((y0 + 1).min(STORED - 1), (x0 + 1).min(STORED - 1));
            let (dy, dx) = (v - y0 as f32, u - x0 as f32);
            let at = if mirror { SIDE - 1 - x } else { x };
            for (c, gain) in gains.iter().enumerate() {
                let value = |y: usize, x: usize| f32::from(pixels[(y * STORED + x) * 3 + c]);
                let upper = value(y0, x0) * (1.0 - dx) + value(y0, x1) * dx;
                let lower = value(y1, x0) * (1.0 - dx) + value(y1, x1) * dx;
                let value = (upper * (1.0 - dy) + lower * dy) / 255.0;
                out[(c * SIDE + y) * SIDE + at] = ((value * gain + shift) - 0.5) / 0.25;
            }
        }
    }
}

/// Statistics of each batch norm: name to `[2, C]`.
type Statistics = BTreeMap<String, Tensor>;

struct Network {
    variables: BTreeMap<String, Var>,
}

impl Network {
    fn new(classes: usize, rng: &mut ChaCha8Rng) -> Result<Self> {
        let mut network = Network { variables: BTreeMap::new() };
        network.add_conv("stem", tiny::STEM, 3, 3, 1.0, rng)?;
        let mut ins = tiny::STEM;
        for (i, (outs, stride)) in tiny::BLOCKS.into_iter().enumerate() {
            network.add_conv(&format!("blocks.{i}.conv1"), outs, ins, 3, 1.0, rng)?;
            network.add_conv(&format!("blocks.{i}.conv2"), outs, outs, 3, 0.2, rng)?;
            if ins != outs || stride != 1 {
                network.add_conv(&format!("blocks.{i}.shortcut"), outs, ins, 1, 1.0, rng)?;
            }
            ins = outs;
        }
        network.add("classifier.weight", &[classes, ins], |rng| 0.05 * normal(rng), rng)?;
        network.add("classifier.bias", &[classes], |_| 0.0, rng)?;
        Ok(network)
    }

    fn add(
        &mut self,
        name: &str,
        dims: &[usize],
        value: impl Fn(&mut ChaCha8Rng) -> f32,
        rng: &mut ChaCha8Rng,
    ) -> Result<()> {
        let data: Vec<f32> = (0..dims.iter().product()).map(|_| value(rng)).collect();
        self.variables.insert(name.into(), Var::from_tensor(&Tensor::from_vec(data, dims, &Device::Cpu)?)?);
        Ok(())
    }

    fn add_conv(
        &mut self,
        name: &str,
        outs: usize,
        ins: usize,
        kernel: usize,
        scale: f32,
        rng: &mut ChaCha8Rng,
    ) -> Result<()> {
        let deviation = (2.0 / (ins * kernel * kernel) as f32).sqrt();
        self.add(
            &format!("{name}.weight"),
            &[outs, ins, kernel, kernel],
            |rng| deviation * normal(rng),
            rng,
        )?;
        let affine: Vec<f32> = (0..2 * outs).map(|i| if i < outs { scale } else { 0.0 }).collect();
        let affine = Tensor::from_vec(affine, (2, outs), &Device::Cpu)?;
        self.variables.insert(format!("{name}.affine"), Var::from_tensor(&affine)?);
        Ok(())
    }

    fn conv(
        &self,
        name: &str,
        x: &Tensor,
        stride: usize,
        (residual, activation): (Option<&Tensor>, Activation),
        record: &mut Option<&mut Statistics>,
    ) -> Result<Tensor> {
        let weight = &self.variables[&format!("{name}.weight")];
        let config = ConvConfig { stride, ..ConvConfig::padded(weight.dim(2)? / 2) };
        let y = conv2d(x, weight, config)?;
        let statistics = batch_statistics(&y, None)?;
        if let Some(record) = record {
            let sum = match record.remove(name) {
                Some(sum) => (sum + &statistics)?,
                None => statistics.clone(),
            };
            record.insert(name.to_string(), sum);
        }
        let affine = self.variables[&format!("{name}.affine")].as_tensor();
        batch_norm(&y, affine, residual, &statistics, NORM_EPS, activation, None)
    }

    fn features(&self, images: &Tensor, mut record: Option<&mut Statistics>) -> Result<Tensor> {
        let mut x = self.conv("stem", images, 2, (None, Relu), &mut record)?;
        for (i, (_, stride)) in tiny::BLOCKS.into_iter().enumerate() {
            let name = |part: &str| format!("blocks.{i}.{part}");
            let y = self.conv(&name("conv1"), &x, stride, (None, Relu), &mut record)?;
            let shortcut = match self.variables.contains_key(&name("shortcut.weight")) {
                true => self.conv(&name("shortcut"), &x, stride, (None, Identity), &mut record)?,
                false => x,
            };
            x = self.conv(&name("conv2"), &y, 1, (Some(&shortcut), Relu), &mut record)?;
        }
        global_average_pool(&x)
    }

    fn logits(&self, features: &Tensor) -> Result<Tensor> {
        let weight = self.variables["classifier.weight"].t()?;
        features.matmul(&weight)?.broadcast_add(&self.variables["classifier.bias"])
    }

    /// Batch norm statistics of the averaged weights, over some batches of training images.
    fn average_statistics(&self, samples: &Samples, rng: &mut ChaCha8Rng) -> Result<Statistics> {
        const BATCHES: usize = 40;
        let mut sums = Statistics::new();
        for rows in samples.shuffled(rng).chunks_exact(BATCH).take(BATCHES) {
            let (images, ..) = samples.batch(rows, rng.next_u64())?;
            self.features(&images, Some(&mut sums))?;
        }
        sums.into_iter().map(|(name, sum)| Ok((name, (sum / BATCHES as f64)?))).collect()
    }

    /// Folds batch norm into weight and bias and writes half precision.
    fn write(&self, statistics: &Statistics, path: &Path) -> Result<()> {
        let mut tensors = HashMap::new();
        for (name, statistics) in statistics {
            let affine = self.variables[&format!("{name}.affine")].as_tensor();
            let scale = (affine.get(0)? / (statistics.get(1)? + NORM_EPS)?.sqrt()?)?;
            let bias = (affine.get(1)? - (statistics.get(0)? * &scale)?)?;
            let weight = self.variables[&format!("{name}.weight")].as_tensor();
            let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?;
            tensors.insert(format!("{name}.weight"), weight.to_dtype(DType::F16)?);
            tensors.insert(format!("{name}.bias"), bias.to_dtype(DType::F16)?);
        }
        candle_core::safetensors::save(&tensors, path)
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (std::f32::consts::TAU * uniform(rng)).cos()
}

/// Adam with decoupled weight decay on matrices and kernels, and a running average of the weights.
struct AdamW {
    moments: BTreeMap<String, (Tensor, Tensor, Tensor)>,
    step: i32,
}

impl AdamW {
    fn new(variables: &BTreeMap<String, Var>) -> Self {
        let zeros = |var: &Var| var.zeros_like();
        let moments = variables
            .iter()
            .filter_map(|(name, var)| {
                Some((name.clone(), (zeros(var).ok()?, zeros(var).ok()?, zeros(var).ok()?)))
            })
            .collect();
        Self { moments, step: 0 }
    }

    fn step(&mut self, variables: &BTreeMap<String, Var>, grads: &GradStore, rate: f64) -> Result<()> {
        const BETA1: f64 = 0.9;
        const BETA2: f64 = 0.999;
        self.step += 1;
        let correction = (1.0 - BETA2.powi(self.step)).sqrt() / (1.0 - BETA1.powi(self.step));
        for (name, var) in variables {
            let (Some(grad), Some((m, v, average))) = (grads.get(var), self.moments.get_mut(name)) else {
                continue;
            };
            // Neither moments nor average may remember the graph they came from.
            let grad = grad.detach();
            *m = ((&*m * BETA1)? + (&grad * (1.0 - BETA1))?)?;
            *v = ((&*v * BETA2)? + (grad.sqr()? * (1.0 - BETA2))?)?;
            let update = (&*m / (v.sqrt()? + 1e-8)?)?;
            let weights = var.as_detached_tensor();
            let kept =
                if var.rank() > 1 && name.ends_with("weight") { 1.0 - rate * WEIGHT_DECAY } else { 1.0 };
            var.set(&((&weights * kept)? - (update * (rate * correction))?)?)?;
            *average = ((&*average * AVERAGE)? + (var.as_detached_tensor() * (1.0 - AVERAGE))?)?;
        }
        Ok(())
    }

    /// Replaces the weights by their running average.
    fn use_average(&self, variables: &BTreeMap<String, Var>) -> Result<()> {
        let correction = 1.0 / (1.0 - AVERAGE.powi(self.step));
        for (name, var) in variables {
            var.set(&(&self.moments[name].2 * correction)?)?;
        }
        Ok(())
    }
}
