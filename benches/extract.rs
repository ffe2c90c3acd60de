//! Time of the networks per batch: `cargo bench --bench extract`.

mod network;

use candle_core::{DType, Device};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10, args = [
    ("cifar-resnet56", 32, 64), ("resnet18", 224, 8), ("resnet50", 224, 8), ("efficientnet-lite0", 224, 8),
])]
fn forward(bencher: divan::Bencher, (name, size, batch): (&str, usize, usize)) {
    match network::network(name, size, batch, (&Device::Cpu, DType::F32)) {
        Ok((network, images)) => bencher.bench(|| network.forward(&images)),
        Err(error) => panic!("{name} cannot be built: {error}"),
    }
}
