//! The feature spaces that images are compared in, as they are asked for: by name, or by a protocol that settles all else.

use super::options::EvaluationOptions;
use super::spaces::{has_metric_in, metrics_by_space, metrics_in};
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, architecture};
use crate::metrics::presets::{Protocol, protocol};
use std::path::PathBuf;

/// The feature spaces that images are compared in.
#[derive(Default)]
#[non_exhaustive]
pub struct SpacesRequest {
    /// Names of extractors, each once; none with a protocol.
    pub spaces: Vec<String>,
    /// The protocol of a program or paper, which settles spaces, metrics and their parameters.
    pub preset: Option<String>,
    /// Weights files by the names of extractors. One file serves all networks that share their layers.
    pub weights: Vec<(String, PathBuf)>,
    /// What is asked of every network, but for name and weights.
    pub how: ExtractorRequest,
}

/// Spaces with what is computed in each.
pub(crate) struct AskedSpaces {
    pub(super) protocol: Option<&'static Protocol>,
    pub(super) all: Vec<AskedSpace>,
    /// Without metrics, which differ from space to space.
    pub(super) options: EvaluationOptions,
}

/// A space with what is computed in it.
pub(super) struct AskedSpace {
    pub(super) name: String,
    pub(super) request: ExtractorRequest,
    pub(super) metrics: Vec<String>,
}

impl SpacesRequest {
    /// The spaces in which one of the metrics of `options` is computed; a protocol settles these and their parameters.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown protocol or metric, a space that is named twice or in which none of the metrics is computed, and
    /// weights of another space.
    pub(crate) fn settled(&self, mut options: EvaluationOptions) -> Result<AskedSpaces> {
        let protocol = self.preset.as_deref().map(protocol).transpose()?;
        let mut requests = self.requests(protocol)?;
        if let Some(protocol) = protocol {
            options.metrics = protocol.metrics(&options.metrics)?;
            protocol.settle(&mut options.parameters);
            requests.retain(|(name, _)| has_metric_in(&options.metrics, name).unwrap_or(true));
        }
        let names: Vec<&str> = requests.iter().map(|(name, _)| name.as_str()).collect();
        let metrics = metrics_by_space(&options.metrics, &names)?;
        let all = requests.into_iter().zip(metrics);
        let all = all.map(|((name, request), metrics)| AskedSpace { name, request, metrics }).collect();
        Ok(AskedSpaces { protocol, all, options })
    }

    /// What each space is asked for, by its name.
    fn requests(&self, protocol: Option<&'static Protocol>) -> Result<Vec<(String, ExtractorRequest)>> {
        let mut requests: Vec<(String, ExtractorRequest)> = match protocol {
            Some(protocol) => {
                let space = |&(name, prepare): &(&str, _)| {
                    (name.to_owned(), ExtractorRequest { protocol: Some(prepare), ..self.how.clone() })
                };
                protocol.spaces.iter().map(space).collect()
            }
            None => self.spaces.iter().map(|name| (name.clone(), self.how.clone())).collect(),
        };
        for (i, (name, _)) in requests.iter().enumerate() {
            if requests[..i].iter().any(|(other, _)| other == name) {
                return Err(Error::usage(format!("the space {name} is named twice"), "name it once"));
            }
        }
        if let Some((name, _)) =
            self.weights.iter().find(|(of, _)| requests.iter().all(|(name, _)| name != of))
        {
            let known: Vec<&str> = requests.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::usage(
                format!("weights are given for {name}, which is none of the spaces"),
                format!("the spaces are {}", known.join(", ")),
            ));
        }
        let family = |name: &str| architecture(name).ok()?.family.map(|family| family.weights);
        for (name, request) in &mut requests {
            let given = || self.weights.iter().rev();
            let shares = |of: &str| family(of).is_some() && family(of) == family(name);
            let weights = given().find(|(of, _)| of == name).or_else(|| given().find(|(of, _)| shares(of)));
            request.weights = weights.map(|(_, file)| file.clone());
            request.name = Some(name.clone());
        }
        Ok(requests)
    }
}

impl AskedSpaces {
    /// Their names.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.all.iter().map(|space| space.name.as_str()).collect()
    }

    /// The protocol that settled them.
    pub(crate) fn protocol(&self) -> Option<&'static Protocol> {
        self.protocol
    }

    /// Leaves out what mean and covariance of the real set do not suffice for, and the spaces that `is_known` says they are not of.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown metric.
    pub(crate) fn of_statistics(mut self, is_known: impl Fn(&str) -> bool) -> Result<Self> {
        for space in &mut self.all {
            let metrics = metrics_in(&space.metrics, &space.name, true)?;
            space.metrics = metrics.iter().map(|metric| metric.name.to_owned()).collect();
        }
        self.all.retain(|space| !space.metrics.is_empty() && is_known(&space.name));
        Ok(self)
    }

    /// The first space whose weights are neither named nor inside the program.
    pub(crate) fn without_weights(&self) -> Option<&str> {
        let is_embedded = |name: &str| architecture(name).is_ok_and(|network| network.embedded.is_some());
        let lacks = |space: &&AskedSpace| space.request.weights.is_none() && !is_embedded(&space.name);
        self.all.iter().find(lacks).map(|space| space.name.as_str())
    }
}
