//! The network, its samplers and its training objective against diffusers.

use super::*;
use crate::formats::StateDict;
use crate::generate::test_support::{Expected, fixture, images, relative, values};
use crate::generate::{GeneratorRequest, Mode, Network, initialise, load, value_and_gradient};
use candle_core::{DType, Device, Var};
use std::path::Path;

const TIME: &str = "time_embedding_out";

fn parts(
    dtype: DType,
    change: impl Fn(&mut serde_json::Value),
    request: SamplerRequest,
) -> Result<Diffusion<Pipeline>> {
    let (config, weights) = open::open(&fixture("diffusers-ddpm/pipeline"), Network::Ema)?;
    let mut part = config.part().unwrap().clone();
    change(&mut part);
    let builder = Builder::from_weights(weights, dtype, &Device::Cpu);
    super::model(&Config::new(config.path(), Some(part)), builder, &request)
}

fn model(dtype: DType, sampler: Sampler, steps: usize) -> Diffusion<Pipeline> {
    parts(dtype, |_| (), SamplerRequest { sampler: Some(sampler), steps: Some(steps) }).unwrap()
}

fn usizes(t: &Tensor) -> Vec<usize> {
    t.to_dtype(DType::I64).unwrap().to_vec1::<i64>().unwrap().iter().map(|&v| v as usize).collect()
}

#[test]
fn the_schedule_and_the_time_embedding_agree_with_diffusers() {
    let io = Expected::read("diffusers-ddpm/io.safetensors");
    let model = model(DType::F32, Sampler::Ddim, 5);
    let config: PipelineConfig = serde_json::from_value(model.info().config.clone()).unwrap();
    let betas = schedule::betas(&config.scheduler, 1000);
    io.assert("betas", &Tensor::new(betas, &Device::Cpu).unwrap(), 0.0);
    io.assert(
        "alphas_cumprod",
        &Tensor::new(&model.process.schedule.alphas_cumprod[..], &Device::Cpu).unwrap(),
        0.0,
    );
    let timesteps = usizes(&io.get("t", DType::I64));
    let rows: Vec<f32> =
        timesteps.iter().flat_map(|&t| model.process.unet.sinusoids().row(t as f32)).collect();
    io.assert("timestep_embedding", &Tensor::new(rows, &Device::Cpu).unwrap(), 2e-5);
    let embedding = model.process.unet.embed(&timesteps, DType::F32, &Device::Cpu, Mode::Eval).unwrap();
    io.assert(TIME, &embedding, 2e-5);
    let steps: Vec<usize> = model.process.steps.iter().map(|step| step.timestep).collect();
    assert_eq!(steps, usizes(&io.get("ddim.timesteps", DType::I64)));
}

#[test]
fn predictions_and_ddim_trajectories_agree_with_diffusers() {
    let io = Expected::read("diffusers-ddpm/io.safetensors");
    let options = ForwardOptions::default();
    for dtype in [DType::F32, DType::F64] {
        let model = model(dtype, Sampler::Ddim, 5);
        let timesteps = usizes(&io.get("t", DType::I64));
        let eps = model.process.predict(&io.get("x_t", dtype), &timesteps, &options).unwrap();
        io.assert("eps", &eps, 2e-5);
        let start = io.get("x_T", dtype);
        io.assert("ddim.step0.sample", &model.stage(0, &start, &options).unwrap(), 2e-5);
        io.assert("ddim.final", &images(&model, &start, &options).unwrap(), 1e-4);
        let unclipped = |part: &mut serde_json::Value| part["scheduler"]["clip_sample"] = false.into();
        let unclipped = parts(dtype, unclipped, SamplerRequest { sampler: None, steps: Some(5) }).unwrap();
        io.assert("ddim_unclipped.final", &images(&unclipped, &start, &options).unwrap(), 1e-4);
    }
}

#[test]
fn ddpm_steps_agree_with_diffusers() {
    let io = Expected::read("diffusers-ddpm/io.safetensors");
    for (name, variance_type) in [("small", "fixed_small"), ("large", "fixed_large")] {
        let change = |part: &mut serde_json::Value| part["scheduler"]["variance_type"] = variance_type.into();
        let model =
            parts(DType::F32, change, SamplerRequest { sampler: Some(Sampler::Ddpm), steps: None }).unwrap();
        assert_eq!(model.process.steps.len(), 1000);
        let x = io.get("x_t", DType::F32);
        for t in [999, 500, 1, 0] {
            let step = model.process.steps[999 - t];
            assert_eq!((step.timestep, step.previous), (t, t.checked_sub(1)));
            let output = model.process.predict(&x, &[t; 3], &ForwardOptions::default()).unwrap();
            let (mean, variance) = model.process.schedule.ddpm_posterior(&x, &output, step).unwrap();
            let prefix = format!("ddpm_fixed_{name}.t{t}");
            if t > 0 {
                let variance = Tensor::new(&[variance], &Device::Cpu).unwrap();
                io.assert(&format!("{prefix}.variance"), &variance, 1e-5);
            }
            if matches!((name, t), ("small", 0 | 1 | 500) | ("large", 999)) {
                let noise = (io.get("posterior_noise", DType::F32) * variance.sqrt()).unwrap();
                io.assert(&format!("{prefix}.prev_sample"), &(mean + noise).unwrap(), 1e-4);
            }
        }
    }
}

#[test]
fn the_training_objective_and_its_gradients_agree_with_diffusers() {
    let io = Expected::read("diffusers-ddpm/io.safetensors");
    let timesteps = usizes(&io.get("t", DType::I64));
    for dtype in [DType::F32, DType::F64] {
        let model = model(dtype, Sampler::Ddim, 5);
        let (images, noise) = (io.get("x_0", dtype), io.get("noise", dtype));
        let (noisy, _) = model.process.schedule.training_pair(&images, &noise, &timesteps).unwrap();
        io.assert("add_noise", &noisy, 1e-6);
        let options = ForwardOptions { mode: Mode::train(), ..ForwardOptions::default() };
        let losses = model.denoiser().unwrap().losses(&images, &noise, &timesteps, &options).unwrap();
        let loss = losses.mean_all().unwrap();
        io.assert("train_mse", &loss, 2e-5);
        let grads = loss.backward().unwrap();
        for name in [
            "conv_out.weight",
            "time_embedding.linear_1.weight",
            "mid_block.attentions.0.to_q.weight",
            "down_blocks.0.downsamplers.0.conv.weight",
        ] {
            let var = model.variables().unwrap().get(name).unwrap();
            io.assert(&format!("grad_train_mse.{name}"), grads.get(var).unwrap(), 1e-3);
        }
        assert!(model.denoiser().unwrap().losses(&images, &noise, &[1000, 0, 0], &options).is_err());
    }
}

#[test]
fn the_gradient_of_a_trajectory_is_the_same_in_stages_and_at_once_and_agrees_with_differences() {
    let model = model(DType::F64, Sampler::Ddim, 3);
    let noise = values(&[1, 3, 32, 32], 5, DType::F64);
    let probe = values(&[1, 3, 32, 32], 6, DType::F64);
    let options = ForwardOptions::default();
    let objective = |images: &Tensor| Ok((images * &probe)?.sum_all()?);
    let staged = value_and_gradient(&model, &noise, &options, objective).unwrap();
    let variable = Var::from_tensor(&noise).unwrap();
    let value = objective(&images(&model, &variable, &options).unwrap()).unwrap();
    assert!(relative(&staged.gradient, value.backward().unwrap().get(&variable).unwrap()) < 1e-12);

    // Along one direction; 1e-5 stays on one side of nearly every clipping.
    const STEP: f64 = 1e-5;
    let direction = values(&[1, 3, 32, 32], 7, DType::F64);
    let at = |step: f64| {
        let moved = (&noise + (&direction * step).unwrap()).unwrap();
        objective(&images(&model, &moved, &options).unwrap()).unwrap().to_scalar::<f64>().unwrap()
    };
    let slope = (staged.gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
    assert!((slope - difference).abs() < 1e-4 * difference.abs(), "{slope} and {difference}");
}

#[test]
fn an_image_is_the_same_bits_alone_and_in_a_batch_for_either_sampler() {
    let noise = values(&[3, 3, 32, 32], 5, DType::F32);
    let keys = [7, 8, 9];
    for sampler in [Sampler::Ddim, Sampler::Ddpm] {
        let model = model(DType::F32, sampler, 2);
        let bits = |noise: &Tensor, keys: &[u64]| {
            let options = ForwardOptions { keys: Some(keys), ..ForwardOptions::default() };
            images(&model, noise, &options).unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap()
        };
        let together = bits(&noise, &keys);
        for row in 0..3 {
            assert_eq!(bits(&noise.narrow(0, row, 1).unwrap(), &keys[row..=row])[0], together[row]);
        }
    }
    let ddpm = model(DType::F32, Sampler::Ddpm, 2);
    assert!(images(&ddpm, &noise, &ForwardOptions::default()).unwrap_err().to_string().contains("key"));
}

#[test]
fn every_kind_of_prediction_stands_for_the_same_image_and_noise() {
    let (image, noise) = (values(&[1, 1, 4, 4], 1, DType::F64), values(&[1, 1, 4, 4], 2, DType::F64));
    for kind in ["epsilon", "v_prediction", "sample"] {
        let config = serde_json::json!({"prediction_type": kind, "clip_sample": false, "beta_schedule": "squaredcos_cap_v2"});
        let schedule = Schedule::new(&serde_json::from_value(config).unwrap(), Path::new("c")).unwrap();
        for t in [3, 400, 900] {
            let (noisy, target) = schedule.training_pair(&image, &noise, &[t]).unwrap();
            let prediction = schedule.prediction(&noisy, &target, t).unwrap();
            assert!(relative(&prediction.image, &image) < 1e-4, "{kind} {t}");
            assert!(relative(&prediction.noise, &noise) < 1e-4, "{kind} {t}");
        }
    }
}

// From `DDIMScheduler(num_train_timesteps=1000, timestep_spacing=…).set_timesteps(…)` of diffusers: the formulas of its source.
#[test]
fn timesteps_are_spaced_as_diffusers_does() {
    let steps = |spacing: &str, count: usize| -> Vec<usize> {
        let config = serde_json::json!({"timestep_spacing": spacing});
        let schedule = Schedule::new(&serde_json::from_value(config).unwrap(), Path::new("c")).unwrap();
        schedule.ddim_steps(Some(count), Path::new("c")).unwrap().iter().map(|step| step.timestep).collect()
    };
    assert_eq!(steps("leading", 3), [666, 333, 0]);
    assert_eq!(steps("linspace", 3), [999, 500, 0]);
    assert_eq!(steps("trailing", 3), [999, 666, 332]);
    assert_eq!(steps("trailing", 1000), (0..1000).rev().collect::<Vec<_>>());
}

#[test]
fn a_configuration_that_cannot_be_met_is_refused_by_name() {
    let refused = |pointer: &str, value: serde_json::Value| {
        let change = |part: &mut serde_json::Value| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            part.pointer_mut(parent).unwrap()[key] = value.clone();
        };
        parts(DType::F32, change, SamplerRequest::default())
            .err()
            .unwrap_or_else(|| panic!("{pointer} {value}"))
            .to_string()
    };
    assert!(refused("/unet/act_fn", "gelu".into()).contains("act_fn"));
    assert!(refused("/unet/class_embed_type", "timestep".into()).contains("class_embed_type"));
    assert!(refused("/unet/encoder_hid_dim", 3.into()).contains("encoder_hid_dim"));
    assert!(refused("/unet/layers_per_block", 1_000_000_000.into()).contains("layers_per_block"));
    assert!(refused("/unet/layers_per_block", 2.into()).contains("down_blocks.0.resnets.1.norm1.weight"));
    assert!(refused("/unet/norm_num_groups", 0.into()).contains("0 groups"));
    assert!(refused("/unet/sample_size", 30.into()).contains("halved"));
    assert!(refused("/unet/sample_size", 4096.into()).contains("attention"));
    assert!(refused("/unet/sample_size", 8192.into()).contains("sample_size"));
    assert!(refused("/unet/sample_size", serde_json::Value::Null).contains("sample_size"));
    assert!(
        refused("/unet/down_block_types", serde_json::json!(["DownBlock2D"])).contains("down_block_types")
    );
    let wide = serde_json::json!([16, 32, 65536]);
    let wide = refused("/unet/block_out_channels", wide);
    assert!(wide.contains("down_blocks.2.") && wide.contains("65536") && wide.contains("32"), "{wide}");
    assert!(refused("/scheduler/thresholding", true.into()).contains("thresholding"));
    assert!(refused("/scheduler/beta_schedule", "exp".into()).contains("exp"));
    assert!(refused("/scheduler/beta_end", 2.0.into()).contains("betas"));
    assert!(refused("/scheduler/num_train_timesteps", 1_000_000_000.into()).contains("num_train_timesteps"));
    assert!(refused("/scheduler/steps_offset", u64::MAX.into()).contains("steps_offset"));
    for steps in [0, 1001] {
        let error = parts(DType::F32, |_| (), SamplerRequest { sampler: None, steps: Some(steps) });
        assert!(matches!(error.err().unwrap(), Error::Usage { .. }));
    }
}

#[test]
fn older_names_of_attention_and_pickled_weights_are_read() {
    let request = GeneratorRequest::default();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (_, weights) = open::open(&fixture("diffusers-ddpm/pipeline"), Network::Ema).unwrap();
    let mut old = StateDict::new("old");
    for (name, tensor) in weights {
        let name = name.replace(".to_q.", ".query.").replace(".to_k.", ".key.");
        old.insert(name.replace(".to_v.", ".value.").replace(".to_out.0.", ".proj_attn."), tensor);
    }
    std::fs::create_dir_all(root.join("unet")).unwrap();
    std::fs::create_dir_all(root.join("scheduler")).unwrap();
    for name in [open::INDEX, "unet/config.json", "scheduler/scheduler_config.json"] {
        std::fs::copy(fixture("diffusers-ddpm/pipeline").join(name), root.join(name)).unwrap();
    }
    let missing = load(root, &request).err().unwrap().to_string();
    assert!(missing.contains("diffusion_pytorch_model.safetensors"), "{missing}");
    // The name does not decide what is in it: safetensors under the name of the pickle.
    crate::formats::safetensors::write_safetensors(root.join("unet/diffusion_pytorch_model.bin"), &old)
        .unwrap();
    let model = load(root, &request).unwrap();
    assert!(model.weights().unwrap().get("mid_block.attentions.0.to_out.0.bias").is_some());
    std::fs::write(root.join(open::INDEX), r#"{"unet": ["diffusers", "UNet2DConditionModel"]}"#).unwrap();
    assert!(load(root, &request).err().unwrap().to_string().contains("UNet2DConditionModel"));
}

/// A pipeline in `root` with the network and schedule of the fixture.
fn copy_pipeline(root: &Path) {
    for folder in ["unet", "scheduler"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    for name in [
        open::INDEX,
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ] {
        std::fs::copy(fixture("diffusers-ddpm/pipeline").join(name), root.join(name)).unwrap();
    }
}

/// Puts another value into a JSON file.
fn change(path: &Path, pointer: &str, value: serde_json::Value) {
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[name] = value;
    std::fs::write(path, json.to_string()).unwrap();
}

#[test]
fn every_layout_that_diffusers_writes_gives_the_same_network() {
    let place = tempfile::tempdir().unwrap();
    let request = GeneratorRequest::default();
    let digest = |path: &Path| load(path, &request).unwrap().weights().unwrap().digest().unwrap();
    let pipeline = place.path().join("pipeline");
    copy_pipeline(&pipeline);
    let expected = digest(&pipeline);
    let weights = "diffusion_pytorch_model.safetensors";

    let variant = place.path().join("variant");
    copy_pipeline(&variant);
    let renamed = variant.join("unet/diffusion_pytorch_model.fp16.safetensors");
    std::fs::rename(variant.join("unet").join(weights), &renamed).unwrap();
    assert_eq!(digest(&variant), expected);
    std::fs::copy(&renamed, variant.join("unet/diffusion_pytorch_model.ema.safetensors")).unwrap();
    assert!(load(&variant, &request).err().unwrap().to_string().contains("ema, fp16"));

    for (index, part) in [("safetensors.index.json", ""), ("safetensors.index.fp16.json", ".fp16")] {
        let part = format!("diffusion_pytorch_model{part}-00001-of-00001.safetensors");
        let parts = place.path().join(index);
        copy_pipeline(&parts);
        let whole = parts.join("unet").join(weights);
        let names: serde_json::Map<String, serde_json::Value> = crate::formats::read_state_dict(&whole)
            .unwrap()
            .names()
            .map(|name| (name.to_owned(), part.clone().into()))
            .collect();
        std::fs::rename(&whole, whole.with_file_name(&part)).unwrap();
        let map = serde_json::json!({ "weight_map": names }).to_string();
        std::fs::write(whole.with_file_name(format!("diffusion_pytorch_model.{index}")), map).unwrap();
        assert_eq!(digest(&parts), expected);
    }

    // As google/ddpm-cifar10-32 lies: everything in one folder.
    let flat = place.path().join("flat");
    copy_pipeline(&flat);
    for name in
        ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
    {
        let from = flat.join(name);
        std::fs::rename(&from, flat.join(from.file_name().unwrap())).unwrap();
    }
    std::fs::remove_dir(flat.join("unet")).unwrap();
    std::fs::remove_dir(flat.join("scheduler")).unwrap();
    assert_eq!(digest(&flat), expected);

    // As the training scripts leave it: the network and its average, the scheduler one level up.
    let run = place.path().join("run");
    let checkpoint = run.join("checkpoint-500");
    copy_pipeline(&checkpoint);
    std::fs::remove_file(checkpoint.join(open::INDEX)).unwrap();
    std::fs::rename(checkpoint.join("scheduler"), run.join("scheduler")).unwrap();
    let average = checkpoint.join("unet_ema");
    std::fs::create_dir(&average).unwrap();
    for name in ["config.json", weights] {
        std::fs::copy(checkpoint.join("unet").join(name), average.join(name)).unwrap();
    }
    let told = |path: &Path| {
        let (_, origin) = crate::generate::load_with_origin(path, &request).unwrap();
        origin.to_string()
    };
    assert_eq!(digest(&checkpoint), expected);
    assert_eq!(digest(&average), expected);
    assert!(told(&checkpoint).contains("`unet_ema` of {unet, unet_ema}"), "{}", told(&checkpoint));
    assert!(!told(&average).contains("no scheduler"), "{}", told(&average));
    std::fs::remove_dir_all(run.join("scheduler")).unwrap();
    assert!(told(&average).contains("no scheduler is beside the network"), "{}", told(&average));
}

#[test]
fn pipelines_of_other_decoders_schedulers_and_channels_are_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    copy_pipeline(root);
    let refused = || load(root, &GeneratorRequest::default()).err().unwrap().to_string();
    let index = root.join(open::INDEX);
    change(&index, "/vqvae", serde_json::json!(["diffusers", "VQModel"]));
    change(&index, "/_class_name", "LDMPipeline".into());
    let error = refused();
    assert!(error.contains("LDMPipeline") && error.contains("`vqvae` (VQModel)"), "{error}");
    // A part that was left out is written as null.
    change(&index, "/vqvae", serde_json::json!([null, null]));
    load(root, &GeneratorRequest::default()).unwrap();

    let scheduler = root.join("scheduler/scheduler_config.json");
    let own = std::fs::read(&scheduler).unwrap();
    change(&scheduler, "/_class_name", "FlowMatchEulerDiscreteScheduler".into());
    assert!(refused().contains("FlowMatchEulerDiscreteScheduler"));
    change(&scheduler, "/_class_name", "DPMSolverMultistepScheduler".into());
    change(&scheduler, "/variance_type", serde_json::Value::Null);
    let text = std::fs::read_to_string(&scheduler).unwrap();
    std::fs::write(&scheduler, text.replacen('{', r#"{"lambda_min_clipped": -Infinity, "#, 1)).unwrap();
    let (_, origin) = crate::generate::load_with_origin(root, &GeneratorRequest::default()).unwrap();
    assert!(origin.to_string().contains("DPMSolverMultistepScheduler is replaced by DDIM"), "{origin}");
    std::fs::write(&scheduler, own).unwrap();

    for variance in ["fixed_small_log", "fixed_large_log", "learned"] {
        change(&scheduler, "/variance_type", variance.into());
        load(root, &GeneratorRequest::default()).unwrap();
        let sampler = SamplerRequest { sampler: Some(Sampler::Ddpm), steps: Some(2) };
        let ddpm = load(root, &GeneratorRequest { sampler, ..GeneratorRequest::default() });
        assert_eq!(ddpm.is_ok(), variance == "fixed_small_log", "{variance}");
    }
    std::fs::remove_file(&scheduler).unwrap();
    assert!(refused().contains("scheduler_config.json"));
}

#[test]
fn latents_of_an_autoencoder_are_refused_before_anything_is_made() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("config.json");
    let config = serde_json::json!({"family": "diffusers", "generator": {
        "unet": {
            "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1,
            "norm_num_groups": 4, "down_block_types": ["DownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "UpBlock2D"], "attention_head_dim": 4,
        },
        "scheduler": {},
    }});
    std::fs::write(&path, config.to_string()).unwrap();
    let error = initialise(&path, 1, &GeneratorRequest::default()).err().unwrap().to_string();
    assert!(error.contains("4 channels") && error.contains("latents"), "{error}");
}

#[test]
fn a_conditional_network_of_every_option_agrees_with_candle_in_float64_and_minds_its_class() {
    let config = serde_json::json!({"family": "diffusers", "generator": {
        "unet": {
            "sample_size": [8, 12], "in_channels": 1, "out_channels": 1, "center_input_sample": true,
            "block_out_channels": [8, 12, 16], "layers_per_block": 2, "norm_num_groups": 4,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
            "attention_head_dim": 4, "resnet_time_scale_shift": "scale_shift", "mid_block_scale_factor": 1.5,
            "num_class_embeds": 3, "time_embedding_dim": 20, "_diffusers_version": "0.42.1",
        },
        "scheduler": {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
    }});
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let make = |dtype| {
        let sampler = SamplerRequest { sampler: None, steps: Some(4) };
        let request = GeneratorRequest { dtype, sampler, ..GeneratorRequest::default() };
        initialise(&path, 11, &request).unwrap()
    };
    let images = |model: &dyn Generator, dtype, classes: &[u32]| {
        let options = ForwardOptions { classes: Some(classes), ..ForwardOptions::default() };
        let noise = values(&[2, 1, 8, 12], 9, dtype);
        value_and_gradient(model, &noise, &options, |images| Ok(images.sqr()?)).unwrap()
    };
    let (single, double) = (make(DType::F32), make(DType::F64));
    assert_eq!(single.info().class_count, 3);
    let fast = images(single.as_ref(), DType::F32, &[0, 2]);
    let slow = images(double.as_ref(), DType::F64, &[0, 2]);
    assert!(relative(&fast.images, &slow.images) < 1e-4);
    assert!(relative(&fast.gradient, &slow.gradient) < 1e-3);
    let other = images(double.as_ref(), DType::F64, &[0, 1]);
    let row = |t: &Tensor, i| t.narrow(0, i, 1).unwrap();
    assert!(relative(&row(&other.images, 0), &row(&slow.images, 0)) < 1e-12);
    assert!(relative(&row(&other.images, 1), &row(&slow.images, 1)) > 1e-3);
    let noise = values(&[2, 1, 8, 12], 9, DType::F32);
    for classes in [None, Some(&[0u32][..]), Some(&[0, 3][..])] {
        let options = ForwardOptions { classes, ..ForwardOptions::default() };
        assert!(matches!(single.generate(&noise, &options).unwrap_err(), Error::Usage { .. }));
    }
}
