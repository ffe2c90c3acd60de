//! Times a generator of random weights on the CPU: `time_generator CONFIG.json [REPEATS [THREADS]]`.
//! Prints the milliseconds of each image after a first, uncounted one, and the process's peak of memory in MiB (Linux), as JSON.

use candle_core::{DType, Device};
use pseudo_density::internals::generate::{ForwardOptions, GeneratorRequest, initialise, latents_of_seeds};
use std::error::Error;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    pseudo_density::cli::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, rest @ ..] = arguments.as_slice() else {
        return Err("usage: time_generator CONFIG.json [REPEATS [THREADS]]".into());
    };
    let repeats: u32 = rest.first().map_or(Ok(3), |n| n.parse())?;
    if let Some(threads) = rest.get(1) {
        rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    }
    let generator = initialise(config, 0, &GeneratorRequest::default())?;
    let mut times = Vec::new();
    for seed in 0..=repeats {
        let latents = latents_of_seeds(&generator.info().spaces[0], &[seed], DType::F32, &Device::Cpu)?;
        let keys = [seed.into()];
        let mut options = ForwardOptions::default();
        options.keys = Some(&keys);
        let start = Instant::now();
        generator.generate(&latents, &options)?;
        times.push(format!("{:.1}", start.elapsed().as_secs_f64() * 1e3));
    }
    let peak = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?.split_whitespace().nth(1)?;
        line.parse::<u64>().ok()
    });
    let peak = peak.map_or("null".into(), |kib| (kib / 1024).to_string());
    println!("{{\"ms\": [{}], \"peak_mib\": {peak}}}", times[1..].join(", "));
    Ok(())
}
