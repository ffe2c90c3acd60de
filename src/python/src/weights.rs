//! Importance weights of images that a generator has made.

use crate::arguments::{device, wrong};
use crate::arrays::column;
use crate::call::run;
use crate::errors::raise;
use crate::given::rows_of;
use crate::opened::Reference;
use numpy::PyArray1;
use pseudo_density::{
    DEFAULT_BUDGET, DensityBy, Error, ReferenceDensity, Rule, RuleChoice, ScoreOptions, Scorer, Threshold,
    WeighedImages, weigh,
};
use pyo3::prelude::*;
use std::sync::Arc;

/// Importance weights of generated images: arrays float64 `[M]`.
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct Weights(WeighedImages);

#[pymethods]
impl Weights {
    /// Logarithms of the weights, up to a constant of the rule.
    #[getter]
    fn log_weight<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.0.log_weights)
    }

    /// Weights: w or 1 for the two-level rule, else 1 on average; the column `weight` of `pd sample --pool`.
    #[getter]
    fn weight<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.0.weights)
    }

    /// The probability with which each image is accepted; 1 / budget on average.
    #[getter]
    fn acceptance<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.0.acceptance)
    }

    /// Pseudo densities among the real images.
    #[getter]
    fn pseudo_density<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.0.scores.scores.pseudo_density)
    }

    /// `(sum w)^2 / sum w^2`: as many images that all weigh the same would be worth as much.
    #[getter]
    fn effective_sample_size(&self) -> f64 {
        self.0.effective_sample_size
    }

    fn __len__(&self) -> usize {
        self.0.weights.len()
    }

    fn __repr__(&self) -> String {
        format!(
            "Weights({} images, worth {:.0} unweighted ones)",
            self.0.weights.len(),
            self.0.effective_sample_size
        )
    }
}

/// Importance weights of generated images: how much more often each should be drawn (Li et al., TMLR 2024, section 3.4, and the ratio rule).
///
/// `real`: a `Reference`, or features `[N, D]`. `generated`: features `[M, D]`, of which the ratio rule also takes the density among the
/// generated ones. `rule`: `ratio:B` (B 0 towards the real distribution, 2 towards fidelity, -2 towards diversity), `power:B`, or
/// `two-level` with `threshold` (a density such as 1.18, or a percentile of the reference such as "p90") and `weight`. `budget`: draws for
/// each kept image on average; the two-level rule has an acceptance of its own where `budget` is None. `dimension`: m of the ratio rule in
/// place of the intrinsic dimension of the real images. `k`: nearest neighbours, where `real` is no `Reference`, which has its own.
///
/// Raises `ValueError` for a rule that is not known or lacks its numbers, and for features that do not fit each other.
#[pyfunction]
#[pyo3(signature = (
    real, generated, rule="ratio:0", budget=None, *, threshold=None, weight=None, dimension=None, k=None, seed=0,
    device="auto", progress=None,
))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn weights(
    real: &Bound<'_, PyAny>,
    generated: &Bound<'_, PyAny>,
    rule: &str,
    budget: Option<f64>,
    threshold: Option<&Bound<'_, PyAny>>,
    weight: Option<f64>,
    dimension: Option<f64>,
    k: Option<usize>,
    seed: u64,
    device: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Weights> {
    let py = real.py();
    let choice: RuleChoice = rule.parse().map_err(|error: Error| raise(py, &error))?;
    if let Some(budget) = budget.filter(|budget| !(*budget >= 1.0 && budget.is_finite())) {
        return Err(wrong("budget", &budget.to_string(), "must be a number, 1 or above"));
    }
    let numbers = Numbers { threshold: threshold.map(read_threshold).transpose()?, weight, dimension };
    numbers.check(choice)?;
    let budget = match choice {
        RuleChoice::TwoLevel => budget,
        RuleChoice::Power(_) | RuleChoice::Ratio(_) => Some(budget.unwrap_or(DEFAULT_BUDGET)),
    };
    let device = self::device(py, device)?;
    let reference = match real.cast::<Reference>() {
        Ok(reference) if k.is_none() => Some(reference.get().opened.clone()),
        Ok(_) => return Err(wrong("k", "…", "a reference has its own K")),
        Err(_) => None,
    };
    let real = match reference {
        Some(_) => None,
        None => Some(rows_of("real", real)?),
    };
    let generated = rows_of("generated", generated)?;
    let weighed = run(py, progress, |progress| {
        let (density, found) = match (reference, real) {
            (Some(reference), _) => {
                reference.check("generated", &generated)?;
                (reference.density(progress)?, reference.reference.density()?.intrinsic_dimension)
            }
            (None, real) => {
                let mut options = ScoreOptions::default();
                options.k = k.unwrap_or(options.k);
                options.seed = seed;
                let features = real.map(|real| real.features.clone()).unwrap_or_default();
                let (scorer, found) = Scorer::of_features(features, options, &device, progress)?;
                (Arc::new(ReferenceDensity::new(scorer, None, DensityBy::Knn)?), found)
            }
        };
        let scorer = density.scorer();
        let rule = numbers.rule(choice, found)?.resolve(scorer.distribution());
        let own = scorer.own_rows(generated.features.view(), &generated.paths);
        weigh(generated.features.clone(), &own, &density, Some(rule), budget, seed, progress)
    })?;
    Ok(Weights(weighed))
}

/// The numbers of a rule, as they were given.
struct Numbers {
    threshold: Option<Threshold>,
    weight: Option<f64>,
    dimension: Option<f64>,
}

impl Numbers {
    /// Refuses what another rule needs, and what this one lacks.
    fn check(&self, choice: RuleChoice) -> PyResult<()> {
        let of_two_level = self.threshold.is_some() || self.weight.is_some();
        let rule = choice.to_string();
        match choice {
            RuleChoice::TwoLevel if self.threshold.is_none() || self.weight.is_none() => {
                Err(wrong("rule", &rule, "needs threshold and weight"))
            }
            RuleChoice::Power(_) | RuleChoice::Ratio(_) if of_two_level => {
                Err(wrong("rule", &rule, "threshold and weight belong to rule=\"two-level\""))
            }
            RuleChoice::TwoLevel | RuleChoice::Power(_) if self.dimension.is_some() => {
                Err(wrong("rule", &rule, "dimension belongs to rule=\"ratio:B\""))
            }
            _ => Ok(()),
        }
    }

    fn rule(&self, choice: RuleChoice, found: Option<f64>) -> pseudo_density::Result<Rule<Threshold>> {
        Ok(match (choice, self.threshold, self.weight) {
            (RuleChoice::Ratio(b), ..) => Rule::ratio(b, self.dimension.or(found))?,
            (RuleChoice::Power(b), ..) => Rule::Power { b },
            (RuleChoice::TwoLevel, Some(threshold), Some(weight)) => Rule::TwoLevel { threshold, weight },
            (RuleChoice::TwoLevel, ..) => {
                return Err(Error::usage("the two-level rule needs a threshold and a weight", ""));
            }
        })
    }
}

/// A density as a number, or a percentile such as `p90`.
fn read_threshold(value: &Bound<'_, PyAny>) -> PyResult<Threshold> {
    let text = value.str()?.to_string();
    text.parse().map_err(|reason: <Threshold as std::str::FromStr>::Err| {
        wrong("threshold", &text, &reason.to_string())
    })
}
