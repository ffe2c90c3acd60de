//! The learning rate over a run.

/// The fraction of the full learning rate at step `step`, counted from 0: it rises linearly over the first `warmup` steps.
pub(crate) fn warmup_rate(step: u64, warmup: u64) -> f64 {
    if step >= warmup { 1.0 } else { (step + 1) as f64 / warmup as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_1_over_the_warm_up() {
        assert_eq!([0, 1, 3, 4, 99].map(|step| warmup_rate(step, 4)), [0.25, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(warmup_rate(0, 0), 1.0);
    }
}
