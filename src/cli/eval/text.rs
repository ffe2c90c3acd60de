//! What `pd eval` prints: the result for a person or as JSON, and what to know about its names.

use crate::cli::terminal::Terminal;
use crate::extract::Identity;
use crate::formats::table::significant;
use crate::metrics::frechet::{FID, FID_EXTRACTOR, METRIC};
use crate::metrics::{Better, Estimate, EvaluatedSet, Evaluation, SpaceResults, Verdict};
use crate::progress::Progress;
use serde_json::{Map, Value};
use std::fmt::Write;

/// A result with what became of the `inputs` of each set of images.
pub(super) fn json_of(mut result: Value, inputs: Map<String, Value>) -> String {
    if !inputs.is_empty() {
        result["inputs"] = Value::Object(inputs);
    }
    format!("{result:#}\n")
}

/// Warns if `fid` was asked for and the distance may not be called so.
pub(super) fn warn_if_no_fid(evaluation: &Evaluation, terminal: &Terminal) {
    if !evaluation.is_fid && evaluation.options.metrics.iter().any(|name| name == FID) {
        terminal.warn(&format!(
            "a Frechet distance is the FID only with --extractor {FID_EXTRACTOR}; here it is called {}",
            METRIC.name
        ));
    }
}

/// A number of things, each called `what`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The result for a person.
pub(super) fn text(evaluation: &Evaluation) -> String {
    let [real, how] = head(evaluation);
    let blocks = [real, extractor(evaluation), how, String::new(), values(evaluation)];
    let mut out = blocks.join("\n");
    out.push_str(&legend(&[evaluation]));
    out
}

/// The results of several spaces for a person.
pub(super) fn text_of_spaces(results: &SpaceResults) -> String {
    let evaluations: Vec<&Evaluation> = results.spaces.iter().map(|(_, evaluation)| evaluation).collect();
    let mut out = results.preset.map_or_else(String::new, |name| format!("preset: {name}\n"));
    if let Some(first) = evaluations.first() {
        let _ = writeln!(out, "{}", head(first).join("\n"));
    }
    for evaluation in &evaluations {
        let _ = writeln!(out, "\n{}\n{}", extractor(evaluation), values(evaluation).trim_end());
    }
    out.push_str(&legend(&evaluations));
    out
}

/// What was compared with, and how.
fn head(evaluation: &Evaluation) -> [String; 2] {
    let rows = evaluation.real.rows.map_or("size unknown".to_string(), |n| counted(n, "row"));
    let parameters = &evaluation.options.parameters;
    [
        format!("real: {}, {rows}", evaluation.real.name),
        format!(
            "k = {} (density and coverage: {}); {}",
            parameters.k,
            parameters.k_density,
            parameters.boundary.describe()
        ),
    ]
}

fn extractor(evaluation: &Evaluation) -> String {
    let extractor = evaluation.identity.as_ref().map_or("unknown".to_string(), Identity::describe);
    format!("extractor: {extractor}")
}

/// The table, and what its intervals say.
fn values(evaluation: &Evaluation) -> String {
    let mut lines = aligned(evaluation);
    if let Some(count) = evaluation.options.bootstrap {
        lines.push(format!(
            "\n[ ]: 95 % intervals from {count} bootstrap samples of the generated set (recall: random halves of it); the real set is\n\
             taken as it is"
        ));
        lines.extend(verdicts(evaluation));
    }
    if let Some(count) = evaluation.options.spread {
        lines.push(format!(
            "\n+- seeds: standard deviation over {count} seeds, of metrics that draw\n\
             +- parts: standard deviation over {count} disjoint parts of the generated set, each of the size in the column n"
        ));
    }
    lines.join("\n") + "\n"
}

/// What the columns mean, each once.
fn legend(evaluations: &[&Evaluation]) -> String {
    let mut lines = Vec::new();
    for evaluation in evaluations {
        for metric in &evaluation.metrics {
            let name = evaluation.column_name(metric.columns.first().unwrap_or(&metric.name));
            let way = match metric.better {
                Better::Higher => "+",
                Better::Lower => "-",
                Better::Neither => " ",
            };
            let line = format!("{way} {name}: {}\n", metric.about);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    format!("\n{}(+ higher is better, - lower is better)\n", lines.concat())
}

/// How each generated set compares with the first, in a line each.
pub(super) fn verdicts(evaluation: &Evaluation) -> Vec<String> {
    evaluation.verdicts().iter().map(|verdict| verdict_text(verdict, evaluation)).collect()
}

/// In one line, with the names that results give the columns.
fn verdict_text(verdict: &Verdict, evaluation: &Evaluation) -> String {
    let parts = [
        ("better in", &verdict.better),
        ("worse in", &verdict.worse),
        ("different in", &verdict.different),
        ("no difference beyond the intervals in", &verdict.same),
        ("not compared, as they depend on the number of images:", &verdict.incomparable),
    ];
    let named = parts.into_iter().filter(|(_, columns)| !columns.is_empty()).map(|(what, columns)| {
        let names: Vec<_> = columns.iter().map(|column| evaluation.column_name(column)).collect();
        format!("{what} {}", names.join(", "))
    });
    format!("{} against {}: {}", verdict.set, verdict.than, named.collect::<Vec<_>>().join("; "))
}

/// The table, a line for each set.
fn aligned(evaluation: &Evaluation) -> Vec<String> {
    let columns: Vec<&'static str> =
        evaluation.metrics.iter().flat_map(|metric| metric.columns).copied().collect();
    let count = |n: Option<usize>| n.map_or("-".to_string(), |n| n.to_string());
    let cell = |set: &EvaluatedSet, column: &str, show: &dyn Fn(&Estimate) -> String| {
        set.estimate(column).map_or(String::new(), show)
    };
    let mut lines = vec![vec!["set".to_string(), "n".to_string()]];
    lines[0].extend(columns.iter().map(|column| evaluation.column_name(column).to_string()));
    let mut add = |name: &str, set: &EvaluatedSet| {
        let mut line = vec![name.to_string(), count(set.rows)];
        line.extend(columns.iter().map(|column| cell(set, column, &|e| number(e.value))));
        lines.push(line);
        let mut below = |label: &str, n: Option<usize>, value: &dyn Fn(&Estimate) -> Option<f64>| {
            if set.estimates.iter().any(|estimate| value(estimate).is_some()) {
                let mut line = vec![format!("  {label}"), n.map_or(String::new(), |n| n.to_string())];
                let shown = |estimate: &Estimate| value(estimate).map_or(String::new(), number);
                line.extend(columns.iter().map(|column| cell(set, column, &shown)));
                lines.push(line);
            }
        };
        for (at, sign) in ["[", "]"].into_iter().enumerate() {
            below(sign, None, &|estimate| estimate.interval.map(|bounds| bounds[at]));
        }
        let part = evaluation.options.spread.and_then(|count| set.rows_of_part(count));
        below("+- seeds", None, &|estimate| estimate.spread.seeds);
        below("+- parts", part, &|estimate| estimate.spread.parts);
    };
    for set in evaluation.generated.iter().chain(&evaluation.self_check) {
        add(&set.name, set);
        for group in evaluation.groups_of(set) {
            add(&format!("  {} ({} real)", group.group, group.real_rows), &group.set);
        }
    }
    if !evaluation.real.estimates.is_empty() {
        add(&format!("{} (real)", evaluation.real.name), &evaluation.real);
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

/// A value with four significant digits.
fn number(value: f64) -> String {
    if value.is_finite() { significant(value) } else { "-".into() }
}
