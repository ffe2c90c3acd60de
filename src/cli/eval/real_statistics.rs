//! Files of mean and covariance for several spaces: of features, and beside them of spatial features, as in ADM's reference files.

use super::args::is_statistics_file;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::{INCEPTION_FEATURES, INCEPTION_SPATIAL, Identity};
use crate::metrics::{Evaluator, SpaceKind, Statistics};
use std::path::Path;

/// What a file says of the real set.
pub(super) struct RealStatistics {
    features: Option<Statistics>,
    spatial: Option<Statistics>,
}

impl RealStatistics {
    /// `None` if the file holds no mean and covariance.
    ///
    /// # Errors
    /// As [`Statistics::load`].
    pub(super) fn load(path: &Path) -> Result<Option<Self>> {
        let (features, spatial) = (Statistics::load(path)?, Statistics::load_spatial(path)?);
        Ok((features.is_some() || spatial.is_some()).then_some(Self { features, spatial }))
    }

    /// Those that stand beside the pixels of `path`, if it is a file of such: ADM's reference files have those of all images in Inception's
    /// spaces, and the pixels of some.
    ///
    /// # Errors
    /// As [`Statistics::load`].
    pub(super) fn beside_pixels(path: &Path) -> Result<Option<Self>> {
        if is_statistics_file(path) && path.is_file() { Self::load(path) } else { Ok(None) }
    }

    /// Those of a set of `path` in the space of `identity`, if that is one of Inception's, which is then said.
    pub(super) fn in_space(
        &self,
        path: &Path,
        identity: &Identity,
        terminal: &Terminal,
    ) -> Option<Statistics> {
        let found = self.of(&identity.extractor).filter(|_| is_of_reference_files(identity))?;
        terminal.say(&format!(
            "{}: the Frechet distance in {} is of its mean and covariance, all else of its pixels",
            path.display(),
            identity.extractor
        ));
        Some(found.clone())
    }

    /// Those of a space of this name.
    pub(super) fn of(&self, space: &str) -> Option<&Statistics> {
        match SpaceKind::of(space) {
            SpaceKind::Spatial => self.spatial.as_ref(),
            SpaceKind::Features | SpaceKind::Unknown => self.features.as_ref(),
            SpaceKind::ClassScores => None,
        }
    }

    /// What there is, for a message.
    pub(super) fn describe(&self) -> String {
        let kinds = [("features", &self.features), ("spatial features", &self.spatial)];
        let given = kinds.into_iter().filter_map(|(what, found)| {
            Some(format!("the mean and covariance of {} columns of {what}", found.as_ref()?.width()))
        });
        given.collect::<Vec<_>>().join(" and ")
    }
}

/// Whether statistics beside pixels are of features that are made so.
pub(super) fn is_of_reference_files(identity: &Identity) -> bool {
    [INCEPTION_FEATURES, INCEPTION_SPATIAL].contains(&identity.extractor.as_str()) && !identity.normalize
}

/// Checks that the statistics of these `spaces` fit into one file.
///
/// # Errors
/// [`Error::Usage`] if two of them are of features, or none is.
pub(super) fn check_statistics(path: &Path, spaces: &[&str]) -> Result<()> {
    let of_kind =
        |kinds: &[SpaceKind]| spaces.iter().filter(|name| kinds.contains(&SpaceKind::of(name))).count();
    let features = of_kind(&[SpaceKind::Features, SpaceKind::Unknown]);
    if features > 1 || features + of_kind(&[SpaceKind::Spatial]) == 0 {
        return Err(Error::usage(
            format!(
                "{} holds mean and covariance of one feature space, and {features} are asked for",
                path.display()
            ),
            "save those of each space on their own",
        ));
    }
    Ok(())
}

/// Writes mean and covariance of the real set in each of the spaces, which passed [`check_statistics`].
///
/// # Errors
/// As [`Statistics::of`] and [`Statistics::save`].
pub(super) fn save_statistics<'e, 'p: 'e>(
    path: &Path,
    spaces: impl Iterator<Item = (&'e str, &'e Evaluator<'p>)>,
    terminal: &Terminal,
) -> Result<()> {
    let (mut features, mut spatial) = (None, None);
    for (name, evaluator) in spaces {
        match SpaceKind::of(name) {
            SpaceKind::Spatial => spatial = Some(evaluator.real_statistics()?),
            SpaceKind::Features | SpaceKind::Unknown => features = Some(evaluator.real_statistics()?),
            SpaceKind::ClassScores => {}
        }
    }
    if features.is_none() && spatial.is_none() {
        return Err(Error::usage(
            "class scores have no mean and covariance to save",
            "name another extractor",
        ));
    }
    Statistics::save_all(path, features, spatial)?;
    terminal.say(&format!("wrote mean and covariance of the real set to {}", path.display()));
    Ok(())
}
