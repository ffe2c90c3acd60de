//! `pd embed`: features of an image set, as a reference directory.

use super::common::{self, ExtractorArgs, RunArgs};
use super::{input, output, shard};
use crate::error::Result;
use crate::extract::LoadedExtractor;
use crate::formats::is_features_file;
use crate::images::ImageSet;
use crate::progress::Progress;
use crate::reference::embed::embed_into;
use crate::reference::sharded::embed_shard;
use crate::reference::{Manifest, import, read_skipped};
use crate::runs::ShardRequest;
use clap::Args;
use std::path::PathBuf;

/// Features of an image set, kept as a reference directory; continues where it stopped if run again
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd embed photos/ -o ref/
  pd embed images.zip --extractor resnet50 --shard 3/16 -o ref/")]
pub(super) struct Embed {
    /// Images: a directory (searched recursively), .zip, .tar or image file; or a features file (.npy, .npz, .safetensors)
    #[arg(value_name = "IMAGES")]
    images: PathBuf,
    /// Reference directory to write
    #[arg(long, short, value_name = "REF")]
    output: PathBuf,
    /// Do one shard of the work: I/N with I from 0, auto/N or auto; `pd merge REF` joins the shards
    #[arg(long, value_name = "I/N", value_parser = common::shard)]
    shard: Option<ShardRequest>,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Embed {
    pub(super) fn run(self) -> Result<()> {
        let terminal = self.run.start()?;
        let manifest = if is_features_file(&self.images) {
            self.extractor.refuse_for_features()?;
            shard::refuse_features(self.shard)?;
            let normalize = self.extractor.normalize.unwrap_or(false);
            let features = input::read_external(&self.images, self.extractor.key.as_deref(), normalize)?;
            import(&self.output, &self.images, &features, normalize)?
        } else {
            self.extractor.refuse_key()?;
            let extractor = LoadedExtractor::load(&self.extractor.request(terminal.device()))?;
            terminal.say(&format!("extractor: {}", extractor.identity().describe()));
            if let Some(remark) = extractor.remark() {
                terminal.warn(remark);
            }
            if let Some(shard) = self.shard {
                let shard = shard::resolve(shard)?;
                let set = ImageSet::open_shard(&self.images, shard, &terminal)?;
                let options = self.extractor.embed_options();
                let part = embed_shard(&self.output, &set, &extractor, options, shard, &terminal)?;
                return shard::report(&self.output, &part, &terminal, self.run.json);
            }
            let set = ImageSet::open(&self.images, &terminal)?;
            embed_into(&self.output, &set, &extractor, self.extractor.embed_options(), &terminal)?
        };
        terminal.report_skipped(&read_skipped(&self.output)?);
        output::print(&self.summary(&manifest))
    }

    fn summary(&self, manifest: &Manifest) -> String {
        if self.run.json {
            let object = serde_json::json!({
                "reference": self.output.display().to_string(),
                "images": manifest.rows,
                "skipped": manifest.skipped,
                "dimension": manifest.identity.dimension,
                "extractor": manifest.identity.describe(),
            });
            return format!("{object:#}\n");
        }
        format!(
            "{} images, {} skipped, {} features each, in {}\nnext: pd index {}\n",
            manifest.rows,
            manifest.skipped,
            manifest.identity.dimension,
            self.output.display(),
            self.output.display()
        )
    }
}
