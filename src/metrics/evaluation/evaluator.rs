//! The comparison of generated sets with one real set, in one feature space.

use super::by_group::{Groups, compare_groups};
use super::evaluated_set::EvaluatedSet;
use super::options::EvaluationOptions;
use super::outcome::Evaluation;
use super::sample_scores::SampleScores;
use super::sets::{EvaluationSet, check_same};
use super::spaces::check_metrics;
use crate::metrics::comparison::Comparison;

use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::metrics::feature_set::FeatureSet;
use crate::metrics::frechet::is_fid;
use crate::metrics::kind::SpaceKind;
use crate::metrics::metric::Metric;
use crate::metrics::registry::{estimate, named};
use crate::metrics::resampling::halves;
use crate::metrics::spread::add_spread;
use crate::metrics::statistics::Statistics;
use crate::progress::Progress;
use ndarray::Axis;

/// The name that results give a self-check.
const SELF_CHECK: &str = "real, half against half";

/// Compares each of `generated` with `real`. The generated sets are taken one after the other, so that only one is in memory.
///
/// # Errors
/// What reading a set returns; [`Error::Usage`] for an unknown metric, or one that mean and covariance do not suffice for, and for sets
/// made by different extractors; [`Error::Data`] for sets that are too small or not finite; [`Error::Interrupted`].
pub fn evaluate(
    real: EvaluationSet,
    generated: impl IntoIterator<Item = Result<EvaluationSet>>,
    options: &EvaluationOptions,
    progress: &dyn Progress,
) -> Result<Evaluation> {
    let mut evaluator = Evaluator::new(real, options, progress)?;
    for set in generated {
        evaluator.compare(&set?)?;
    }
    evaluator.finish()
}

/// Compares generated sets with one real set, whose neighbours and statistics are computed once.
pub(crate) struct Evaluator<'p> {
    options: &'p EvaluationOptions,
    progress: &'p dyn Progress,
    /// Metrics that were asked for by name.
    named: Vec<&'static Metric>,
    real: EvaluationSet,
    real_features: FeatureSet<'p>,
    real_groups: Option<Groups<'p>>,
    identity: Option<Identity>,
    evaluation: Evaluation,
}

impl<'p> Evaluator<'p> {
    /// An evaluator that has compared nothing yet.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown metric, or a self-check of a set of which only mean and covariance are known; [`Error::Data`]
    /// for features that are not finite.
    pub(crate) fn new(
        real: EvaluationSet,
        options: &'p EvaluationOptions,
        progress: &'p dyn Progress,
    ) -> Result<Self> {
        let named = named(&options.metrics)?;
        let real_features = real.feature_set(&options.parameters, progress)?;
        if options.self_check && !real_features.has_features() {
            return Err(Error::usage(
                "a self-check needs the real images or features, not their mean and covariance",
                "leave it out",
            ));
        }
        let evaluation = Evaluation {
            real: EvaluatedSet { name: real.name.clone(), rows: real_features.rows(), estimates: Vec::new() },
            generated: Vec::new(),
            groups: Vec::new(),
            self_check: None,
            metrics: Vec::new(),
            identity: None,
            is_fid: false,
            warnings: Vec::new(),
            samples: options.per_sample.then(SampleScores::default),
            options: options.clone(),
        };
        let identity = real.identity().cloned();
        if let Some(identity) = &identity {
            check_metrics(&options.metrics, &identity.extractor)?;
        }
        let real_groups = Groups::of(&real, &options.parameters, progress)?;
        Ok(Self { options, progress, named, real, real_features, real_groups, identity, evaluation })
    }

    /// What the features of the real set were made with, where that is known.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Mean and covariance of the real set.
    ///
    /// # Errors
    /// As [`Statistics::of`].
    pub(crate) fn real_statistics(&self) -> Result<&Statistics> {
        self.real_features.statistics()
    }

    /// Compares a generated set with the real one.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub(crate) fn compare(&mut self, set: &EvaluationSet) -> Result<()> {
        check_same(&mut self.identity, &set.name, set.identity())?;
        if let Some(identity) = &self.identity {
            check_metrics(&self.options.metrics, &identity.extractor)?;
        }
        let parameters = &self.options.parameters;
        let generated = set.feature_set(parameters, self.progress)?;
        let comparison = Comparison::new(&self.real_features, &generated, parameters, self.progress)
            .map_err(|error| error.about(&set.name))?;
        let metrics = self.metrics_for(&comparison);
        for caution in metrics.iter().filter_map(|metric| (metric.caution)(&comparison)) {
            let warning = format!("{}: {caution}", set.name);
            if !self.evaluation.warnings.contains(&warning) {
                self.progress.warn(&warning);
                self.evaluation.warnings.push(warning);
            }
        }
        let mut estimates = estimate(&comparison, &metrics, self.options.draws())?;
        if let Some(count) = self.options.spread {
            add_spread(&mut estimates, &comparison, &metrics, count as usize)?;
        }
        if let Some(samples) = &mut self.evaluation.samples {
            samples.add(set, &self.real, &comparison)?;
        }
        if let (Some(real), Some(generated)) =
            (&self.real_groups, Groups::of(set, parameters, self.progress)?)
        {
            let (groups, unmatched) =
                compare_groups(real, &generated, &set.name, &metrics, self.options, self.progress)?;
            if let Some(unmatched) = unmatched {
                self.progress.warn(&unmatched);
                self.evaluation.warnings.push(unmatched);
            }
            self.evaluation.groups.extend(groups);
        }
        self.evaluation.metrics = metrics;
        self.evaluation.generated.push(EvaluatedSet {
            name: set.name.clone(),
            rows: generated.rows(),
            estimates,
        });
        Ok(())
    }

    /// The metrics asked for by name, else all that these sets allow.
    fn metrics_for(&self, comparison: &Comparison<'_>) -> Vec<&'static Metric> {
        if !self.named.is_empty() {
            return self.named.clone();
        }
        let features = comparison.real.has_features() && comparison.generated.has_features();
        let kind =
            self.identity.as_ref().map_or(SpaceKind::Unknown, |identity| SpaceKind::of(&identity.extractor));
        kind.default_metrics().filter(|metric| features || metric.needs.is_of_statistics()).collect()
    }

    /// Adds the metrics that describe the real set alone and the self-check.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub(crate) fn finish(mut self) -> Result<Evaluation> {
        let parameters = &self.options.parameters;
        let alone: Vec<_> = self.evaluation.metrics.iter().copied().filter(|metric| metric.alone).collect();
        if !alone.is_empty() && self.real_features.has_features() {
            let (real, progress) = (&self.real_features, self.progress);
            let comparison = Comparison::new(real, real, parameters, progress)?;
            self.evaluation.real.estimates = estimate(&comparison, &alone, self.options.draws())?;
        }
        if self.options.self_check {
            self.evaluation.self_check = Some(self.self_check()?);
        }
        self.evaluation.is_fid = self.identity.as_ref().is_some_and(is_fid);
        self.evaluation.identity = self.identity;
        Ok(self.evaluation)
    }

    /// One random half of the real set against the other.
    fn self_check(&self) -> Result<EvaluatedSet> {
        let parameters = &self.options.parameters;
        let features = self.real_features.features()?;
        let half = |rows: Vec<u32>| {
            let rows: Vec<usize> = rows.into_iter().map(|row| row as usize).collect();
            let half = features.select(Axis(0), &rows).into_shared();
            FeatureSet::new(half, parameters, self.progress).map(|set| set.named("half of the real set"))
        };
        let (first, second) = halves(features.nrows(), parameters.seed);
        let (first, second) = (half(first)?, half(second)?);
        let comparison = Comparison::new(&first, &second, parameters, self.progress)?;
        let estimates = estimate(&comparison, &self.evaluation.metrics, self.options.draws())?;
        Ok(EvaluatedSet { name: SELF_CHECK.into(), rows: second.rows(), estimates })
    }
}
