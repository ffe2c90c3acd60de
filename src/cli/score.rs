//! `pd score`: the pseudo density of each image, within its set or against a reference.

use super::bundled::Bundled;
use super::checks;
use super::common::{self, DensityArgs, ExtractorArgs, RunArgs};
use super::input::{self, Input};
use super::output::{self, Results};
use super::shard;
use super::summary::{Summary, extremes};
use super::tables::TableArgs;
use super::terminal::Terminal;
use crate::copies::Checked;
use crate::density::Grouping;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::is_features_file;
use crate::images::ImageSet;
use crate::reference::embed::Describe;
use crate::reference::score::{Scores, score_set_in_groups};
use crate::reference::sharded::score_shard;
use crate::reference::{Reference, Scorer, is_reference, score_looking};
use crate::runs::ShardRequest;
use clap::Args;
use std::path::{Path, PathBuf};

/// Measure the pseudo density of each image: within its set (leave-one-out), or against a reference
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd score photos/ -o scores.csv
  pd score generated/ --reference ref/ -o scores.parquet")]
pub(super) struct Score {
    /// Images: a directory (searched recursively), an archive (.zip, .tar, .tar.gz, .tar.zst), an .npz of pixels (arr_0, N x H x W x 3 bytes) or image file; or a features file (.npy, .npz, .safetensors), or a reference directory [default: the built-in demonstration]
    #[arg(value_name = "IMAGES")]
    images: Option<PathBuf>,
    /// Reference directory to score against, instead of scoring the images among themselves
    #[arg(long, value_name = "REF", conflicts_with_all = ["k", "exponent", "duplicates", "index", "seed", "groups"])]
    reference: Option<PathBuf>,
    /// Score each group by itself: `folder`, or a table with the columns path and group
    #[arg(long, value_name = "folder|FILE.csv")]
    groups: Option<Grouping>,
    /// Say of each picture what may be wrong with it: blurred, dark, bright, low_information, odd_size, odd_aspect, or gray among coloured ones, by limits that these pictures teach; with -o as columns: sharpness, brightness, contrast, entropy, colour, width, height, flags
    #[arg(long, conflicts_with = "shard")]
    checks: bool,
    /// Do one shard of the work (needs --reference): I/N with I from 0, auto/N or auto; `pd merge OUT` writes OUT/scores.csv
    #[arg(long, value_name = "I/N", value_parser = common::shard, requires_all = ["images", "reference", "output"])]
    shard: Option<ShardRequest>,
    /// Write a row per image to FILE (.csv, .jsonl, .json, .parquet) instead of printing a summary; with --shard, a directory
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    density: DensityArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Pairs of copies shown in the summary.
const SHOWN_PAIRS: usize = 3;

impl Score {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        self.tables.check(self.shard.is_some(), self.output.is_some())?;
        if let (Some(shard), Some(images), Some(reference), Some(out)) =
            (self.shard, &self.images, &self.reference, &self.output)
        {
            return self.run_shard(shard, images, reference, out, &terminal);
        }
        if let Some(output) = &self.output {
            output::check_table_path(output)?;
        }
        self.groups.as_ref().map_or(Ok(()), Grouping::check)?;
        let reference = self.reference.as_deref().map(Reference::open).transpose()?;
        if let Some(reference) = &reference {
            reference.density()?;
        }
        let images = match (&self.images, &reference) {
            (Some(images), _) => images.clone(),
            (None, None) => {
                Bundled::photographs("a catalogue of garments", "name IMAGES", &terminal)?.catalogue()
            }
            (None, Some(_)) => {
                return Err(Error::usage(
                    "no images were named to score against the reference",
                    "pd score IMAGES --reference REF",
                ));
            }
        };
        input::refuse_unused(&[&images], &self.extractor)?;
        if self.checks && (is_features_file(&images) || is_reference(&images)) {
            return Err(Error::usage(
                format!("--checks looks at pictures, and {} holds none", images.display()),
                "name the folder or the archive of the pictures",
            ));
        }
        let describe = match (self.checks, &self.groups) {
            (true, _) => Describe::Measures,
            // Each group has neighbours of its own only.
            (false, Some(_)) => Describe::Nothing,
            (false, None) => Describe::Descriptors,
        };
        let mut input =
            input::read_described(&images, &self.extractor, reference.as_ref(), describe, &terminal)?;
        if let Some(inputs) = &input.inputs {
            terminal.report_skipped(&inputs.skipped);
        }
        let features = std::mem::take(&mut input.features).into_shared();
        let options = self.density.options();
        let mut summary = Summary {
            images: input.paths.len(),
            extractor: input.identity.describe(),
            k: options.k,
            exponent: options.exponent,
            ..Summary::default()
        }
        .with_inputs(input.inputs.as_ref());
        let (scores, reference_paths) = match (&reference, &self.groups) {
            (Some(reference), _) => {
                let record = reference.density()?;
                summary.reference = Some(reference.dir.display().to_string());
                (summary.k, summary.exponent) = (record.model.k, record.model.exponent);
                let scorer = Scorer::open(reference, terminal.device(), &terminal)?;
                let ours = input.descriptors.as_deref();
                let scores =
                    scorer.score_pictures(reference, features.view(), &input.paths, ours, &terminal)?;
                summary.copies_of_real = scores.copy_of.as_ref().map(|found| found.iter().flatten().count());
                (scores, scorer.paths().to_vec())
            }
            (None, Some(grouping)) => {
                let groups = grouping.labels(&input.paths)?;
                let found =
                    score_set_in_groups(features.view(), groups, options, terminal.device(), &terminal)?;
                for (name, reason) in &found.unscored {
                    terminal.say(&format!("warning: group {name} is not scored: {reason}"));
                }
                (summary.groups, summary.unscored_groups) = (Some(found.scored), found.unscored);
                (found.scores, input.paths.clone())
            }
            (None, None) => {
                let (device, descriptors) = (terminal.device(), input.descriptors.as_deref());
                let (found, copies) = score_looking(&features, descriptors, options, device, &terminal)?;
                summary.index = Some(found.index_record.describe());
                summary.exact_duplicates = Some(found.exact_duplicates);
                if let Some(copies) = copies {
                    let name = |row: u32| input.paths[row as usize].clone();
                    let pairs = copies.pairs.iter().take(SHOWN_PAIRS);
                    summary.copy_pairs = pairs.map(|p| (name(p.row), name(p.other), p.score)).collect();
                    summary.copies = Some(copies.record);
                }
                summary.intrinsic_dimension = found.intrinsic_dimension;
                (found.scores, input.paths.clone())
            }
        };
        let checked = input.measures.as_deref().map(Checked::of);
        summary.checks = checked.as_ref().map_or_else(Vec::new, |checked| checked.limits.clone());
        summary.quantiles = scores.quantiles();
        (summary.most_typical, summary.most_unusual) = extremes(&scores, &input.paths, &reference_paths);
        self.deliver((&scores, checked.as_ref()), &reference_paths, &input, &summary, &terminal)
    }

    fn run_shard(
        &self,
        shard: ShardRequest,
        images: &Path,
        reference: &Path,
        out: &Path,
        terminal: &Terminal,
    ) -> Result<()> {
        let shard = shard::resolve(shard)?;
        if is_features_file(images) || is_reference(images) {
            return Err(Error::usage(
                "--shard cuts up images; features are scored faster than they are cut",
                "leave --shard out",
            ));
        }
        self.extractor.refuse_key()?;
        let reference = Reference::open(reference)?;
        reference.density()?;
        let extractor = LoadedExtractor::for_identity(
            &reference.manifest.identity,
            &self.extractor.request(terminal.device()),
        )?;
        let set = ImageSet::open_shard(images, shard, terminal)?;
        let options = self.extractor.embed_options();
        let part = score_shard(out, &set, &extractor, options, &reference, shard, terminal)?;
        shard::report(out, &part, terminal, self.run.json)
    }

    fn deliver(
        &self,
        (scores, checked): (&Scores, Option<&Checked>),
        reference_paths: &[String],
        input: &Input,
        summary: &Summary,
        terminal: &Terminal,
    ) -> Result<()> {
        if let Some(path) = &self.output {
            let mut table = scores.table(&input.paths, reference_paths)?;
            if let (Some(measures), Some(checked)) = (&input.measures, checked) {
                let rows: Vec<usize> = (0..input.paths.len()).collect();
                checks::push_columns(&mut table, measures, checked, &rows)?;
            }
            output::write_table_for_user(path, &table, self.tables)?;
            terminal.say(&format!("wrote {} scores to {}", input.paths.len(), path.display()));
            let skipped = input.inputs.as_ref().map_or(&[][..], |inputs| &inputs.skipped);
            if let Some(beside) = output::write_skipped_beside(path, skipped, self.tables)? {
                terminal.say(&format!("wrote {} skipped inputs to {}", skipped.len(), beside.display()));
            }
        }
        if self.run.json {
            terminal.print(&summary.json()?)?;
        } else if self.output.is_none() {
            terminal.print(&summary.text())?;
        }
        if let Some(inputs) = input.inputs.as_ref().filter(|_| self.run.json || self.output.is_some()) {
            terminal.say(&inputs.describe());
        }
        input.inputs.iter().for_each(|inputs| terminal.advise(inputs));
        terminal.warn_of_one_colour(input.images.iter().map(|image| image.note.as_str()));
        Ok(())
    }
}
