//! What each rule and strength would give: one pool of candidates, drawn once, is weighed by every setting of a grid.
//! One half of the reference scores candidates and the other half evaluates what is accepted, so that no rule is evaluated by the
//! images that it was given.

use super::weights::ImportanceWeights;
use crate::candidates::{CandidateScores, Pilot, ReferenceDensity};
use crate::density::{Rule, RuleChoice, Threshold, effective_sample_size};
use crate::error::{Error, Result};
use crate::metrics::{Comparison, FeatureSet, Metric, Options, estimate, halves, metric};
use crate::neighbors::BuildOptions;
use crate::progress::{Progress, Unreported, check_stop};
use crate::random::{Purpose, uniform};
use crate::reference::score::ScoreOptions;
use crate::reference::{DensityBy, Scorer};
use candle_core::Device;
use ndarray::{ArcArray2, Axis};
use serde::Serialize;

/// Metrics of a sweep, the columns of its table.
const METRICS: [&str; 5] = ["fd", "precision", "recall", "density", "coverage"];
/// Budgets at which `power` and `ratio` are tried.
const BUDGETS: [f64; 3] = [2.0, 4.0, 8.0];
/// The largest of them: a pool gives at least this share of itself.
pub(crate) const LARGEST_BUDGET: f64 = 8.0;
/// B of `power:B` and `ratio:B`.
const EXPONENTS: [f64; 7] = [-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0];
/// Percentiles and weights of the two-level rule, towards fidelity and towards diversity.
const FIDELITY: ([f64; 3], [f64; 3]) = ([70.0, 80.0, 90.0], [2.0, 5.0, 33.0]);
const DIVERSITY: ([f64; 3], [f64; 3]) = ([10.0, 20.0, 30.0], [0.5, 0.1, 0.03]);

/// One point of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Setting {
    /// Everything is kept.
    Unbiased,
    /// Weights by a rule.
    Weighted {
        /// The rule.
        rule: Rule<Threshold>,
        /// Draws for each kept image; `None` for the two-level rule's own acceptance.
        budget: Option<f64>,
    },
    /// Latents moved towards the middle.
    Truncated(f64),
}

impl Setting {
    /// The flags of `pd sample` that stand for it.
    pub(crate) fn flags(&self) -> String {
        match self {
            Setting::Unbiased => "--bias none".into(),
            Setting::Truncated(psi) => format!("--bias none --trunc {psi}"),
            Setting::Weighted { rule, budget } => {
                let mut flags = format!("--rule {}", rule.choice());
                if let Rule::TwoLevel { threshold, weight } = rule {
                    flags += &format!(" --threshold {threshold} --weight {weight}");
                }
                if let Some(budget) = budget {
                    flags += &format!(" --budget {budget}");
                }
                flags
            }
        }
    }

    /// What it is a member of: `two-level`, `power`, `ratio`, `truncation` or `unbiased`.
    pub(crate) fn family(&self) -> &'static str {
        match self {
            Setting::Unbiased => "unbiased",
            Setting::Truncated(_) => "truncation",
            Setting::Weighted { rule, .. } => match rule.choice() {
                RuleChoice::TwoLevel => "two-level",
                RuleChoice::Power(_) => "power",
                RuleChoice::Ratio(_) => "ratio",
            },
        }
    }
}

/// Every weighted setting, the unbiased one first; `dimension` is that of the ratio rule.
pub(crate) fn grid(dimension: f64) -> Vec<Setting> {
    let mut settings = vec![Setting::Unbiased];
    for (percentiles, weights) in [FIDELITY, DIVERSITY] {
        for (percentile, weight) in percentiles.into_iter().flat_map(|p| weights.map(|w| (p, w))) {
            let rule = Rule::TwoLevel { threshold: Threshold::Percentile(percentile), weight };
            settings.push(Setting::Weighted { rule, budget: None });
        }
    }
    let powers = EXPONENTS.into_iter().filter(|b| *b != 0.0).map(|b| Rule::Power { b });
    let ratios = EXPONENTS.into_iter().map(|b| Rule::Ratio { b, dimension });
    for rule in powers.chain(ratios) {
        settings.extend(BUDGETS.map(|budget| Setting::Weighted { rule, budget: Some(budget) }));
    }
    settings
}

/// What a setting gave.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    /// Its family.
    pub family: String,
    /// The flags of `pd sample` that stand for it.
    pub flags: String,
    /// Draws for each kept image, on average.
    pub draws_per_kept: f64,
    /// Share of the candidates that its weights are worth, 0 to 1.
    pub effective_share: f64,
    /// Images that were judged.
    pub n: usize,
    /// Values of the metrics in the scoring space: fd, precision, recall, density, coverage.
    pub values: Vec<f64>,
    /// The same in the second space; empty without one.
    pub judged: Vec<f64>,
    /// Whether no other setting has both more precision and more recall.
    pub on_frontier: bool,
}

impl Outcome {
    /// Fréchet distance, precision and recall.
    pub(crate) fn headline(&self) -> (f64, f64, f64) {
        (self.values[0], self.values[1], self.values[2])
    }
}

/// A feature space of a sweep: the real images in it, all of them.
pub(crate) struct Space<'a> {
    /// Judges of this space: one half of the real images.
    judges: FeatureSet<'a>,
    metrics: Vec<&'static Metric>,
    options: Options,
    progress: &'a dyn Progress,
}

impl<'a> Space<'a> {
    /// The judging half of the real features `[N, D]`.
    ///
    /// # Errors
    /// If there are too few.
    pub(crate) fn new(
        real: ArcArray2<f32>,
        seed: u64,
        device: &Device,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let (_, judges) = split(real.nrows(), seed)?;
        let options = Options { seed, device: device.clone(), ..Options::default() };
        let metrics = METRICS.iter().map(|name| metric(name)).collect::<Result<_>>()?;
        let features = real.select(Axis(0), &judges).into_shared();
        Ok(Self { judges: FeatureSet::new(features, &options, progress)?, metrics, options, progress })
    }

    /// The metrics of generated features `[n, D]`.
    ///
    /// # Errors
    /// If there are too few.
    pub(crate) fn judge(&self, generated: ArcArray2<f32>) -> Result<Vec<f64>> {
        let unreported = Unreported(self.progress);
        let generated = FeatureSet::new(generated, &self.options, &unreported)?;
        let comparison = Comparison::new(&self.judges, &generated, &self.options, &unreported)?;
        Ok(estimate(&comparison, &self.metrics, None)?.into_iter().map(|e| e.value).collect())
    }
}

/// Rows that score and rows that judge.
fn split(rows: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
    let (scoring, judging) = halves(rows, seed);
    let wide = |rows: Vec<u32>| rows.into_iter().map(|row| row as usize).collect::<Vec<_>>();
    match judging.is_empty() {
        true => Err(Error::data("the reference has too few images to be halved", "use a larger reference")),
        false => Ok((wide(scoring), wide(judging))),
    }
}

/// The candidates, scored by the scoring half.
pub(crate) struct Pool {
    candidates: CandidateScores,
    generated_density: Vec<f64>,
    density: ReferenceDensity,
    dimension: f64,
}

impl Pool {
    /// Scores candidates `[M, D]` by the scoring half of the real features `[N, D]`.
    ///
    /// # Errors
    /// If there are too few of either.
    pub(crate) fn new(
        candidates: ArcArray2<f32>,
        real: &ArcArray2<f32>,
        options: ScoreOptions,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (scoring, _) = split(real.nrows(), options.seed)?;
        let half = real.select(Axis(0), &scoring).into_shared();
        let (scorer, dimension) = Scorer::of_features(half, options, device, progress)?;
        let dimension = dimension.ok_or_else(|| {
            Error::data("the reference has no intrinsic dimension: all neighbours are copies", "")
        })?;
        let density = ReferenceDensity::new(scorer, None, DensityBy::Knn)?;
        let scored = density.scores(candidates.view(), None, progress)?;
        let index = BuildOptions { seed: options.seed, device: device.clone(), ..BuildOptions::default() };
        let pilot = Pilot::new(candidates, density.scorer().model(), &index, progress)?;
        Ok(Self { candidates: scored, generated_density: pilot.own().to_vec(), density, dimension })
    }

    /// The Levina-Bickel dimension of the scoring half.
    pub(crate) fn dimension(&self) -> f64 {
        self.dimension
    }

    /// The candidates that a setting accepts, in order; with draws for each and the effective share of its weights.
    ///
    /// # Errors
    /// If a weight cannot be made.
    pub(crate) fn accepted(&self, setting: &Setting, seed: u64) -> Result<(Vec<usize>, f64, f64)> {
        let rho = self.candidates.densities();
        let Setting::Weighted { rule, budget } = *setting else {
            return Ok(((0..rho.len()).collect(), 1.0, 1.0));
        };
        let distribution = self.density.scorer().distribution();
        let rule = rule.resolve(distribution);
        rule.check(distribution.bounds())?;
        let (weights, log_weights) =
            ImportanceWeights::new(Some(rule), budget, rho, &self.generated_density)?;
        let probability = |i: usize| weights.probability(log_weights[i], rho[i]);
        let accepted: Vec<usize> =
            (0..rho.len()).filter(|&i| uniform(seed, Purpose::Accept, i as u64) < probability(i)).collect();
        let mean = (0..rho.len()).map(probability).sum::<f64>() / rho.len() as f64;
        Ok((accepted, 1.0 / mean, effective_sample_size(&log_weights) / rho.len() as f64))
    }
}

/// Images below which no metric of a setting means anything.
pub(crate) const LEAST_JUDGED: usize = 8;

/// Features of candidates in a space, with the judges there.
pub(crate) type Judged<'a> = (&'a ArcArray2<f32>, &'a Space<'a>);

/// Judges every setting on at most `n` images: the first accepted ones. A setting that accepts fewer than [`LEAST_JUDGED`] is
/// left out. `spaces` are the scoring space and, if there is one, the second.
///
/// # Errors
/// If the images cannot be judged; [`Error::Interrupted`].
pub(crate) fn sweep(
    pool: &Pool,
    settings: &[Setting],
    spaces: &[Judged<'_>],
    (n, seed): (usize, u64),
    progress: &dyn Progress,
) -> Result<Vec<Outcome>> {
    progress.start("settings", settings.len() as u64, "settings");
    let mut outcomes = Vec::new();
    for setting in settings {
        check_stop(progress, || "nothing is kept of the settings; the candidates are".into())?;
        let (mut rows, draws_per_kept, effective_share) = pool.accepted(setting, seed)?;
        rows.truncate(n);
        if rows.len() < LEAST_JUDGED {
            progress.advance(1);
            continue;
        }
        let values =
            spaces.iter().map(|(features, space)| space.judge(features.select(Axis(0), &rows).into_shared()));
        let mut values = values.collect::<Result<Vec<_>>>()?.into_iter();
        outcomes.push(Outcome {
            family: setting.family().into(),
            flags: setting.flags(),
            draws_per_kept,
            effective_share,
            n: rows.len(),
            values: values.next().unwrap_or_default(),
            judged: values.next().unwrap_or_default(),
            on_frontier: false,
        });
        progress.advance(1);
    }
    progress.finish();
    Ok(outcomes)
}

/// Marks the outcomes that no other beats in precision and recall.
pub(crate) fn mark_frontier(outcomes: &mut [Outcome]) {
    let points: Vec<(f64, f64)> = outcomes.iter().map(|o| (o.values[1], o.values[2])).collect();
    for (outcome, &(precision, recall)) in outcomes.iter_mut().zip(&points) {
        let beats = |&(p, r): &(f64, f64)| p >= precision && r >= recall && (p, r) != (precision, recall);
        outcome.on_frontier = !points.iter().any(beats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn outcome(precision: f64, recall: f64) -> Outcome {
        Outcome {
            family: String::new(),
            flags: String::new(),
            draws_per_kept: 1.0,
            effective_share: 1.0,
            n: 1,
            values: vec![0.0, precision, recall, 0.0, 0.0],
            judged: vec![],
            on_frontier: false,
        }
    }

    #[test]
    fn the_frontier_is_what_nothing_beats() {
        let mut outcomes =
            [(0.9, 0.1), (0.5, 0.5), (0.4, 0.4), (0.5, 0.6), (0.1, 0.9)].map(|(p, r)| outcome(p, r));
        mark_frontier(&mut outcomes);
        assert_eq!(outcomes.map(|o| o.on_frontier), [true, false, false, true, true]);
    }

    #[test]
    fn the_grid_names_each_setting_by_flags_of_its_own() {
        let flags: Vec<String> = grid(4.0).iter().map(Setting::flags).collect();
        let mut unique = flags.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), flags.len());
        assert!(flags.contains(&"--rule ratio:-2 --budget 4".to_string()));
    }

    #[test]
    fn a_stricter_budget_accepts_fewer_and_the_halves_do_not_meet() {
        let features = |n: usize, seed: f32| {
            ndarray::Array2::from_shape_fn((n, 3), |(i, j)| ((i * 7 + j * 13) as f32 * 0.37 + seed).sin())
                .into_shared()
        };
        let options = ScoreOptions { k: 5, ..ScoreOptions::default() };
        let real = features(120, 0.0);
        let pool = Pool::new(features(400, 0.2), &real, options, &Device::Cpu, &Silent).unwrap();
        let count = |budget| {
            let rule = Rule::Ratio { b: 0.0, dimension: pool.dimension() };
            let setting = Setting::Weighted { rule, budget: Some(budget) };
            let (rows, draws, share) = pool.accepted(&setting, 3).unwrap();
            assert!((draws - budget).abs() < 1e-9 && share > 0.0 && share <= 1.0);
            rows.len()
        };
        assert!(count(8.0) < count(2.0));
        let (scoring, judging) = split(121, 4).unwrap();
        assert!(scoring.len() == 60 && judging.iter().all(|row| !scoring.contains(row)));
    }
}
