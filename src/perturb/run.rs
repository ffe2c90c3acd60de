//! A run, whole or in parts, each of which perturbs some of the latents: a whole run is one part and its merge.
//! What comes of a latent depends on no other.

use super::batches::perturb_latents;
use super::direction::Direction;
use super::finished::{
    FinishedLatents, LATENTS, SAMPLES, is_image, join_rows, link_files, opposites, original_of,
};
use super::grid::{Column, grid};
use super::options::{Models, RunOptions};
use super::report::{Report, SampleRow, read_rows};
use crate::error::{Error, Result};
use crate::images::{Alpha, RgbImage, decode, write_png_bytes};
use crate::progress::Progress;
use crate::runs::{
    self, Merged, Part, Partial, Record, Run, RunDir, RunIdentity, Shard, check_whole, files_of, options_of,
    remove_parts,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The subcommand.
pub(crate) const PERTURB: &str = "perturb";
/// A picture of some samples in both directions.
const GRID: &str = "grid.png";

/// What identifies a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PerturbRun {
    /// What its directory says of it.
    pub record: Value,
    /// How latents are moved.
    pub options: RunOptions,
    /// Latents in all.
    pub latents: usize,
}

fn identity(record: Value) -> RunIdentity {
    RunIdentity::new(PERTURB, Record::Options, record)
}

/// Perturbs all latents of `models`, and writes images, `samples.csv`, `latents.npy`, `grid.png` and `summary.json` to `out`; a run
/// that was interrupted there goes on. `settings` tell the run from others, beside `options`. Rows are in the order of the latents,
/// the strengths of each next to each other.
///
/// # Errors
/// [`Error::Usage`] if strengths or steps make no sense, the density that is followed is not the one of `models`, or `out` holds
/// another run; what the networks and writing return; [`Error::Interrupted`].
pub fn run(
    out: &Path,
    models: &Models,
    options: &RunOptions,
    settings: Value,
    progress: &dyn Progress,
) -> Result<Report> {
    let latents = usize::try_from(models.latents.len()).map_err(|e| Error::usage(e.to_string(), ""))?;
    let run = PerturbRun { record: settings, options: options.clone(), latents };
    run.options.check()?;
    let _directory = RunDir::begin_or_continue(out, &identity(run.record.clone()))?;
    let part = perturb_shard(out, models, &run, Shard::WHOLE, progress)?;
    Ok(merge_perturbed(out, &[part])?.1)
}

/// One shard of the latents, as a part of `out`. Latents that an earlier attempt finished are not perturbed again.
///
/// # Errors
/// As [`run()`] and [`runs::finished_or`].
pub(crate) fn perturb_shard(
    out: &Path,
    models: &Models,
    of: &PerturbRun,
    shard: Shard,
    progress: &dyn Progress,
) -> Result<Part> {
    let run = Run::new(PERTURB, of)?;
    let own = shard.range(of.latents);
    runs::finished_or(out, shard, &run, || {
        let partial = Partial::open(runs::chunks_of(out, shard, &run), &run)?;
        let gray = models.generator.info().image_shape.channels == 1;
        let finished = FinishedLatents::new(partial, &of.options.epsilons, gray)?;
        perturb_latents(models, &of.options, own.clone(), &finished, progress)?;
        let part = runs::publish(out, shard, &run, own.clone(), |dir| {
            finished.assemble(own.clone(), dir)?;
            Ok((own.len() * of.options.epsilons.len(), 0))
        })?;
        finished.remove()?;
        Ok(part)
    })
}

/// Joins parts to the files of a run.
///
/// # Errors
/// [`Error::Malformed`] if a file is not the one that its part was made with.
pub(crate) fn merge_perturbed(out: &Path, parts: &[Part]) -> Result<(Merged, Report)> {
    let PerturbRun { record, options, latents } = options_of(parts)?;
    let merged = check_whole(out, parts, latents)?;
    let identity = identity(record.clone());
    identity.write_options(out)?;
    for part in parts {
        let images: Vec<String> = part.record.files.keys().filter(|name| is_image(name)).cloned().collect();
        link_files(&images, &|name| part.dir.join(name), out)?;
    }
    join_rows(&files_of(parts, SAMPLES), &files_of(parts, LATENTS), out)?;
    let rows = read_rows(&out.join(SAMPLES))?;
    if let Some(sheet) = grid(&columns(out, parts, &rows, &options)?) {
        write_png_bytes(&out.join(GRID), &sheet.pixels, (sheet.width, sheet.height), 3)?;
    }
    let report = Report::new(&rows, options.bias, &options.epsilons);
    identity.write_summary(out, &report.summary(record)?)?;
    remove_parts(out)?;
    Ok((Merged { rows: latents, ..merged }, report))
}

/// The columns of the sheet: each of the first latents as it was, perturbed by the largest strength, and perturbed the other way.
fn columns(out: &Path, parts: &[Part], rows: &[SampleRow], options: &RunOptions) -> Result<Vec<Column>> {
    let opposites = parts.iter().map(|part| opposites(&part.dir)).collect::<Result<Vec<_>>>()?;
    let of_latents = rows.chunks_exact(options.epsilons.len().max(1));
    let column = |(of_latent, (opposite, density)): (&[SampleRow], (_, f64))| {
        let row = &of_latent[options.strongest()];
        let asked = (image(&out.join(&row.file))?, row.density_after);
        let original = (image(&out.join(original_of(&row.file)))?, row.density_before);
        let opposite: (RgbImage, f64) = (image(opposite)?, density);
        Ok(match options.bias {
            Direction::Higher => [opposite, original, asked],
            Direction::Lower => [asked, original, opposite],
        })
    };
    let shown = opposites.iter().flatten().map(|(path, density)| (path.as_path(), *density));
    of_latents.zip(shown).map(column).collect()
}

fn image(path: &Path) -> Result<RgbImage> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    decode(&bytes, Alpha::default()).map_err(|reason| Error::malformed(path, reason, ""))
}
