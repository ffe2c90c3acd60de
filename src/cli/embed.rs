//! `pd embed`: features of an image set, as a reference directory.

use super::common::{self, ExtractorArgs, RunArgs};
use super::output::{self, Results};
use super::tables::TableArgs;
use super::{input, network, shard};
use crate::error::Result;
use crate::formats::is_features_file;
use crate::formats::table::Columns;
use crate::images::{ImageSet, Inputs};
use crate::reference::embed::{Changes, EmbedOutcome, embed_into};
use crate::reference::sharded::embed_shard;
use crate::reference::{Reference, files, import, is_reference};
use crate::runs::ShardRequest;
use clap::Args;
use std::path::PathBuf;

/// Compute the features of an image set and keep them as a reference directory
///
/// The same command continues a run that was interrupted. A finished reference is brought up to date: changed images are embedded again,
/// new ones are added, and those of images that are gone are dropped.
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd embed photos/ -o ref/
  pd embed images.zip --extractor resnet50 --shard 3/16 -o ref/")]
pub(super) struct Embed {
    /// Images: a directory (searched recursively), an archive (.zip, .tar, .tar.gz, .tar.zst), an .npz of pixels (arr_0, N x H x W x 3 bytes) or image file; or a features file (.npy, .npz, .safetensors)
    #[arg(value_name = "IMAGES")]
    images: PathBuf,
    /// Reference directory to write
    #[arg(long, short, value_name = "REF")]
    output: PathBuf,
    /// Do one shard of the work: I/N with I from 0, auto/N or auto; `pd merge REF` joins the shards
    #[arg(long, value_name = "I/N", value_parser = common::shard)]
    shard: Option<ShardRequest>,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Embed {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        self.tables.check(self.shard.is_some(), true)?;
        self.tables.of_run(&self.output, &[files::IMAGES, files::SKIPPED], self.carry_out(results))
    }

    fn carry_out(&self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        output::check_directory_path(&self.output)?;
        let outcome = if is_features_file(&self.images) {
            self.extractor.refuse_for_features()?;
            shard::refuse_features(self.shard)?;
            let normalize = self.extractor.normalize.unwrap_or(false);
            let features = input::read_external(&self.images, self.extractor.key.as_deref(), normalize)?;
            let manifest = import(&self.output, &self.images, &features, normalize)?;
            let inputs = Inputs { used: manifest.rows, ..Inputs::default() };
            EmbedOutcome { manifest, inputs, changes: None, nothing_to_do: false }
        } else {
            self.extractor.refuse_key()?;
            network::check(&self.extractor, &terminal)?;
            let known = match is_reference(&self.output) {
                true => Some(Reference::open(&self.output)?.manifest.identity.extractor),
                false => None,
            };
            let extractor =
                |set: &ImageSet| network::for_images(&self.extractor, set, known.as_deref(), &terminal);
            if let Some(shard) = self.shard {
                let shard = shard::resolve(shard)?;
                let set = ImageSet::open_shard(&self.images, shard, &terminal)?;
                let extractor = extractor(&set)?;
                let options = self.extractor.embed_options();
                let part = embed_shard(&self.output, &set, &extractor, options, shard, &terminal)?;
                return shard::report(&self.output, &part, &terminal, self.run.json);
            }
            let set = ImageSet::open(&self.images, &terminal)?;
            embed_into(&self.output, &set, &extractor(&set)?, self.extractor.embed_options(), &terminal)?
        };
        terminal.report_skipped(&outcome.inputs.skipped);
        terminal.advise(&outcome.inputs);
        let images = Columns::read(&self.output.join(files::IMAGES))?;
        terminal.warn_of_one_colour(images.text("note")?.iter().map(String::as_str));
        terminal.print(&self.summary(&outcome))
    }

    fn summary(&self, outcome: &EmbedOutcome) -> String {
        let EmbedOutcome { manifest, inputs, changes, nothing_to_do } = outcome;
        let place = self.output.display();
        if self.run.json {
            let mut object = serde_json::json!({
                "reference": place.to_string(),
                "images": manifest.rows,
                "skipped": manifest.skipped,
                "dimension": manifest.identity.dimension,
                "extractor": manifest.identity.describe(),
                "nothing_to_do": nothing_to_do,
                "inputs": inputs.counts(),
            });
            if let Some(Changes { kept, changed, new, gone }) = changes {
                object["changes"] =
                    serde_json::json!({"kept": kept, "changed": changed, "new": new, "gone": gone});
            }
            return format!("{object:#}\n");
        }
        let mut text = String::new();
        if *nothing_to_do {
            text += &format!("Nothing to do: {} images are embedded already, in {place}\n", manifest.rows);
        } else if let Some(Changes { kept, changed, new, gone }) = changes {
            text += &format!("{changed} changed, {new} new, {gone} gone; {kept} as they were\n");
        }
        if !nothing_to_do || manifest.skipped > 0 || !inputs.left_out.is_empty() {
            let (images, skipped) = (manifest.rows, manifest.skipped);
            let dimension = manifest.identity.dimension;
            text += &format!("{images} images, {skipped} skipped, {dimension} features each, in {place}");
            if !inputs.left_out.is_empty() {
                text += &format!("; left out: {}", inputs.left_out.describe());
            }
            text.push('\n');
        }
        if manifest.density.is_none() {
            text += &format!("next: pd index {place}\n");
        }
        text
    }
}
