//! Several feature spaces: which metrics are computed in which, and their results together.

use super::options::EvaluationOptions;
use super::outcome::Evaluation;
use super::table::table_of;
use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::formats::table::Table;
use crate::metrics::kind::SpaceKind;
use crate::metrics::least_rows::{self, Side};
use crate::metrics::metric::Metric;
use crate::metrics::registry::named;
use crate::remedy::Remedy;
use serde_json::{Value, json};

/// # Errors
/// [`Error::Usage`] for an unknown metric, or one of numbers that `extractor` does not give.
pub(crate) fn check_metrics(metrics: &[String], extractor: &str) -> Result<()> {
    let kind = SpaceKind::of(extractor);
    for metric in named(metrics)? {
        if let Some((only, what)) = metric.needs.only()
            && !kind.serves(metric.needs)
        {
            return Err(Error::usage(
                format!("{} is computed from {what}, and `{extractor}` gives others", metric.name),
                Remedy::OtherExtractor(only.into()),
            ));
        }
    }
    Ok(())
}

/// Whether the set `name` of `rows` images is large enough for the metrics of `options` in the space of this extractor.
///
/// # Errors
/// [`Error::Data`] if it is not; [`Error::Usage`] if subsets are asked for that are larger than it, and for an unknown metric.
pub(crate) fn check_rows(
    options: &EvaluationOptions,
    extractor: &str,
    set: (&str, usize, Side),
) -> Result<()> {
    let metrics = metrics_in(&options.metrics, extractor, false)?;
    least_rows::check_rows(&metrics, set, &options.parameters, false)
}

/// Whether one of `metrics` (by name) is computed in the space of this extractor.
///
/// # Errors
/// [`Error::Usage`] for an unknown metric.
pub(super) fn has_metric_in(metrics: &[String], extractor: &str) -> Result<bool> {
    let kind = SpaceKind::of(extractor);
    Ok(named(metrics)?.iter().any(|metric| kind.serves(metric.needs)))
}

/// Which of `metrics` (by name; none for the default ones) are computed in each of several spaces: the Inception score in those of
/// class scores, sFID in those of spatial features, where nothing else is computed, and all others in those of features.
///
/// # Errors
/// [`Error::Usage`] for an unknown metric, and if a space or a metric is left without the other.
pub(super) fn metrics_by_space(metrics: &[String], extractors: &[&str]) -> Result<Vec<Vec<String>>> {
    let chosen = named(metrics)?;
    let names = |metrics: &[&'static Metric]| metrics.iter().map(|metric| metric.name.to_owned()).collect();
    let mut all: Vec<Vec<String>> = Vec::new();
    for &extractor in extractors {
        let kind = SpaceKind::of(extractor);
        if chosen.is_empty() {
            // The default ones depend on what is known of the sets, and are settled there.
            all.push(Vec::new());
            continue;
        }
        let fitting: Vec<_> = chosen.iter().copied().filter(|metric| kind.serves(metric.needs)).collect();
        if fitting.is_empty() {
            return Err(Error::usage(
                format!("none of the metrics is computed in the space {extractor}"),
                "leave the space out, or name other metrics",
            ));
        }
        all.push(names(&fitting));
    }
    if let Some(metric) = chosen.iter().find(|metric| all.iter().flatten().all(|name| name != metric.name)) {
        let (remedy, what) = match metric.needs.only() {
            Some((only, what)) => (format!("add the space {only}, or leave the metric out"), what),
            None => ("add a space, or leave the metric out".to_owned(), "features"),
        };
        return Err(Error::usage(
            format!("{} is computed from {what}, which none of the spaces gives", metric.name),
            remedy,
        ));
    }
    Ok(all)
}

/// The metrics of a space: those of these names, else the default ones; of these only what mean and covariance suffice for, if no more is
/// known of the real set.
///
/// # Errors
/// [`Error::Usage`] for an unknown metric.
pub(super) fn metrics_in(
    metrics: &[String],
    extractor: &str,
    of_statistics: bool,
) -> Result<Vec<&'static Metric>> {
    let mut chosen: Vec<_> = match metrics {
        [] => SpaceKind::of(extractor).default_metrics().collect(),
        metrics => named(metrics)?,
    };
    chosen.retain(|metric| !of_statistics || metric.needs.is_of_statistics());
    Ok(chosen)
}

/// The results of the same sets in several spaces.
pub struct SpaceResults {
    /// By the name of each space.
    pub spaces: Vec<(String, Evaluation)>,
    /// The protocol that settled them, where it is one.
    pub preset: Option<&'static str>,
}

impl SpaceResults {
    /// As [`Evaluation::table`], a space below the other.
    ///
    /// # Errors
    /// If the columns differ in length.
    pub fn table(&self) -> Result<Table> {
        table_of(&self.by_name(), false)
    }

    /// As [`Evaluation::table_for_paper`], a space below the other.
    ///
    /// # Errors
    /// If the columns differ in length.
    pub fn table_for_paper(&self) -> Result<Table> {
        table_of(&self.by_name(), true)
    }

    fn by_name(&self) -> Vec<(Option<&str>, &Evaluation)> {
        self.spaces.iter().map(|(name, result)| (Some(name.as_str()), result)).collect()
    }

    /// `spaces`: what [`Evaluation::json`] has for each, with its name and how its features were made.
    pub fn json(&self) -> Value {
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
    fn a_metric_is_computed_in_the_spaces_that_it_is_for_alone() {
        let found = of(&["fid", "inception-score", "kd"], &["inception-fid", "inception-logits", "onnx"]);
        assert_eq!(
            found.unwrap(),
            [vec!["fd", "kid"], vec!["inception-score"], vec!["fd", "inception-score", "kid"]]
        );
        let found = of(&["fid", "sfid"], &["inception-spatial", "inception-fid"]).unwrap();
        assert_eq!(found, [["sfid"], ["fd"]]);
        assert_eq!(of(&[], &["tiny", "inception-logits"]).unwrap(), [[], []] as [[&str; 0]; 2]);
        let known: Vec<_> = metrics_in(&[], "inception-spatial", true).unwrap();
        assert_eq!(known.iter().map(|metric| metric.name).collect::<Vec<_>>(), ["sfid"]);
        let refused = |metrics: &[&str], spaces: &[&str]| of(metrics, spaces).unwrap_err().to_string();
        assert!(refused(&["fd"], &["tiny", "inception-logits"]).contains("in the space inception-logits"));
        assert!(refused(&["fd", "inception-score"], &["tiny", "vgg16"]).contains("from class scores"));
        assert!(refused(&["fd", "inception-score"], &["inception-logits"]).contains("from features"));
        assert!(refused(&["no-such"], &["tiny"]).contains("no-such"));
    }
}
