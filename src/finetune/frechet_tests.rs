use super::*;
use crate::extract::ExtractorRequest;
use crate::train::collective::single;
use candle_core::{DType, Device, Var};

/// The images of a step: noise of a period that no number of steps repeats.
fn images(rows: usize, step: u64) -> Tensor {
    let value =
        |i: usize| ((i as f64 * 0.37 + step as f64 * 1.7).sin() * (1.0 + (i % 7) as f64 / 7.0) * 0.4) as f32;
    let values: Vec<f32> = (0..rows * 64).map(value).collect();
    Tensor::from_vec(values, (rows, 1, 8, 8), &Device::Cpu).unwrap()
}

fn real(extractor: &LoadedExtractor) -> Array2<f32> {
    let of = |images: &Tensor| {
        let images = (images + 1.0).unwrap().affine(0.5, 0.0).unwrap();
        let images = Tensor::cat(&[&images, &images, &images], 1).unwrap();
        extractor.features_of_images(&images).unwrap().to_vec2::<f32>().unwrap()
    };
    let rows: Vec<f32> =
        (1000..1010).flat_map(|step| of(&(images(8, step) * 0.7).unwrap())).flatten().collect();
    let width = rows.len() / 80;
    Array2::from_shape_vec((80, width), rows).unwrap()
}

fn term(weight: f64) -> FrechetTerm {
    lazy_term(weight, 1)
}

fn lazy_term(weight: f64, interval: usize) -> FrechetTerm {
    let extractor = LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
    let features = real(&extractor);
    FrechetTerm::new(FrechetConfig { weight, interval }, extractor, features.view(), &[1.0; 80], &Silent)
        .unwrap()
}

const BATCH: usize = 64;

fn step(term: &mut FrechetTerm, step: u64, images: &Tensor) -> Option<Term> {
    let shard = RankShard::new(BATCH, 1, &single()).unwrap();
    term.of_images(images, Quantization::HalfUp, &shard, step).unwrap()
}

#[test]
fn it_begins_once_there_are_features_enough_and_going_along_its_gradient_lowers_the_distance() {
    let mut term = term(1.0);
    let width = term.mean.len();
    let begins = (ROWS_PER_COLUMN * width).div_ceil(BATCH) as u64 - 1;
    for at in 0..begins {
        assert!(step(&mut term, at, &images(BATCH, at)).is_none(), "{at}");
    }
    let at = Var::from_tensor(&images(BATCH, begins)).unwrap();
    let found = step(&mut term, begins, &at).unwrap();
    assert!(found.distance > 0.0);
    let gradient = found.loss.unwrap().backward().unwrap().get(&at).unwrap().clone();
    let largest = gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(largest > 0.0);
    // All images of the queue moved as the first are: each by a small step along its own gradient.
    let mut moved = self::term(1.0);
    let mut still = self::term(1.0);
    for at in 0..=begins {
        let first = Var::from_tensor(&images(BATCH, at)).unwrap();
        let shard = RankShard::new(BATCH, 1, &single()).unwrap();
        let (mean, slope) = (term.mean.mapv(f64::from), term.slope.mapv(f64::from));
        let offset = &mean - &term.real.statistics().mean;
        let ((), loss) =
            image_features_with_slope(&term.extractor, &first, Quantization::HalfUp, |features| {
                Ok(((), (&features - &mean).dot(&slope) + &offset))
            })
            .unwrap();
        let gradient = loss.sum_all().unwrap().backward().unwrap().get(&first).unwrap().clone();
        let scale = 0.1 / gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() as f64;
        let better = (first.as_tensor() - (gradient * scale).unwrap()).unwrap();
        moved.of_images(&better, Quantization::HalfUp, &shard, at).unwrap();
        still.of_images(&first, Quantization::HalfUp, &shard, at).unwrap();
    }
    assert!(moved.distance < still.distance, "{} {}", moved.distance, still.distance);
}

#[test]
fn the_gradient_of_features_is_the_formula() {
    let mut term = term(1.0);
    let width = term.mean.len();
    for at in 0..(ROWS_PER_COLUMN * width).div_ceil(BATCH) as u64 {
        step(&mut term, at, &images(BATCH, at));
    }
    let features = Array2::from_shape_fn((3, width), |(i, j)| ((i * 13 + j) as f64).cos());
    let FrechetTerm { real, ridge, queue, mean, slope, distance, .. } = &mut term;
    let moments = Moments { real, ridge: *ridge, queue, mean, slope, distance };
    let found = moments.gradients(features.view());
    for (i, row) in features.outer_iter().enumerate() {
        for j in 0..width {
            let along: f64 =
                (0..width).map(|l| f64::from(term.slope[[l, j]]) * (row[l] - f64::from(term.mean[l]))).sum();
            let offset = f64::from(term.mean[j]) - term.real.statistics().mean[j];
            let expected = 2.0 * (offset + along) / 3.0;
            assert!((found[[i, j]] - expected).abs() < 1e-9 * expected.abs().max(1.0));
        }
    }
}

#[test]
fn a_run_goes_on_from_its_state_to_the_same_bytes() {
    let (mut whole, mut broken) = (term(0.5), term(0.5));
    let steps = (ROWS_PER_COLUMN * whole.mean.len()).div_ceil(BATCH) as u64 + REFRESH + 3;
    for at in 0..steps {
        step(&mut whole, at, &images(BATCH, at));
        step(&mut broken, at, &images(BATCH, at));
        // Before the first map, and between two.
        if at == 3 || at == steps - 5 {
            let state = broken.state();
            broken = term(0.5);
            broken.load(&state).unwrap();
        }
    }
    assert_eq!(whole.queue, broken.queue);
    assert_eq!((&whole.slope, &whole.mean, whole.distance), (&broken.slope, &broken.mean, broken.distance));
    let mut other = StateDict::new("other");
    other.insert(QUEUE, HostTensor { shape: vec![2], data: TensorData::F32(vec![0.0; 2]) });
    assert!(whole.load(&other).is_err());
}

#[test]
fn behind_its_beginning_it_is_taken_at_every_third_step_and_counts_threefold() {
    let (mut always, mut lazy) = (term(0.5), lazy_term(0.5, 3));
    let first = (ROWS_PER_COLUMN * always.queue.ncols()).div_ceil(BATCH) as u64;
    let turns: Vec<u64> = (0..first + 7).filter(|&at| turn(at, 3, first).is_some()).collect();
    assert_eq!(turns, (0..first).chain([first + 2, first + 5]).collect::<Vec<u64>>());
    for (number, &at_step) in (0..).zip(&turns) {
        let at = Var::from_tensor(&images(BATCH, number)).unwrap();
        let gradient = |term: &mut FrechetTerm, step: u64| {
            let loss = self::step(term, step, &at)?.loss?;
            loss.backward().unwrap().get(&at).cloned()
        };
        let (once, thrice) = (gradient(&mut always, number), gradient(&mut lazy, at_step));
        assert_eq!(always.queue, lazy.queue);
        assert_eq!((once.is_some(), thrice.is_some()), (number + 1 >= first, number + 1 >= first));
        // The map is found anew more seldom: later gradients differ by more than their weight.
        if let (Some(once), Some(thrice), true) = (once, thrice, number + 1 == first) {
            let apart = ((once * 3.0).unwrap() - &thrice).unwrap().abs().unwrap().max_all().unwrap();
            let largest = thrice.abs().unwrap().max_all().unwrap();
            let [apart, largest] = [apart, largest].map(|t| t.to_scalar::<f32>().unwrap());
            assert!(largest > 0.0 && apart < 1e-5 * largest, "{apart} {largest}");
        }
    }
    let between = step(&mut lazy, first, &images(BATCH, 1000)).unwrap();
    assert!(between.loss.is_none() && between.distance > 0.0);
    assert_eq!(always.queue, lazy.queue);
}

#[test]
fn features_that_are_all_alike_are_refused() {
    let extractor = LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
    let features = Array2::from_elem((20, 4), 1.0);
    let config = FrechetConfig { weight: 1.0, interval: 1 };
    assert!(FrechetTerm::new(config, extractor, features.view(), &[1.0; 20], &Silent).is_err());
}

#[test]
fn images_in_float64_are_measured_too() {
    let mut term = term(1.0);
    let images = images(BATCH, 0).to_dtype(DType::F64).unwrap();
    assert!(step(&mut term, 0, &images).is_none());
}
