//! What `pd eval` found, for a person, as JSON or as a table.

use crate::cli::terminal::Terminal;
use crate::error::Result;
use crate::extract::Identity;
use crate::formats::table::{Table, Values};
use crate::metrics::{Better, Estimate, Metric, Options};
use crate::progress::Progress;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A generated set.
pub struct Row {
    pub path: String,
    pub n: Option<usize>,
    pub estimates: Vec<Estimate>,
}

/// The real set, with the metrics that need no other.
#[derive(Default)]
pub struct RealRow {
    pub path: String,
    pub n: Option<usize>,
    pub alone: Vec<Estimate>,
}

/// Everything that a run has to say.
pub struct EvalSummary {
    pub real: RealRow,
    pub generated: Vec<Row>,
    pub self_check: Option<Row>,
    options: Options,
    bootstrap: Option<u32>,
    extractor: Option<Identity>,
    metrics: Vec<&'static Metric>,
    fid: bool,
    warnings: Vec<String>,
}

impl EvalSummary {
    pub fn new(options: &Options, bootstrap: Option<u32>) -> Self {
        EvalSummary {
            real: RealRow::default(),
            generated: Vec::new(),
            self_check: None,
            options: options.clone(),
            bootstrap,
            extractor: None,
            metrics: Vec::new(),
            fid: false,
            warnings: Vec::new(),
        }
    }

    /// Says it once on the terminal and keeps it for the JSON.
    pub fn warn(&mut self, warning: String, terminal: &Terminal) {
        if !self.warnings.contains(&warning) {
            terminal.warn(&warning);
            self.warnings.push(warning);
        }
    }

    /// Adds what is known at the end; with `fid`, the Fréchet distance may be called so.
    pub fn describe(&mut self, extractor: Option<&Identity>, metrics: &[&'static Metric], fid: bool) {
        self.extractor = extractor.cloned();
        self.metrics = metrics.to_vec();
        self.fid = fid;
    }

    fn column<'a>(&self, column: &'a str) -> &'a str {
        if self.fid && column == "fd" { "fid" } else { column }
    }

    fn fields(&self, path: &str, n: Option<usize>, estimates: &[Estimate]) -> Value {
        let mut fields = Map::new();
        fields.insert("path".into(), json!(path));
        fields.insert("n".into(), json!(n));
        let mut intervals = Map::new();
        for estimate in estimates {
            let column = self.column(estimate.column);
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

    /// As one JSON object.
    pub fn json(&self) -> String {
        let rows: Vec<Value> =
            self.generated.iter().map(|row| self.fields(&row.path, row.n, &row.estimates)).collect();
        let mut object = json!({
            "real": self.fields(&self.real.path, self.real.n, &self.real.alone),
            "generated": rows,
            "extractor": self.extractor.as_ref().map(|identity| &identity.extractor),
            "dimension": self.extractor.as_ref().map(|identity| identity.dimension),
            "k": self.options.k,
            "k_density": self.options.k_density,
            "boundary": self.options.boundary,
            "seed": self.options.seed,
            "warnings": self.warnings,
        });
        if let Some(row) = &self.self_check {
            object["self_check"] = self.fields(&row.path, row.n, &row.estimates);
        }
        if let Some(count) = self.bootstrap {
            object["bootstrap"] = json!(count);
        }
        format!("{object:#}\n")
    }

    /// Every row with the kind of its set: generated, then the self-check.
    fn rows(&self) -> impl Iterator<Item = (&'static str, &Row)> {
        let generated = self.generated.iter().map(|row| ("generated", row));
        generated.chain(self.self_check.iter().map(|row| ("self_check", row)))
    }

    /// A row per generated set, and one for the self-check.
    pub fn table(&self) -> Result<Table> {
        let mut table = Table::new();
        table.push("path", Values::Text(self.rows().map(|(_, row)| row.path.clone()).collect()))?;
        table.push("set", Values::Text(self.rows().map(|(kind, _)| kind.to_string()).collect()))?;
        table
            .push("n", Values::OptionalInt(self.rows().map(|(_, row)| row.n.map(|n| n as i64)).collect()))?;
        for column in self.metrics.iter().flat_map(|metric| metric.columns) {
            let of = |value: &dyn Fn(&Estimate) -> f64| {
                self.rows()
                    .map(|(_, row)| {
                        row.estimates.iter().find(|e| e.column == *column).map_or(f64::NAN, value)
                    })
                    .collect()
            };
            table.push(self.column(column), Values::Float(of(&|estimate| estimate.value)))?;
            if self.bootstrap.is_some() {
                for (at, end) in ["low", "high"].into_iter().enumerate() {
                    let bound = |estimate: &Estimate| estimate.interval.map_or(f64::NAN, |bounds| bounds[at]);
                    table.push(format!("{}_{end}", self.column(column)), Values::Float(of(&bound)))?;
                }
            }
        }
        Ok(table)
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let rows = |n: Option<usize>| n.map_or("size unknown".to_string(), |n| format!("{n} rows"));
        writeln!(out, "real: {}, {}", self.real.path, rows(self.real.n))?;
        let extractor = self.extractor.as_ref().map_or("unknown".to_string(), Identity::describe);
        writeln!(out, "extractor: {extractor}")?;
        writeln!(
            out,
            "k = {} (density and coverage: {}); {}\n",
            self.options.k,
            self.options.k_density,
            self.options.boundary.describe()
        )?;
        for line in self.aligned() {
            writeln!(out, "{line}")?;
        }
        if let Some(count) = self.bootstrap {
            writeln!(out, "\n[ ]: central 95 % of {count} resampled sets")?;
        }
        writeln!(out)?;
        for metric in &self.metrics {
            let name = self.column(metric.columns.first().unwrap_or(&metric.name));
            let way = match metric.better {
                Better::Higher => "+",
                Better::Lower => "-",
                Better::Neither => " ",
            };
            writeln!(out, "{way} {name}: {}", metric.about)?;
        }
        writeln!(out, "(+ higher is better, - lower is better)")
    }

    /// The table, a line per set.
    fn aligned(&self) -> Vec<String> {
        let columns: Vec<&'static str> =
            self.metrics.iter().flat_map(|metric| metric.columns).copied().collect();
        let count = |n: Option<usize>| n.map_or("-".to_string(), |n| n.to_string());
        let cell = |estimates: &[Estimate], column: &str, show: &dyn Fn(&Estimate) -> String| {
            estimates.iter().find(|e| e.column == column).map_or(String::new(), show)
        };
        let mut lines = vec![vec!["set".to_string(), "n".to_string()]];
        lines[0].extend(columns.iter().map(|column| self.column(column).to_string()));
        let mut add = |path: &str, n: Option<usize>, estimates: &[Estimate]| {
            let mut line = vec![path.to_string(), count(n)];
            line.extend(columns.iter().map(|column| cell(estimates, column, &|e| number(e.value))));
            lines.push(line);
            for (at, sign) in ["[", "]"].into_iter().enumerate() {
                if estimates.iter().any(|estimate| estimate.interval.is_some()) {
                    let bound = |e: &Estimate| e.interval.map_or(String::new(), |bounds| number(bounds[at]));
                    let mut line = vec![format!("  {sign}"), String::new()];
                    line.extend(columns.iter().map(|column| cell(estimates, column, &bound)));
                    lines.push(line);
                }
            }
        };
        for row in &self.generated {
            add(&row.path, row.n, &row.estimates);
        }
        if let Some(row) = &self.self_check {
            add(&row.path, row.n, &row.estimates);
        }
        if !self.real.alone.is_empty() {
            add(&format!("{} (real)", self.real.path), self.real.n, &self.real.alone);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let mut text = format!("{:<1$}", cells[0], widths[0]);
            for (cell, width) in cells.iter().zip(&widths).skip(1) {
                let _ = write!(text, "  {cell:>width$}");
            }
            text.trim_end().to_string()
        };
        lines.iter().map(line).collect()
    }
}

/// Four digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".into(),
        size if size >= 1e6 => format!("{value:.3e}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}
