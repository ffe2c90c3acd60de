//! Tables for a paper or a page: LaTeX (booktabs) and Markdown. Numbers have four significant digits; the other formats have all of them.

use super::{Column, Table, TableFormat, Values};
use std::io::{self, Write};

/// `.tex`: a `tabular` with the rules of the package booktabs, to be taken into a document with `\input`.
pub(super) struct Latex;

/// `.md`: a table of GitHub's Markdown.
pub(super) struct Markdown;

impl TableFormat for Latex {
    fn extension(&self) -> &'static str {
        "tex"
    }

    fn write(&self, table: &Table, out: &mut dyn Write) -> io::Result<()> {
        let alignment: String =
            table.columns().iter().map(|column| if is_text(&column.values) { 'l' } else { 'r' }).collect();
        writeln!(out, "% Needs \\usepackage{{booktabs}}.\n\\begin{{tabular}}{{{alignment}}}\n\\toprule")?;
        let line = |cells: Vec<String>| {
            // The command before it would take the beginning of such a row for an argument.
            let guard =
                if cells.first().is_some_and(|cell| cell.starts_with(['[', '*'])) { "{}" } else { "" };
            format!("{guard}{} \\\\", cells.join(" & "))
        };
        writeln!(out, "{}\n\\midrule", line(names(table, escaped_latex)))?;
        for row in 0..table.rows() {
            writeln!(out, "{}", line(cells(table, row, escaped_latex)))?;
        }
        writeln!(out, "\\bottomrule\n\\end{{tabular}}")
    }
}

impl TableFormat for Markdown {
    fn extension(&self) -> &'static str {
        "md"
    }

    fn write(&self, table: &Table, out: &mut dyn Write) -> io::Result<()> {
        let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        let rule = table.columns().iter().map(|column| if is_text(&column.values) { "---" } else { "---:" });
        writeln!(out, "{}", line(names(table, escaped_markdown)))?;
        writeln!(out, "{}", line(rule.map(str::to_owned).collect()))?;
        for row in 0..table.rows() {
            writeln!(out, "{}", line(cells(table, row, escaped_markdown)))?;
        }
        Ok(())
    }
}

fn is_text(values: &Values) -> bool {
    matches!(values, Values::Text(_) | Values::OptionalText(_))
}

fn names(table: &Table, escaped: fn(&str) -> String) -> Vec<String> {
    table.columns().iter().map(|column| escaped(&column.name)).collect()
}

fn cells(table: &Table, row: usize, escaped: fn(&str) -> String) -> Vec<String> {
    let cell = |Column { values, .. }: &Column| match values {
        Values::Text(cells) => escaped(&cells[row]),
        Values::OptionalText(cells) => cells[row].as_deref().map(escaped).unwrap_or_default(),
        Values::Float(cells) => escaped(&significant(cells[row]).replace('-', MINUS)),
        Values::Int(cells) => cells[row].to_string(),
        Values::OptionalInt(cells) => cells[row].map(|cell| cell.to_string()).unwrap_or_default(),
        Values::Bool(cells) => cells[row].to_string(),
    };
    table.columns().iter().map(cell).collect()
}

/// The sign, in the place of the hyphen.
pub(crate) const MINUS: &str = "\u{2212}";

/// A value with four significant digits; empty where there is none.
pub(crate) fn significant(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => String::new(),
        size if size >= 1e6 => format!("{value:.3e}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

fn escaped_latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '\u{2212}' => out.push_str("$-$"),
            '\u{2191}' => out.push_str("$\\uparrow$"),
            '\u{2193}' => out.push_str("$\\downarrow$"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn escaped_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '<' | '>' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::written;
    use super::*;

    fn table() -> Table {
        let mut table = Table::new();
        table.push("set_name", Values::Text(vec!["a & b_1".into(), "x|y\nz".into()])).unwrap();
        table.push("n", Values::OptionalInt(vec![Some(5000), None])).unwrap();
        table.push("fd", Values::Float(vec![12.3456, f64::NAN])).unwrap();
        table
    }

    #[test]
    fn latex_is_aligned_by_type_and_escaped() {
        let expected = "% Needs \\usepackage{booktabs}.\n\\begin{tabular}{lrr}\n\\toprule\nset\\_name & n & fd \\\\\n\\midrule\n\
                        a \\& b\\_1 & 5000 & 12.35 \\\\\nx|y z &  &  \\\\\n\\bottomrule\n\\end{tabular}\n";
        assert_eq!(String::from_utf8(written("tex", &table())).unwrap(), expected);
    }

    #[test]
    fn a_row_of_latex_is_no_argument_of_the_command_before_it() {
        let mut table = Table::new();
        table.push("set", Values::Text(vec!["[a]".into(), "*b".into(), "c [d]".into()])).unwrap();
        let text = String::from_utf8(written("tex", &table)).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.ends_with("\\\\")).skip(1).collect();
        assert_eq!(rows, ["{}[a] \\\\", "{}*b \\\\", "c [d] \\\\"]);
    }

    #[test]
    fn signs_and_arrows_of_latex_are_mathematics() {
        let mut table = Table::new();
        table.push("kid \u{2193}", Values::Float(vec![-0.5])).unwrap();
        table.push("recall \u{2191}", Values::Text(vec!["\u{2212}0.5 [a-b]".into()])).unwrap();
        let text = String::from_utf8(written("tex", &table)).unwrap();
        assert!(text.contains("kid $\\downarrow$ & recall $\\uparrow$ \\\\"), "{text}");
        assert!(text.contains("$-$0.5000 & $-$0.5 [a-b] \\\\"), "{text}");
    }

    #[test]
    fn markdown_cells_stay_in_their_cells() {
        let expected = "| set\\_name | n | fd |\n| --- | ---: | ---: |\n| a & b\\_1 | 5000 | 12.35 |\n| x\\|y z |  |  |\n";
        assert_eq!(String::from_utf8(written("md", &table())).unwrap(), expected);
    }

    #[test]
    fn numbers_have_four_significant_digits() {
        let found = [123456789.0, 1234.5, 99.999, 0.5, 0.0, -0.001234, f64::INFINITY].map(significant);
        assert_eq!(found, ["1.235e8", "1234.5", "100.00", "0.5000", "0.0000", "-1.234e-3", ""]);
    }
}
