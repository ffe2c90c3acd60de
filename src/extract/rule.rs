//! The rule by which the expected values of full-size networks were made: every number follows from a tensor's name.

use super::parameters::ParameterSource;
use crate::error::Result;
use candle_core::{Device, Tensor};

/// Weights made by the rule with this gain.
pub(super) struct Rule {
    pub gain: f64,
}

/// `n` values in [-1, 1) for a name.
pub(super) fn uniform(name: &str, n: usize) -> Vec<f64> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (0..n as u64)
        .map(|i| {
            let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            2.0 * ((z >> 40) as f64 / f64::from(1u32 << 24)) - 1.0
        })
        .collect()
}

impl ParameterSource for Rule {
    fn contains(&self, name: &str) -> bool {
        !name.starts_with('_')
    }

    fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        let fan_in: usize = dims.iter().skip(1).product();
        let value = |u: f64| {
            if name.ends_with("running_mean") {
                0.1 * u
            } else if name.ends_with("running_var") {
                1.0 + 0.5 * u.abs()
            } else if name == "cls_token" || name == "pos_embed" || name.ends_with(".gamma") {
                0.1 * u
            } else if dims.len() >= 2 {
                u * (self.gain * (3.0 / fan_in as f64).sqrt())
            } else if name.ends_with(".weight") {
                1.0 + 0.1 * u
            } else {
                0.1 * u
            }
        };
        let data: Vec<f32> =
            uniform(name, dims.iter().product()).into_iter().map(|u| value(u) as f32).collect();
        Ok(Tensor::from_vec(data, dims, &Device::Cpu)?)
    }
}

/// Normalised inputs `[n, 3, height, width]`, images 0 to `n - 1` (at most 4).
pub(super) fn images(n: usize, height: usize, width: usize) -> Tensor {
    mixed(n, height, width, |coarse, fine| 1.5 * coarse + 0.5 * fine)
}

/// The same with values in 0..=1.
pub(super) fn unit_images(n: usize, height: usize, width: usize) -> Tensor {
    mixed(n, height, width, |coarse, fine| 0.5 + 0.375 * coarse + 0.125 * fine)
}

fn mixed(n: usize, height: usize, width: usize, value: impl Fn(f64, f64) -> f64) -> Tensor {
    let mut data = Vec::new();
    for (k, g) in [2, 4, 8, 16].into_iter().enumerate().take(n) {
        let coarse = uniform(&format!("image.{k}.coarse"), 3 * g * g);
        let fine = uniform(&format!("image.{k}.fine.{height}x{width}"), 3 * height * width);
        for (i, fine) in fine.iter().enumerate() {
            let (channel, y, x) = (i / (height * width), i / width % height, i % width);
            let cell = (channel * g + y * g / height) * g + x * g / width;
            data.push(value(coarse[cell], *fine) as f32);
        }
    }
    Tensor::from_vec(data, (n, 3, height, width), &Device::Cpu).unwrap()
}

#[test]
fn the_rule_gives_its_published_vectors() {
    assert_eq!(
        uniform("conv1.weight", 4),
        [0.0901498794555664, 0.49032342433929443, -0.9541566371917725, 0.47239553928375244]
    );
    let weights = Rule { gain: 2f64.sqrt() }.get("conv1.weight", &[64, 3, 7, 7]).unwrap();
    let weights: Vec<f32> = weights.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(weights[0], 0.018213026225566864f64 as f32);
    assert_eq!(weights[1], 0.0990602895617485f64 as f32);
}
