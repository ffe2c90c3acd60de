//! Times one forward and backward pass of an operation that training lives on: `time_training NAME [REPEATS [THREADS]]`.
//! Prints the milliseconds of each pass after a first, uncounted one, as a JSON list. Names and shapes: [`CASES`].

use candle_core::{Device, Result, Tensor, Var};
use pseudo_density::internals::ops::activation::Activation;
use pseudo_density::internals::ops::batch_norm::{batch_norm, batch_statistics};
use pseudo_density::internals::ops::conv::{ConvConfig, conv_transpose2d, conv2d};
use std::error::Error;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Name, input `[B, C, H, W]`, parameter, and the operation.
type Case = (&'static str, [usize; 4], &'static [usize], fn(&Tensor, &Tensor) -> Result<Tensor>);

const CASES: &[Case] = &[
    ("conv3x3", [32, 128, 32, 32], &[128, 128, 3, 3], |x, w| conv2d(x, w, ConvConfig::padded(1))),
    ("conv4x4-stride2", [64, 64, 32, 32], &[128, 64, 4, 4], |x, w| {
        conv2d(x, w, ConvConfig { stride: 2, ..ConvConfig::padded(1) })
    }),
    ("conv-transpose4x4-stride2", [64, 128, 16, 16], &[128, 64, 4, 4], |x, w| conv_transpose2d(x, w, 2, 1)),
    ("batch-norm", [64, 64, 32, 32], &[2, 64], |x, affine| {
        batch_norm(x, affine, None, &batch_statistics(x, None)?, 1e-5, Activation::Relu, None)
    }),
];

fn main() -> std::result::Result<(), Box<dyn Error>> {
    pseudo_density::cli::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = CASES.iter().map(|c| c.0).collect();
    let Some((case, rest)) =
        arguments.split_first().and_then(|(name, rest)| Some((CASES.iter().find(|c| c.0 == name)?, rest)))
    else {
        return Err(format!("usage: time_training {} [REPEATS [THREADS]]", names.join("|")).into());
    };
    let repeats: usize = rest.first().map_or(Ok(5), |n| n.parse())?;
    if let Some(threads) = rest.get(1) {
        rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    }
    let (_, input, parameter, operation) = case;
    let x = Var::from_tensor(&Tensor::randn(0f32, 1f32, input.as_slice(), &Device::Cpu)?)?;
    let parameter = Var::from_tensor(&Tensor::randn(0f32, 1f32, *parameter, &Device::Cpu)?)?;
    let mut times = Vec::with_capacity(repeats);
    for pass in 0..=repeats {
        let start = Instant::now();
        operation(&x, &parameter)?.backward()?;
        if pass > 0 {
            times.push(format!("{:.3}", start.elapsed().as_secs_f64() * 1e3));
        }
    }
    println!("[{}]", times.join(", "));
    Ok(())
}
