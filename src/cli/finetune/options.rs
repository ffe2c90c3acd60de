//! From the settings of `pd finetune` to a run that is ready: defaults filled in, networks, images and densities read.

use super::data::{Data, data};
use super::evaluation::evaluation;
use super::settings::{INPUTS, LossChoice, Settings, Sides, default, required};
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::finetune::{
    DiffusionConfig, DiffusionTrainer, EmaConfig, Evaluator, GanConfig, GanNetworks, GanTrainer,
    PathLengthConfig, R1, RealBatches, Rejection, Schedule, Sheet, Trainer,
};
use crate::formats::digest::sha256;
use crate::generate::{
    Discriminator, GanLoss, Generator, GeneratorRequest, Network, SamplerRequest, Training, Variables,
    family, initialise, initialise_discriminator, load_discriminator, load_with_origin, refuse_onnx,
};
use crate::images::Inputs;
use crate::reference::Reference;
use crate::train::AdamConfig;
use crate::train::collective::Ranks;
use candle_core::Device;
use serde_json::{Map, Value};

/// Any objective.
pub(super) type Model = dyn Trainer;

/// A run that is ready to start.
pub(super) struct Setup<'t> {
    pub trainer: Box<Model>,
    pub evaluator: Option<Evaluator<'t>>,
    pub schedule: Schedule,
    pub sheet: Sheet,
    pub device: Device,
    pub options: Map<String, Value>,
    pub notes: Vec<String>,
    /// What became of the real images.
    pub data: Inputs,
}

const IMAGES_PER_KIMG: f64 = 1000.0;

/// Reads everything and puts the run together.
pub(super) fn setup<'t>(mut settings: Settings, ranks: &Ranks, terminal: &'t Terminal) -> Result<Setup<'t>> {
    let device = terminal.device().clone();
    let seed = *settings.seed.get_or_insert(default::SEED);
    let batch = *settings.batch.get_or_insert(default::BATCH) as usize;
    if let Some(kimg) = settings.kimg.take() {
        settings.steps = Some((kimg * IMAGES_PER_KIMG / batch as f64).ceil() as u64);
    }
    let steps = required(&settings.steps, "--steps or --kimg")?;
    let mut notes = Vec::new();
    let networks = generators(&settings, seed, &device, &mut notes)?;
    let mut inputs = Map::new();
    if !notes.is_empty() {
        inputs.insert("generators_read".into(), notes.clone().into());
    }
    let diffusion = networks[0].denoiser().is_some();
    let reference = settings.reference.as_deref().map(Reference::open).transpose()?;

    let Data { real, rejection, frechet } =
        data(&mut settings, networks[0].as_ref(), reference.as_ref(), (seed, &device), &mut notes, terminal)?;
    let data = real.images.inputs().clone();
    inputs.insert("data_sha256".into(), real.images.set().digest().into());
    if let Some(reference) = &reference {
        let record = serde_json::to_vec(&reference.manifest).map_err(|e| Error::data(e.to_string(), ""))?;
        inputs.insert("reference_sha256".into(), sha256(&record).into());
    }
    if let Some(kept) = &real.kept {
        inputs.insert("data_generated_sha256".into(), kept.images.set().digest().into());
    }
    let (evaluator, patience) = evaluation(&mut settings, reference.as_ref(), &real.images, seed, terminal)?;
    let trainer: Box<Model> = match diffusion {
        true => diffusion_trainer(&mut settings, networks, real, batch, ranks)?,
        false => {
            let trainer = gan_trainer(&mut settings, networks, real, rejection, (batch, ranks))?;
            Box::new(trainer.with_frechet(frechet))
        }
    };
    for (name, variables) in trainer.networks()? {
        inputs.insert(format!("{name}_sha256"), digest(variables)?.into());
    }
    let schedule = Schedule {
        steps,
        snap: *settings.snap.get_or_insert(default::SNAP),
        snapshots: settings.snapshots,
        log_every: *settings.log_every.get_or_insert(default::LOG_EVERY),
        eval_every: settings.eval_every.unwrap_or(u64::MAX),
        patience,
    };
    let side = if diffusion { default::DIFFUSION_SHEET } else { default::SHEET };
    let sheet = Sheet { side: *settings.sheet.get_or_insert(side) as usize, seed };
    let mut options = settings.json()?;
    options.insert(INPUTS.into(), Value::Object(inputs));
    Ok(Setup { trainer, evaluator, schedule, sheet, device, options, notes, data })
}

/// Adam, warm-up and average: what was typed, else the family's.
fn optimisation(settings: &mut Settings, family: Training) -> (AdamConfig, u64, EmaConfig) {
    let adam = AdamConfig {
        lr: *settings.lr.get_or_insert(family.lr),
        beta1: *settings.beta1.get_or_insert(family.beta1),
        beta2: *settings.beta2.get_or_insert(family.beta2),
    };
    let rampup = if settings.init.is_some() { default::EMA_RAMPUP_FROM_NOTHING } else { 0.0 };
    let rampup = *settings.ema_rampup.get_or_insert(rampup);
    let kimg = *settings.ema_kimg.get_or_insert(default::EMA_KIMG);
    let ema = EmaConfig { kimg, rampup: (rampup > 0.0).then_some(rampup) };
    (adam, *settings.warmup.get_or_insert(family.warmup), ema)
}

fn diffusion_trainer(
    settings: &mut Settings,
    [live, average]: [Box<dyn Generator>; 2],
    real: RealBatches,
    batch: usize,
    ranks: &Ranks,
) -> Result<Box<Model>> {
    settings.refuse(
        &[
            ("--loss", settings.loss.is_some()),
            ("--gamma", settings.gamma.is_some()),
            ("--r1-interval", settings.r1_interval.is_some()),
            ("--style-mixing", settings.style_mixing.is_some()),
            ("--path-length", settings.path_length.is_some()),
            ("--path-length-interval", settings.path_length_interval.is_some()),
            ("--discriminator", settings.discriminator.is_some()),
            ("--sides both", settings.sides == Some(Sides::Both)),
        ],
        "a diffusion model has no adversary",
    )?;
    let (adam, warmup, ema) = optimisation(settings, family(live.info().family)?.training);
    let config = DiffusionConfig { batch, adam, warmup, ema };
    Ok(Box::new(DiffusionTrainer::new(live, average, real, config, ranks)?))
}

fn gan_trainer(
    settings: &mut Settings,
    [live, average]: [Box<dyn Generator>; 2],
    real: RealBatches,
    rejection: Option<Rejection>,
    (batch, ranks): (usize, &Ranks),
) -> Result<GanTrainer> {
    let discriminator = discriminator(settings, real.seed, &real.device)?;
    let family =
        Training::of(family(live.info().family)?.training, family(discriminator.info().family)?.training);
    let gamma = *settings.gamma.get_or_insert(family.gamma);
    let unused = ("--r1-interval", "there is no R1 without --gamma");
    let r1 = settings
        .interval(gamma, |s| &mut s.r1_interval, default::R1_INTERVAL, unused)?
        .map(|interval| R1 { gamma, interval });
    let style_mixing = *settings.style_mixing.get_or_insert(family.style_mixing);
    let weight = *settings.path_length.get_or_insert(family.path_length);
    let unused = ("--path-length-interval", "there is no penalty without --path-length");
    let path_length = settings
        .interval(weight, |s| &mut s.path_length_interval, default::PATH_LENGTH_INTERVAL, unused)?
        .map(|interval| PathLengthConfig { weight, interval });
    let loss = match settings.loss {
        None | Some(LossChoice::Auto) => family.loss,
        Some(LossChoice::Logistic) => GanLoss::Logistic,
        Some(LossChoice::Hinge) => GanLoss::Hinge,
    };
    settings.loss = Some(match loss {
        GanLoss::Logistic => LossChoice::Logistic,
        GanLoss::Hinge => LossChoice::Hinge,
    });
    let (adam, warmup, ema) = optimisation(settings, family);
    let config = GanConfig { batch, loss, r1, adam, warmup, ema, style_mixing, path_length };
    let networks = GanNetworks { generator: live, ema: average, discriminator };
    GanTrainer::new(networks, real, rejection, config, ranks)
}

/// The generator twice: as it is trained, and its average.
/// What was read of their file goes to `notes`.
fn generators(
    settings: &Settings,
    seed: u64,
    device: &Device,
    notes: &mut Vec<String>,
) -> Result<[Box<dyn Generator>; 2]> {
    let request = |network| GeneratorRequest {
        arch: settings.arch.clone(),
        config: settings.config.clone(),
        network,
        sampler: SamplerRequest { sampler: None, steps: settings.ddim_steps },
        device: device.clone(),
        ..GeneratorRequest::default()
    };
    let mut make = |network| match &settings.init {
        Some(config) => initialise(config, seed, &request(network)),
        None => {
            let path = required(&settings.generator, "--generator (or --init)")?;
            refuse_onnx(&path)?;
            let (generator, origin) = load_with_origin(path, &request(network))?;
            let note = format!("generator {origin}");
            if !notes.contains(&note) {
                notes.push(note);
            }
            Ok(generator)
        }
    };
    Ok([make(Network::Generator)?, make(Network::Ema)?])
}

fn discriminator(settings: &Settings, seed: u64, device: &Device) -> Result<Box<dyn Discriminator>> {
    let request = GeneratorRequest {
        arch: settings.arch.clone(),
        device: device.clone(),
        ..GeneratorRequest::default()
    };
    match (&settings.init, &settings.discriminator, &settings.generator) {
        // Another seed than the generator's: the layers of both would begin with the same numbers.
        (Some(config), _, _) => initialise_discriminator(config, seed.wrapping_add(1), &request),
        (None, Some(path), _) => load_discriminator(path, &request),
        (None, None, Some(path)) if path.join("d.safetensors").is_file() => {
            load_discriminator(path, &request)
        }
        _ => Err(Error::usage(
            "--discriminator is missing",
            "a GAN is trained with the one it was trained with before",
        )),
    }
}

/// SHA-256 over names and numbers.
fn digest(variables: &Variables) -> Result<String> {
    let mut bytes = Vec::new();
    for (name, tensor) in variables.state_dict("")?.iter() {
        bytes.extend(name.as_bytes());
        match &tensor.data {
            crate::formats::TensorData::F32(values) => {
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
            crate::formats::TensorData::I64(values) => {
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
        }
    }
    Ok(sha256(&bytes))
}
