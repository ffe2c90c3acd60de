//! What is known of a candidate beside its image, and the table in which shards hand it to their merge.

use crate::density::spearman;
use crate::error::{Error, Result};
use crate::formats::table::{Columns, Table, Values};
use crate::reference::score::Scores;
use std::ops::Range;
use std::path::{Component, Path};

/// What is known of a candidate before its image is made. What a source does not have is absent, and so is its column in tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CandidateRecord {
    /// The name of its image file.
    pub name: String,
    /// What its random draws are keyed by.
    pub key: u64,
    /// The seed that it is made from.
    pub seed: Option<u32>,
    /// The class that it is made of.
    pub class: Option<u32>,
    /// The prompt that it is made from.
    pub prompt: Option<String>,
}

/// Scores of candidates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CandidateScores {
    /// Against the reference.
    pub scores: Scores,
    /// The densities that the predictor gives, where it was asked.
    pub predicted: Option<Vec<f64>>,
}

impl CandidateScores {
    /// The densities that weights are made of: predicted where the predictor was asked, else by nearest neighbours.
    pub fn densities(&self) -> &[f64] {
        self.predicted.as_deref().unwrap_or(&self.scores.pseudo_density)
    }

    /// Spearman correlation of the predicted densities with those by nearest neighbours; `None` without a predictor.
    pub fn agreement(&self) -> Option<f64> {
        spearman(self.predicted.as_ref()?, &self.scores.pseudo_density)
    }

    /// Drops all but the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.scores.truncate(n);
        if let Some(predicted) = &mut self.predicted {
            predicted.truncate(n);
        }
    }

    /// Those of a range.
    pub fn part(&self, range: Range<usize>) -> Self {
        let predicted = self.predicted.as_ref().map(|predicted| predicted[range.clone()].to_vec());
        Self { scores: self.scores.part(range), predicted }
    }

    /// Appends further candidates.
    pub fn extend(&mut self, more: Self) {
        self.scores.extend(more.scores);
        match (&mut self.predicted, more.predicted) {
            (Some(all), Some(more)) => all.extend(more),
            (all, more) => *all = more,
        }
    }
}

/// The columns of [`candidate_table`].
mod column {
    pub(super) const NAME: &str = "name";
    pub(super) const SEED: &str = "seed";
    pub(super) const KEY: &str = "key";
    pub(super) const CLASS: &str = "class";
    pub(super) const PROMPT: &str = "prompt";
    pub(super) const NEAREST: &str = "nearest";
    pub(super) const PREDICTED: &str = "predicted_density";
}

/// A row for each candidate, with its scores where there are any; `reference_paths` name the nearest real images.
///
/// # Errors
/// If the lengths do not fit.
pub(crate) fn candidate_table(
    records: Vec<CandidateRecord>,
    scores: Option<CandidateScores>,
    reference_paths: &[String],
) -> Result<Table> {
    let mut table = Table::new();
    let seeds = records.iter().map(|record| record.seed.map(i64::from)).collect();
    let keys = records.iter().map(|record| record.key as i64).collect();
    let classes: Vec<Option<i64>> = records.iter().map(|record| record.class.map(i64::from)).collect();
    let (names, prompts): (Vec<String>, Vec<Option<String>>) =
        records.into_iter().map(|record| (record.name, record.prompt)).unzip();
    table.push(column::NAME, Values::Text(names))?;
    table.push(column::SEED, Values::OptionalInt(seeds))?;
    table.push(column::KEY, Values::Int(keys))?;
    if classes.iter().any(Option::is_some) {
        table.push(column::CLASS, Values::OptionalInt(classes))?;
    }
    if prompts.iter().any(Option::is_some) {
        table.push(column::PROMPT, Values::OptionalText(prompts))?;
    }
    let Some(CandidateScores { scores, predicted }) = scores else { return Ok(table) };
    let nearest = scores.nearest.iter().map(|row| reference_paths.get((*row)? as usize).cloned());
    table.push(column::NEAREST, Values::OptionalText(nearest.collect()))?;
    table.push("pseudo_density", Values::Float(scores.pseudo_density))?;
    table.push("percentile", Values::Float(scores.percentile))?;
    table.push("mean_knn_distance", Values::Float(scores.mean_knn_distance))?;
    table.push("nearest_distance", Values::Float(scores.nearest_distance))?;
    if let Some(predicted) = predicted {
        table.push(column::PREDICTED, Values::Float(predicted))?;
    }
    Ok(table)
}

/// Reads a file that [`candidate_table`] was written to. `number` gives each name of a real image the row that stands for it;
/// `scored` says whether there are scores.
///
/// # Errors
/// [`Error::Malformed`] if it is no such table, or a name leads out of its directory.
pub(crate) fn read_candidate_table(
    path: &Path,
    scored: bool,
    number: &mut dyn FnMut(&str) -> u32,
) -> Result<(Vec<CandidateRecord>, Option<CandidateScores>)> {
    let wrong = |reason: String| Error::malformed(path, reason, "remove the part and run its shard again");
    let table = Columns::read(path)?;
    let names = table.text(column::NAME)?;
    if let Some(name) = names.iter().find(|name| !is_plain(name)) {
        return Err(wrong(format!("`{name}` is no name of a file")));
    }
    let parsed = |text: &str| text.parse::<u64>().map_err(|_| wrong(format!("`{text}` is no number")));
    let optional = |text: &str| match text.is_empty() {
        true => Ok(None),
        false => parsed(text).map(|value| u32::try_from(value).ok()),
    };
    let absent = vec![String::new(); names.len()];
    let classes = if table.has(column::CLASS) { table.text(column::CLASS)? } else { &absent };
    let prompts = if table.has(column::PROMPT) { table.text(column::PROMPT)? } else { &absent };
    let (seeds, keys) = (table.text(column::SEED)?, table.text(column::KEY)?);
    let record = |i: usize| {
        Ok(CandidateRecord {
            name: names[i].clone(),
            key: parsed(&keys[i])?,
            seed: optional(&seeds[i])?,
            class: optional(&classes[i])?,
            prompt: Some(&prompts[i]).filter(|prompt| !prompt.is_empty()).cloned(),
        })
    };
    let records = (0..names.len()).map(record).collect::<Result<_>>()?;
    if !scored {
        return Ok((records, None));
    }
    let nearest = table.text(column::NEAREST)?.iter();
    let nearest = nearest.map(|name| (!name.is_empty()).then(|| number(name))).collect();
    let scores = Scores {
        pseudo_density: table.numbers("pseudo_density")?,
        percentile: table.numbers("percentile")?,
        mean_knn_distance: table.numbers("mean_knn_distance")?,
        nearest,
        nearest_distance: table.numbers("nearest_distance")?,
        copy_of: None,
        group: Vec::new(),
    };
    let predicted = table.has(column::PREDICTED).then(|| table.numbers(column::PREDICTED)).transpose()?;
    Ok((records, Some(CandidateScores { scores, predicted })))
}

/// Whether a name is that of a file in its own directory, and not a path out of it.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::table::write_table;

    fn record(name: &str, seed: Option<u32>, prompt: Option<&str>) -> CandidateRecord {
        CandidateRecord { name: name.into(), key: 7, seed, class: Some(3), prompt: prompt.map(str::to_owned) }
    }

    #[test]
    fn what_is_written_of_candidates_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("candidates.csv");
        let records =
            vec![record("a.png", Some(4), None), record("b.png", None, Some("a \"red\" shoe, new"))];
        let scores = Scores {
            pseudo_density: vec![0.5, 1.25],
            percentile: vec![10.0, 90.0],
            mean_knn_distance: vec![2.0, 1.0],
            nearest: vec![Some(1), None],
            nearest_distance: vec![1.5, 0.5],
            copy_of: None,
            group: Vec::new(),
        };
        let scores = CandidateScores { scores, predicted: Some(vec![0.75, 1.0]) };
        let real = ["x.png", "y.png"].map(String::from);
        write_table(&path, &candidate_table(records.clone(), Some(scores.clone()), &real).unwrap()).unwrap();
        let mut number = |name: &str| u32::from(name == "y.png");
        let read = read_candidate_table(&path, true, &mut number).unwrap();
        assert_eq!(read, (records.clone(), Some(scores)));
        assert_eq!(read_candidate_table(&path, false, &mut number).unwrap(), (records, None));
    }

    #[test]
    fn a_name_that_leads_out_of_its_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("candidates.csv");
        for name in ["../a.png", "/a.png", "a/b.png", ".."] {
            let record = CandidateRecord { name: name.into(), ..CandidateRecord::default() };
            write_table(&path, &candidate_table(vec![record], None, &[]).unwrap()).unwrap();
            let error = read_candidate_table(&path, false, &mut |_| 0).unwrap_err();
            assert!(error.to_string().contains("is no name of a file"), "{error}");
        }
    }
}
