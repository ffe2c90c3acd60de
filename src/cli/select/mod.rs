//! `pd select`: the images of a pool that are best together.

mod looks;
mod pool;
mod summary;

use super::bundled::Bundled;
use super::common::{ExtractorArgs, RunArgs};
use super::deliver::{FEWER_OF_POOL, check_link, deliver, fewer};
use super::group_by::GroupBy;
use super::output::Results;
use super::refusals::RefusalArgs;
use super::tables::TableArgs;
use super::terminal::Terminal;
use crate::candidates::PoolSource;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::is_features_file;
use crate::formats::table::{Table, Values, write_table};
use crate::images::ImageSet;
use crate::neighbors::distance::squared_l2;
use crate::reference::{DensityBy, Reference, is_reference};
use crate::runs::{Opened, Record, RunDir, RunIdentity, SUMMARY};
use crate::selection::{
    Conflicts, CopyPairs, Limits, QualityBy, Selection, SelectionOptions, SetWorth, Shares, TooNear, select,
    select_without_copies,
};
use clap::Args;
use looks::Looks;
use pool::{Pool, Real, Scored};
use serde_json::json;
use std::path::{Path, PathBuf};
use summary::SelectSummary;

/// Images that are chosen of the demonstration's, unless another number is named.
const OF_DEMONSTRATION: u32 = 24;
/// The table of the chosen.
const TABLE: &str = "selected.csv";

/// Choose the images of a pool that are best together: typical, varied, and unlike those that exist already
///
/// The chosen N maximise
///
///   mean over the chosen of quality / sd(quality)  +  L * worth of the set
///
/// where the quality of an image is its log pseudo density or log density ratio (--quality), sd its standard deviation over the pool,
/// and the worth of a set says in percent how varied it is (--set). The set is found by greedy choice, and then by swaps until none
/// improves it. One process chooses from 100000 images in minutes, so there is no --shard.
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd select generated/ -n 50 --reference ref/ --novel --distinct -o best/
  pd select generated/ --each 4 --groups prompt -o four-for-each-prompt/")]
pub(super) struct Select {
    /// Images to choose from: a directory, an archive, what `pd sample` wrote, a reference directory, or a features file [default: the built-in demonstration]
    pool: Option<PathBuf>,
    /// Number of images to choose; with --groups, over all groups, as evenly as their sizes allow [default for the demonstration: 24]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,
    /// Number of images to choose from each group, or all of a group that has fewer
    #[arg(long, value_name = "N", requires = "groups", conflicts_with = "n", value_parser = clap::value_parser!(u32).range(1..))]
    each: Option<u32>,
    /// Reference directory of real images, which say what is typical and what the set should cover [default: the pool itself]
    #[arg(long, value_name = "REF")]
    reference: Option<PathBuf>,
    /// Output directory for the images, selected.csv and summary.json
    #[arg(long, short, value_name = "OUT", default_value = "pd-select")]
    output: PathBuf,
    /// How the quality of a single image is measured [default: ratio with a reference, else density]
    #[arg(long)]
    quality: Option<QualityBy>,
    /// How the variety of a set is measured
    #[arg(long, default_value = "facility")]
    set: SetWorth,
    /// Weight L of variety: one percent of it counts as much as L standard deviations of mean quality [default: 1 for facility, 0.01 for spread, 0.1 for rke]
    #[arg(long, value_name = "L", value_parser = diversity)]
    diversity: Option<f64>,
    #[command(flatten)]
    refusals: RefusalArgs,
    /// Images that are in the set already; they do not count in N, and new ones are chosen to go with them
    #[arg(long, value_name = "IMAGES")]
    must: Option<PathBuf>,
    /// Groups to choose from evenly: `folder`, `prompt` (as generators leave it: PNG text, a .txt or .json file beside the image, samples.csv), or a table FILE.csv with the columns path and group
    #[arg(long, value_name = "FILE|folder|prompt")]
    groups: Option<GroupBy>,
    /// Use these features of the pool instead of embedding it: a reference directory of these images, or a features file in their order
    #[arg(long, value_name = "FEATURES")]
    features: Option<PathBuf>,
    /// How the density of the pool is found with a reference: from the nearest real images, or by the reference's predictor
    #[arg(long, default_value = "knn")]
    density: DensityBy,
    /// Link the chosen files instead of copying them
    #[arg(long)]
    link: bool,
    /// Random seed of the random sets that the result is compared with, and of the samples that statistics are estimated on
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

fn diversity(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err("must be a number, 0 or above".into()),
    }
}

impl Select {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let (args, output) = (self.tables, self.output.clone());
        args.of_run(&output, &[TABLE], self.carry_out(results))
    }

    fn carry_out(mut self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        let place = match self.pool.take() {
            Some(pool) => pool,
            None => self.stand_in(&terminal)?,
        };
        if self.n.is_none() && self.each.is_none() {
            return Err(Error::usage("how many images shall be chosen?", "add -n 50"));
        }
        let reference = self.reference.as_deref().map(Reference::open).transpose()?;
        if let Some(reference) = &reference {
            reference.density()?;
        }
        if self.link {
            check_link(&place)?;
        }
        if reference.is_none() && self.quality == Some(QualityBy::Ratio) {
            return Err(Error::usage(
                "--quality ratio compares the pool with a reference, and none was named",
                "name one: --reference REF, or use --quality density",
            ));
        }
        if reference.is_none() && self.refusals.novel.is_some() {
            return Err(Error::usage(
                "--novel keeps away from real images, and no reference of them was named",
                "name one: --reference REF",
            ));
        }
        let is_images = |path: &PathBuf| !is_features_file(path) && !is_reference(path);
        let has_pictures = is_images(&place) && self.must.as_ref().is_none_or(is_images);
        self.refusals.check(reference.as_ref(), has_pictures)?;
        let pool = Pool::read(&self, &place, reference.as_ref(), &terminal)?;
        let identity = RunIdentity::new("select", Record::Summary, self.settings(&pool, reference.as_ref())?);
        let directory = match RunDir::open(&self.output, &identity)? {
            Opened::Finished(summary) => {
                terminal.say(&format!("{} is finished already", self.output.display()));
                let path = self.output.join(SUMMARY);
                let summary: SelectSummary = serde_json::from_value(summary)
                    .map_err(|e| Error::malformed(&path, e.to_string(), ""))?;
                return terminal.print(&summary.render(&self.output, self.run.json)?);
            }
            Opened::New(directory) | Opened::Continue(directory) => directory,
        };
        let scored = pool.score(&self, reference.as_ref(), &terminal)?;
        self.choose(directory.path(), &identity, (&pool, &place), &scored, reference.as_ref(), &terminal)
    }

    /// Takes the photographs that the program carries where nothing is named, and returns the pool.
    fn stand_in(&mut self, terminal: &Terminal) -> Result<PathBuf> {
        if self.reference.is_some() || self.must.is_some() || self.features.is_some() {
            return Err(Error::usage("no images were named to choose from", "pd select POOL -n 50"));
        }
        let bundled = Bundled::photographs(
            "a pool of pictures of garments, and a catalogue as its reference",
            "name POOL and --reference REF",
            terminal,
        )?;
        self.reference = Some(bundled.catalogue_reference(terminal)?);
        if self.n.is_none() && self.each.is_none() {
            self.n = Some(OF_DEMONSTRATION);
        }
        Ok(bundled.pool())
    }

    /// What tells this run from others: everything that the result depends on.
    fn settings(&self, pool: &Pool, reference: Option<&Reference>) -> Result<serde_json::Value> {
        Ok(json!({
            "pool": pool.digest(),
            "network": pool.identity.describe(),
            "reference": reference.map(Reference::digest).transpose()?,
            "n": self.n, "each": self.each,
            "quality": self.quality, "set": self.set, "diversity": self.diversity,
            "refused": self.refusals.describe(), "density": self.density,
            "link": self.link, "seed": self.seed,
        }))
    }

    fn choose(
        &self,
        dir: &Path,
        identity: &RunIdentity,
        (pool, place): (&Pool, &Path),
        scored: &Scored,
        reference: Option<&Reference>,
        terminal: &Terminal,
    ) -> Result<()> {
        let near = TooNear::new(&pool.features, scored.spacing.distinct);
        let mut options = SelectionOptions {
            n: 0,
            set: self.set,
            diversity: self.diversity.unwrap_or(self.set.default_diversity()),
            seed: self.seed,
        };
        let mut choose = |excluded: &[bool], copies: &CopyPairs| {
            let mut limits = Limits { excluded: excluded.to_vec(), ..Limits::default() };
            limits.conflicts.push(copies as &dyn Conflicts);
            if scored.spacing.distinct > 0.0 {
                limits.conflicts.push(&near as &dyn Conflicts);
            }
            let allowed: Vec<bool> = excluded.iter().map(|excluded| !excluded).collect();
            options.n = self.n.map_or(0, |n| n as usize);
            if let Some(labels) = &pool.groups {
                let shares = match self.each {
                    Some(each) => {
                        let (shares, whole) = Shares::of_each(labels, &allowed, each as usize);
                        options.n = whole;
                        shares
                    }
                    None => Shares::of_whole(labels, &allowed, options.n),
                };
                limits.shares = Some(shares);
            }
            select(&pool.features, &scored.quality, &scored.targets, &limits, &options, terminal)
        };
        let set = pool.has_files.then(|| ImageSet::open(place, terminal)).transpose()?;
        let source = set.as_ref().map(|set| PoolSource::new(set, place, &pool.paths));
        let excluded = scored.excluded(pool);
        let (selection, refused) = match source.as_ref().filter(|_| self.refusals.copies().any()) {
            Some(source) => {
                let real = reference.zip(scored.real.as_ref());
                let (selection, refused) =
                    self.choose_without_copies(excluded, &mut choose, (pool, source), real, terminal)?;
                (selection, Some(refused))
            }
            None => (choose(&excluded, &CopyPairs::default())?, None),
        };
        if let Some(source) = &source {
            let mut is_chosen = vec![false; pool.paths.len()];
            selection.rows.iter().for_each(|&row| is_chosen[row] = true);
            deliver(source, dir, |row| is_chosen[row], self.link, terminal)?;
        }
        write_table(dir.join(TABLE), &table(pool, scored, &selection)?)?;
        let summary = SelectSummary::new(pool, scored, (&selection, refused), &options, terminal)?;
        identity.write_summary(dir, &summary)?;
        terminal.print(&summary.render(&self.output, self.run.json)?)?;
        if summary.complete {
            return Ok(());
        }
        let reason = format!("{}; these are in {}", summary.shortage(), self.output.display());
        fewer(selection.rows.len(), reason, FEWER_OF_POOL, self.extractor.strict, terminal)
    }

    /// Chooses with `choose` what is no copy; returns how many copies of real images, and of other candidates, were found on the way.
    fn choose_without_copies(
        &self,
        excluded: Vec<bool>,
        choose: &mut dyn FnMut(&[bool], &CopyPairs) -> Result<Selection>,
        (pool, source): (&Pool, &PoolSource),
        real: Option<(&Reference, &Real)>,
        terminal: &Terminal,
    ) -> Result<(Selection, (usize, usize))> {
        let request = self.extractor.request(terminal.device());
        let extractor = LoadedExtractor::for_identity(&pool.identity, &request)?;
        let own = real.map_or(&[][..], |(_, real)| &real.own);
        let scorer = real.map(|(reference, real)| (reference, real.density.scorer()));
        let second = self.refusals.second_look(&extractor, scorer)?;
        let must = match &self.must {
            Some(must) => Some((ImageSet::open(must, terminal)?, must)),
            None => None,
        };
        let must = must.as_ref().map(|(set, place)| (set, place.as_path()));
        let mut looks = Looks::new(pool, (&second, self.refusals.copies()), source, must, own)?;
        let allowed = excluded.iter().filter(|excluded| !**excluded).count();
        let (selection, excluded, pairs) =
            select_without_copies(excluded, choose, &mut |rows| looks.at(rows))?;
        let of_real = allowed - excluded.iter().filter(|excluded| !**excluded).count();
        Ok((selection, (of_real, pairs.count())))
    }
}

/// A row for each chosen image, in the order in which they were taken.
fn table(pool: &Pool, scored: &Scored, selection: &Selection) -> Result<Table> {
    let rows = &selection.rows;
    let name = |row: usize| pool.paths[row].clone();
    let nearest_chosen = |&row: &usize| {
        let fixed = pool.paths.len()..pool.features.nrows();
        let others = rows.iter().copied().filter(|&other| other != row).chain(fixed);
        let distance =
            |other: usize| match (pool.features.row(row).to_slice(), pool.features.row(other).to_slice()) {
                (Some(one), Some(other)) => squared_l2(one, other),
                _ => f64::INFINITY,
            };
        let nearest = others.min_by(|&a, &b| distance(a).total_cmp(&distance(b)))?;
        pool.paths.iter().chain(&pool.must_paths).nth(nearest).cloned()
    };
    let mut table = Table::new();
    let file = |&row: &usize| pool.has_files.then(|| name(row));
    table.push("file", Values::OptionalText(rows.iter().map(file).collect()))?;
    table.push("path", Values::Text(rows.iter().map(|&row| name(row)).collect()))?;
    table.push("order", Values::Int((1..=rows.len() as i64).collect()))?;
    table.push("gain", Values::Float(selection.gains.clone()))?;
    table.push("quality", Values::Float(rows.iter().map(|&row| scored.quality[row]).collect()))?;
    let densities = &scored.scores.pseudo_density;
    table.push("pseudo_density", Values::Float(rows.iter().map(|&row| densities[row]).collect()))?;
    table.push("nearest_chosen", Values::OptionalText(rows.iter().map(nearest_chosen).collect()))?;
    if let Some(real) = &scored.real {
        let paths = real.density.scorer().paths();
        let nearest = |&row: &usize| paths.get(scored.scores.nearest[row]? as usize).cloned();
        table.push("nearest", Values::OptionalText(rows.iter().map(nearest).collect()))?;
        let distances = &scored.scores.nearest_distance;
        table.push("nearest_distance", Values::Float(rows.iter().map(|&row| distances[row]).collect()))?;
    }
    if let Some(groups) = &pool.groups {
        table.push("group", Values::Text(rows.iter().map(|&row| groups[row].clone()).collect()))?;
    }
    Ok(table)
}
