//! The schedulers of diffusers: which of them walk the noise schedule that DDPM and DDIM walk, so that their networks can be sampled with
//! DDIM, and what of their configuration changes what the network means.

use super::config::{BetaSchedule, PredictionType, SchedulerConfig, TimestepSpacing};
use crate::error::{Error, Result};
use crate::generate::sampler::Sampler;
use serde_json::Value;
use std::path::Path;

/// The classes whose steps are computed here.
const OWN: [&str; 4] = ["DDPMScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDIMParallelScheduler"];

/// Classes that solve the same equation in other steps: the same network, the same betas, another solver. diffusers exchanges them for DDIM
/// with `DDIMScheduler.from_config`.
const SAME_NOISE: [&str; 14] = [
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "DDIMInverseScheduler",
    "DPMSolverMultistepInverseScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
];

/// What the configuration of another class has to say: the defaults of its class may differ from those of DDIM.
const NEEDED: [&str; 5] =
    ["num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type"];

/// Settings that change what the network is asked for, with the value that changes nothing.
const UNCHANGING: [(&str, Value); 3] = [
    ("use_flow_sigmas", Value::Bool(false)),
    ("rescale_betas_zero_snr", Value::Bool(false)),
    ("thresholding", Value::Bool(false)),
];

/// Refuses the configuration `value` of a scheduler whose noise is another, by the name of its class; `path` is for messages.
///
/// # Errors
/// [`Error::Malformed`].
pub(super) fn check_scheduler(path: &Path, value: &Value) -> Result<()> {
    let hint = "networks of DDPM and DDIM are read, and of solvers that share their noise schedule";
    let refuse = |reason: String| Err(Error::malformed(path, reason, hint));
    let class = value.get("_class_name").and_then(Value::as_str);
    let is_other = match class {
        None => false,
        Some(class) if OWN.contains(&class) => false,
        Some(class) if SAME_NOISE.contains(&class) => true,
        Some(class) => return refuse(format!("is of {class}, and networks of that scheduler are not read")),
    };
    for (name, unchanging) in UNCHANGING {
        if let Some(other) = value.get(name).filter(|value| **value != unchanging && !value.is_null()) {
            return refuse(format!("sets `{name}` to {other}, which is not supported"));
        }
    }
    if let Some(kind) = value.get("timestep_type").filter(|kind| *kind != "discrete" && !kind.is_null()) {
        return refuse(format!("sets `timestep_type` to {kind}, which is not supported"));
    }
    let known = |name: &str, known: &[&str]| match value.get(name).and_then(Value::as_str) {
        Some(found) if !known.contains(&found) => {
            refuse(format!("sets `{name}` to {found:?}; {} are known", known.join(", ")))
        }
        _ => Ok(()),
    };
    known("prediction_type", &["epsilon", "v_prediction", "sample"])?;
    known("beta_schedule", &["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])?;
    known("timestep_spacing", &["leading", "linspace", "trailing"])?;
    if is_other && let Some(missing) = NEEDED.iter().find(|name| value.get(**name).is_none()) {
        let class = class.unwrap_or_default();
        return refuse(format!("is of {class} and lacks `{missing}`"));
    }
    Ok(())
}

impl SchedulerConfig {
    /// What a model of this schedule is sampled and trained with, a phrase each.
    pub(super) fn assumed(&self, sampler: Sampler, steps: usize) -> Vec<String> {
        let sampler = match sampler {
            Sampler::Ddim => "DDIM",
            Sampler::Ddpm => "DDPM",
        };
        let betas = match self.beta_schedule {
            _ if self.trained_betas.is_some() => "its own",
            BetaSchedule::Linear => "linear",
            BetaSchedule::ScaledLinear => "scaled linear",
            BetaSchedule::SquaredcosCapV2 => "cosine",
            BetaSchedule::Sigmoid => "sigmoid",
        };
        let spacing = match self.timestep_spacing {
            TimestepSpacing::Leading => "leading",
            TimestepSpacing::Linspace => "linspace",
            TimestepSpacing::Trailing => "trailing",
        };
        let predicted = match self.prediction_type {
            PredictionType::Epsilon => "the noise",
            PredictionType::VPrediction => "v",
            PredictionType::Sample => "the image",
        };
        let mut assumed = vec![
            format!("{sampler} in {steps} steps ({spacing} spacing)"),
            format!(
                "{betas} betas over {} timesteps, the network predicts {predicted}, values in -1 to 1{}",
                self.num_train_timesteps,
                if self.clip_sample { " (images are cut to the range at each step)" } else { "" }
            ),
        ];
        assumed.extend(match self.class_name.as_deref() {
            None => Some("no scheduler is beside the network: the defaults of DDPMScheduler".to_owned()),
            Some(class) if OWN.contains(&class) => None,
            Some(class) => {
                Some(format!("the solver of {class} is replaced by DDIM on the same noise schedule"))
            }
        });
        assumed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: &Value) -> Result<()> {
        check_scheduler(Path::new("scheduler_config.json"), value)
    }

    #[test]
    fn solvers_of_the_same_noise_are_read_and_others_are_refused_by_name() {
        for class in OWN {
            check(&json!({ "_class_name": class })).unwrap();
        }
        let betas = json!({
            "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear",
            "prediction_type": "epsilon", "use_karras_sigmas": true, "lambda_min_clipped": null,
        });
        for class in SAME_NOISE {
            let mut value = betas.clone();
            value["_class_name"] = class.into();
            check(&value).unwrap();
            for name in NEEDED {
                let mut without = value.clone();
                without.as_object_mut().unwrap().remove(name);
                assert!(check(&without).unwrap_err().to_string().contains(name), "{class} {name}");
            }
        }
        for class in
            ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "ScoreSdeVeScheduler", "LCMScheduler"]
        {
            let mut value = betas.clone();
            value["_class_name"] = class.into();
            let error = check(&value).unwrap_err().to_string();
            assert!(error.contains(class), "{error}");
        }
    }

    #[test]
    fn settings_that_change_what_the_network_means_are_refused_by_name() {
        for (name, value) in [
            ("use_flow_sigmas", json!(true)),
            ("rescale_betas_zero_snr", json!(true)),
            ("thresholding", json!(true)),
            ("timestep_type", json!("continuous")),
            ("prediction_type", json!("flow_prediction")),
            ("beta_schedule", json!("laplace")),
            ("timestep_spacing", json!("other")),
        ] {
            let error =
                check(&json!({ name: value, "_class_name": "DDIMScheduler" })).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            check(&json!({ name: null, "_class_name": "DDIMScheduler" })).unwrap();
        }
    }
}
