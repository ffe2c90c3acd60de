//! `pd sample --pool`: choosing from images that exist already.

use super::summary::{Refused, push_copies, push_scores, write_quantiles};
use super::wanted::Wanted;
use super::writer::write_sheet;
use super::{TABLE, kept_features};
use crate::candidates::{PoolSource, ReferenceDensity};
use crate::cli::common::ExtractorArgs;
use crate::cli::deliver::{FEWER_OF_POOL, deliver, fewer};
use crate::cli::input::{self, Input};
use crate::cli::output;
use crate::cli::refusals::RefusalArgs;
use crate::cli::terminal::Terminal;
use crate::density::{Distribution, Quantiles, RuleChoice};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::digest::sha256;
use crate::formats::is_features_file;
use crate::formats::table::{Table, Values, write_table};
use crate::images::{ImageSet, InputCounts, Inputs};
use crate::reference::{DensityBy, Reference, is_reference};
use crate::runs::{Opened, Record, RunDir, RunIdentity, SUMMARY};
use crate::sampling::WeightRecord;
use crate::sampling::pool::{Chosen, PoolOptions, choose_from_pool, choose_refusing};
use crate::sampling::sharded::SAMPLE;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// Share of the pool above which a choice is mostly the pool itself, whatever the weights.
const LARGE_SHARE: f64 = 0.5;

/// The summary of a choice.
#[derive(Serialize, Deserialize)]
struct PoolSummary {
    complete: bool,
    pool: usize,
    kept: usize,
    rule: String,
    effective_sample_size: f64,
    #[serde(flatten)]
    refused: Refused,
    files: bool,
    /// What became of the files of the pool; absent where features were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<InputCounts>,
    density_of_pool: Option<Quantiles>,
    density_of_kept: Option<Quantiles>,
}

/// What is chosen from a pool, and how.
pub(super) struct PoolRequest<'a> {
    /// Images, features or a reference to choose from.
    pub pool: &'a Path,
    /// Directory of the results.
    pub output: &'a Path,
    /// What densities are measured against.
    pub reference: &'a Reference,
    /// The pictures that a pool that is a reference was made of.
    pub images: Option<&'a Path>,
    /// How many are chosen.
    pub wanted: Wanted,
    /// Whether a sheet is made.
    pub grid: bool,
    /// `None` where all images weigh the same.
    pub weights: Option<WeightRecord>,
    /// How densities are found.
    pub density: DensityBy,
    /// What is refused.
    pub refusals: &'a RefusalArgs,
    /// Whether an image may be chosen several times.
    pub replace: bool,
    /// Whether files are linked instead of copied.
    pub link: bool,
    /// Random seed.
    pub seed: u64,
    /// How images of the pool become features.
    pub extractor: &'a ExtractorArgs,
    /// Whether the summary is printed as JSON.
    pub json: bool,
}

impl PoolRequest<'_> {
    /// Chooses, writes the directory, and prints the summary.
    pub(super) fn run(&self, terminal: &Terminal) -> Result<()> {
        let pictures = self.pictures()?;
        if self.grid && pictures.is_none() {
            return Err(Error::usage(
                "--grid shows pictures, and the pool has none",
                "name the pictures that a reference was made of: --images IMAGES",
            ));
        }
        self.refusals.check(Some(self.reference), pictures.is_some())?;
        self.check_pictures(terminal)?;
        input::refuse_unused(&[self.pool], self.extractor)?;
        output::check_directory_path(self.output)?;
        let (input, extractor) = self.input(terminal)?;
        if let Some(inputs) = &input.inputs {
            terminal.report_inputs(inputs);
        }
        terminal.warn_of_one_colour(input.images.iter().map(|image| image.note.as_str()));
        let run = json!({
            "pool": sha256(json!(input.paths).to_string().as_bytes()),
            "network": input.identity.describe(),
            "reference": self.reference.digest()?,
            "density": format!("{:?}", self.density).to_lowercase(),
            "weights": self.weights.clone().unwrap_or_else(WeightRecord::uniform),
            "n": match self.wanted {
                Wanted::Number(n) => json!(n),
                Wanted::All => json!("all"),
            },
            "grid": self.grid,
            "pictures": pictures.is_some(),
            "refused": self.refusals.describe(),
            "replace": self.replace,
            "link": self.link,
            "seed": self.seed,
        });
        let identity = RunIdentity::new(SAMPLE, Record::Summary, run);
        let directory = match RunDir::open(self.output, &identity)? {
            Opened::Finished(summary) => {
                terminal.say(&format!("{} is finished already", self.output.display()));
                let path = self.output.join(SUMMARY);
                let summary: PoolSummary = serde_json::from_value(summary)
                    .map_err(|e| Error::malformed(&path, e.to_string(), ""))?;
                return terminal.print(&self.render(&summary)?);
            }
            Opened::New(directory) | Opened::Continue(directory) => directory,
        };
        let dir = directory.path();
        let n = match self.wanted {
            Wanted::Number(n) => usize::try_from(n).unwrap_or(usize::MAX),
            Wanted::All => input.paths.len(),
        };
        let share = n.min(input.paths.len()) as f64 / input.paths.len() as f64;
        if !self.replace && share > LARGE_SHARE && self.weights.is_some() {
            terminal.say(&format!(
                "warning: {} of {} images is {:.0} % of the pool: weights change little where most is taken",
                n.min(input.paths.len()),
                input.paths.len(),
                100.0 * share
            ));
        }
        let density = ReferenceDensity::open(self.reference, self.density, terminal.device(), terminal)?;
        let scorer = density.scorer();
        let rule = self.weights.as_ref().and_then(WeightRecord::rule);
        let options = PoolOptions {
            n,
            rule: rule.map(|rule| rule.resolve(scorer.distribution())),
            spacing: self.refusals.spacing(&self.reference.nearest_distances()?)?,
            replace: self.replace,
            seed: self.seed,
        };
        let features = input.features.into_shared();
        let own = scorer.own_rows(features.view(), &input.paths);
        let set = pictures.map(|pictures| ImageSet::open(pictures, terminal)).transpose()?;
        let source = set.as_ref().zip(pictures).map(|(set, place)| PoolSource::new(set, place, &input.paths));
        let refused = self.refusals.copies();
        let chosen = match source.as_ref().filter(|_| refused.any()) {
            Some(source) => {
                let extractor = match extractor {
                    Some(extractor) => extractor,
                    None => input::extractor(self.extractor, self.reference, terminal)?,
                };
                let second = self.refusals.second_look(&extractor, Some((self.reference, scorer)))?;
                let look = |rows: &[usize], features: ArrayView2<f32>| {
                    let own: Vec<Option<u32>> = rows.iter().map(|&row| own[row]).collect();
                    second.look(&source.pictures(rows, second.alpha())?, features, Some(&own))
                };
                choose_refusing(features, &own, &density, &options, (refused, Some(&look)), terminal)?
            }
            None => choose_from_pool(features, &own, &density, &options, terminal)?,
        };
        if let Some(agreement) = chosen.scores.agreement() {
            terminal.say(&format!("predicted and nearest-neighbour densities: Spearman {agreement:.3}"));
        }
        let files = source.is_some();
        if let Some(source) = &source {
            deliver(source, dir, |row| chosen.copies[row] > 0, self.link, terminal)?;
            if self.grid {
                let chosen = input.paths.iter().zip(&chosen.copies).filter(|(_, copies)| **copies > 0);
                write_sheet(dir, chosen.map(|(path, _)| dir.join(path)))?;
            }
        }
        write_table(dir.join(TABLE), &table(&input.paths, &chosen, files, self.replace, scorer.paths())?)?;
        let inputs = input.inputs.as_ref().map(Inputs::counts);
        let summary = summarise(&chosen, rule.map(|rule| rule.choice()), files, inputs);
        identity.write_summary(dir, &summary)?;
        terminal.print(&self.render(&summary)?)?;
        let wanted = if self.wanted == Wanted::All { summary.kept } else { n };
        if summary.kept >= wanted {
            return Ok(());
        }
        let mut reason =
            format!("{wanted} images were asked for, the pool of {} gave {}", summary.pool, summary.kept);
        let refused = summary.refused.reasons();
        if !refused.is_empty() {
            reason.push_str(&format!(" ({})", refused.join(", ")));
        }
        fewer(summary.kept, reason, FEWER_OF_POOL, self.extractor.strict, terminal)
    }

    /// Where the pictures of the pool are; `None` for features alone.
    fn pictures(&self) -> Result<Option<&Path>> {
        match (self.images, is_reference(self.pool)) {
            (Some(images), true) => Ok(Some(images)),
            (Some(_), false) => Err(Error::usage(
                format!(
                    "{} is no reference, and --images names the pictures that one was made of",
                    self.pool.display()
                ),
                "leave --images out",
            )),
            (None, true) => Ok(None),
            (None, false) => Ok((!is_features_file(self.pool)).then_some(self.pool)),
        }
    }

    /// Features and names of the pool, and the network where it was needed.
    fn input(&self, terminal: &Terminal) -> Result<(Input, Option<LoadedExtractor>)> {
        if is_features_file(self.pool) || is_reference(self.pool) {
            return Ok((input::read(self.pool, self.extractor, Some(self.reference), terminal)?, None));
        }
        let extractor = input::extractor(self.extractor, self.reference, terminal)?;
        let set = ImageSet::open(self.pool, terminal)?;
        let input = match kept_features::features(&set, &extractor, self.extractor, terminal)? {
            Some(kept) => kept,
            None => input::embedded(&set, &extractor, self.extractor, terminal)?,
        };
        Ok((input, Some(extractor)))
    }

    /// Whether the pictures that were named are those that the reference was made of.
    fn check_pictures(&self, terminal: &Terminal) -> Result<()> {
        let Some(images) = self.images else { return Ok(()) };
        let digest = Reference::open(self.pool)?.manifest.input_digest;
        if ImageSet::open(images, terminal)?.digest() == digest {
            return Ok(());
        }
        Err(Error::usage(
            format!("{} was made of other pictures than are in {}", self.pool.display(), images.display()),
            "name the directory or archive that it was made of, or the pictures alone: --pool IMAGES",
        ))
    }

    fn render(&self, summary: &PoolSummary) -> Result<String> {
        if self.json {
            return output::json_text(summary);
        }
        let mut out = format!(
            "{} of {} images chosen, in {}\nrule: {}; the pool's weights are worth {:.0} unweighted images\n",
            summary.kept,
            summary.pool,
            self.output.display(),
            summary.rule,
            summary.effective_sample_size
        );
        let _ = summary.refused.write_text(&mut out);
        if let (Some(before), Some(after)) = (&summary.density_of_pool, &summary.density_of_kept) {
            let _ = write_quantiles(&mut out, [("pool", before), ("chosen", after)]);
        }
        Ok(out)
    }
}

fn table(
    paths: &[String],
    chosen: &Chosen,
    files: bool,
    replace: bool,
    reference_paths: &[String],
) -> Result<Table> {
    let file = |i: usize| (files && chosen.copies[i] > 0).then(|| paths[i].clone());
    let mut table = Table::new();
    table.push("file", Values::OptionalText((0..paths.len()).map(file).collect()))?;
    table.push("path", Values::Text(paths.to_vec()))?;
    push_scores(&mut table, &chosen.scores, reference_paths)?;
    table.push("weight", Values::Float(chosen.weights.clone()))?;
    if replace {
        table.push("copies", Values::Int(chosen.copies.iter().map(|&n| n as i64).collect()))?;
    }
    let decision = chosen.decisions.iter().map(|d| d.name().to_string()).collect();
    table.push("decision", Values::Text(decision))?;
    push_copies(&mut table, &chosen.copy_of, |row| paths.get(row).cloned(), reference_paths)?;
    Ok(table)
}

fn summarise(
    chosen: &Chosen,
    rule: Option<RuleChoice>,
    files: bool,
    inputs: Option<InputCounts>,
) -> PoolSummary {
    let rho = &chosen.scores.scores.pseudo_density;
    let quantiles = |values: &[f64]| Distribution::new(values).ok().map(|d| d.quantiles());
    let kept: Vec<f64> =
        rho.iter().zip(&chosen.copies).flat_map(|(rho, copies)| vec![*rho; *copies]).collect();
    PoolSummary {
        complete: true,
        pool: rho.len(),
        kept: kept.len(),
        rule: rule.map_or("none: all alike".into(), |rule| rule.to_string()),
        effective_sample_size: chosen.effective_sample_size,
        refused: Refused::of(&chosen.decisions, &chosen.copy_of),
        files,
        inputs,
        density_of_pool: quantiles(rho),
        density_of_kept: quantiles(&kept),
    }
}
