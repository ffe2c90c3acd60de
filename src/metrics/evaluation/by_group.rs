//! The values of each group of images: of each class, of each prompt.

use super::evaluated_set::{EvaluatedSet, GroupedSet};
use super::options::EvaluationOptions;
use super::sets::{EvaluationSet, SetContent};
use crate::error::{Error, Result};
use crate::metrics::comparison::Comparison;
use crate::metrics::feature_set::FeatureSet;
use crate::metrics::metric::Metric;
use crate::metrics::options::Options;
use crate::metrics::registry::estimate;
use crate::progress::{Progress, check_stop};
use ndarray::Axis;
use std::collections::BTreeMap;

/// The features of each group of a set, by name.
pub(super) struct Groups<'p>(BTreeMap<String, FeatureSet<'p>>);

impl<'p> Groups<'p> {
    /// The groups of `set`; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one group for each row, or a value is not finite.
    pub(super) fn of(
        set: &EvaluationSet,
        options: &Options,
        progress: &'p dyn Progress,
    ) -> Result<Option<Self>> {
        let (Some(labels), SetContent::Features { features, .. }) = (&set.groups, &set.content) else {
            return Ok(None);
        };
        if labels.len() != features.nrows() {
            let (groups, rows) = (labels.len(), features.nrows());
            return Err(Error::data(format!("{}: {groups} groups for {rows} rows", set.name), ""));
        }
        let mut rows: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
        for (row, label) in labels.iter().enumerate() {
            rows.entry(label).or_default().push(row);
        }
        let of_rows = |(label, rows): (&String, Vec<usize>)| {
            let features = features.select(Axis(0), &rows).into_shared();
            Ok((label.clone(), FeatureSet::new(features, options, progress)?))
        };
        Ok(Some(Self(rows.into_iter().map(of_rows).collect::<Result<_>>()?)))
    }
}

/// Compares the groups that both sets have, by those of `metrics` that warn of nothing: a metric warns where its value means little
/// for so few rows. Also says what groups stand in one set only.
///
/// # Errors
/// What a metric returns; [`Error::Interrupted`].
pub(super) fn compare_groups(
    real: &Groups<'_>,
    generated: &Groups<'_>,
    name: &str,
    metrics: &[&'static Metric],
    options: &EvaluationOptions,
    progress: &dyn Progress,
) -> Result<(Vec<GroupedSet>, Option<String>)> {
    let mut found = Vec::new();
    for (group, set) in &generated.0 {
        check_stop(progress, String::new)?;
        let Some(real) = real.0.get(group) else { continue };
        let comparison = Comparison::new(real, set, &options.parameters, progress)?;
        let fitting: Vec<_> =
            metrics.iter().copied().filter(|metric| (metric.caution)(&comparison).is_none()).collect();
        let rows = |set: &FeatureSet<'_>| set.rows().unwrap_or_default();
        let enough = rows(real).min(rows(set)) > options.parameters.k.max(options.parameters.k_density);
        let estimates = match enough {
            true => estimate(&comparison, &fitting, options.draws()).map_err(|e| e.about(group))?,
            false => Vec::new(),
        };
        let set = EvaluatedSet { name: name.to_owned(), rows: set.rows(), estimates };
        found.push(GroupedSet { group: group.clone(), real_rows: rows(real), set });
    }
    let lacking = |of: &Groups<'_>, other: &Groups<'_>| {
        of.0.keys().filter(|group| !other.0.contains_key(*group)).count()
    };
    let unmatched = match (lacking(real, generated), lacking(generated, real)) {
        (0, 0) => None,
        (no_generated, no_real) => Some(format!(
            "{name}: groups are compared where both sets have images; {no_generated} have none here, {no_real} have none in the real set"
        )),
    };
    Ok((found, unmatched))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::evaluate;
    use crate::metrics::test_support::Fixture;
    use crate::progress::Silent;
    use ndarray::s;

    fn grouped(side: &str, groups: &[(&str, usize)]) -> EvaluationSet {
        let rows = groups.iter().map(|group| group.1).sum::<usize>();
        let features = Fixture::load().features(side).slice(s![..rows, ..]).to_owned().into_shared();
        let labels = groups.iter().flat_map(|&(name, count)| vec![name.to_owned(); count]).collect();
        EvaluationSet { groups: Some(labels), ..EvaluationSet::of_features(side, features) }
    }

    #[test]
    fn a_group_has_the_values_of_its_rows_alone_and_only_of_metrics_that_it_suffices_for() {
        let metrics = ["precision", "fd"].map(str::to_owned).into();
        let options = EvaluationOptions { metrics, ..EvaluationOptions::default() };
        let real = grouped("real_2000", &[("a", 300), ("b", 20), ("c", 3), ("d", 40)]);
        let fake = grouped("fake_2000", &[("a", 200), ("b", 100), ("c", 50), ("e", 5)]);
        let alone = |side: &str, rows: std::ops::Range<usize>| {
            let features = Fixture::load().features(side).slice(s![rows, ..]).to_owned();
            EvaluationSet::of_features(side, features.into_shared())
        };
        let found = evaluate(real, [Ok(fake)], &options, &Silent).unwrap();
        let expected =
            evaluate(alone("real_2000", 0..300), [Ok(alone("fake_2000", 0..200))], &options, &Silent)
                .unwrap();
        let names: Vec<&str> = found.groups.iter().map(|group| group.group.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(found.groups[0].set.estimates, expected.generated[0].estimates);
        assert_eq!((found.groups[0].real_rows, found.groups[0].set.rows), (300, Some(200)));
        assert!(found.groups[1].set.estimates.is_empty() && found.groups[2].set.estimates.is_empty());
        assert!(found.warnings.last().unwrap().contains("1 have none here, 1 have none in the real set"));
        let json = found.json();
        assert_eq!(json["generated"][0]["groups"][1]["n_real"], 20);
        assert_eq!(found.table().unwrap().rows(), 4);
    }
}
