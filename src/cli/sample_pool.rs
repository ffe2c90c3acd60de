//! `pd sample --pool`: choosing from images that exist already.

use super::common::device;
use super::input;
use super::output;
use super::run_dir::RunDir;
use super::sample::Sample;
use super::sample_summary::{push_scores, write_quantiles};
use super::terminal::Terminal;
use crate::candidates::{CandidateSource as _, PoolSource, ReferenceDensity};
use crate::density::{Distribution, Quantiles, RuleChoice};
use crate::error::{Error, Result};
use crate::formats::is_features_file;
use crate::formats::table::{Table, Values, write_table};
use crate::images::ImageSet;
use crate::reference::is_reference;
use crate::sampling::pool::{Chosen, PoolOptions, choose_from_pool};
use crate::sampling::{Decision, WeightRecord};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Component, Path, PathBuf};

/// A share of the pool from which on weights can do little.
const LARGE_SHARE: f64 = 0.5;

/// What is said in the end.
#[derive(Serialize, Deserialize)]
struct PoolSummary {
    complete: bool,
    pool: usize,
    kept: usize,
    rule: String,
    effective_sample_size: f64,
    not_distinct: usize,
    not_novel: usize,
    files: bool,
    density_of_pool: Option<Quantiles>,
    density_of_kept: Option<Quantiles>,
}

pub fn run(args: &Sample, pool: &Path, terminal: &Terminal) -> Result<()> {
    let Some(reference) = args.open_reference()? else {
        return Err(Error::usage(
            "a pool is weighed against a reference, and none was named",
            "make one with `pd embed IMAGES -o ref/ && pd index ref/`, and name it: --reference ref/",
        ));
    };
    let Some(n) = args.n else {
        return Err(Error::usage("how many images are wanted from the pool?", "add -n 100"));
    };
    let record = reference.density()?;
    let weights = args.bias.weights(None, record.intrinsic_dimension)?;
    input::refuse_unused(&[pool], &args.extractor)?;
    let input = input::read(pool, &args.extractor, Some(&reference), terminal)?;
    terminal.report_skipped(&input.skipped);
    let run = json!({
        "pool": input.paths,
        "reference": reference.digest()?,
        "density": format!("{:?}", args.density).to_lowercase(),
        "weights": weights.clone().unwrap_or_else(WeightRecord::uniform),
        "n": n,
        "distinct": args.distinct,
        "novel": args.novel,
        "replace": args.replace,
        "link": args.link,
        "seed": args.seed,
    });
    let run = json!({ "pool": crate::formats::digest::sha256(run.to_string().as_bytes()) });
    let dir = match RunDir::open(&args.output, &run)? {
        RunDir::Finished(summary) => {
            terminal.say(&format!("{} is finished already", args.output.display()));
            let path = args.output.join("summary.json");
            let summary: PoolSummary =
                serde_json::from_value(summary).map_err(|e| Error::malformed(&path, e.to_string(), ""))?;
            return output::print(&render(&summary, args));
        }
        RunDir::New(dir) => dir,
    };
    let share = n as f64 / input.paths.len() as f64;
    if !args.replace && share > LARGE_SHARE && weights.is_some() {
        terminal.say(&format!(
            "warning: {n} of {} images is {:.0} % of the pool: weights change little where most is taken",
            input.paths.len(),
            100.0 * share
        ));
    }
    let density = ReferenceDensity::open(&reference, args.density, &device(), terminal)?;
    let scorer = density.scorer();
    let rule = weights.as_ref().and_then(WeightRecord::rule);
    let options = PoolOptions {
        n: n as usize,
        rule: rule.map(|rule| rule.resolve(scorer.distribution())),
        spacing: args.spacing(&reference)?,
        replace: args.replace,
        seed: args.seed,
    };
    let features = input.features.into_shared();
    let own = scorer.own_rows(features.view(), &input.paths);
    let chosen = choose_from_pool(features, &own, &density, &options, terminal)?;
    if let Some(agreement) = chosen.scores.agreement() {
        terminal.say(&format!("predicted and nearest-neighbour densities: Spearman {agreement:.3}"));
    }
    let files = !is_features_file(pool) && !is_reference(pool);
    if files {
        deliver(pool, &dir, &input.paths, &chosen.copies, args.link, terminal)?;
    }
    write_table(
        dir.join("samples.csv"),
        &table(&input.paths, &chosen, files, args.replace, scorer.paths())?,
    )?;
    let summary = summarise(&chosen, rule.map(|rule| rule.choice()), files);
    RunDir::finish(&dir, &summary, &run)?;
    output::print(&render(&summary, args))
}

/// Copies or links the chosen files, under their own relative paths.
fn deliver(
    pool: &Path,
    dir: &Path,
    paths: &[String],
    copies: &[usize],
    link: bool,
    terminal: &Terminal,
) -> Result<()> {
    if link && !pool.is_dir() {
        return Err(Error::usage(
            format!("{} is an archive: there are no files to link to", pool.display()),
            "leave --link out",
        ));
    }
    let set = ImageSet::open(pool, terminal)?;
    let source = PoolSource::new(&set, pool, paths);
    for (row, path) in paths.iter().enumerate().filter(|(row, _)| copies[*row] > 0) {
        let target = inside(dir, path)?;
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        if link {
            let file = pool.join(path);
            // The images of a directory may lie in archives.
            link_to(&std::fs::canonicalize(&file).map_err(Error::io("link", &file))?, &target)?;
        } else {
            source.images(row..row + 1, &mut |images| {
                images.iter().try_for_each(|delivered| delivered.image.write(&target))
            })?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn link_to(source: &Path, target: &Path) -> Result<()> {
    match std::os::unix::fs::symlink(source, target) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(Error::io("link", target)),
    }
}

#[cfg(not(unix))]
fn link_to(source: &Path, target: &Path) -> Result<()> {
    std::fs::hard_link(source, target).map_err(Error::io("link", target))
}

/// `dir/path`, unless the path (which an archive may have made up) leads out of it.
fn inside(dir: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    if relative.components().all(|c| matches!(c, Component::Normal(_))) {
        return Ok(dir.join(relative));
    }
    Err(Error::malformed(path, "leads out of the directory it belongs to", "rename it in the archive"))
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
    Ok(table)
}

fn summarise(chosen: &Chosen, rule: Option<RuleChoice>, files: bool) -> PoolSummary {
    let rho = &chosen.scores.scores.pseudo_density;
    let count = |decision| chosen.decisions.iter().filter(|d| **d == decision).count();
    let quantiles = |values: &[f64]| Distribution::new(values).ok().map(|d| d.quantiles());
    let kept: Vec<f64> =
        rho.iter().zip(&chosen.copies).flat_map(|(rho, copies)| vec![*rho; *copies]).collect();
    PoolSummary {
        complete: true,
        pool: rho.len(),
        kept: kept.len(),
        rule: rule.map_or("none: all alike".into(), |rule| rule.to_string()),
        effective_sample_size: chosen.effective_sample_size,
        not_distinct: count(Decision::NotDistinct),
        not_novel: count(Decision::NotNovel),
        files,
        density_of_pool: quantiles(rho),
        density_of_kept: quantiles(&kept),
    }
}

fn render(summary: &PoolSummary, args: &Sample) -> String {
    if args.run.json {
        let mut text = serde_json::to_string_pretty(summary).unwrap_or_default();
        text.push('\n');
        return text;
    }
    let mut out = format!(
        "{} of {} images chosen, in {}\nrule: {}; the pool's weights are worth {:.0} unweighted images\n",
        summary.kept,
        summary.pool,
        args.output.display(),
        summary.rule,
        summary.effective_sample_size
    );
    if summary.not_distinct + summary.not_novel > 0 {
        out.push_str(&format!(
            "refused: {} too near to another chosen one, {} too near to a real one\n",
            summary.not_distinct, summary.not_novel
        ));
    }
    if let (Some(before), Some(after)) = (&summary.density_of_pool, &summary.density_of_kept) {
        let _ = write_quantiles(&mut out, [("pool", before), ("chosen", after)]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_an_archive_leads_out_of_the_directory() {
        assert_eq!(inside(Path::new("out"), "a/b.png").unwrap(), Path::new("out/a/b.png"));
        for path in ["../a.png", "/etc/a.png", "a/../../b.png", "./a.png"] {
            let found = inside(Path::new("out"), path);
            assert!(found.is_err(), "{path}");
        }
    }
}
