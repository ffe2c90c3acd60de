//! `pd report`: a page for people about what another command made.

use super::bundled::Bundled;
use super::common::RunArgs;
use super::output::{self, Results};
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::reference::Reference;
use crate::report::{Pictures, Place, Request, has_pictures, images_beside, report, subject_of};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Write a self-contained HTML page about a reference, a score, copies, a sample, a selection, a sweep, a perturbation, a training set or a fine-tuning run
///
/// It shows the pictures with their numbers, to order, filter, tick and look at, in any browser and without a network. What is ticked is
/// copied or saved as a list. A page with pictures is never replaced by one without.
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd report pd-select/ --images photos/
  pd report dups.csv --images photos/ -o copies.html")]
pub(super) struct Report {
    /// Directory written by `pd embed` and `pd index`, or by sample, select, sweep, perturb, resample or finetune; or a .csv table written by `pd score` or `pd dups`
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// HTML file to write [default: PATH/report.html; for a table its name with .html]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Images that the reference was made from, or that the table or the training set names: a directory, .zip or .tar [default for a table: those beside it, where they are]
    #[arg(long, value_name = "IMAGES")]
    images: Option<PathBuf>,
    /// Images that those of a table were scored or compared against, where these are others
    #[arg(long, value_name = "OTHER")]
    against: Option<PathBuf>,
    /// Reference directory that a sample was scored against, for its thresholds
    #[arg(long, value_name = "REF")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

const FILE: &str = "report.html";
const EXTENSION: &str = "html";

impl Report {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        let subject = subject_of(&self.path)?;
        let output = match &self.output {
            Some(output) => output.clone(),
            None if subject.is_table() => self.path.with_extension(EXTENSION),
            None => self.path.join(FILE),
        };
        if output.extension().is_none_or(|e| !e.eq_ignore_ascii_case(EXTENSION)) {
            return Err(Error::usage(
                format!("{} does not end in .{EXTENSION}", output.display()),
                "that is the format that is written",
            ));
        }
        output::check_file_path(&output)?;
        let images = match &self.images {
            Some(path) => Pictures::open(path, &terminal)?,
            None if subject.is_table() => images_beside(&self.path, &terminal)?,
            None if subject.shows_other_images() => Bundled::images_behind(&self.path, &terminal)
                .map_or_else(Pictures::none, |set| Pictures::of(set, "the demonstration".into())),
            None => Pictures::none(),
        };
        let against = match &self.against {
            Some(path) => Pictures::open(path, &terminal)?,
            None => Pictures::none(),
        };
        let reference = self.reference.as_deref().map(Reference::open).transpose()?;
        let folder =
            output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let request =
            Request { path: &self.path, images: &images, against: &against, reference: reference.as_ref() };
        let html = report(&request, Place { folder, progress: &terminal })?;
        keep_pictures(&output, &html)?;
        write_atomic(&output, |out| out.write_all(html.as_bytes()))?;
        let shown = output.display().to_string();
        terminal.print(&match self.run.json {
            true => format!("{:#}\n", json!({"report": shown, "bytes": html.len()})),
            false => format!("{shown}: {} kB, one file; open it in a browser\n", html.len().div_ceil(1000)),
        })
    }
}

/// # Errors
/// [`Error::Usage`] if the page that is there has pictures, and the one that would replace it has none.
fn keep_pictures(output: &Path, html: &str) -> Result<()> {
    if has_pictures(html) {
        return Ok(());
    }
    match std::fs::read(output) {
        Ok(there) if has_pictures(&String::from_utf8_lossy(&there)) => Err(Error::usage(
            format!("{} is a page with pictures, and this one would have none", output.display()),
            "name the images, --images PHOTOS, or another file, -o FILE.html",
        )),
        _ => Ok(()),
    }
}
