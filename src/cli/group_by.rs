//! `--groups`: which group each image of a set belongs to.

use crate::cli::terminal::Terminal;
use crate::density::Grouping;
use crate::error::{Error, Result};
use crate::formats::table::Columns;
use crate::images::{ImageSet, prompt_of};
use rayon::prelude::*;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::str::FromStr;

/// The word that groups by prompt.
const PROMPT: &str = "prompt";
/// The table that `pd sample` writes.
const SAMPLES: &str = "samples.csv";

/// How the images of a set are put into groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupBy {
    /// By the prompt that each was made from.
    Prompt,
    /// By folder, or as a table says.
    Other(Grouping),
}

impl FromStr for GroupBy {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if text == PROMPT { Ok(Self::Prompt) } else { text.parse().map(Self::Other) }
    }
}

impl GroupBy {
    /// The table that says it, if one does.
    pub(crate) fn table(&self) -> Option<&Path> {
        match self {
            Self::Other(Grouping::Table(path)) => Some(path),
            _ => None,
        }
    }

    /// # Errors
    /// As [`Grouping::check`].
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Prompt => Ok(()),
            Self::Other(grouping) => grouping.check(),
        }
    }

    /// The group of each of `paths`, images of `place`.
    ///
    /// # Errors
    /// As [`Grouping::labels`]; [`Error::Malformed`] if an image has no prompt.
    pub(crate) fn labels(&self, place: &Path, paths: &[String], terminal: &Terminal) -> Result<Vec<String>> {
        match self {
            Self::Prompt => prompts(place, paths, terminal),
            Self::Other(grouping) => grouping.labels(paths),
        }
    }
}

fn prompts(place: &Path, paths: &[String], terminal: &Terminal) -> Result<Vec<String>> {
    let listed = of_samples(place)?;
    let set = ImageSet::open(place, terminal)?;
    let numbers: HashMap<&str, usize> = (0..set.len()).map(|number| (set.path(number), number)).collect();
    let prompt = |path: &String| {
        let in_table = || listed.get(path.as_str()).cloned();
        in_table().or_else(|| prompt_of(&set, *numbers.get(path.as_str())?, place))
    };
    let found: Vec<Option<String>> = paths.par_iter().map(prompt).collect();
    let mut without = paths.iter().zip(&found).filter(|(_, prompt)| prompt.is_none());
    if let Some((first, _)) = without.next() {
        let count = 1 + without.count();
        return Err(Error::malformed(
            place,
            format!("{count} of {} images have no prompt, the first is {first}", paths.len()),
            "looked into the PNG text `parameters` and `prompt`, the .txt and .json file beside each image, and samples.csv; or \
             give a table: --groups FILE.csv with the columns path and group",
        ));
    }
    Ok(found.into_iter().flatten().collect())
}

/// Prompts by file, where `pd sample` wrote them down.
fn of_samples(place: &Path) -> Result<HashMap<String, String>> {
    let path = place.join(SAMPLES);
    if !path.is_file() {
        return Ok(HashMap::new());
    }
    let table = Columns::read(&path)?;
    if !table.has("file") || !table.has(PROMPT) {
        return Ok(HashMap::new());
    }
    let pairs = table.text("file")?.iter().zip(table.text(PROMPT)?);
    Ok(pairs
        .filter(|(_, prompt)| !prompt.is_empty())
        .map(|(file, prompt)| (file.clone(), prompt.clone()))
        .collect())
}
