//! `pd report`: a page for people about a directory that another command made.

use super::bundled::Bundled;
use super::common::RunArgs;
use super::output::Results;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::images::ImageSet;
use crate::reference::Reference;
use crate::report::{Pictures, Subject, report, subject_of};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// Write a self-contained HTML page about a reference, a sample, a selection, a sweep, a perturbation or a fine-tuning run
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd report ref/ --images photos/
  pd report pd-sample/ -o sample.html")]
pub(super) struct Report {
    /// Directory written by `pd embed` and `pd index`, or by sample, select, sweep, perturb or finetune
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// HTML file to write [default: PATH/report.html]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Images that the reference was made from: a directory, .zip or .tar. A reference holds their names only
    #[arg(long, value_name = "IMAGES")]
    images: Option<PathBuf>,
    /// Reference directory that a sample was scored against, for its thresholds and distances
    #[arg(long, value_name = "REF")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

const FILE: &str = "report.html";

impl Report {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        let real = match &self.images {
            Some(path) => Pictures::of(ImageSet::open(path, &terminal)?),
            None if matches!(
                subject_of(&self.path)?,
                Subject::Reference | Subject::Sample | Subject::Select
            ) =>
            {
                Bundled::images_behind(&self.path, &terminal).map_or_else(Pictures::none, Pictures::of)
            }
            None => Pictures::none(),
        };
        let reference = self.reference.as_deref().map(Reference::open).transpose()?;
        let html = report(&self.path, &real, reference.as_ref())?;
        let output = self.output.unwrap_or_else(|| self.path.join(FILE));
        if output.extension().is_none_or(|e| !e.eq_ignore_ascii_case("html")) {
            return Err(Error::usage(
                format!("{} does not end in .html", output.display()),
                "that is the format that is written",
            ));
        }
        write_atomic(&output, |out| out.write_all(html.as_bytes()))?;
        let shown = output.display().to_string();
        terminal.print(&match self.run.json {
            true => format!("{:#}\n", json!({"report": shown, "bytes": html.len()})),
            false => format!("{shown}: {} kB, one file; open it in a browser\n", html.len().div_ceil(1000)),
        })
    }
}
