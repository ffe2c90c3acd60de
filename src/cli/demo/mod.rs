//! `pd demo`: what the program is for, stage by stage, first on photographs and then on digits. Each stage is the `pd` commands that it
//! prints: they are parsed and run here as they would be from a shell.

mod digits;
mod photographs;

use super::Cli;
use super::bundled::write_generator;
use super::finetune::allow_second_order;
use super::output::Results;
use super::program;
use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::progress::check_stop;
use crate::report::{Figure, Place, Section, demo_page};
use clap::{Args, Parser};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Show what pd does, on photographs and digits that it carries, in about a minute, without a network
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd demo
  pd demo -o /tmp/demo")]
pub(super) struct Demo {
    /// Directory to write everything into, including report.html
    #[arg(long, short, value_name = "DIR", default_value = "demo")]
    output: PathBuf,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Placeholder of the output directory in commands.
const ROOT: &str = "DEMO";
/// The metrics of every stage.
const METRICS: [&str; 3] = ["precision", "recall", "fd"];

impl Demo {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        allow_second_order();
        let mut run = DemoRun::begin(&self.output, self.quiet, results)?;
        run.photographs()?;
        run.digits()?;
        run.end()
    }
}

/// Precision, recall and Fréchet distance.
type Measured = [f64; METRICS.len()];

/// A run of the demonstration, with the sections and the table of its page so far.
struct DemoRun {
    terminal: Terminal,
    root: PathBuf,
    start: Instant,
    sections: Vec<Section>,
    plain: Option<Measured>,
    table: Vec<Vec<String>>,
    /// The first section that the table is about.
    first_of_table: usize,
}

impl DemoRun {
    fn begin(root: &Path, quiet: bool, results: &Results) -> Result<Self> {
        let start = Instant::now();
        let used = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
        if used && !root.join("generator").is_dir() {
            return Err(Error::usage(
                format!("{} holds something else than this demonstration", root.display()),
                "choose another directory with -o",
            ));
        }
        let terminal = Terminal::new(quiet, results);
        write_generator(&root.join("generator"))?;
        terminal.print(&format!(
            "pd gives every image a number that says how typical it is, finds copies, chooses, and steers an image generator.\n\
             Stages 1 to 3 are about photographs, the others about a generator of digits. Everything is in {};\n\
             `pd` in the commands is {}.\n",
            root.display(),
            program::shown()
        ))?;
        let head = ["", "draws", "precision", "recall", "Frechet distance"];
        Ok(Self {
            terminal,
            root: root.to_path_buf(),
            start,
            sections: Vec::new(),
            plain: None,
            table: vec![head.map(str::to_owned).into()],
            first_of_table: 0,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn stage(&mut self, title: &str, explanation: &str) -> Result<()> {
        let title = format!("{} {title}", self.sections.len() + 1);
        self.terminal.print(&format!("\n== {title}\n{explanation}\n\n"))?;
        self.sections.push(Section {
            title,
            explanation: explanation.replace('\n', " "),
            ..Section::default()
        });
        Ok(())
    }

    /// Prints a command, runs it, and returns what it printed.
    fn command(&mut self, text: &str) -> Result<String> {
        check_stop(&self.terminal, || "the same command goes on".into())?;
        let root = self.root.display().to_string();
        let words: Vec<String> = text.split_whitespace().map(|word| word.replace(ROOT, &root)).collect();
        let shown: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let shown = format!("pd {}", shown.join(" "));
        self.terminal.print(&format!("  $ {shown}\n"))?;
        if let Some(section) = self.sections.last_mut() {
            section.commands.push(shown);
        }
        let cli = Cli::try_parse_from(["pd".to_owned()].into_iter().chain(words))
            .map_err(|e| Error::usage(e.to_string(), ""))?;
        Results::collect(|results| cli.dispatch(results))
    }

    /// Prints a result and adds it to the section.
    fn result(&mut self, text: &str) -> Result<()> {
        self.section_result(text);
        self.terminal.print(&format!("  {}\n", text.replace('\n', "\n  ")))
    }

    /// Adds a result to the section.
    fn section_result(&mut self, text: &str) {
        if let Some(section) = self.sections.last_mut() {
            section.results.push(text.replace('\n', " "));
        }
    }

    /// Adds a figure to the section.
    fn figure(&mut self, figure: Figure) {
        if let Some(section) = self.sections.last_mut() {
            section.figures.push(figure);
        }
    }

    /// Measures sets (directory, name, draws for each kept image) against the held-out half of the images, and adds them to the table.
    fn measure(&mut self, sets: &[(&str, &str, f64)]) -> Result<()> {
        let dirs: Vec<String> = sets.iter().map(|(dir, ..)| format!("{ROOT}/{dir}")).collect();
        let command = format!(
            "eval --real {ROOT}/judge --generated {} --metrics {} --json",
            dirs.join(" "),
            METRICS.join(",")
        );
        let found = parsed(&self.command(&command)?)?;
        for (at, (_, name, draws)) in sets.iter().enumerate() {
            let value = |metric: &str| found["generated"][at][metric].as_f64().unwrap_or(f64::NAN);
            let measured = METRICS.map(value);
            let plain = *self.plain.get_or_insert(measured);
            let mut cells = vec![(*name).to_owned(), format!("{draws:.1}")];
            for ((value, plain), digits) in measured.iter().zip(plain).zip([3, 3, 2]) {
                let change = value - plain;
                cells.push(match self.table.len() {
                    1 => format!("{value:.digits$}"),
                    _ => format!("{value:.digits$} ({change:+.digits$})"),
                });
            }
            self.table.push(cells);
        }
        let rows: Vec<&Vec<String>> = self.table.iter().collect();
        let first = rows.len() - sets.len();
        let shown: Vec<&Vec<String>> = rows.iter().take(2).chain(&rows[first.max(2)..]).copied().collect();
        self.terminal.print(&aligned(&shown))
    }

    fn summary(&self, dir: &str) -> Result<Value> {
        let path = self.path(dir).join("summary.json");
        parsed(&fs::read_to_string(&path).map_err(Error::io("read", &path))?)
    }

    fn end(self) -> Result<()> {
        let lead = [
            "This page tells what pd does. Stages 1 to 3 are about photographs: which are odd, which are copies, and which to choose. The \
             others make a generator of digits draw more typical images (fidelity) or more varied ones (diversity). Each stage has the \
             commands that it stands for; copied into a shell, they do the same."
                .to_owned(),
            "What to do next: put your own folders into the commands. For a generator, read the table to see which stage gains what, and \
             at which cost (draws: images made for each one kept); choose by the Frechet distance beside precision and recall, since piling \
             up one kind of image looks good in precision alone."
                .to_owned(),
        ];
        let place = Place { folder: &self.root, progress: &self.terminal };
        let title = "pd demo: photographs, and a generator of digits";
        let html = demo_page(title, &lead, &self.sections, (self.first_of_table, &self.table), place)?;
        let page = self.path("report.html");
        write_atomic(&page, |out| out.write_all(html.as_bytes()))?;
        self.terminal.print("\n== The generator of digits: all stages in one table\n\n")?;
        self.terminal.print(&aligned(&self.table.iter().collect::<Vec<_>>()))?;
        self.terminal.print(&format!(
            "\nwith pictures: {}\ntime: {:.0} s\nnext: pd score PHOTOS; pd dups PHOTOS; pd select --help\n",
            page.display(),
            self.start.elapsed().as_secs_f64()
        ))
    }
}

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| Error::data(format!("a result cannot be read: {e}"), ""))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Columns of text, the first to the left and the others to the right.
fn aligned(rows: &[&Vec<String>]) -> String {
    let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            out.push_str(&match at {
                0 => format!("  {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_needs_it() {
        assert_eq!(quoted("demo/ref"), "demo/ref");
        assert_eq!(quoted("my demo"), "'my demo'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let (a, b) = (row(["a", "draws"]), row(["longer", "1.0"]));
        assert_eq!(aligned(&[&a, &b]), "  a       draws\n  longer    1.0\n");
    }
}
