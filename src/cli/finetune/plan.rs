//! What a run of `pd finetune` would take, from a few of its steps.

use super::options::Model;
use crate::cli::terminal::Terminal;
use crate::error::Result;
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Fewest steps that are measured, after one that warms up.
const MEASURED_STEPS: u64 = 3;

/// Makes a few steps and says what all of them will take.
pub(super) fn measure(
    trainer: &mut Model,
    steps: u64,
    notes: &[String],
    terminal: &Terminal,
) -> Result<Value> {
    const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;
    let parameters: Map<String, Value> = trainer
        .networks()?
        .iter()
        .map(|(name, variables)| (name, variables.parameters().map(|(_, v)| v.elem_count()).sum::<usize>()))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ((*name).to_owned(), count.into()))
        .collect();
    let pilots = (0..steps).filter(|step| trainer.prepares(*step)).count();
    let start = Instant::now();
    trainer.prepare(0, terminal)?;
    let seconds_per_pilot = start.elapsed().as_secs_f64();
    trainer.step(0, true)?;
    let start = Instant::now();
    let steps_measured = MEASURED_STEPS.max(trainer.cycle());
    for step in 1..=steps_measured {
        trainer.step(step, step == steps_measured)?;
    }
    let seconds = start.elapsed().as_secs_f64() / steps_measured as f64;
    let mut plan = json!({
        "steps": steps,
        "batch": trainer.batch(),
        "images": steps * trainer.batch() as u64,
        "parameters": parameters,
        "seconds_per_step": seconds,
        "seconds": seconds * steps as f64 + seconds_per_pilot * pilots as f64,
        "notes": notes,
    });
    if pilots > 0 {
        plan["pilots"] = json!({"count": pilots, "seconds_each": seconds_per_pilot});
    }
    if let Some(bytes) = peak_memory() {
        plan["peak_memory_mib"] = (bytes as f64 / BYTES_PER_MIB).into();
    }
    Ok(plan)
}

/// The most memory that this process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    const BYTES_PER_KIB: u64 = 1024;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * BYTES_PER_KIB)
}

/// The plan for a person.
pub(super) fn text(plan: &Value) -> String {
    let number = |key: &str| plan[key].as_f64().unwrap_or(f64::NAN);
    let mut text = format!(
        "{} steps of {}: {} images\n{:.3} s a step, {:.0} s in all (evaluations, sheets and snapshots on top)\n",
        plan["steps"],
        plan["batch"],
        plan["images"],
        number("seconds_per_step"),
        number("seconds")
    );
    if let Some(pilots) = plan.get("pilots") {
        let seconds = pilots["seconds_each"].as_f64().unwrap_or(f64::NAN);
        text.push_str(&format!("of these {} pilots of {seconds:.1} s\n", pilots["count"]));
    }
    for (name, count) in plan["parameters"].as_object().into_iter().flatten() {
        text.push_str(&format!("{name}: {count} parameters\n"));
    }
    if plan.get("peak_memory_mib").is_some() {
        text.push_str(&format!("{:.0} MiB of memory\n", number("peak_memory_mib")));
    }
    text
}
