//! One question each: what a pair distance costs, and what all pairs of a set cost.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ndarray::Array2;
use pseudo_density::Silent;
use pseudo_density::internals::neighbors::distance::{squared_l2, squared_l2_f32, squared_l2_within};
use pseudo_density::internals::neighbors::{ExactIndex, NeighborIndex, Search};

fn main() {
    divan::main();
}

fn features(rows: usize, width: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, width), |(i, k)| {
        ((i * 7919 + k * 104_729 + i * k * 31) % 2027) as f32 / 1013.0
    })
}

#[divan::bench(args = [64, 768])]
fn exact_distance(bencher: Bencher, width: usize) {
    let rows = features(2, width);
    let (a, b) = (rows.row(0).to_vec(), rows.row(1).to_vec());
    bencher.counter(ItemsCount::new(width)).bench_local(|| squared_l2(black_box(&a), black_box(&b)));
}

#[divan::bench(args = [64, 768])]
fn exact_distance_given_up(bencher: Bencher, width: usize) {
    let rows = features(2, width);
    let (a, b) = (rows.row(0).to_vec(), rows.row(1).to_vec());
    bencher
        .counter(ItemsCount::new(width))
        .bench_local(|| squared_l2_within(black_box(&a), black_box(&b), 1e-3));
}

#[divan::bench(args = [64, 768])]
fn fast_distance(bencher: Bencher, width: usize) {
    let rows = features(2, width);
    let (a, b) = (rows.row(0).to_vec(), rows.row(1).to_vec());
    bencher.counter(ItemsCount::new(width)).bench_local(|| squared_l2_f32(black_box(&a), black_box(&b), 1.0));
}

#[divan::bench(args = [64, 768], sample_count = 5)]
fn exact_all_pairs_of_5000(bencher: Bencher, width: usize) {
    let index = ExactIndex::new(features(5000, width).into_shared()).expect("finite");
    bencher.bench_local(|| index.search_self(Search { k: 10, skip_zero: false }, &Silent));
}
