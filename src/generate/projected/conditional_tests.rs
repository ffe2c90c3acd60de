//! Blocks and heads with classes, and separable heads, against their definition in plain loops: there are no images of the official
//! program to compare with.

use super::blocks::{Noise, UpBlock, UpBlocks};
use super::heads::{ClassWidths, Head, HeadConfig};
use crate::formats::{HostTensor, StateDict, TensorData};
use crate::generate::options::{ForwardOptions, Mode};
use crate::generate::test_support::{relative, values};
use crate::generate::variables::{Builder, Variables};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::HashMap;

const WIDTH: usize = 5;
const ROWS: usize = 3;

/// Numbers for tensors of these shapes that follow from their names and places; variances are positive.
fn weights(shapes: &[(String, Vec<usize>)]) -> StateDict {
    let mut dict = StateDict::new("weights.safetensors");
    for (i, (name, shape)) in shapes.iter().enumerate() {
        let count: usize = shape.iter().product();
        let value = |j: usize| ((j * 7919 + i * 104_729) % 1013) as f32 / 1013.0 - 0.5;
        let positive = name.ends_with("_var");
        let data = (0..count).map(|j| if positive { value(j).abs() + 0.2 } else { value(j) }).collect();
        dict.insert(name.clone(), HostTensor { shape: shape.clone(), data: TensorData::F32(data) });
    }
    dict
}

/// A convolution or linear layer with spectral normalisation.
fn spectral(shapes: &mut Vec<(String, Vec<usize>)>, name: &str, dims: &[usize], bias: bool) {
    shapes.push((format!("{name}.weight_orig"), dims.to_vec()));
    shapes.push((format!("{name}.weight_u"), vec![dims[0]]));
    shapes.push((format!("{name}.weight_v"), vec![dims[1..].iter().product()]));
    if bias {
        shapes.push((format!("{name}.bias"), vec![dims[0]]));
    }
}

/// `[n, c, h, h]`
#[derive(Clone)]
struct Maps {
    dims: [usize; 4],
    v: Vec<f64>,
}

impl Maps {
    fn of(t: &Tensor) -> Self {
        let (n, c, h, w) = t.dims4().unwrap();
        let v = t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        Self { dims: [n, c, h, w], v }
    }

    fn at(&self, n: usize, c: usize, y: isize, x: isize) -> f64 {
        let [_, channels, height, width] = self.dims;
        match y >= 0 && x >= 0 && (y as usize) < height && (x as usize) < width {
            true => self.v[((n * channels + c) * height + y as usize) * width + x as usize],
            false => 0.0,
        }
    }

    fn make(dims: [usize; 4], value: impl Fn(usize, usize, isize, isize) -> f64) -> Self {
        let mut v = Vec::new();
        for n in 0..dims[0] {
            for c in 0..dims[1] {
                for y in 0..dims[2] as isize {
                    v.extend((0..dims[3] as isize).map(|x| value(n, c, y, x)));
                }
            }
        }
        Self { dims, v }
    }

    fn tensor(&self) -> Tensor {
        Tensor::from_vec(self.v.clone(), &self.dims[..], &Device::Cpu).unwrap()
    }
}

/// The definition, on float64.
struct Loops {
    tensors: HashMap<String, Vec<f64>>,
    train: bool,
}

impl Loops {
    fn new(dict: &StateDict, train: bool) -> Self {
        let tensor = |(name, _): (&str, &HostTensor)| {
            (name.to_owned(), dict.f32(name).unwrap().iter().map(|&v| f64::from(v)).collect())
        };
        Self { tensors: dict.iter().map(tensor).collect(), train }
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.tensors[name]
    }

    /// The weight over its singular value, after a step of the power iteration in training.
    fn normalised(&mut self, name: &str) -> Vec<f64> {
        let w = self.get(&format!("{name}.weight_orig")).to_vec();
        let (mut u, mut v) =
            (self.get(&format!("{name}.weight_u")).to_vec(), self.get(&format!("{name}.weight_v")).to_vec());
        let columns = v.len();
        let unit = |t: Vec<f64>| -> Vec<f64> {
            let length = t.iter().map(|a| a * a).sum::<f64>().sqrt();
            t.iter().map(|a| a / length).collect()
        };
        let times_v = |v: &[f64]| -> Vec<f64> {
            w.chunks(columns).map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum()).collect()
        };
        if self.train {
            v = unit(
                (0..columns)
                    .map(|c| w.iter().skip(c).step_by(columns).zip(&u).map(|(a, b)| a * b).sum())
                    .collect(),
            );
            u = unit(times_v(&v));
            self.tensors.insert(format!("{name}.weight_u"), u.clone());
            self.tensors.insert(format!("{name}.weight_v"), v.clone());
        }
        let sigma: f64 = times_v(&v).iter().zip(&u).map(|(a, b)| a * b).sum();
        w.iter().map(|a| a / sigma).collect()
    }

    fn conv(
        &mut self,
        name: &str,
        x: &Maps,
        (outs, kernel): (usize, usize),
        stride: usize,
        padding: usize,
        groups: usize,
    ) -> Maps {
        let w = self.normalised(name);
        let bias = self.tensors.get(&format!("{name}.bias")).cloned();
        let [n, ins, height, width] = x.dims;
        let size = |side: usize| (side + 2 * padding - kernel) / stride + 1;
        let per_group = ins / groups;
        Maps::make([n, outs, size(height), size(width)], |b, o, y, at_x| {
            let first = o * groups / outs * per_group;
            let mut sum = bias.as_ref().map_or(0.0, |bias| bias[o]);
            for (i, (ky, kx)) in
                (0..per_group).flat_map(|i| (0..kernel * kernel).map(move |k| (i, (k / kernel, k % kernel))))
            {
                let place = |at: isize, k: usize| at * stride as isize + k as isize - padding as isize;
                sum += w[((o * per_group + i) * kernel + ky) * kernel + kx]
                    * x.at(b, first + i, place(y, ky), place(at_x, kx));
            }
            sum
        })
    }

    /// `[B][O]` of rows.
    fn linear(weight: &[f64], bias: &[f64], rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let product = |row: &[f64], o: usize| -> f64 {
            weight[o * row.len()..][..row.len()].iter().zip(row).map(|(a, b)| a * b).sum()
        };
        rows.iter().map(|row| (0..bias.len()).map(|o| bias[o] + product(row, o)).collect()).collect()
    }

    /// Normalised channels, by the names of the stored statistics.
    fn normalise(&mut self, x: &Maps, mean: &str, var: &str) -> Maps {
        let [n, channels, height, width] = x.dims;
        let (mut means, mut variances) = (self.get(mean).to_vec(), self.get(var).to_vec());
        if self.train {
            let count = (n * height * width) as f64;
            for c in 0..channels {
                let of_channel: Vec<f64> = (0..n)
                    .flat_map(|b| x.v[(b * channels + c) * height * width..][..height * width].to_vec())
                    .collect();
                means[c] = of_channel.iter().sum::<f64>() / count;
                variances[c] = of_channel.iter().map(|v| (v - means[c]).powi(2)).sum::<f64>() / count;
                let stored = self.tensors.get_mut(mean).unwrap();
                stored[c] = 0.9 * stored[c] + 0.1 * means[c];
                let stored = self.tensors.get_mut(var).unwrap();
                stored[c] = 0.9 * stored[c] + 0.1 * variances[c] * count / (count - 1.0);
            }
        }
        Maps::make(x.dims, |b, c, y, i| (x.at(b, c, y, i) - means[c]) / (variances[c] + 1e-5).sqrt())
    }

    /// `UpBlockBigCond` or `UpBlockSmallCond`.
    fn up(&mut self, x: &Maps, classes: &[Vec<f64>], outs: usize, noises: &[Maps]) -> Maps {
        let [n, ins, height, width] = x.dims;
        let mut x = Maps::make([n, ins, 2 * height, 2 * width], |b, c, y, i| x.at(b, c, y / 2, i / 2));
        let layers: &[(&str, &str)] = match noises.len() {
            0 => &[("conv", "bn")],
            _ => &[("conv1", "bn1"), ("conv2", "bn2")],
        };
        for (layer, (conv, norm)) in layers.iter().enumerate() {
            let mut y = self.conv(&format!("b.{conv}"), &x, (2 * outs, 3), 1, 1, 1);
            if let Some(noise) = noises.get(layer) {
                let strength = self.get("b.noise.weight")[0];
                y = Maps::make(y.dims, |b, c, r, i| y.at(b, c, r, i) + strength * noise.at(b, 0, r, i));
            }
            let y = self.normalise(&y, &format!("b.{norm}.stored_mean"), &format!("b.{norm}.stored_var"));
            let mut of_class = |part: &str| {
                let name = format!("b.{norm}.{part}");
                let weight = self.normalised(&name);
                Self::linear(&weight, self.get(&format!("{name}.bias")), classes)
            };
            let (gain, bias) = (of_class("gain"), of_class("bias"));
            let y = Maps::make(y.dims, |b, c, r, i| y.at(b, c, r, i) * (1.0 + gain[b][c]) + bias[b][c]);
            let [_, _, h, w] = y.dims;
            x = Maps::make([n, outs, h, w], |b, c, r, i| {
                y.at(b, c, r, i) / (1.0 + (-y.at(b, c + outs, r, i)).exp())
            });
        }
        x
    }

    fn leaky(x: f64) -> f64 {
        if x < 0.0 { 0.2 * x } else { x }
    }

    /// A head for maps of 32 x 32: two blocks and the last convolution; logits of each place.
    fn head(&mut self, x: &Maps, channels: usize, separable: bool, classes: Option<&[usize]>) -> Maps {
        let mut x = x.clone();
        for block in 0..2 {
            let name = format!("discriminator.mini_discs.2.main.{block}.main");
            let y = match separable {
                false => self.conv(&format!("{name}.0"), &x, (channels, 4), 2, 1, 1),
                true => {
                    let y = self.conv(&format!("{name}.0.depthwise"), &x, (x.dims[1], 3), 1, 1, x.dims[1]);
                    self.conv(&format!("{name}.0.pointwise"), &y, (channels, 1), 1, 0, 1)
                }
            };
            let norm = format!("{name}.1");
            let y = self.normalise(&y, &format!("{norm}.running_mean"), &format!("{norm}.running_var"));
            let (weight, bias) = (self.get(&format!("{norm}.weight")), self.get(&format!("{norm}.bias")));
            let y = Maps::make(y.dims, |b, c, r, i| Self::leaky(y.at(b, c, r, i) * weight[c] + bias[c]));
            let [n, c, h, w] = y.dims;
            x = match separable {
                false => y,
                true => Maps::make([n, c, h / 2, w / 2], |b, c, r, i| {
                    let four =
                        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| y.at(b, c, 2 * r + dy, 2 * i + dx));
                    four.iter().sum::<f64>() / 4.0
                }),
            };
        }
        let Some(classes) = classes else {
            return self.conv("discriminator.mini_discs.2.main.2", &x, (1, 4), 1, 0, 1);
        };
        let y = self.conv("discriminator.mini_discs.2.cls", &x, (CMAP, 4), 1, 0, 1);
        let embeddings = self.get("discriminator.mini_discs.2.embed.weight");
        let rows: Vec<Vec<f64>> =
            classes.iter().map(|class| embeddings[class * WIDTH..][..WIDTH].to_vec()).collect();
        let [weight, bias] =
            ["weight", "bias"].map(|part| format!("discriminator.mini_discs.2.embed_proj.0.{part}"));
        let cmap = Self::linear(self.get(&weight), self.get(&bias), &rows);
        let [n, _, h, w] = y.dims;
        Maps::make([n, 1, h, w], |b, _, r, i| {
            (0..CMAP).map(|c| y.at(b, c, r, i) * Self::leaky(cmap[b][c])).sum::<f64>() / (CMAP as f64).sqrt()
        })
    }

    /// Every buffer that a forward pass may have moved.
    fn assert_buffers(&self, variables: &Variables, tolerance: f64) {
        for (name, buffer) in variables.buffers().filter(|(name, _)| self.tensors.contains_key(*name)) {
            let expected = Tensor::new(self.get(name), &Device::Cpu).unwrap();
            let difference = relative(buffer, &expected);
            assert!(difference < tolerance, "{name} differs by {difference:e}");
        }
    }
}

/// Width in which heads compare images and classes.
const CMAP: usize = 7;
const CASES: [(DType, f64); 2] = [(DType::F32, 2e-5), (DType::F64, 1e-10)];

fn block_weights(lite: bool, (ins, outs): (usize, usize)) -> StateDict {
    let mut shapes = Vec::new();
    for number in if lite { [""].as_slice() } else { &["1", "2"] } {
        let from = if *number == "2" { outs } else { ins };
        spectral(&mut shapes, &format!("b.conv{number}"), &[2 * outs, from, 3, 3], false);
        for part in ["gain", "bias"] {
            spectral(&mut shapes, &format!("b.bn{number}.{part}"), &[2 * outs, WIDTH], true);
        }
        shapes.extend(
            ["stored_mean", "stored_var"].map(|part| (format!("b.bn{number}.{part}"), vec![2 * outs])),
        );
    }
    if !lite {
        shapes.push(("b.noise.weight".into(), vec![1]));
    }
    weights(&shapes)
}

#[test]
fn conditional_blocks_are_those_of_the_definition_in_both_modes() {
    let (ins, outs) = (4, 3);
    for (dtype, tolerance) in CASES {
        for (lite, train) in [(false, false), (false, true), (true, false), (true, true)] {
            let dict = block_weights(lite, (ins, outs));
            let x = values(&[ROWS, ins, 4, 4], 1, dtype);
            let classes = values(&[ROWS, WIDTH], 2, dtype);
            let rows: Vec<Vec<f64>> = classes.to_dtype(DType::F64).unwrap().to_vec2().unwrap();
            // One strength, and two draws.
            let drawn: Vec<Tensor> = [3, 4].map(|seed| values(&[ROWS, 1, 8, 8], seed, dtype)).into();
            let noises: Vec<Maps> = if lite { Vec::new() } else { drawn.iter().map(Maps::of).collect() };
            let mut loops = Loops::new(&dict, train);
            let expected = loops.up(&Maps::of(&x), &rows, outs, &noises).tensor();

            let mut builder = Builder::from_weights(dict, dtype, &Device::Cpu);
            let kind = UpBlocks { lite, class_width: Some(WIDTH) };
            let block = UpBlock::new(&mut builder, "b", (ins, outs), kind, 5).unwrap();
            let variables = builder.finish(&[]).unwrap();
            let mode = if train { Mode::train() } else { Mode::Eval };
            let given = |index: u64| drawn[index as usize - 10].clone();
            let found = block.forward(&x, Some(&classes), &Noise::Given(&given), mode).unwrap();
            let difference = relative(&found, &expected);
            assert!(difference < tolerance, "{dtype:?}, lite {lite}, train {train}: {difference:e}");
            loops.assert_buffers(&variables, tolerance);
            assert!(block.forward(&x, None, &Noise::Absent, mode).is_err());
        }
    }
}

#[test]
fn gradients_reach_images_classes_and_what_they_are_scaled_by() {
    const STEP: f64 = 1e-6;
    let dict = block_weights(false, (4, 3));
    let mut builder = Builder::from_weights(dict, DType::F64, &Device::Cpu);
    let kind = UpBlocks { lite: false, class_width: Some(WIDTH) };
    let block = UpBlock::new(&mut builder, "b", (4, 3), kind, 0).unwrap();
    let variables = builder.finish(&[]).unwrap();
    let start: Vec<(Var, Tensor)> = variables
        .buffers()
        .map(|(_, buffer)| (buffer.clone(), buffer.as_detached_tensor().copy().unwrap()))
        .collect();
    let probe = values(&[ROWS, 3, 8, 8], 6, DType::F64);
    let value = |x: &Tensor, classes: &Tensor| {
        // Each pass moves the buffers.
        start.iter().for_each(|(buffer, before)| buffer.set(before).unwrap());
        let y = block.forward(x, Some(classes), &Noise::Absent, Mode::train()).unwrap();
        (y * &probe).unwrap().sum_all().unwrap()
    };
    let number = |t: Tensor| t.to_scalar::<f64>().unwrap();
    let x = Var::from_tensor(&values(&[ROWS, 4, 4, 4], 1, DType::F64)).unwrap();
    let classes = Var::from_tensor(&values(&[ROWS, WIDTH], 2, DType::F64)).unwrap();
    let gain = variables.get("b.bn1.gain.bias").unwrap();
    let grads = value(&x, &classes).backward().unwrap();
    for (i, variable) in [&x, &classes, gain].into_iter().enumerate() {
        let direction = values(variable.dims(), 11 + i, DType::F64);
        let before = variable.as_detached_tensor().copy().unwrap();
        let at = |step: f64| {
            variable.set(&(&before + (&direction * step).unwrap()).unwrap()).unwrap();
            number(value(&x, &classes))
        };
        let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        variable.set(&before).unwrap();
        let found = number((grads.get(variable).unwrap() * &direction).unwrap().sum_all().unwrap());
        assert!((found - slope).abs() < 1e-6 * slope.abs().max(1.0), "{i}: {found} {slope}");
    }
    assert!(grads.get(variables.get("b.bn2.bias.weight_orig").unwrap()).is_some());
}

#[test]
fn heads_with_classes_and_separable_heads_are_those_of_the_definition_in_both_modes() {
    let (ins, channels) = (4, 6);
    let name = "discriminator.mini_discs.2";
    for (dtype, tolerance) in CASES {
        for (separable, conditional, train) in [
            (true, false, false),
            (true, false, true),
            (false, true, false),
            (false, true, true),
            (true, true, true),
        ] {
            let mut shapes = Vec::new();
            for block in 0..2 {
                let from = if block == 0 { ins } else { channels };
                let conv = format!("{name}.main.{block}.main.0");
                if separable {
                    spectral(&mut shapes, &format!("{conv}.depthwise"), &[from, 1, 3, 3], false);
                    spectral(&mut shapes, &format!("{conv}.pointwise"), &[channels, from, 1, 1], false);
                } else {
                    spectral(&mut shapes, &conv, &[channels, from, 4, 4], true);
                }
                let parts = ["weight", "bias", "running_mean", "running_var"];
                shapes
                    .extend(parts.map(|part| (format!("{name}.main.{block}.main.1.{part}"), vec![channels])));
            }
            if conditional {
                spectral(&mut shapes, &format!("{name}.cls"), &[CMAP, channels, 4, 4], false);
                shapes.push((format!("{name}.embed.weight"), vec![4, WIDTH]));
                shapes.push((format!("{name}.embed_proj.0.weight"), vec![CMAP, WIDTH]));
                shapes.push((format!("{name}.embed_proj.0.bias"), vec![CMAP]));
            } else {
                spectral(&mut shapes, &format!("{name}.main.2"), &[1, channels, 4, 4], false);
            }
            let dict = weights(&shapes);
            let x = values(&[ROWS, ins, 32, 32], 1, dtype);
            let classes = [2usize, 0, 3];
            let mut loops = Loops::new(&dict, train);
            let known = conditional.then_some(&classes[..]);
            let expected = loops.head(&Maps::of(&x), channels, separable, known).tensor();

            let mut builder = Builder::from_weights(dict, dtype, &Device::Cpu);
            let widths = ClassWidths { num_classes: 4, embedding_dim: WIDTH, cmap_dim: CMAP };
            let config =
                HeadConfig { ndf: Some(channels), separable, classes: conditional.then_some(widths) };
            let head = Head::new(&mut builder, 2, ins, config).unwrap();
            let variables = builder.finish(&[]).unwrap();
            let mode = if train { Mode::train() } else { Mode::Eval };
            let classes = classes.map(|class| class as u32);
            let known = conditional.then_some(&classes[..]);
            let options = ForwardOptions { mode, classes: known, ..ForwardOptions::default() };
            let found = head.forward(&x, &options).unwrap();
            assert_eq!(found.dims(), [ROWS, 25]);
            let difference = relative(&found, &expected);
            assert!(difference < tolerance, "{dtype:?}, {separable}, {conditional}, {train}: {difference:e}");
            loops.assert_buffers(&variables, tolerance);
        }
    }
}
