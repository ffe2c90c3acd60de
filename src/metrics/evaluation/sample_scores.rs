//! Values of each generated image.

use super::sets::{EvaluationSet, SetContent};
use crate::error::{Error, Result};
use crate::formats::table::{Table, Values};
use crate::metrics::authenticity::authenticity;
use crate::metrics::comparison::Comparison;
use crate::metrics::rarity::rarity;
use crate::metrics::realism::realism;

/// Values of each generated image of all sets, in columns of one length.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleScores {
    /// The name of the generated set.
    pub set: Vec<String>,
    /// The name of the image.
    pub path: Vec<String>,
    /// Realism (see [`fn@realism`]).
    pub realism: Vec<f64>,
    /// Rarity (see [`fn@rarity`]).
    pub rarity: Vec<f64>,
    /// The nearest real image.
    pub nearest: Vec<String>,
    /// Its distance.
    pub nearest_distance: Vec<f64>,
    /// Whether it is farther from that image than that image from its own nearest (see [`fn@authenticity`]).
    pub authentic: Vec<bool>,
}

impl SampleScores {
    pub(super) fn add(
        &mut self,
        set: &EvaluationSet,
        real: &EvaluationSet,
        comparison: &Comparison<'_>,
    ) -> Result<()> {
        let (SetContent::Features { paths, .. }, SetContent::Features { paths: real, .. }) =
            (&set.content, &real.content)
        else {
            return Err(Error::usage(
                "values of each image need images or features on both sides, not their mean and covariance",
                "leave them out",
            ));
        };
        self.set.extend(paths.iter().map(|_| set.name.clone()));
        self.path.extend(paths.iter().cloned());
        self.realism.extend(realism(comparison)?);
        self.rarity.extend(rarity(comparison)?);
        let found = authenticity(comparison)?;
        self.nearest
            .extend(found.nearest.iter().map(|row| real.get(*row as usize).cloned().unwrap_or_default()));
        self.nearest_distance.extend(found.nearest_distance);
        self.authentic.extend(found.authentic);
        Ok(())
    }

    /// A row for each image.
    ///
    /// # Errors
    /// If the columns differ in length.
    pub fn table(&self) -> Result<Table> {
        let mut table = Table::new();
        table.push("set", Values::Text(self.set.clone()))?;
        table.push("path", Values::Text(self.path.clone()))?;
        table.push("realism", Values::Float(self.realism.clone()))?;
        table.push("rarity", Values::Float(self.rarity.clone()))?;
        table.push("nearest", Values::Text(self.nearest.clone()))?;
        table.push("nearest_distance", Values::Float(self.nearest_distance.clone()))?;
        table.push("authentic", Values::Bool(self.authentic.clone()))?;
        Ok(table)
    }
}
