//! The result of an evaluation, as values, as JSON and as a table.

use super::options::EvaluationOptions;
use super::sample_scores::SampleScores;
use crate::error::Result;
use crate::extract::Identity;
use crate::formats::table::{Table, Values};
use crate::metrics::frechet;
use crate::metrics::metric::{Estimate, Metric};
use serde_json::{Map, Value, json};

/// A set with the values of its metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluatedSet {
    /// What it is called.
    pub name: String,
    /// How many rows it has, where that is known.
    pub rows: Option<usize>,
    /// The values.
    pub estimates: Vec<Estimate>,
}

impl EvaluatedSet {
    /// The value of a column of a metric.
    pub fn estimate(&self, column: &str) -> Option<&Estimate> {
        self.estimates.iter().find(|estimate| estimate.column == column)
    }
}

/// The result of an evaluation.
pub struct Evaluation {
    /// The real set, with the metrics that describe a set alone.
    pub real: EvaluatedSet,
    /// The generated sets.
    pub generated: Vec<EvaluatedSet>,
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

    fn fields(&self, set: &EvaluatedSet) -> Value {
        let mut fields = Map::new();
        fields.insert("path".into(), json!(set.name));
        fields.insert("n".into(), json!(set.rows));
        let mut intervals = Map::new();
        for estimate in &set.estimates {
            let column = self.column_name(estimate.column);
            fields.insert(column.into(), json!(estimate.value));
            if let Some(interval) = estimate.interval {
                intervals.insert(column.into(), json!(interval));
            }
        }
        if !intervals.is_empty() {
            fields.insert("intervals".into(), Value::Object(intervals));
        }
        Value::Object(fields)
    }

    /// Everything but [`Evaluation::samples`], as a JSON object.
    pub fn json(&self) -> Value {
        let parameters = &self.options.parameters;
        let rows: Vec<Value> = self.generated.iter().map(|set| self.fields(set)).collect();
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
        if let Some(set) = &self.self_check {
            object["self_check"] = self.fields(set);
        }
        if let Some(count) = self.options.bootstrap {
            object["bootstrap"] = json!(count);
        }
        object
    }

    /// A row for each generated set, then one for the self-check.
    ///
    /// # Errors
    /// If the columns differ in length.
    pub fn table(&self) -> Result<Table> {
        let generated = self.generated.iter().map(|set| ("generated", set));
        let rows: Vec<(&str, &EvaluatedSet)> =
            generated.chain(self.self_check.iter().map(|set| ("self_check", set))).collect();
        let mut table = Table::new();
        table.push("path", Values::Text(rows.iter().map(|(_, set)| set.name.clone()).collect()))?;
        table.push("set", Values::Text(rows.iter().map(|(kind, _)| (*kind).to_owned()).collect()))?;
        let counts = rows.iter().map(|(_, set)| set.rows.map(|n| n as i64)).collect();
        table.push("n", Values::OptionalInt(counts))?;
        for column in self.metrics.iter().flat_map(|metric| metric.columns) {
            let of = |value: &dyn Fn(&Estimate) -> f64| {
                Values::Float(
                    rows.iter().map(|(_, set)| set.estimate(column).map_or(f64::NAN, value)).collect(),
                )
            };
            table.push(self.column_name(column), of(&|estimate| estimate.value))?;
            if self.options.bootstrap.is_some() {
                for (at, end) in ["low", "high"].into_iter().enumerate() {
                    let bound = |estimate: &Estimate| estimate.interval.map_or(f64::NAN, |bounds| bounds[at]);
                    table.push(format!("{}_{end}", self.column_name(column)), of(&bound))?;
                }
            }
        }
        Ok(table)
    }
}
