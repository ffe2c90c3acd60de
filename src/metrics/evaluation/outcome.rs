//! The result of an evaluation, as values, as JSON and as a table.

use super::evaluated_set::{EvaluatedSet, GroupedSet};
use super::options::EvaluationOptions;
use super::sample_scores::SampleScores;
use super::verdict::Verdict;
use crate::extract::Identity;
use crate::metrics::frechet;
use crate::metrics::metric::{Metric, Spread};
use serde_json::{Map, Value, json};

/// The result of an evaluation.
pub struct Evaluation {
    /// The real set, with the metrics that describe a set alone.
    pub real: EvaluatedSet,
    /// The generated sets.
    pub generated: Vec<EvaluatedSet>,
    /// The groups of each generated set, in the order of names, if groups were asked for.
    pub groups: Vec<GroupedSet>,
    /// One half of the real set against the other, if that was asked for.
    pub self_check: Option<EvaluatedSet>,
    /// The metrics that were computed.
    pub metrics: Vec<&'static Metric>,
    /// What the features were made with, where that is known.
    pub identity: Option<Identity>,
    /// Whether the Fréchet distance is the FID: only in the feature space of the 2015 Inception network.
    pub is_fid: bool,
    /// Why some values mean little.
    pub warnings: Vec<String>,
    /// Values of each generated image, if they were asked for.
    pub samples: Option<SampleScores>,
    /// What was asked for.
    pub options: EvaluationOptions,
}

impl Evaluation {
    /// What results call a column: the Fréchet distance is `fid` where it is the FID.
    pub fn column_name<'a>(&self, column: &'a str) -> &'a str {
        if self.is_fid && column == frechet::METRIC.name { frechet::FID } else { column }
    }

    /// Each generated set but the first against the first, where there are intervals.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let Some((first, others)) = self.generated.split_first() else { return Vec::new() };
        let all = others.iter().map(|set| Verdict::of(set, first, &self.metrics));
        all.filter(Verdict::says_something).collect()
    }

    fn fields(&self, set: &EvaluatedSet) -> Value {
        let mut fields = Map::new();
        fields.insert("path".into(), json!(set.name));
        fields.insert("n".into(), json!(set.rows));
        let (mut intervals, mut spreads) = (Map::new(), Map::new());
        for estimate in &set.estimates {
            let column = self.column_name(estimate.column);
            fields.insert(column.into(), json!(estimate.value));
            if let Some(interval) = estimate.interval {
                intervals.insert(column.into(), json!(interval));
            }
            if estimate.spread != Spread::default() {
                spreads.insert(column.into(), json!(estimate.spread));
            }
        }
        if !intervals.is_empty() {
            fields.insert("intervals".into(), Value::Object(intervals));
        }
        if !spreads.is_empty() {
            fields.insert("spread".into(), Value::Object(spreads));
        }
        if let Some(rows) = self.options.spread.and_then(|count| set.rows_of_part(count)) {
            fields.insert("n_of_part".into(), json!(rows));
        }
        Value::Object(fields)
    }

    /// The groups of a generated set.
    pub fn groups_of(&self, set: &EvaluatedSet) -> impl Iterator<Item = &GroupedSet> {
        self.groups.iter().filter(|group| group.set.name == set.name)
    }

    fn fields_of_group(&self, group: &GroupedSet) -> Value {
        let mut fields = self.fields(&group.set);
        fields["group"] = json!(group.group);
        fields["n_real"] = json!(group.real_rows);
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("path");
        }
        fields
    }

    /// Everything but [`Evaluation::samples`], as a JSON object.
    pub fn json(&self) -> Value {
        let parameters = &self.options.parameters;
        let with_groups = |set: &EvaluatedSet| {
            let mut fields = self.fields(set);
            let groups: Vec<Value> = self.groups_of(set).map(|group| self.fields_of_group(group)).collect();
            if !groups.is_empty() {
                fields["groups"] = Value::Array(groups);
            }
            fields
        };
        let rows: Vec<Value> = self.generated.iter().map(with_groups).collect();
        let mut object = json!({
            "real": self.fields(&self.real),
            "generated": rows,
            "extractor": self.identity.as_ref().map(|identity| &identity.extractor),
            "dimension": self.identity.as_ref().map(|identity| identity.dimension),
            "k": parameters.k,
            "k_density": parameters.k_density,
            "boundary": parameters.boundary,
            "seed": parameters.seed,
            "warnings": self.warnings,
        });
        if let Some(seed) = parameters.numpy_seed {
            object["numpy_seed"] = json!(seed);
        }
        if let Some(set) = &self.self_check {
            object["self_check"] = self.fields(set);
        }
        let verdicts = self.verdicts();
        if !verdicts.is_empty() {
            object["verdicts"] = json!(verdicts);
        }
        if let Some(count) = self.options.bootstrap {
            object["bootstrap"] = json!(count);
        }
        if let Some(count) = self.options.spread {
            object["spread"] = json!(count);
        }
        object
    }
}
