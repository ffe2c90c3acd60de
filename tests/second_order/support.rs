//! What these tests share: candle told to keep graphs, ranks that are threads of one process, and training on them.

use crate::paths::project;
use candle_core::{DType, Device, Tensor};
use pseudo_density::Silent;
use pseudo_density::internals::finetune::{
    EmaConfig, GanNetworks, MEMORY_BYTES, RealBatches, RealImages, SECOND_ORDER_VARIABLE, Scalars, Trainer,
    WeightedRows, check_second_order,
};
use pseudo_density::internals::generate::{
    GanLoss, Generator, GeneratorRequest, ImageShape, initialise, initialise_discriminator,
};
use pseudo_density::internals::images::{Fit, ImageSet};
use pseudo_density::internals::ops::all_reduce::AllReduce;
use pseudo_density::internals::train::AdamConfig;
use pseudo_density::internals::train::collective::{Collective, Ranks, single};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once};

/// Lets candle keep the graphs of gradients, which gradients of second order need. Every test begins with it: candle reads its
/// variable once in each thread, at the first backward pass there.
pub fn keep_graphs() {
    static SET: Once = Once::new();
    // SAFETY: the environment is read here by Rust's standard library only, which lets nobody read it while it is set.
    SET.call_once(|| unsafe { std::env::set_var(SECOND_ORDER_VARIABLE, "1") });
    check_second_order().unwrap();
}

#[derive(Debug)]
struct Thread {
    rank: usize,
    meeting: Arc<Meeting>,
}

/// Where all threads put down their values before any reads them.
#[derive(Debug)]
struct Meeting {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    values: Vec<Vec<f64>>,
    waiting: usize,
    /// How often all have met.
    met: usize,
    /// Whether a thread has ended, which no other must wait for.
    ended: bool,
}

impl Meeting {
    /// Returns once all have called it.
    ///
    /// # Panics
    /// If one of them has ended.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let met = state.met;
        state.waiting += 1;
        if state.waiting == self.size {
            (state.waiting, state.met) = (0, met + 1);
            self.changed.notify_all();
        }
        while state.met == met && !state.ended {
            state = self.changed.wait(state).unwrap();
        }
        let all_met = state.met > met;
        if !all_met {
            // Unlocked, lest the others find it poisoned instead of the cause.
            drop(state);
            panic!("another rank has ended");
        }
        state
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Ok(mut state) = self.meeting.state.lock() {
            state.ended = true;
            self.meeting.changed.notify_all();
        }
    }
}

impl AllReduce for Thread {
    fn size(&self) -> usize {
        self.meeting.size
    }

    fn all_reduce_sum(&self, values: &mut [f32]) {
        let mut wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        self.all_reduce_sum_f64(&mut wide);
        values.iter_mut().zip(wide).for_each(|(value, sum)| *value = sum as f32);
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) {
        let mut state = self.meeting.state.lock().unwrap();
        state.values[self.rank] = values.to_vec();
        let state = self.meeting.wait(state);
        let all = state.values.clone();
        drop(self.meeting.wait(state));
        assert!(all.iter().all(|other| other.len() == values.len()), "the ranks are not at the same place");
        for (i, value) in values.iter_mut().enumerate() {
            *value = all.iter().map(|rank| rank[i]).sum();
        }
    }
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn abort(&self, code: u8) {
        panic!("rank {} ends all with {code}", self.rank)
    }
}

/// What `work` returns on each of `size` ranks.
pub fn on_ranks<T: Send>(size: usize, work: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
    let state = State { values: vec![Vec::new(); size], ..State::default() };
    let meeting = Arc::new(Meeting { size, state: Mutex::new(state), changed: Condvar::new() });
    let one = |rank: usize| {
        let ranks: Ranks = Arc::new(Thread { rank, meeting: meeting.clone() });
        work(&ranks)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size).map(|rank| scope.spawn(move || one(rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// All images of digits, unweighted, in this size.
pub fn digits(shape: ImageShape, dtype: DType, classes: bool) -> RealBatches {
    let set = ImageSet::open(&project("examples/digits.zip"), &Silent).unwrap();
    let images = RealImages::open(set, shape, Fit::Crop, false, MEMORY_BYTES, &Silent).unwrap();
    let rows = WeightedRows::new(&vec![1.0; images.len()], None, None).unwrap();
    let classes = classes.then(|| (0..images.len() as u32).map(|row| row % 3).collect());
    RealBatches {
        images,
        rows,
        ratio: None,
        kept: None,
        classes,
        mirror: true,
        seed: 3,
        device: Device::Cpu,
        dtype,
    }
}

/// The generator of a configuration with random weights.
pub fn generator(config: &str, dtype: DType) -> Box<dyn Generator> {
    with_config(config, dtype, |path, request| initialise(path, 1, request).unwrap())
}

/// Both networks of a configuration with random weights.
pub fn networks(config: &str, dtype: DType) -> GanNetworks {
    GanNetworks {
        generator: generator(config, dtype),
        ema: generator(config, dtype),
        discriminator: with_config(config, dtype, |path, request| {
            initialise_discriminator(path, 2, request).unwrap()
        }),
    }
}

fn with_config<T>(config: &str, dtype: DType, make: impl FnOnce(&Path, &GeneratorRequest) -> T) -> T {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    std::fs::write(&path, config).unwrap();
    make(&path, &GeneratorRequest::in_type(dtype))
}

/// With batch norms in both networks.
pub const DCGAN: &str = r#"{"family": "dcgan",
    "generator": {"z_dim": 4, "channels": [8, 6], "image_channels": 1},
    "discriminator": {"image_channels": 1, "channels": [6, 8]}}"#;

pub const ADAM: AdamConfig = AdamConfig { lr: 1e-3, beta1: 0.5, beta2: 0.99 };
pub const EMA: EmaConfig = EmaConfig { kimg: 0.1, rampup: None };
pub const LOSS: GanLoss = GanLoss::Logistic;

/// What is left of a training: every number of its networks, and what its steps measured.
#[derive(PartialEq)]
pub struct Trained {
    pub variables: BTreeMap<String, Vec<f64>>,
    pub scalars: Vec<Scalars>,
}

impl Trained {
    /// The largest relative difference of a tensor or of a measure.
    pub fn difference(&self, other: &Trained) -> f64 {
        assert_eq!(self.variables.len(), other.variables.len());
        // What is added to all keys of an attention cancels: its gradient is rounding, which Adam brings to full size.
        const WITHOUT_GRADIENT: &str = "to_k.bias";
        let mut largest = 0f64;
        for (name, values) in self.variables.iter().filter(|(name, _)| !name.ends_with(WITHOUT_GRADIENT)) {
            largest = largest.max(relative(values, &other.variables[name]));
        }
        for (one, other) in self.scalars.iter().zip(&other.scalars) {
            assert!(!one.is_empty() && one.len() == other.len());
            for ((_, one), (_, other)) in one.iter().zip(other) {
                largest = largest.max(relative(&[*one], &[*other]));
            }
        }
        largest
    }
}

/// The length of the difference as a share of that of what is expected.
pub fn relative(found: &[f64], expected: &[f64]) -> f64 {
    const LEAST: f64 = 1e-3;
    assert_eq!(found.len(), expected.len());
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = length(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    difference / length(&mut expected.iter().copied()).max(LEAST)
}

pub fn numbers(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn trained(mut trainer: Box<dyn Trainer>, steps: u64) -> Trained {
    let scalars = (0..steps).map(|step| trainer.step(step, true).unwrap()).collect();
    let mut variables = BTreeMap::new();
    for (network, of_network) in trainer.networks().unwrap() {
        for (name, variable) in of_network.parameters().chain(of_network.buffers()) {
            variables.insert(format!("{network}.{name}"), numbers(variable));
        }
    }
    Trained { variables, scalars }
}

/// The same training alone and on 2 ranks: these agree to the last bit among themselves, and with the one within `tolerance`.
#[track_caller]
pub fn assert_ranks_agree(
    steps: u64,
    tolerance: f64,
    make: impl Fn(&Ranks) -> Box<dyn Trainer> + Sync,
) -> Trained {
    let alone = trained(make(&single()), steps);
    let start = trained(make(&single()), 0);
    assert!(
        alone.difference(&Trained { scalars: Vec::new(), ..start }) > 10.0 * tolerance,
        "nothing was trained"
    );
    let ranks = on_ranks(2, |ranks| trained(make(ranks), steps));
    assert!(ranks[0] == ranks[1], "the ranks have drifted apart");
    let difference = ranks[0].difference(&alone);
    println!("{steps} steps: 2 ranks differ from 1 by {difference:.1e}");
    assert!(difference < tolerance, "2 ranks differ from 1 by {difference:e}");
    alone
}
