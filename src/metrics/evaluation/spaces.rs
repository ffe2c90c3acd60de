//! Several feature spaces: which metrics are computed in which, and their results together.

use super::outcome::Evaluation;
use super::table::table_of;
use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::formats::table::Table;
use crate::metrics::inception_score::{LOGITS, METRIC as INCEPTION_SCORE, gives_features};
use crate::metrics::metric::{Metric, Needs};
use crate::metrics::registry::{METRICS, named};
use crate::remedy::Remedy;
use serde_json::{Value, json};

/// # Errors
/// [`Error::Usage`] for an unknown metric, or one of class scores where `extractor` gives features.
pub(crate) fn check_metrics(metrics: &[String], extractor: &str) -> Result<()> {
    let scores = named(metrics)?.iter().any(|metric| metric.needs == Needs::ClassScores);
    if scores && gives_features(extractor) {
        return Err(Error::usage(
            format!("the Inception score is computed from class scores, and `{extractor}` gives features"),
            Remedy::ClassScores(LOGITS.into()),
        ));
    }
    Ok(())
}

/// Which of `metrics` (by name; none for the default ones) are computed in each of several spaces: the Inception score in those of
/// class scores, where nothing else is computed, and all others in those of features.
///
/// # Errors
/// [`Error::Usage`] for an unknown metric, and if a space or a metric is left without the other.
pub(crate) fn metrics_by_space(metrics: &[String], extractors: &[&str]) -> Result<Vec<Vec<String>>> {
    let chosen = named(metrics)?;
    let mut all = Vec::new();
    for &extractor in extractors {
        let fits = |needs: Needs| match needs {
            Needs::ClassScores => !gives_features(extractor),
            Needs::Statistics | Needs::Features => extractor != LOGITS,
        };
        let mut own: Vec<String> =
            chosen.iter().filter(|metric| fits(metric.needs)).map(|metric| metric.name.to_owned()).collect();
        if chosen.is_empty() && extractor == LOGITS {
            own.push(INCEPTION_SCORE.name.to_owned());
        } else if !chosen.is_empty() && own.is_empty() {
            return Err(Error::usage(
                format!("none of the metrics is computed in the space {extractor}"),
                "leave the space out, or name other metrics",
            ));
        }
        all.push(own);
    }
    if let Some(metric) = chosen.iter().find(|metric| all.iter().flatten().all(|name| name != metric.name)) {
        let what = if metric.needs == Needs::ClassScores { "class scores" } else { "features" };
        return Err(Error::usage(
            format!("{} is computed from {what}, which none of the spaces gives", metric.name),
            "add a space, or leave the metric out",
        ));
    }
    Ok(all)
}

/// Of the metrics of a space, those that mean and covariance suffice for.
///
/// # Errors
/// [`Error::Usage`] for an unknown metric.
pub(crate) fn metrics_of_statistics(metrics: &[String]) -> Result<Vec<String>> {
    let chosen = if metrics.is_empty() { METRICS.to_vec() } else { named(metrics)? };
    let serves = |metric: &&&Metric| metric.needs == Needs::Statistics;
    Ok(chosen.iter().filter(serves).map(|metric| metric.name.to_owned()).collect())
}

/// The results of the same sets in several spaces.
pub(crate) struct SpaceResults {
    /// By the name of each space.
    pub(crate) spaces: Vec<(String, Evaluation)>,
    /// The protocol that settled them, where it is one.
    pub(crate) preset: Option<&'static str>,
}

impl SpaceResults {
    /// As [`Evaluation::table`], a space below the other.
    ///
    /// # Errors
    /// If the columns differ in length.
    pub(crate) fn table(&self) -> Result<Table> {
        let results: Vec<_> =
            self.spaces.iter().map(|(name, result)| (Some(name.as_str()), result)).collect();
        table_of(&results)
    }

    /// `spaces`: what [`Evaluation::json`] has for each, with its name and how its features were made.
    pub(crate) fn json(&self) -> Value {
        let space = |(name, result): &(String, Evaluation)| {
            let mut object = result.json();
            object["space"] = json!(name);
            object["features"] = json!(result.identity.as_ref().map(Identity::describe));
            object
        };
        let mut object = json!({ "spaces": self.spaces.iter().map(space).collect::<Vec<_>>() });
        if let Some(preset) = self.preset {
            object["preset"] = json!(preset);
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(metrics: &[&str], extractors: &[&str]) -> Result<Vec<Vec<String>>> {
        let metrics: Vec<String> = metrics.iter().map(|name| (*name).to_owned()).collect();
        metrics_by_space(&metrics, extractors)
    }

    #[test]
    fn the_inception_score_is_computed_from_class_scores_and_nothing_else_is() {
        let found = of(&["fid", "inception-score", "kd"], &["inception-fid", "inception-logits", "onnx"]);
        assert_eq!(
            found.unwrap(),
            [vec!["fd", "kid"], vec!["inception-score"], vec!["fd", "inception-score", "kid"]]
        );
        assert_eq!(of(&[], &["tiny", "inception-logits"]).unwrap(), [vec![], vec!["inception-score"]]);
        let refused = |metrics: &[&str], spaces: &[&str]| of(metrics, spaces).unwrap_err().to_string();
        assert!(refused(&["fd"], &["tiny", "inception-logits"]).contains("in the space inception-logits"));
        assert!(refused(&["fd", "inception-score"], &["tiny", "vgg16"]).contains("from class scores"));
        assert!(refused(&["fd", "inception-score"], &["inception-logits"]).contains("from features"));
        assert!(refused(&["no-such"], &["tiny"]).contains("no-such"));
    }
}
