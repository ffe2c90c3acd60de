//! Exact search held against a brute force over every pair, on sets made to defeat a float32 product.

use super::ExactIndex;
use super::blocked::Blocking;
use crate::error::{Error, Result};
use crate::neighbors::distance::squared_l2;
use crate::neighbors::{NeighborIndex, Neighbors, Search};
use crate::progress::{Progress, Silent};
use ndarray::Array2;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Small enough that a few hundred rows cross every border.
const SMALL: Blocking = Blocking { block: 96, strip: 2, resident: 48 };

#[derive(Debug, Clone, Copy)]
enum Shape {
    Cloud,
    Lattice,
    Duplicates,
    Families,
    Offset,
    FarClusters,
    Tiny,
    Huge,
    Outlier,
    Constant,
}

fn set(shape: Shape, rows: usize, width: usize, seed: u64) -> Array2<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let cloud = |random: &mut ChaCha8Rng| random.random_range(-1.0f32..1.0);
    let distinct = rows.div_ceil(5);
    let pool = Array2::from_shape_simple_fn((distinct, width), || cloud(&mut random));
    let picks: Vec<usize> = (0..rows).map(|_| random.random_range(0..distinct)).collect();
    Array2::from_shape_fn((rows, width), |(i, k)| match shape {
        Shape::Cloud => cloud(&mut random),
        Shape::Lattice => random.random_range(-1i8..2).into(),
        Shape::Duplicates => pool[[picks[i], k]],
        Shape::Families => pool[[picks[i], k]] + 1e-3 * cloud(&mut random),
        Shape::Offset => 1000.0 + 0.05 * cloud(&mut random),
        Shape::FarClusters => (if i % 2 == 0 { 1000.0 } else { -1000.0 }) + 0.001 * (i % 5) as f32,
        Shape::Tiny => f32::from_bits(random.random_range(0..5)),
        Shape::Huge => f32::MAX * cloud(&mut random),
        Shape::Outlier => cloud(&mut random) * if i == 1 { 1e20 } else { 1e-3 },
        Shape::Constant => 0.1,
    })
}

/// Uniform values `[rows, width]` in -1..1.
pub(in crate::neighbors) fn cloud(rows: usize, width: usize, seed: u64) -> Array2<f32> {
    set(Shape::Cloud, rows, width, seed)
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop::sample::select(vec![
        Shape::Cloud,
        Shape::Lattice,
        Shape::Duplicates,
        Shape::Families,
        Shape::Offset,
        Shape::FarClusters,
        Shape::Tiny,
        Shape::Huge,
        Shape::Outlier,
        Shape::Constant,
    ])
}

/// All distances, sorted by (distance, row).
fn brute_force(
    features: &Array2<f32>,
    queries: &Array2<f32>,
    exclude: impl Fn(usize) -> Option<u32>,
    search: Search,
) -> Option<Neighbors> {
    let mut neighbors = Neighbors { k: search.k, rows: Vec::new(), distances: Vec::new() };
    for (q, query) in queries.outer_iter().enumerate() {
        let mut all: Vec<(f64, u32)> = features
            .outer_iter()
            .zip(0..)
            .map(|(row, j)| (squared_l2(query.as_slice().unwrap(), row.as_slice().unwrap()).sqrt(), j))
            .filter(|&(distance, j)| exclude(q) != Some(j) && !(search.skip_zero && distance == 0.0))
            .collect();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        if all.len() < search.k {
            return None;
        }
        neighbors.rows.extend(all[..search.k].iter().map(|e| e.1));
        neighbors.distances.extend(all[..search.k].iter().map(|e| e.0));
    }
    Some(neighbors)
}

fn index(features: &Array2<f32>) -> ExactIndex {
    ExactIndex::with_blocking(features.clone().into_shared(), SMALL).unwrap()
}

/// How an index finds its candidates: by products of whole rows, or of a third of the principal components.
const BY: [fn(&Array2<f32>) -> ExactIndex; 2] =
    [index, |features| index(features).with_components(features.ncols().div_ceil(3))];

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn all_pairs_are_those_of_a_brute_force_at_any_thread_count(
        shape in shapes(), rows in 1usize..400, width in 1usize..70, k in 1usize..12, skip_zero: bool, seed: u64,
    ) {
        let features = set(shape, rows, width, seed);
        let search = Search { k, skip_zero };
        let expected = brute_force(&features, &features, |q| Some(q as u32), search);
        for (threads, by) in [1, 3].into_iter().flat_map(|threads| BY.map(|by| (threads, by))) {
            let found = on_threads(threads, || by(&features).search_self(search, &Silent));
            prop_assert_eq!(found.as_ref().ok(), expected.as_ref(), "{} threads", threads);
        }
    }

    #[test]
    fn queries_get_what_a_brute_force_finds(
        shape in shapes(), rows in 1usize..400, asked in 1usize..70, width in 1usize..40, k in 1usize..8,
        skip_zero: bool, exclude: bool, seed: u64,
    ) {
        let features = set(shape, rows, width, seed);
        let mut queries = set(shape, asked, width, seed ^ 1);
        for q in (0..asked).step_by(3) {
            queries.row_mut(q).assign(&features.row(q % rows));
        }
        let search = Search { k, skip_zero };
        let excluded: Vec<Option<u32>> =
            (0..asked).map(|q| (exclude && q % 2 == 0).then_some((q % rows) as u32)).collect();
        let expected = brute_force(&features, &queries, |q| excluded[q], search);
        for by in BY {
            let found = on_threads(2, || {
                by(&features).search(queries.view(), exclude.then_some(excluded.as_slice()), search, &Silent)
            });
            prop_assert_eq!(found.as_ref().ok(), expected.as_ref());
        }
    }
}

#[test]
fn the_default_blocking_gives_the_same_answers() {
    let features = set(Shape::Cloud, 1500, 20, 3);
    let search = Search { k: 10, skip_zero: false };
    let expected = brute_force(&features, &features, |q| Some(q as u32), search).unwrap();
    let found = ExactIndex::new(features.into_shared()).unwrap().search_self(search, &Silent).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn a_query_from_another_scale_is_answered_all_the_same() {
    let features = set(Shape::Tiny, 60, 5, 4);
    let queries = set(Shape::Huge, 20, 5, 5);
    let search = Search { k: 3, skip_zero: false };
    let expected = brute_force(&features, &queries, |_| None, search).unwrap();
    for by in BY {
        assert_eq!(by(&features).search(queries.view(), None, search, &Silent).unwrap(), expected);
    }
}

#[test]
fn a_large_search_measures_how_many_components_spare_time_and_finds_the_same() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut varying_along_few = |rows: usize| {
        Array2::from_shape_fn((rows, 64), |(_, k)| random.random_range(-1.0f32..1.0) / (1 + k * k) as f32)
    };
    let (features, queries) = (varying_along_few(12_000), varying_along_few(100));
    let search = Search { k: 5, skip_zero: false };
    let large = ExactIndex::new(features.clone().into_shared()).unwrap();
    assert_eq!(large.component_count(), None);
    let of_all = large.search_self(search, &Silent).unwrap();
    assert_eq!(large.component_count(), Some(Some(16)));
    let some = features.slice(ndarray::s![..100, ..]).to_owned();
    let expected = brute_force(&features, &some, |q| Some(q as u32), search).unwrap();
    assert_eq!(
        (&of_all.rows[..500], &of_all.distances[..500]),
        (&expected.rows[..], &expected.distances[..])
    );
    let of_queries = large.search(queries.view(), None, search, &Silent).unwrap();
    assert_eq!(of_queries, brute_force(&features, &queries, |_| None, search).unwrap());

    let cloud = ExactIndex::new(set(Shape::Cloud, 12_000, 64, 12).into_shared()).unwrap();
    cloud.search_self(search, &Silent).unwrap();
    assert_eq!(cloud.component_count(), Some(None));
}

#[test]
fn rows_with_more_copies_than_neighbours_are_answered_by_the_first_of_them() {
    let features = set(Shape::Duplicates, 100, 12, 13).select(ndarray::Axis(0), &[5; 40]);
    let others = set(Shape::Cloud, 60, 12, 14);
    let features = ndarray::concatenate![ndarray::Axis(0), others, features, others];
    for skip_zero in [false, true] {
        let search = Search { k: 3, skip_zero };
        let expected = brute_force(&features, &features, |q| Some(q as u32), search).unwrap();
        for by in BY {
            assert_eq!(by(&features).search_self(search, &Silent).unwrap(), expected);
        }
    }
}

#[test]
fn features_in_column_order_are_read_as_rows() {
    let features = set(Shape::Cloud, 40, 7, 6);
    let search = Search { k: 3, skip_zero: false };
    let expected = index(&features).search_self(search, &Silent).unwrap();
    let columns = Array2::from_shape_fn((7, 40), |(k, i)| features[[i, k]]).reversed_axes();
    assert!(!columns.is_standard_layout());
    let found = ExactIndex::new(columns.clone().into_shared()).unwrap();
    assert_eq!(found.search_self(search, &Silent).unwrap(), expected);
    let asked = found.search(columns.view(), None, Search { k: 1, ..search }, &Silent).unwrap();
    assert_eq!(asked.rows, (0..40).collect::<Vec<u32>>());
}

#[test]
fn progress_adds_up_to_the_rows() {
    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicU64);
    impl Progress for Count {
        fn start(&self, _: &str, total: u64, unit: &'static str) {
            assert_eq!((total, unit), (131, "rows"));
        }
        fn advance(&self, done: u64) {
            self.0.fetch_add(done, std::sync::atomic::Ordering::Relaxed);
        }
        fn finish(&self) {}
        fn warn(&self, _: &str) {}
        fn stop_requested(&self) -> bool {
            false
        }
    }
    let count = Count::default();
    let features = set(Shape::Cloud, 131, 4, 7);
    index(&features).search_self(Search { k: 2, skip_zero: false }, &count).unwrap();
    assert_eq!(count.0.into_inner(), 131);
}

#[test]
fn what_cannot_be_searched_is_refused_with_its_cause() {
    let says = |result: Result<Neighbors>| result.unwrap_err().to_string();
    let features = set(Shape::Cloud, 10, 4, 8);
    let ten = index(&features);
    let search = |k| Search { k, skip_zero: false };
    assert!(ten.search_self(search(9), &Silent).is_ok());
    assert!(says(ten.search_self(search(10), &Silent)).contains("only 9 other rows"));
    assert!(matches!(ten.search_self(search(0), &Silent).unwrap_err(), Error::Usage { .. }));
    assert!(
        says(ten.search(set(Shape::Cloud, 2, 3, 9).view(), None, search(1), &Silent)).contains("3 values")
    );
    assert!(says(ten.search(features.view(), Some(&[None]), search(1), &Silent)).contains("exclude"));
    let mut holed = features.clone();
    holed[[7, 2]] = f32::NAN;
    holed[[8, 1]] = f32::INFINITY;
    assert!(says(ten.search(holed.view(), None, search(1), &Silent)).contains("row 7"));
    assert!(ExactIndex::new(holed.into_shared()).err().unwrap().to_string().contains("row 7"));
    assert!(ExactIndex::new(Array2::zeros((0, 4)).into_shared()).is_err());
    assert!(ExactIndex::new(Array2::zeros((4, 0)).into_shared()).is_err());
    let copies = index(&set(Shape::Constant, 10, 4, 8));
    assert!(says(copies.search_self(Search { k: 1, skip_zero: true }, &Silent)).contains("above 0"));
    let none = ten.search(Array2::zeros((0, 4)).view(), None, search(3), &Silent).unwrap();
    assert!(none.is_empty());
}
