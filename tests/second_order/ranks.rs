//! Training over several ranks gives what one process gives: threads stand in for the processes.

use crate::paths::project;
use crate::support::*;
use candle_core::{DType, Device, Tensor, Var};
use pseudo_density::Silent;
use pseudo_density::internals::candidates::DensityScorer;
use pseudo_density::internals::density::Rule;
use pseudo_density::internals::extract::{ExtractorRequest, LoadedExtractor};
use pseudo_density::internals::finetune::{
    DiffusionConfig, DiffusionTrainer, GanConfig, GanTrainer, Rejection, Schedule, Sheet, finetune_run, run,
    run_worker,
};
use pseudo_density::internals::generate::ImageShape;
use pseudo_density::internals::ops::activation::Activation;
use pseudo_density::internals::ops::all_reduce::{self, Reducer};
use pseudo_density::internals::ops::batch_norm::{batch_norm, batch_statistics};
use pseudo_density::internals::reference::{DensityBy, Reference};
use pseudo_density::internals::runs::RunDir;
use serde_json::Map;
use std::fs;
use std::path::Path;

const MLP: &str = r#"{"family": "mlp-gan",
    "generator": {"widths": [8, 32, 64], "image": [1, 8, 8]},
    "discriminator": {"widths": [64, 32, 1], "image": [1, 8, 8]}}"#;
const DIFFUSION: &str = r#"{"family": "diffusers", "generator": {
    "unet": {"sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 8], "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4, "attention_head_dim": 4, "dropout": 0.2},
    "scheduler": {"num_train_timesteps": 50}}}"#;

const DIGIT: ImageShape = ImageShape { channels: 1, height: 8, width: 8 };
const PLAIN: GanConfig = GanConfig {
    batch: 12,
    loss: LOSS,
    r1: None,
    adam: ADAM,
    warmup: 4,
    ema: EMA,
    style_mixing: 0.0,
    path_length: None,
};

fn values(dims: &[usize], seed: usize, dtype: DType) -> Tensor {
    let n: usize = dims.iter().product();
    let data: Vec<f64> = (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f64 / 300.0).collect();
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

#[test]
fn the_gradient_of_a_sum_over_ranks_counts_the_losses_of_all() {
    keep_graphs();
    // Rank r has x_r and the loss w_r (x_0 + x_1 + x_2)^2: the gradient with respect to each x is 2 (sum of w) (sum of x).
    let gradients = on_ranks(3, |ranks| {
        let (x, w) = ([1.0, -4.0, 2.5][ranks.rank()], [0.5, 2.0, 3.0][ranks.rank()]);
        let x = Var::new(&[x], &Device::Cpu).unwrap();
        let reducer: Reducer = ranks.clone();
        let sum = all_reduce::sum(&x, Some(&reducer)).unwrap();
        assert_eq!(numbers(&sum), [-0.5]);
        assert_eq!(numbers(&all_reduce::mean(&x, Some(&reducer)).unwrap()), [-0.5 / 3.0]);
        let gradients = (sum.sqr().unwrap() * w).unwrap().backward().unwrap();
        numbers(gradients.get(&x).unwrap())
    });
    assert_eq!(gradients, [[-5.5], [-5.5], [-5.5]]);
}

#[test]
fn batch_norm_over_ranks_is_that_of_the_whole_batch() {
    keep_graphs();
    const BATCH: usize = 6;
    for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-12)] {
        let x = values(&[BATCH, 5, 7, 3], 1, dtype);
        let (affine, probe) = (values(&[2, 5], 2, dtype), values(&[BATCH, 5, 7, 3], 3, dtype));
        let normalised = |reducer: Option<Reducer>, rows: std::ops::Range<usize>| {
            let part = |t: &Tensor| t.narrow(0, rows.start, rows.len()).unwrap().contiguous().unwrap();
            let (x, affine) = (Var::from_tensor(&part(&x)).unwrap(), Var::from_tensor(&affine).unwrap());
            let statistics = batch_statistics(&x, reducer.as_ref()).unwrap();
            let y =
                batch_norm(&x, &affine, None, &statistics, 1e-5, Activation::Relu, reducer.as_ref()).unwrap();
            let gradients = (&y * part(&probe)).unwrap().sum_all().unwrap().backward().unwrap();
            let gradient = |v: &Var| numbers(gradients.get(v).unwrap());
            [numbers(&statistics), numbers(&y), gradient(&x), gradient(&affine)]
        };
        let [statistics, y, dx, d_affine] = normalised(None, 0..BATCH);
        for size in [2, 3] {
            let rows = BATCH / size;
            let parts = on_ranks(size, |ranks| {
                normalised(Some(ranks.clone()), rows * ranks.rank()..rows * (ranks.rank() + 1))
            });
            let joined = |i: usize| parts.iter().flat_map(|part| part[i].clone()).collect::<Vec<_>>();
            assert!(relative(&joined(1), &y) < tolerance && relative(&joined(2), &dx) < tolerance);
            let mut sum = vec![0.0; d_affine.len()];
            for part in &parts {
                assert!(relative(&part[0], &statistics) < tolerance);
                sum.iter_mut().zip(&part[3]).for_each(|(sum, own)| *sum += own);
            }
            assert!(relative(&sum, &d_affine) < tolerance);
        }
    }
}

#[test]
fn a_dcgan_with_its_batch_norms_is_trained_as_by_one_process() {
    keep_graphs();
    let shape = ImageShape { channels: 1, height: 16, width: 16 };
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-4)] {
        assert_ranks_agree(20, tolerance, |ranks| {
            let real = digits(shape, dtype, false);
            Box::new(GanTrainer::new(networks(DCGAN, dtype), real, None, PLAIN, ranks).unwrap())
        });
    }
}

#[test]
fn a_diffusion_model_is_trained_as_by_one_process() {
    keep_graphs();
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-4)] {
        assert_ranks_agree(20, tolerance, |ranks| {
            let (live, average) = (generator(DIFFUSION, dtype), generator(DIFFUSION, dtype));
            let config = DiffusionConfig { batch: 6, adam: ADAM, warmup: 4, ema: EMA };
            let real = digits(DIGIT, dtype, false);
            Box::new(DiffusionTrainer::new(live, average, real, config, ranks).unwrap())
        });
    }
}

#[test]
fn candidates_are_split_and_accepted_as_by_one_process() {
    keep_graphs();
    let directory = tempfile::tempdir().unwrap();
    let pd = |args: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("pd").unwrap();
        command.env("PD_CACHE", directory.path().join("cache")).current_dir(directory.path());
        command.args(args).assert().success();
    };
    let zip = project("examples/digits.zip");
    pd(&["embed", zip.to_str().unwrap(), "-q", "-o", "ref"]);
    pd(&["index", "ref", "-q", "--no-predictor"]);
    let reference = Reference::open(&directory.path().join("ref")).unwrap();
    let alone = assert_ranks_agree(5, 1e-4, |ranks| {
        let request = ExtractorRequest::default();
        let extractor = LoadedExtractor::for_identity(&reference.manifest.identity, &request).unwrap();
        let rejection = Rejection {
            rule: Rule::TwoLevel { threshold: 0.5, weight: 0.2 },
            scorer: DensityScorer::open(&reference, extractor, DensityBy::Knn, &Silent).unwrap(),
            max_draws: 100,
        };
        let real = digits(DIGIT, DType::F32, false);
        let networks = networks(MLP, DType::F32);
        Box::new(GanTrainer::new(networks, real, Some(rejection), PLAIN, ranks).unwrap())
    });
    let draws = alone.scalars.iter().flatten().filter(|(name, _)| *name == "draws_per_accepted");
    assert!(draws.map(|(_, value)| *value).fold(0.0, f64::max) > 1.0, "nothing was rejected");
}

/// Trains to the step `steps` of the run in each rank's directory.
fn run_on_two_ranks(directories: [&Path; 2], steps: u64) -> [Result<(), String>; 2] {
    let schedule =
        Schedule { steps, snap: 100, snapshots: None, log_every: 3, eval_every: u64::MAX, patience: None };
    let ended = on_ranks(2, |ranks| {
        let real = digits(DIGIT, DType::F32, false);
        let mut trainer = GanTrainer::new(networks(MLP, DType::F32), real, None, PLAIN, ranks).unwrap();
        let place = directories[ranks.rank()];
        let ended = match ranks.is_root() {
            true => {
                let directory = RunDir::begin_or_continue(place, &finetune_run(Map::new())).unwrap();
                let sheet = Sheet { side: 2, seed: 0 };
                run(&mut trainer, &directory, schedule, None, sheet, &Device::Cpu, &Silent).map(drop)
            }
            false => run_worker(&mut trainer, &RunDir::of_leader(place), schedule, &Silent),
        };
        ended.map_err(|error| error.to_string())
    });
    ended.try_into().unwrap()
}

#[test]
fn ranks_go_on_together_from_the_state_that_one_has_written() {
    keep_graphs();
    let place = tempfile::tempdir().unwrap();
    let (whole, broken) = (place.path().join("whole"), place.path().join("broken"));
    assert_eq!(run_on_two_ranks([&whole, &whole], 9), [Ok(()), Ok(())]);
    for steps in [4, 9] {
        assert_eq!(run_on_two_ranks([&broken, &broken], steps), [Ok(()), Ok(())]);
    }
    for file in ["snapshot-000009/g.safetensors", "snapshot-000009/d.safetensors"] {
        assert!(
            fs::read(whole.join(file)).unwrap() == fs::read(broken.join(file)).unwrap(),
            "{file} differs"
        );
    }
    // A machine that does not see the directory.
    let other = place.path().join("other");
    let [leader, other] = run_on_two_ranks([&whole, &other], 12);
    assert!(leader.unwrap_err().contains("rank 0 goes on from step 9"));
    assert!(other.unwrap_err().contains("rank 1 goes on from step 0"));
}
