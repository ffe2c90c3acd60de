//! How a run of `pd sample`, or a merge of its shards, ends: what is kept is drawn, and written with tables, latents, the contact sheet and
//! the summary.

use super::TABLE;
use super::summary::{Refused, SampleSummary, table};
use crate::cli::deliver::fewer;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::formats::npy::write_npy;
use crate::formats::table::write_table;
use crate::images::{Alpha, contact_sheet, decode, write_png};
use crate::runs::RunIdentity;
use crate::sampling::draw::{CandidateBlocks, DEFAULT_N, DrawOptions, Drawn, draw};
use crate::sampling::groups::draw_groups;
use crate::sampling::{Decision, ReferenceStats, WeightRecord};
use ndarray::{Array2, Axis, concatenate};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Images of `grid.png`.
const GRID: usize = 64;
const GRID_COLUMNS: usize = 8;

/// What a run was asked for that only matters in the end.
#[derive(Serialize, Deserialize)]
pub(super) struct SampleWriter {
    /// Weights as they were asked for.
    pub weights: Option<WeightRecord>,
    /// Images that were asked for.
    pub n: Option<u64>,
    /// Whether a sheet is made.
    pub grid: bool,
}

/// The first images as a sheet.
pub(super) fn write_sheet(dir: &Path, files: impl Iterator<Item = PathBuf>) -> Result<()> {
    let mut images = Vec::new();
    for path in files.take(GRID) {
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        images.push(decode(&bytes, Alpha::White).map_err(|reason| Error::malformed(&path, reason, ""))?);
    }
    write_png(&dir.join("grid.png"), &contact_sheet(&images, GRID_COLUMNS))
}

impl SampleWriter {
    /// Draws among the candidates, or within each of the groups of these sizes, and writes what is kept to `dir`, the summary last.
    pub(super) fn draw(
        &self,
        (candidates, groups): (&dyn CandidateBlocks, Option<&[usize]>),
        (reference, options): (Option<&ReferenceStats>, &DrawOptions),
        (dir, run): (&Path, &RunIdentity),
        terminal: &Terminal,
    ) -> Result<(Drawn, SampleSummary)> {
        let device = terminal.device();
        let drawn = match groups {
            None => draw(candidates, reference, options, device, dir, terminal)?,
            Some(groups) => draw_groups(candidates, groups, (reference, options), device, dir, terminal)?,
        };
        self.write(dir, candidates, &drawn)?;
        let summary = SampleSummary::new(&drawn, self.weights.as_ref().and_then(WeightRecord::rule), dir);
        run.write_summary(dir, &summary)?;
        Ok((drawn, summary))
    }

    /// Tables, latents and the sheet.
    fn write(&self, dir: &Path, candidates: &dyn CandidateBlocks, drawn: &Drawn) -> Result<()> {
        write_table(dir.join(TABLE), &table(drawn, &candidates.real_names())?)?;
        let latent = |row: usize| candidates.latents(drawn.numbers[row]..drawn.numbers[row] + 1);
        let latents = drawn.kept().map(latent).collect::<Result<Vec<_>>>()?;
        // Candidates without latents have none to write.
        if let Some(latents) = latents.into_iter().collect::<Option<Vec<_>>>() {
            let views: Vec<_> = latents.iter().map(|latent| latent.view()).collect();
            let all = match views.is_empty() {
                true => Array2::zeros((0, 1)).into_dyn(),
                false => concatenate(Axis(0), &views)
                    .map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))?,
            };
            write_npy(dir.join("latents.npy"), &all)?;
        }
        if self.grid {
            write_sheet(dir, drawn.kept().map(|row| dir.join(&drawn.records[row].name)))?;
        }
        Ok(())
    }

    /// Says so if fewer were kept than were wanted, of `candidates` in all. What there is has been written: that is an error only where
    /// nothing is, or if the run is `strict`.
    pub(super) fn check_complete(
        &self,
        drawn: &Drawn,
        candidates: u64,
        dir: &Path,
        strict: bool,
        terminal: &Terminal,
    ) -> Result<()> {
        if drawn.complete {
            return Ok(());
        }
        let kept = drawn.kept().count();
        let hint = if drawn.draws as u64 >= candidates {
            "name more --seeds"
        } else {
            "raise --max-draws, ask for fewer with -n, or for a milder weight; lower --distinct and --novel"
        };
        let rejected = drawn.decisions.iter().filter(|decision| **decision == Decision::Rejected).count();
        let mut reasons = Refused::of(&drawn.decisions, &drawn.copy_of).reasons();
        if rejected > 0 {
            reasons.insert(0, format!("{rejected} rejected by weight"));
        }
        let reason = format!(
            "{} draws gave {kept} of the {} images asked for ({}); these are in {}",
            drawn.draws,
            self.n.unwrap_or(DEFAULT_N),
            reasons.join(", "),
            dir.display()
        );
        fewer(kept, reason, hint, strict, terminal)
    }
}
