//! Times the forward pass of a network: `time_network NAME SIZE BATCH [REPEATS [THREADS]]`.
//! Prints the milliseconds of each batch after a first, uncounted one, as a JSON list.

#[path = "../benches/network/mod.rs"]
mod network;

use std::error::Error;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, size, batch, rest @ ..] = arguments.as_slice() else {
        return Err("usage: time_network NAME SIZE BATCH [REPEATS [THREADS]]".into());
    };
    let repeats: usize = rest.first().map_or(Ok(5), |n| n.parse())?;
    if let Some(threads) = rest.get(1) {
        rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    }
    let (network, images) = network::network(name, size.parse()?, batch.parse()?)?;
    network.forward(&images)?;
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        network.forward(&images)?;
        times.push(format!("{:.3}", start.elapsed().as_secs_f64() * 1e3));
    }
    println!("[{}]", times.join(", "));
    Ok(())
}
