//! `pd resample`: a training set whose photographs come as often as their weights say.

mod summary;
mod weights;

use super::common::{ExtractorArgs, RunArgs};
use super::deliver::check_link;
use super::generator_args::named;
use super::input::{self, Input};
use super::output::{self, Results};
use super::tables::TableArgs;
use super::terminal::Terminal;
use crate::candidates::{PoolSource, ReferenceDensity};
use crate::density::{Rule, RuleChoice};
use crate::error::{Error, Result};
use crate::formats::digest::sha256;
use crate::formats::table::{Table, Values, write_table};
use crate::images::{ImageSet, Inputs};
use crate::progress::Progress as _;
use crate::reference::{DensityBy, Reference, read_skipped};
use crate::runs::{Opened, Record, RunDir, RunIdentity, SUMMARY};
use crate::sampling::WeightRecord;
use crate::selection::{
    Captions, KohyaFolders, MOST_REPEATS, ResampleOptions, Resampled, SetName, SetOptions, TrainerFormat,
    WrittenSet, resample, write_training_set,
};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use summary::ResampleSummary;
use weights::WeightArgs;

/// Most repeats of a photograph, unless another number is named.
const REPEATS: u32 = 100;
/// What folders are called, unless another name is given.
const NAME: &str = "photo";
/// The table of all photographs.
const TABLE: &str = "weights.csv";
/// What was skipped, beside it.
const SKIPPED: &str = "weights.skipped.csv";

/// Make a training set whose photographs come as often as their weights say: for any trainer
///
/// Trainers that know no weights go through their images evenly. So a photograph that weighs more is there several times. Repeats are whole
/// numbers, at least 1: how far the frequencies that they give are from the weights is printed, and the shortest set that is within 5 % is
/// taken.
#[derive(Args)]
#[command(after_help = "\
With --for csv, in PyTorch:
  import csv, torch
  from PIL import Image
  rows = list(csv.DictReader(open('set/weights.csv', encoding='utf-8-sig')))
  weights = [float(row['weight']) for row in rows]
  sampler = torch.utils.data.WeightedRandomSampler(weights, len(rows))
  class Photos(torch.utils.data.Dataset):
      def __len__(self): return len(rows)
      def __getitem__(self, i):
          return transform(Image.open('photos/' + rows[i]['path']))
  loader = torch.utils.data.DataLoader(Photos(), 64, sampler=sampler)

Examples:
  pd resample photos/ --reference ref/ --bias diversity --for kohya -o set/
  pd resample photos/ --reference ref/ --pool generated/ --for csv -o set/")]
pub(super) struct Resample {
    /// Photographs to train on: a directory or an archive; with --for csv also a reference directory or a features file
    photos: PathBuf,
    /// Reference directory that says what is typical, such as one of the photographs themselves, whose features are then not made again
    #[arg(long, value_name = "REF")]
    reference: Option<PathBuf>,
    /// Images of the generator that is to be trained, or a features file of them: photographs of kinds that it makes too rarely come more often
    #[arg(long, value_name = "GENERATED")]
    pool: Option<PathBuf>,
    /// Program that the set is for
    #[arg(long = "for", value_name = "FORMAT")]
    format: TrainerFormat,
    /// Output directory for the set, weights.csv and summary.json
    #[arg(long, short, value_name = "SET", default_value = "pd-resample")]
    output: PathBuf,
    /// Most repeats of a photograph
    #[arg(long, value_name = "R", default_value_t = REPEATS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_REPEATS)))]
    repeats: u32,
    /// Name of the folders N_NAME for kohya, and of the folder of photographs that are in none for imagefolder; it is the caption of photographs without one [default: that of the folders N_NAME that the photographs lie in, else photo]
    #[arg(long, value_name = "NAME")]
    name: Option<SetName>,
    /// With --for kohya: the directory of the set where the trainer runs, which dataset.toml then names, such as /workspace/set [default: none, so that the trainer has to be started in it]
    #[arg(long, value_name = "DIR")]
    root: Option<String>,
    /// Link files instead of copying them
    #[arg(long)]
    link: bool,
    /// With --for kohya: leave the photographs where they are, and name them with their captions in metadata files, one for each number of repeats; all trainers of sd-scripts but train_db.py read them, and fine_tune.py nothing else
    #[arg(long, conflicts_with = "link")]
    in_place: bool,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    weights: WeightArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Resample {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        self.tables.of_run(&self.output, &[TABLE, SKIPPED], self.carry_out(results))
    }

    fn carry_out(&self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        let choice = self.weights.choice(self.pool.is_some())?;
        let mut options = self.set_options()?;
        let reference = Reference::open(named(self.reference.as_deref())?)?;
        let dimension = reference.density()?.intrinsic_dimension;
        let (rule, truncation) = self.weights.rule(choice, dimension)?;
        output::check_directory_path(&self.output)?;
        let sources: Vec<&Path> =
            [Some(self.photos.as_path()), self.pool.as_deref()].into_iter().flatten().collect();
        input::refuse_unused(&sources, &self.extractor)?;
        let set = input::list(&self.photos, &terminal)?;
        if options.format.extensions().is_some() && set.is_none() {
            return Err(Error::usage(
                format!("{} holds features, and the set is of pictures", self.photos.display()),
                "name the folder or archive of the pictures, or take --for csv",
            ));
        }
        let photos = self.photographs(set.as_ref(), &reference, &terminal)?;
        if let Some(name) = self.name_of_folders(&photos.paths, &terminal)? {
            options.name = name;
        }
        let pool = self.pool.as_deref().map(|pool| self.read(pool, &reference, &terminal)).transpose()?;
        let captions = match (&set, options.format) {
            (Some(_), TrainerFormat::Kohya | TrainerFormat::ImageFolder) if self.photos.is_dir() => {
                Captions::open(&self.photos, &photos.paths, &terminal)?
            }
            (Some(set), TrainerFormat::Kohya | TrainerFormat::ImageFolder) if set.left_out().other > 0 => {
                terminal.warn("captions in an archive are not read: unpack it where it has any");
                Captions::none()
            }
            _ => Captions::none(),
        };
        let truncated = truncation.map(|cut| json!({ "clip": cut.clip, "min_ess": cut.min_ess }));
        let identity = RunIdentity::new(
            "resample",
            Record::Summary,
            json!({
                "photos": digest(&photos),
                "captions": captions.digest(&photos.paths),
                "network": photos.identity.describe(),
                "reference": reference.digest()?,
                "pool": pool.as_ref().map(|pool| sha256(input::digests(pool.features.view()).concat().as_bytes())),
                "weights": WeightRecord::new(rule, None, dimension),
                "truncation": truncated,
                "repeats": self.repeats,
                "for": options.format,
                "name": options.name,
                "root": options.root,
                "link": options.link,
                "in_place": options.in_place,
            }),
        );
        let name = options.name.to_string();
        let directory = match RunDir::open(&self.output, &identity)? {
            Opened::Finished(summary) => {
                terminal.say(&format!("{} is finished already", self.output.display()));
                let path = self.output.join(SUMMARY);
                let summary: ResampleSummary = serde_json::from_value(summary)
                    .map_err(|e| Error::malformed(&path, e.to_string(), ""))?;
                return terminal.print(&summary.render(&self.output, &name, self.run.json)?);
            }
            Opened::New(directory) | Opened::Continue(directory) => directory,
        };
        let density = ReferenceDensity::open(&reference, DensityBy::Knn, terminal.device(), &terminal)?;
        let scorer = density.scorer();
        let weighing =
            ResampleOptions { rule: rule.resolve(scorer.distribution()), truncation, most: self.repeats };
        let own = scorer.own_rows(photos.features.view(), &photos.paths);
        let pool = pool.map(|pool| pool.features.into_shared());
        let found = resample(photos.features.view(), &own, &density, pool, &weighing, &terminal)?;
        let dir = directory.path();
        let written = match &set {
            Some(set) => {
                let source = PoolSource::new(set, &self.photos, &photos.paths);
                write_training_set(&source, &captions, dir, &found.repeats.of_images, &options, &terminal)?
            }
            None => WrittenSet { files: vec![None; photos.paths.len()], ..WrittenSet::default() },
        };
        let path = dir.join(TABLE);
        write_table(&path, &table(&photos.paths, &found, &written)?)?;
        let inputs = photos.inputs.as_ref();
        if let Some(inputs) = inputs {
            output::write_skipped_beside(&path, &inputs.skipped, self.tables)?;
        }
        let described = (described(choice, &weighing), self.repeats);
        let summary = ResampleSummary::new(&found, &written, &options, described, inputs.map(Inputs::counts));
        identity.write_summary(dir, &summary)?;
        if found.repeats.levels.len() == 1 {
            terminal.warn("all photographs come equally often: nothing is steered");
        }
        terminal.print(&summary.render(&self.output, &name, self.run.json)?)
    }

    /// How the set is written.
    ///
    /// # Errors
    /// [`Error::Usage`] for an option that the format has no use for.
    fn set_options(&self) -> Result<SetOptions> {
        let is_csv = self.format == TrainerFormat::Csv;
        let useless = [
            ("--name", self.name.is_some() && is_csv),
            ("--link", self.link && is_csv),
            ("--root", self.root.is_some() && self.format != TrainerFormat::Kohya),
            ("--in-place", self.in_place && self.format != TrainerFormat::Kohya),
        ];
        if let Some((name, _)) = useless.iter().find(|(_, useless)| *useless) {
            return Err(Error::usage(format!("{name} is of no use to a set of this format"), "leave it out"));
        }
        if self.link {
            check_link(&self.photos)?;
        }
        if self.in_place && !self.photos.is_dir() {
            return Err(Error::usage(
                format!(
                    "{} is an archive, where the trainer does not find the photographs",
                    self.photos.display()
                ),
                "unpack it, or leave --in-place out",
            ));
        }
        let name = self.name.clone().map_or_else(|| NAME.parse(), Ok)?;
        Ok(SetOptions {
            format: self.format,
            name,
            root: self.root.clone(),
            link: self.link,
            in_place: self.in_place,
            strict: self.extractor.strict,
        })
    }

    /// The name that the folders of a set for kohya have, where the photographs are one and no other name is given.
    fn name_of_folders(&self, paths: &[String], terminal: &Terminal) -> Result<Option<SetName>> {
        let folders = KohyaFolders::of(&self.photos, paths);
        if self.format != TrainerFormat::Kohya || folders.repeats.is_empty() {
            return Ok(None);
        }
        terminal.warn("the photographs lie in folders that say their repeats: the weights alone decide now");
        match (&self.name, folders.names.first()) {
            (None, Some(_)) if folders.names.len() > 1 => {
                let names = folders.names.len();
                let reason = format!(
                    "the photographs lie in folders of {names} names for kohya, and the set gets one"
                );
                Err(Error::usage(reason, "run each folder by itself, or give one name: --name"))
            }
            (None, Some(name)) if !name.is_empty() => Ok(Some(name.parse()?)),
            _ => Ok(None),
        }
    }

    /// Features and names of the photographs: those of the reference where it was made of just these.
    fn photographs(
        &self,
        set: Option<&ImageSet>,
        reference: &Reference,
        terminal: &Terminal,
    ) -> Result<Input> {
        let Some(set) = set.filter(|set| set.digest() == reference.manifest.input_digest) else {
            return self.read(&self.photos, reference, terminal);
        };
        let (features, paths) = (reference.features()?, reference.paths()?);
        let left_out = set.left_out().clone();
        let inputs = Inputs { used: paths.len(), skipped: read_skipped(&reference.dir)?, left_out };
        if self.extractor.strict {
            inputs.check_strict()?;
        }
        terminal.say("the reference was made of these photographs: their features are taken from it");
        terminal.report_inputs(&inputs);
        let identity = reference.manifest.identity.clone();
        Ok(Input { inputs: Some(inputs), ..Input::of_features(features, paths, identity) })
    }

    fn read(&self, path: &Path, reference: &Reference, terminal: &Terminal) -> Result<Input> {
        let input = input::read(path, &self.extractor, Some(reference), terminal)?;
        if let Some(inputs) = &input.inputs {
            terminal.report_inputs(inputs);
        }
        Ok(input)
    }
}

/// What tells the photographs from others.
fn digest(photos: &Input) -> String {
    sha256(format!("{:?}", (input::digests(photos.features.view()), &photos.paths)).as_bytes())
}

/// The rule in words.
fn described(choice: RuleChoice, options: &ResampleOptions) -> String {
    match options.rule {
        Rule::TwoLevel { threshold, weight } => format!("{choice}, weight {weight} above {threshold:.4}"),
        Rule::Ratio { dimension, .. } => format!("{choice}, dimension {dimension:.1}"),
        Rule::Power { .. } => choice.to_string(),
    }
}

fn table(paths: &[String], found: &Resampled, written: &WrittenSet) -> Result<Table> {
    let mut table = Table::new();
    table.push("path", Values::Text(paths.to_vec()))?;
    table.push("pseudo_density", Values::Float(found.densities.clone()))?;
    table.push("weight", Values::Float(found.weights.clone()))?;
    let repeats = found.repeats.of_images.iter().map(|&repeats| i64::from(repeats));
    table.push("repeats", Values::Int(repeats.collect()))?;
    table.push("file", Values::OptionalText(written.files.clone()))?;
    Ok(table)
}
