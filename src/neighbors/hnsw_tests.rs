//! HNSW held against exact search, and against what `hnsw_rs` does to programs that trust it.

use super::*;
use crate::progress::Silent;
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TEN: Search = Search { k: 10, skip_zero: false };

/// `[rows, width]`: forty clusters, every ninth row a copy of its predecessor.
fn clusters(rows: usize, width: usize, seed: u64) -> Array2<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let centres = Array2::from_shape_simple_fn((40, width), || random.random_range(-2.0f32..2.0));
    let mut features = Array2::zeros((rows, width));
    for i in 0..rows {
        let centre = centres.row(random.random_range(0..40));
        let row = if i % 9 == 8 {
            features.row(i - 1).to_owned()
        } else {
            centre.map(|value| value + random.random_range(-1.0f32..1.0))
        };
        features.row_mut(i).assign(&row);
    }
    features
}

fn graph(features: &Array2<f32>) -> HnswIndex {
    HnswIndex::build(features.clone().into_shared(), HnswParameters::default(), &Silent).unwrap()
}

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn nearly_all_true_neighbours_are_found_and_their_distances_are_exact() {
    let features = clusters(3000, 24, 1);
    let found = graph(&features).search_self(TEN, &Silent).unwrap();
    let exact = ExactIndex::new(features.clone().into_shared()).unwrap().search_self(TEN, &Silent).unwrap();
    let mut hits = 0;
    for q in 0..features.nrows() {
        let (rows, distances) = found.of(q);
        assert!(!rows.contains(&(q as u32)), "row {q} is its own neighbour");
        assert!(distances.is_sorted());
        for (&row, &distance) in rows.iter().zip(distances) {
            let content = |row: usize| features.row(row).to_vec();
            assert_eq!(distance, distance::squared_l2(&content(q), &content(row as usize)).sqrt());
        }
        hits += rows.iter().filter(|row| exact.of(q).0.contains(row)).count();
    }
    let recall = hits as f64 / exact.rows.len() as f64;
    assert!(recall > 0.99, "{recall}");
}

#[test]
fn a_copy_is_found_at_distance_zero_under_its_own_row() {
    let features = clusters(2000, 16, 2);
    let found = graph(&features).search_self(Search { k: 3, skip_zero: false }, &Silent).unwrap();
    for q in (8..2000).step_by(9) {
        assert_eq!((found.of(q).0[0], found.of(q).1[0]), (q as u32 - 1, 0.0));
        assert_eq!((found.of(q - 1).0[0], found.of(q - 1).1[0]), (q as u32, 0.0));
    }
}

#[test]
fn any_thread_count_builds_and_finds_the_same() {
    let features = clusters(2500, 16, 3);
    let queries = clusters(50, 16, 4);
    let run = |threads| {
        on_threads(threads, || {
            let index = graph(&features);
            let own = index.search_self(TEN, &Silent).unwrap();
            (own, index.search(queries.view(), None, TEN, &Silent).unwrap())
        })
    };
    assert_eq!(run(1), run(4));
}
