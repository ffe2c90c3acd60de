//! Several networks for the same images: those that share their layers are computed in one pass.

use super::{Architecture, ExtractorRequest, Identity, LoadedExtractor, architecture};
use crate::error::{Error, Result};
use crate::images::Preprocessing;
use std::path::Path;

/// What requests of one pass have in common.
#[derive(PartialEq)]
struct Shared<'a> {
    /// The family, by the network that its weights are published for.
    family: &'static str,
    weights: Option<&'a Path>,
    preprocessing: Preprocessing,
}

/// `None` for a network that shares its layers with no other, or whose features are scaled on their own.
fn shared(request: &ExtractorRequest) -> Option<Shared<'_>> {
    let architecture = member(request)?;
    let family = architecture.family?;
    let normalize = request.normalize.unwrap_or(architecture.normalize);
    let preprocessing = request.preprocessing_of(architecture);
    let weights = request.weights.as_deref();
    (!normalize).then_some(Shared { family: family.weights, weights, preprocessing })
}

fn member(request: &ExtractorRequest) -> Option<&'static Architecture> {
    architecture(request.name.as_deref()?).ok()
}

/// The requests, by position, that one pass over an image serves: those of one family with the same weights and preprocessing together,
/// every other alone. Requests are for the same device and type of numbers.
pub(crate) fn grouped(requests: &[ExtractorRequest]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, request) in requests.iter().enumerate() {
        let own = shared(request);
        let fits = |group: &&mut Vec<usize>| {
            own.is_some() && group.first().is_some_and(|&first| shared(&requests[first]) == own)
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(i),
            None => groups.push(vec![i]),
        }
    }
    groups
}

/// The network of the requests of a [`grouped`] pass, whose features stand side by side, and what those of each are made with.
///
/// # Errors
/// As [`LoadedExtractor::load`].
pub(crate) fn load_together(requests: &[&ExtractorRequest]) -> Result<(LoadedExtractor, Vec<Identity>)> {
    let Some((&first, others)) = requests.split_first() else {
        return Err(Error::usage("there is no network to load", ""));
    };
    let members: Vec<&Architecture> = requests.iter().filter_map(|request| member(request)).collect();
    let family = members.first().and_then(|member| member.family).filter(|_| !others.is_empty());
    let Some(family) = family else {
        let extractor = LoadedExtractor::load(first)?;
        let identity = extractor.identity().clone();
        return Ok((extractor, vec![identity]));
    };
    let extractor = LoadedExtractor::load_family(family, &members, first)?;
    let of_member = |member: &&Architecture| Identity {
        extractor: member.name.into(),
        dimension: member.dimension,
        ..extractor.identity().clone()
    };
    let identities = members.iter().map(of_member).collect();
    Ok((extractor, identities))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Fit;
    use std::path::PathBuf;

    #[test]
    fn requests_of_one_family_are_one_pass_unless_something_differs() {
        let of = |name: &str| ExtractorRequest { name: Some(name.into()), ..ExtractorRequest::default() };
        let weights =
            |name: &str, file: &str| ExtractorRequest { weights: Some(PathBuf::from(file)), ..of(name) };
        let fid = || of("inception-fid");
        let all =
            [of("tiny"), fid(), of("vgg16"), of("inception-logits"), of("inception-spatial"), of("vgg16")];
        assert_eq!(grouped(&all), [vec![0], vec![1, 3, 4], vec![2], vec![5]]);
        let others = [
            weights("inception-logits", "a.pth"),
            ExtractorRequest { normalize: Some(true), ..of("inception-logits") },
            ExtractorRequest { fit: Some(Fit::Pad), ..of("inception-logits") },
        ];
        for other in others {
            assert_eq!(grouped(&[fid(), other]), [[0], [1]]);
        }
        assert_eq!(grouped(&[weights("inception-fid", "a"), weights("inception-spatial", "a")]), [[0, 1]]);
    }
}
