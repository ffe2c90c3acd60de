//! Graphs of both builders held against exact search, and against what `hnsw_rs` does to programs that trust it.

use super::{Builder, GraphIndex, Measured};
use crate::error::Error;
use crate::neighbors::kind::choose;
use crate::neighbors::recall::warn_of_recall;
use crate::neighbors::{
    AnyIndex, BuildOptions, DescentParameters, ExactIndex, HnswParameters, IndexKind, IndexRecord,
    NeighborIndex, Search, build, distance, open, set_graphs_aside,
};
use crate::progress::Silent;
use crate::progress::test_support::Warnings;
use candle_core::Device;
use ndarray::{Array2, Axis, concatenate, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TEN: Search = Search { k: 10, skip_zero: false };

/// `[rows, width]`: forty clusters, every ninth row a copy of its predecessor.
pub(super) fn clusters(rows: usize, width: usize, seed: u64) -> Array2<f32> {
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

const MEASURED: Measured = Measured { k: 3, seed: 1 };

fn built(features: &Array2<f32>, builder: Builder) -> Result<GraphIndex, Error> {
    GraphIndex::build(features.clone().into_shared(), builder, MEASURED, &Device::Cpu, &Silent)
}

/// An index of each builder.
fn both(features: &Array2<f32>) -> [GraphIndex; 2] {
    [Builder::Hnsw(HnswParameters::default()), Builder::Descent(DescentParameters::for_neighbors(10))]
        .map(|builder| built(features, builder).unwrap())
}

fn options(kind: IndexKind, k: usize) -> BuildOptions {
    BuildOptions { kind, k, seed: 1, ..BuildOptions::default() }
}

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn nearly_all_true_neighbours_are_found_and_their_distances_are_exact() {
    let features = clusters(3000, 24, 1);
    let exact = ExactIndex::new(features.clone().into_shared()).unwrap().search_self(TEN, &Silent).unwrap();
    for index in both(&features) {
        let found = index.search_self(TEN, &Silent).unwrap();
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
}

#[test]
fn a_copy_is_found_at_distance_zero_under_its_own_row() {
    let features = clusters(2000, 16, 2);
    for index in both(&features) {
        let found = index.search_self(Search { k: 3, skip_zero: false }, &Silent).unwrap();
        for q in (8..2000).step_by(9) {
            assert_eq!((found.of(q).0[0], found.of(q).1[0]), (q as u32 - 1, 0.0));
            assert_eq!((found.of(q - 1).0[0], found.of(q - 1).1[0]), (q as u32, 0.0));
        }
    }
}

#[test]
fn any_thread_count_builds_and_finds_the_same() {
    let features = clusters(2500, 16, 3);
    let queries = clusters(50, 16, 4);
    let run = |threads| {
        on_threads(threads, || {
            both(&features).map(|index| {
                let own = index.search_self(TEN, &Silent).unwrap();
                (own, index.search(queries.view(), None, TEN, &Silent).unwrap())
            })
        })
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn clusters_of_copies_and_far_families_are_answered_as_exactly_as_anything() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let shapes: [Array2<f32>; 3] = [
        Array2::from_shape_fn((300, 4), |(i, _)| (i % 3) as f32),
        Array2::from_shape_fn((300, 4), |(i, k)| (i / 30) as f32 * 1e6 + (i % 30 * (k + 1)) as f32),
        Array2::from_shape_simple_fn((300, 3), || random.random_range(-1i8..2).into()),
    ];
    for features in shapes {
        for skip_zero in [false, true] {
            let search = Search { k: 2, skip_zero };
            let exact = ExactIndex::new(features.clone().into_shared()).unwrap();
            let exact = exact.search_self(search, &Silent).unwrap();
            for index in both(&features) {
                assert_eq!(index.search_self(search, &Silent).unwrap().distances, exact.distances);
            }
        }
    }
}

#[test]
fn what_would_end_or_panic_the_process_is_refused() {
    let features = clusters(50, 4, 6);
    let build = |features: &Array2<f32>, parameters| built(features, Builder::Hnsw(parameters)).map(drop);
    let default = HnswParameters::default();
    for m in [0, 1, 129, 257] {
        assert!(matches!(
            build(&features, HnswParameters { m, ..default }).unwrap_err(),
            Error::Usage { .. }
        ));
    }
    for parts in [0, 65] {
        assert!(build(&features, HnswParameters { parts, ..default }).is_err());
    }
    assert!(build(&features, HnswParameters { ef_construction: 0, ..default }).is_err());
    let mut holed = features.clone();
    holed[[7, 1]] = f32::NAN;
    assert!(build(&holed, default).unwrap_err().to_string().contains("row 7"));
    assert!(build(&Array2::zeros((0, 4)), default).is_err());
    let descent = DescentParameters::for_neighbors(10);
    for wrong in [DescentParameters { width: 0, ..descent }, DescentParameters { ef_search: 0, ..descent }] {
        assert!(matches!(built(&features, Builder::Descent(wrong)), Err(Error::Usage { .. })));
    }
    assert!(built(&holed, Builder::Descent(descent)).err().unwrap().to_string().contains("row 7"));
    for index in both(&features) {
        assert!(index.search(holed.view(), None, TEN, &Silent).unwrap_err().to_string().contains("row 7"));
        assert!(index.search(clusters(2, 5, 7).view(), None, TEN, &Silent).is_err());
    }
}

#[test]
fn more_neighbours_than_rows_are_an_error_and_all_others_are_not() {
    let features = clusters(40, 4, 8);
    let search = |k| Search { k, skip_zero: false };
    for index in both(&features) {
        assert_eq!(index.search_self(search(39), &Silent).unwrap().of(0).0.len(), 39);
        let says = index.search_self(search(40), &Silent).unwrap_err().to_string();
        assert!(says.contains("only 39 other rows"), "{says}");
        assert!(matches!(index.search_self(search(0), &Silent).unwrap_err(), Error::Usage { .. }));
    }
    for kind in [IndexKind::Hnsw, IndexKind::Graph] {
        let shared = features.clone().into_shared();
        assert!(build(shared, &options(kind, 40), &Silent).is_err());
    }
}

#[test]
fn more_neighbours_than_the_graph_explores_are_found_all_the_same() {
    let features = clusters(2000, 8, 9);
    let search = Search { k: 300, skip_zero: false };
    let hnsw = Builder::Hnsw(HnswParameters { ef_search: 1, ..HnswParameters::default() });
    let descent = Builder::Descent(DescentParameters { ef_search: 1, ..DescentParameters::for_neighbors(1) });
    for builder in [hnsw, descent] {
        let found = built(&features, builder).unwrap().search_self(search, &Silent).unwrap();
        assert_eq!(found.rows.len(), 2000 * 300);
    }
}

#[test]
fn queries_of_another_scale_and_tiny_or_huge_features_do_not_panic() {
    for scale in [1e-42f32, 1e-30, 1.0, 1e30, 8e37] {
        let features = clusters(200, 6, 10) * scale;
        for index in both(&features) {
            index.search_self(TEN, &Silent).unwrap();
            for value in [0.0, f32::MIN_POSITIVE, 1.0, 1e30, f32::MAX, -f32::MAX] {
                let query = Array2::from_elem((1, 6), value);
                let found = index.search(query.view(), None, TEN, &Silent).unwrap();
                assert!(found.distances.iter().all(|distance| distance.is_finite()));
            }
        }
    }
}

#[test]
fn recall_is_that_of_the_rows_and_a_poor_graph_is_warned_about() {
    let features = clusters(2000, 16, 11);
    let measured = Measured { k: 10, seed: 1 };
    for index in both(&features) {
        assert!(index.recall(measured, 500, &Silent).unwrap() > 0.99);
    }
    let poor = HnswParameters { m: 2, ef_construction: 1, ef_search: 1, parts: 1 };
    let poor = built(&features, Builder::Hnsw(poor)).unwrap();
    let sampled = poor.recall(measured, 500, &Silent).unwrap();
    assert!(sampled < 0.99, "{sampled}");
    assert_eq!(sampled, poor.recall(measured, 500, &Silent).unwrap());
    let found = poor.search_self(TEN, &Silent).unwrap();
    let exact = ExactIndex::new(features.into_shared()).unwrap().search_self(TEN, &Silent).unwrap();
    // A row as far as the last of the true neighbours is as good as that one.
    let hit = |q: usize, row: &u32, distance: &f64| {
        exact.of(q).0.contains(row) || exact.of(q).1.last() == Some(distance)
    };
    let hits: usize = (0..2000)
        .map(|q| {
            found.of(q).0.iter().zip(found.of(q).1).filter(|(row, distance)| hit(q, row, distance)).count()
        })
        .sum();
    let all = poor.recall(measured, 5000, &Silent).unwrap();
    assert!((all - hits as f64 / 20_000.0).abs() < 1e-3, "{all}");
    let warnings = Warnings::default();
    warn_of_recall(sampled, &warnings);
    warn_of_recall(0.995, &warnings);
    assert_eq!(warnings.so_far().len(), 1);
}

fn saved(kind: IndexKind, features: &Array2<f32>, dir: &std::path::Path) -> (AnyIndex, IndexRecord) {
    let (index, mut record) = build(features.clone().into_shared(), &options(kind, 5), &Silent).unwrap();
    index.save(dir, &mut record).unwrap();
    (index, record)
}

#[test]
fn a_saved_index_answers_as_before_and_is_written_with_the_same_bytes_again() {
    let features = clusters(2500, 12, 12);
    let queries = clusters(40, 12, 13);
    for kind in [IndexKind::Hnsw, IndexKind::Graph] {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (index, record) = on_threads(1, || saved(kind, &features, one.path()));
        let (_, again) = on_threads(3, || saved(kind, &features, two.path()));
        assert_eq!(record, again);
        for name in record.files.as_ref().unwrap().keys() {
            let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(name)).unwrap();
            assert_eq!(read(&one), read(&two));
        }
        let text = serde_json::to_string(&record).unwrap();
        let record: IndexRecord = serde_json::from_str(&text).unwrap();
        let shared = features.clone().into_shared();
        let loaded = open(one.path(), &record, shared, &Device::Cpu, &Silent).unwrap();
        assert_eq!(loaded.search_self(TEN, &Silent).unwrap(), index.search_self(TEN, &Silent).unwrap());
        let ask = |index: &AnyIndex| index.search(queries.view(), None, TEN, &Silent).unwrap();
        assert_eq!(ask(&loaded), ask(&index));
    }
}

#[test]
fn a_graph_of_earlier_rows_grows_when_some_go_and_others_join() {
    let all = clusters(3000, 12, 21);
    // Those that join come first, so that all rows have other numbers.
    let now = concatenate![Axis(0), all.slice(s![2700.., ..]), all.slice(s![100..2700, ..])];
    let earlier = all.slice(s![..2700, ..]).to_owned();
    let grown = |threads: usize, earlier: &Array2<f32>| {
        let dir = tempfile::tempdir().unwrap();
        saved(IndexKind::Graph, earlier, dir.path());
        set_graphs_aside(dir.path()).unwrap();
        let options = BuildOptions { earlier: Some(dir.path().into()), ..options(IndexKind::Graph, 5) };
        let built = || build(now.clone().into_shared(), &options, &Silent).unwrap();
        let (index, mut record) = on_threads(threads, built);
        index.save(dir.path(), &mut record).unwrap();
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["index.0.safetensors"], "the earlier graph is gone");
        (index, record)
    };
    let (index, record) = grown(1, &earlier);
    let distinct = 2700 - 2700 / 9 - (100 - 100 / 9);
    let shared = record.grown_from.unwrap();
    assert!(shared.abs_diff(distinct) <= 2, "{shared} {distinct}");
    assert!(record.recall.unwrap() >= 0.999, "{record:?}");
    assert!(record.describe().contains("grown from one of"));
    let (again, record_again) = grown(3, &earlier);
    assert_eq!(record, record_again);
    let found = index.search_self(TEN, &Silent).unwrap();
    assert_eq!(again.search_self(TEN, &Silent).unwrap(), found);
    let exact = ExactIndex::new(now.clone().into_shared()).unwrap().search_self(TEN, &Silent).unwrap();
    for rows in [0..300, 300..2900] {
        let hits: usize = rows
            .clone()
            .map(|q| found.of(q).0.iter().filter(|row| exact.of(q).0.contains(row)).count())
            .sum();
        assert!(hits as f64 > 0.99 * (10 * rows.len()) as f64, "{rows:?}: {hits}");
    }
    // Of a set of which too little is there already, a graph is built as if nothing were.
    let (_, other) = grown(2, &clusters(2700, 12, 22));
    let mut plain = build(now.clone().into_shared(), &options(IndexKind::Graph, 5), &Silent).unwrap().1;
    assert_eq!(other.grown_from, None);
    plain.files = other.files.clone();
    assert_eq!(other, plain);
}

#[test]
fn a_damaged_graph_of_earlier_rows_is_passed_over() {
    let features = clusters(1200, 8, 14);
    let dir = tempfile::tempdir().unwrap();
    saved(IndexKind::Graph, &features, dir.path());
    set_graphs_aside(dir.path()).unwrap();
    let options = BuildOptions { earlier: Some(dir.path().into()), ..options(IndexKind::Graph, 5) };
    let grown_from = || build(features.clone().into_shared(), &options, &Silent).unwrap().1.grown_from;
    assert!(grown_from().is_some());
    let file = dir.path().join("earlier.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(grown_from(), None);
}

#[test]
fn a_damaged_missing_or_foreign_dump_is_refused_before_it_is_read() {
    let features = clusters(1200, 8, 14);
    let dir = tempfile::tempdir().unwrap();
    let (_, record) = saved(IndexKind::Hnsw, &features, dir.path());
    let files = record.files.clone().unwrap();
    let refused = |record: &IndexRecord, features: &Array2<f32>| {
        let error =
            open(dir.path(), record, features.clone().into_shared(), &Device::Cpu, &Silent).err().unwrap();
        assert!(error.hint().unwrap().contains("IndexReference"), "{error}");
        error.to_string()
    };
    for name in files.keys() {
        let path = dir.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            std::fs::write(&path, damaged).unwrap();
            assert!(refused(&record, &features).contains("SHA-256"));
        }
        std::fs::write(&path, &bytes[..bytes.len() / 3]).unwrap();
        assert!(refused(&record, &features).contains(name));
        std::fs::remove_file(&path).unwrap();
        assert!(refused(&record, &features).contains("missing"));
        std::fs::write(&path, bytes).unwrap();
    }
    let other = refused(&record, &clusters(1100, 8, 14));
    assert!(other.contains("other features"), "{other}");
    let nameless = IndexRecord {
        files: Some(files.keys().map(|n| (format!("../{n}"), String::new())).collect()),
        ..record.clone()
    };
    assert!(refused(&nameless, &features).contains("recorded"));
    assert!(refused(&IndexRecord { files: None, ..record.clone() }, &features).contains("lacks"));
    assert!(
        refused(&IndexRecord { kind: IndexKind::Graph, ..record.clone() }, &features)
            .contains("another kind")
    );
    assert!(refused(&IndexRecord { kind: IndexKind::Auto, ..record }, &features).contains("which kind"));
}

#[test]
fn saving_an_exact_index_removes_the_graphs_of_an_earlier_one() {
    let features = clusters(1200, 8, 15);
    let dir = tempfile::tempdir().unwrap();
    saved(IndexKind::Hnsw, &features, dir.path());
    assert!(std::fs::read_dir(dir.path()).unwrap().count() > 0);
    let (exact, mut record) = build(features.into_shared(), &options(IndexKind::Auto, 5), &Silent).unwrap();
    exact.save(dir.path(), &mut record).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(serde_json::to_string(&record).unwrap(), r#"{"kind":"exact"}"#);
    assert_eq!(record.describe(), "exact index");
}

#[test]
fn saving_where_nothing_can_be_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (index, mut record) = saved(IndexKind::Hnsw, &clusters(100, 4, 16), dir.path());
    assert!(index.save(&dir.path().join("nowhere"), &mut record).is_err());
}

#[test]
fn auto_takes_exact_search_for_small_sets_and_graphs_for_very_large_ones() {
    for width in [2, 64, 768, 4096] {
        assert_eq!(choose(10_000, width), IndexKind::Exact);
        assert_eq!(choose(1 << 30, width), IndexKind::Graph);
    }
    assert_eq!(choose(100_000, 64), IndexKind::Exact);
    assert_eq!(choose(50_000, 768), IndexKind::Exact);
    assert_eq!(choose(300_000, 64), IndexKind::Graph);
    assert_eq!(choose(1_000_000, 768), IndexKind::Graph);
}
