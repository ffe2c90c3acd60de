//! The networks of several feature spaces, and sets of images in all of them.

use super::asked_spaces::{AskedSpace, AskedSpaces};
use super::evaluator::Evaluator;
use super::options::EvaluationOptions;
use super::sets::{EvaluationSet, SetContent};
use super::spaces::{SpaceResults, metrics_in};
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, Identity, LoadedExtractor, grouped, load_together};
use crate::metrics::keep::Keep;
use crate::metrics::least_rows::{Side, check_rows};
use crate::metrics::presets::Protocol;
use crate::progress::Progress;
use crate::remedy::Remedy;
use ndarray::{Array2, s};
use std::ops::Range;
use std::sync::Arc;

/// A space, with what is computed in it.
pub(crate) struct Space {
    /// The name of its extractor, as it was asked for.
    pub(crate) name: String,
    /// What its features are made with.
    pub(crate) identity: Identity,
    options: EvaluationOptions,
}

/// The spaces, and the networks that make their features.
pub(crate) struct Spaces {
    protocol: Option<&'static Protocol>,
    all: Vec<Space>,
    passes: Vec<Pass>,
}

/// A network, with the spaces (by position) whose features it makes and the columns that those are in.
struct Pass {
    extractor: LoadedExtractor,
    columns: Vec<(usize, Range<usize>)>,
}

/// Where statistics of the features of an extractor are kept, that the network at a position makes.
type KeptAt<'a> = dyn Fn(usize, &str) -> Option<Arc<dyn Keep>> + 'a;

impl AskedSpaces {
    /// Loads the networks; those that share their layers are one.
    ///
    /// # Errors
    /// As [`LoadedExtractor::load`].
    pub(crate) fn load(&self) -> Result<Spaces> {
        let requests: Vec<ExtractorRequest> = self.all.iter().map(|space| space.request.clone()).collect();
        let mut identities: Vec<Option<Identity>> = vec![None; requests.len()];
        let mut passes = Vec::new();
        for members in grouped(&requests) {
            let together: Vec<&ExtractorRequest> = members.iter().map(|&i| &requests[i]).collect();
            let (extractor, of_members) = load_together(&together).map_err(of_a_space)?;
            let (mut columns, mut start) = (Vec::new(), 0);
            for (i, identity) in members.into_iter().zip(of_members) {
                let end = start + identity.dimension;
                columns.push((i, start..end));
                identities[i] = Some(identity);
                start = end;
            }
            passes.push(Pass { extractor, columns });
        }
        let space = |(space, identity): (&AskedSpace, Option<Identity>)| {
            let options = EvaluationOptions { metrics: space.metrics.clone(), ..self.options.clone() };
            Some(Space { name: space.name.clone(), identity: identity?, options })
        };
        let all = self.all.iter().zip(identities).filter_map(space).collect();
        Ok(Spaces { protocol: self.protocol, all, passes })
    }
}

/// The same without the remedy of naming the file of the one network, where there are several.
fn of_a_space(error: Error) -> Error {
    match error {
        Error::Data { reason, remedy: Remedy::FetchWeights { name, trust, .. } } => {
            Error::Data { reason, remedy: Remedy::FetchWeights { name, trust, or_file: false } }
        }
        other => other,
    }
}

impl Spaces {
    /// All of them.
    pub(crate) fn all(&self) -> &[Space] {
        &self.all
    }

    /// The networks that make the features.
    pub(crate) fn networks(&self) -> Vec<&LoadedExtractor> {
        self.passes.iter().map(|pass| &pass.extractor).collect()
    }

    /// Leaves out other spaces, and networks of them alone.
    pub(crate) fn keep_where(&mut self, wanted: impl Fn(&Space) -> bool) {
        let kept: Vec<usize> = (0..self.all.len()).filter(|&i| wanted(&self.all[i])).collect();
        for pass in &mut self.passes {
            let place = |(i, columns): &(usize, Range<usize>)| {
                Some((kept.iter().position(|kept| kept == i)?, columns.clone()))
            };
            pass.columns = pass.columns.iter().filter_map(place).collect();
        }
        self.passes.retain(|pass| !pass.columns.is_empty());
        let mut at = 0..;
        self.all.retain(|_| at.next().is_some_and(|i| kept.contains(&i)));
    }

    /// Whether the set `name` of `count` images is large enough for the metrics of every space.
    ///
    /// # Errors
    /// [`Error::Data`] if it is not; [`Error::Usage`] if subsets are asked for that are larger than it.
    pub(crate) fn check_rows(&self, name: &str, count: usize, side: Side) -> Result<()> {
        let metrics = self.all.iter().map(|space| metrics_in(&space.options.metrics, &space.name, false));
        let metrics = metrics.collect::<Result<Vec<_>>>()?.concat();
        let Some(space) = self.all.first() else { return Ok(()) };
        check_rows(&metrics, (name, count, side), &space.options.parameters, self.protocol.is_some())
    }

    /// The set `name` of images at `paths` in each space, from the `features` of each network; `kept` says where statistics of the features
    /// of an extractor are kept, that the network at a position makes.
    pub(crate) fn sets(
        &self,
        name: &str,
        paths: &[String],
        features: Vec<Array2<f32>>,
        groups: Option<&Vec<String>>,
        kept: &KeptAt<'_>,
    ) -> Vec<EvaluationSet> {
        let mut sets: Vec<Option<EvaluationSet>> = self.all.iter().map(|_| None).collect();
        for (network, (pass, features)) in self.passes.iter().zip(features).enumerate() {
            let features = features.into_shared();
            for (at, columns) in &pass.columns {
                let identity = self.all[*at].identity.clone();
                let own = match columns.len() == features.ncols() {
                    true => features.clone(),
                    false => features.slice(s![.., columns.clone()]).to_owned().into_shared(),
                };
                let kept = kept(network, &identity.extractor);
                let content = SetContent::Features { features: own, paths: paths.to_vec(), identity };
                let set = EvaluationSet::new(name, content);
                sets[*at] = Some(EvaluationSet { groups: groups.cloned(), kept, ..set });
            }
        }
        sets.into_iter().flatten().collect()
    }

    /// One for each space, given the real set in each.
    ///
    /// # Errors
    /// As [`Evaluator::new`].
    pub(crate) fn evaluators<'p>(
        &'p self,
        real: Vec<EvaluationSet>,
        progress: &'p dyn Progress,
    ) -> Result<Vec<Evaluator<'p>>> {
        let evaluators = real.into_iter().zip(&self.all);
        evaluators.map(|(set, space)| Evaluator::new(set, &space.options, progress)).collect()
    }

    /// What the evaluators found.
    ///
    /// # Errors
    /// As [`Evaluator::finish`].
    pub(crate) fn results(&self, evaluators: Vec<Evaluator<'_>>) -> Result<SpaceResults> {
        let results = evaluators.into_iter().map(Evaluator::finish).collect::<Result<Vec<_>>>()?;
        let spaces = self.all.iter().map(|space| space.name.clone()).zip(results).collect();
        Ok(SpaceResults { spaces, preset: self.protocol.map(|protocol| protocol.name) })
    }
}
