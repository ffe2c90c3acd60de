//! `pd demo`: the method on bundled digits, stage by stage. Each stage is the `pd` commands that it prints: they are parsed and run
//! here as they would be from a shell.

use super::Cli;
use super::bundled;
use super::finetune::allow_second_order;
use super::output::Results;
use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::images::ImageSet;
use crate::progress::check_stop;
use crate::report::{Figure, Place, Section, demo_page};
use clap::{Args, Parser};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Run every technique on bundled digits, in about a minute, without a network
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
/// Lines of the output of `pd index` that are shown.
const SHOWN_LINES: usize = 18;
/// Fine-tuning settings: towards fidelity those that the generator was trained with, towards diversity the defaults.
const TOWARDS_FIDELITY: &str = "--steps 400 --batch 128 --lr 1e-3 --beta1 0.5 --gamma 0.2 --r1-interval 4";
const TOWARDS_DIVERSITY: &str = "--steps 300";
/// The metrics of every stage.
const METRICS: [&str; 3] = ["precision", "recall", "fd"];

const REWEIGHT: [&str; 3] = ["match", "fidelity", "diversity"];

impl Demo {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        allow_second_order();
        let mut run = DemoRun::begin(&self.output, self.quiet, results)?;
        run.score()?;
        run.baseline()?;
        run.reweight()?;
        run.choose()?;
        run.perturb()?;
        run.finetune()?;
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
        bundled::write_generator(&root.join("generator"))?;
        let archive = root.join("digits.zip");
        bundled::write_digits(&archive)?;
        lay_out(&ImageSet::open(&archive, &terminal)?, root)?;
        let program = std::env::current_exe().unwrap_or_else(|_| "pd".into());
        terminal.print(&format!(
            "pd gives every image a number that says how typical it is, and steers an image generator by it.\n\
             Here: 1 797 small images of digits, and a generator that was trained on them. Half of the images score,\n\
             the other half judges. Everything is in {}; `pd` in the commands is {}.\n",
            root.display(),
            program.display()
        ))?;
        let head = ["", "draws", "precision", "recall", "Frechet distance"];
        Ok(Self {
            terminal,
            root: root.to_path_buf(),
            start,
            sections: Vec::new(),
            plain: None,
            table: vec![head.map(str::to_owned).into()],
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
        if let Some(section) = self.sections.last_mut() {
            section.results.push(text.replace('\n', " "));
        }
        self.terminal.print(&format!("  {}\n", text.replace('\n', "\n  ")))
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

    fn score(&mut self) -> Result<()> {
        self.stage(
            "Score the images",
            "The pseudo density of an image says how close the images most like it are: 1 is the average, more is typical,\n\
             less is unusual. It needs no generator. With photographs of your own: pd score PHOTOS.",
        )?;
        self.command("embed DEMO/real -o DEMO/ref")?;
        let text = self.command("index DEMO/ref")?;
        self.command("embed DEMO/held-out -o DEMO/judge")?;
        for line in text.lines().take(SHOWN_LINES) {
            self.terminal.print(&format!("    {line}\n"))?;
        }
        self.figure(Figure::Reference(self.path("ref"), self.path("real")));
        Ok(())
    }

    fn baseline(&mut self) -> Result<()> {
        self.stage(
            "What the generator draws by itself",
            "Precision: how many of its images look like real ones (fidelity). Recall: how many of the real ones it can make\n\
             (diversity). Frechet distance: how far its images as a whole are from the real ones; lower is better.",
        )?;
        self.command("sample --generator DEMO/generator -n 400 -o DEMO/plain")?;
        self.measure(&[("plain", "as it is", 1.0)])?;
        self.figure(Figure::Gallery("as it is".into(), self.path("plain")));
        Ok(())
    }

    fn reweight(&mut self) -> Result<()> {
        self.stage(
            "Reweight what it draws",
            "Draw about four images for each one that is kept, and keep by weight: match towards the real distribution, fidelity\n\
             towards the typical, diversity towards the rare. Nothing is trained; the cost is the draws.",
        )?;
        let mut sets = Vec::new();
        for bias in REWEIGHT {
            self.command(&format!(
                "sample --generator DEMO/generator --reference DEMO/ref --bias {bias} -n 400 -o DEMO/{bias}"
            ))?;
            sets.push((bias, bias, draws_per_kept(&self.summary(bias)?)));
        }
        self.measure(&sets)?;
        let place = |bias: &str| (bias.to_owned(), self.path(bias));
        let runs: Vec<(String, PathBuf)> = REWEIGHT.into_iter().map(place).collect();
        self.figure(Figure::Densities(runs.clone()));
        for (bias, dir) in runs {
            self.figure(Figure::Gallery(format!("--bias {bias}"), dir));
        }
        Ok(())
    }

    fn choose(&mut self) -> Result<()> {
        self.stage(
            "Choose a distinct and novel set from a pool",
            "For a generator that repeats itself, or copies: --distinct refuses copies of what is chosen, --novel copies of the real\n\
             images, also edited ones. With a number they keep their distance as well. The pool is any folder of images.",
        )?;
        self.command("sample --generator DEMO/generator -n 1600 -o DEMO/pool")?;
        self.command(
            "sample --pool DEMO/pool --reference DEMO/ref --bias match -n 400 --distinct 5 --novel 5 -o DEMO/chosen",
        )?;
        let summary = self.summary("chosen")?;
        self.result(&format!(
            "refused: {} too near to another chosen one or a copy of it, {} too near to a real one or a copy of it",
            summary["not_distinct"], summary["not_novel"]
        ))?;
        self.measure(&[("chosen", "chosen from a pool", 4.0)])?;
        self.figure(Figure::Gallery("chosen".into(), self.path("chosen")));
        Ok(())
    }

    fn perturb(&mut self) -> Result<()> {
        self.stage(
            "Perturb a few samples",
            "Single images are moved towards the typical or the unusual, by small steps of the numbers they are made from.\n\
             Sixteen images are too few for precision and recall: their pseudo density is what changes.",
        )?;
        for bias in ["fidelity", "diversity"] {
            self.command(&format!(
                "perturb --generator DEMO/generator --reference DEMO/ref --bias {bias} --eps 0.2 --seeds 0-15 -o DEMO/perturb-{bias}"
            ))?;
            let summary = self.summary(&format!("perturb-{bias}"))?;
            let number = |key: &str| summary["strengths"][0][key].as_f64().unwrap_or(f64::NAN);
            self.result(&format!(
                "towards {bias}: {:.0} % moved as asked, mean pseudo density {:.3} to {:.3}; cost: 10 gradient steps an image",
                100.0 * number("moved"),
                number("mean_density_before"),
                number("mean_density_after")
            ))?;
            self.figure(Figure::Pairs(self.path(&format!("perturb-{bias}"))));
        }
        Ok(())
    }

    fn finetune(&mut self) -> Result<()> {
        self.stage(
            "Fine-tune the generator",
            "Train on for a short while, with the typical or the unusual images drawn more often. It costs training, and then\n\
             nothing: every later image is one draw.",
        )?;
        let mut sets = Vec::new();
        for (bias, settings, snapshot, about) in [
            ("fidelity", TOWARDS_FIDELITY, "snapshot-000400", "fine-tuned to fidelity"),
            ("diversity", TOWARDS_DIVERSITY, "snapshot-000300", "fine-tuned to diversity"),
        ] {
            let (run, dir) = (format!("{ROOT}/finetune-{bias}"), format!("tuned-{bias}"));
            self.command(&format!(
                "finetune --generator DEMO/generator --data DEMO/real --reference DEMO/ref --bias {bias} {settings} -o {run}"
            ))?;
            self.command(&format!("sample --generator {run}/{snapshot} -n 400 -o DEMO/{dir}"))?;
            sets.push((dir, about, 1.0));
        }
        self.result("cost: 400 steps of 128 images, and 300 of 64")?;
        let sets: Vec<(&str, &str, f64)> =
            sets.iter().map(|(dir, about, n)| (dir.as_str(), *about, *n)).collect();
        self.measure(&sets)?;
        self.result(
            "The weights are strong, and what is gained at one end is paid for at the other and in distance: here reweighting is\n\
             the better bargain. Fine-tuning is for where every draw has to be cheap.",
        )?;
        for (dir, about, _) in sets {
            self.figure(Figure::Gallery(about.into(), self.path(dir)));
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        let lead = [
            "This page tells what pd does, on small images of digits: score them, and then make a generator of digits draw more \
             typical images (fidelity) or more varied ones (diversity). Each stage has the commands that it stands for; copied \
             into a shell, they do the same."
                .to_owned(),
            "What to do next: read the table to see which stage gains what, and at which cost (draws: images made for each one \
             kept). Then take the commands of that stage and put your own images and generator in. Choose by the Frechet \
             distance beside precision and recall: piling up one kind of image looks good in precision alone."
                .to_owned(),
        ];
        let place = Place { folder: &self.root, progress: &self.terminal };
        let title = "pd demo: fidelity and diversity of a generator";
        let html = demo_page(title, &lead, &self.sections, &self.table, place)?;
        let page = self.path("report.html");
        write_atomic(&page, |out| out.write_all(html.as_bytes()))?;
        self.terminal.print("\n== All in one table\n\n")?;
        self.terminal.print(&aligned(&self.table.iter().collect::<Vec<_>>()))?;
        self.terminal.print(&format!(
            "\nwith pictures: {}\ntime: {:.0} s\nnext: pd score PHOTOS; pd sample --help\n",
            page.display(),
            self.start.elapsed().as_secs_f64()
        ))
    }
}

/// Writes every other image to `real/`, which scores, and the others to `held-out/`, which judges; existing files are kept.
fn lay_out(set: &ImageSet, root: &Path) -> Result<()> {
    for i in 0..set.len() {
        let path = root.join(if i % 2 == 0 { "real" } else { "held-out" }).join(set.path(i));
        if path.is_file() {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        let bytes = set.read(i).map_err(|reason| Error::malformed(&path, reason, ""))?;
        write_atomic(&path, |out| out.write_all(&bytes))?;
    }
    Ok(())
}

fn draws_per_kept(summary: &Value) -> f64 {
    let number = |key: &str| summary[key].as_f64().unwrap_or(f64::NAN);
    number("draws") / number("kept")
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
