//! Times the forward pass of a network: `time_network NAME SIZE BATCH [REPEATS [THREADS [DEVICE [f32|bf16]]]]`.
//! Prints the milliseconds of each batch after a first, uncounted one, as a JSON list. Features are brought to the CPU.

#[path = "../benches/network/mod.rs"]
mod network;

use candle_core::{DType, Tensor};
use pseudo_density::internals::device::DeviceChoice;
use pseudo_density::internals::extract::Extractor;
use std::error::Error;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    pseudo_density::cli::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, size, batch, rest @ ..] = arguments.as_slice() else {
        return Err("usage: time_network NAME SIZE BATCH [REPEATS [THREADS [DEVICE [f32|bf16]]]]".into());
    };
    let repeats: usize = rest.first().map_or(Ok(5), |n| n.parse())?;
    if let Some(threads) = rest.get(1) {
        rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    }
    let choice = rest.get(2).map_or(Ok(DeviceChoice::Cpu), |device| device.parse())?;
    let dtype = match rest.get(3).map(String::as_str) {
        None | Some("f32") => DType::F32,
        Some("bf16") => DType::BF16,
        Some(other) => return Err(format!("unknown type {other}").into()),
    };
    let place = (&choice.open()?.device, dtype);
    let (network, images) = network::network(name, size.parse()?, batch.parse()?, place)?;
    let run = || features(network.as_ref(), &images);
    run()?;
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        run()?;
        times.push(format!("{:.3}", start.elapsed().as_secs_f64() * 1e3));
    }
    println!("[{}]", times.join(", "));
    Ok(())
}

/// On the CPU: a device answers before it is done. From a thread of the pool, as `pd embed` has it: others wake for nothing.
fn features(network: &dyn Extractor, images: &Tensor) -> pseudo_density::Result<Vec<f32>> {
    rayon::scope(|_| Ok(network.forward(images)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
}
