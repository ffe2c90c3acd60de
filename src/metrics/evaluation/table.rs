//! Results as a table: of one feature space, or of several below each other.

use super::evaluated_set::{EvaluatedSet, GroupedSet};
use super::outcome::Evaluation;
use crate::error::Result;
use crate::formats::table::{MINUS, Table, Values, significant};
use crate::metrics::metric::{Better, Estimate};

impl Evaluation {
    /// A row for each generated set, one for each of its groups, then one for the self-check.
    ///
    /// # Errors
    /// If the columns differ in length.
    pub fn table(&self) -> Result<Table> {
        table_of(&[(None, self)], false)
    }

    /// As [`Evaluation::table`], to be printed: an interval is in the cell of its value, and an arrow says which values are better.
    ///
    /// # Errors
    /// As [`Evaluation::table`].
    pub fn table_for_paper(&self) -> Result<Table> {
        table_of(&[(None, self)], true)
    }
}

struct Row<'a> {
    space: Option<&'a str>,
    kind: &'static str,
    set: &'a EvaluatedSet,
    group: Option<&'a GroupedSet>,
}

/// For each space a row for each generated set, one for each of its groups, then one for the self-check. The name of a space is in a
/// column of its own, where it has one; the Frechet distance is then called so in all.
///
/// # Errors
/// If the columns differ in length.
pub(super) fn table_of(results: &[(Option<&str>, &Evaluation)], for_paper: bool) -> Result<Table> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for &(space, evaluation) in results {
        for set in &evaluation.generated {
            rows.push(Row { space, kind: "generated", set, group: None });
            let groups = evaluation.groups_of(set);
            rows.extend(groups.map(|group| Row {
                space,
                kind: "group",
                set: &group.set,
                group: Some(group),
            }));
        }
        let check = evaluation.self_check.iter();
        rows.extend(check.map(|set| Row { space, kind: "self_check", set, group: None }));
    }
    let text = |of: &dyn Fn(&Row<'_>) -> String| Values::Text(rows.iter().map(of).collect());
    let mut table = Table::new();
    if results.iter().any(|(space, _)| space.is_some()) {
        table.push("space", text(&|row| row.space.unwrap_or_default().to_owned()))?;
    }
    table.push("path", text(&|row| row.set.name.clone()))?;
    table.push("set", text(&|row| row.kind.to_owned()))?;
    let counts = rows.iter().map(|row| row.set.rows.map(|n| n as i64)).collect();
    table.push("n", Values::OptionalInt(counts))?;
    if results.iter().any(|(_, evaluation)| !evaluation.groups.is_empty()) {
        let groups = || rows.iter().map(|row| row.group);
        let names = groups().map(|group| group.map(|group| group.group.clone())).collect();
        table.push("group", Values::OptionalText(names))?;
        let counts = groups().map(|group| group.map(|group| group.real_rows as i64)).collect();
        table.push("n_real", Values::OptionalInt(counts))?;
    }
    for (column, better) in columns_of(results) {
        let mut name = match results {
            [(None, evaluation)] => evaluation.column_name(column),
            _ => column,
        }
        .to_owned();
        let of = |value: &dyn Fn(&Estimate) -> f64| {
            Values::Float(rows.iter().map(|row| row.set.estimate(column).map_or(f64::NAN, value)).collect())
        };
        let mut beside = BESIDE.as_slice();
        if for_paper {
            name = name.replace('_', " ") + arrow(better);
            let has_interval = |row: &Row<'_>| row.set.estimate(column).is_some_and(|e| e.interval.is_some());
            let with_interval = |row: &Row<'_>| row.set.estimate(column).map_or(String::new(), in_a_cell);
            beside = DEVIATIONS;
            match rows.iter().any(has_interval) {
                true => table.push(&name, text(&with_interval))?,
                false => table.push(&name, of(&|estimate| estimate.value))?,
            }
        } else {
            table.push(&name, of(&|estimate| estimate.value))?;
        }
        for (ending, value) in beside {
            let of_row = |row: &Row<'_>| row.set.estimate(column).and_then(value);
            if rows.iter().any(|row| of_row(row).is_some()) {
                let values = of(&|estimate| value(estimate).unwrap_or(f64::NAN));
                table.push(format!("{name}{}{ending}", if for_paper { ' ' } else { '_' }), values)?;
            }
        }
    }
    Ok(table)
}

/// A number that is known of some estimates.
type Known = fn(&Estimate) -> Option<f64>;

/// What stands beside a value where it is known, by the ending of its column's name.
const BESIDE: [(&str, Known); 4] = [
    ("low", |estimate| estimate.interval.map(|[low, _]| low)),
    ("high", |estimate| estimate.interval.map(|[_, high]| high)),
    ("sd_seeds", |estimate| estimate.spread.seeds),
    ("sd_parts", |estimate| estimate.spread.parts),
];
/// The same where a value has its interval in its own cell.
const DEVIATIONS: &[(&str, Known)] =
    &[("sd of seeds", |estimate| estimate.spread.seeds), ("sd of parts", |estimate| estimate.spread.parts)];

/// A value with its interval.
fn in_a_cell(estimate: &Estimate) -> String {
    let value = significant(estimate.value);
    let text = match estimate.interval.filter(|bounds| bounds.iter().all(|bound| bound.is_finite())) {
        Some([low, high]) => format!("{value} [{}, {}]", significant(low), significant(high)),
        None => value,
    };
    text.replace('-', MINUS)
}

fn arrow(better: Better) -> &'static str {
    match better {
        Better::Higher => " \u{2191}",
        Better::Lower => " \u{2193}",
        Better::Neither => "",
    }
}

/// Columns of all metrics, each once, and which of their values are better.
fn columns_of(results: &[(Option<&str>, &Evaluation)]) -> Vec<(&'static str, Better)> {
    let mut columns: Vec<(&'static str, Better)> = Vec::new();
    for metric in results.iter().flat_map(|(_, evaluation)| &evaluation.metrics) {
        for (&column, at) in metric.columns.iter().zip(0..) {
            if columns.iter().all(|(known, _)| *known != column) {
                columns.push((column, if at == 0 { metric.better } else { Better::Neither }));
            }
        }
    }
    columns
}
