//! Where in a checkpoint the state dict is.
//!
//! A dict (or `OrderedDict`) with a tensor among its values is one, unless dicts with more tensors lie in it: a loss that was saved beside
//! a network is no network. Where the top of the file is none, it is looked for under the names that training programs give it
//! ([`super::parts`]), then under any other name if there is only one; what was chosen of what is kept with the tensors. A whole module that
//! was pickled (`torch.save(model)`) gives the names that its `state_dict()` would have. Values in a state dict that are no tensors (versions,
//! counters) are passed over; an object of a class that is not known is an error, for it might have been a tensor.

use super::parts::{is_training_state, network_among, rank};
use super::storage::Storages;
use super::tensor::{NoTensor, TensorView, tensor_view};
use crate::error::{Error, Result};
use crate::formats::pickle::{Pickle, Ref, Value};
use crate::formats::state_dict::{PartOf, Wanted};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// How deep a state dict may lie, and modules in modules.
pub(super) const MAX_DEPTH: usize = 32;

/// Most dicts that are looked into, and most modules.
pub(super) const MAX_VISITED: usize = 1 << 16;

/// Most bytes that the names of tensors and modules may take, with what belongs to each: both may be shared in the file.
const MAX_NAME_BYTES: usize = 1 << 26;

/// Bytes that are kept for a tensor besides its name, about.
const TENSOR_BYTES: usize = 128;

/// How deep dicts are looked into for tensors, to tell a network from what was saved beside it.
const COUNTED_DEPTH: usize = 4;

/// Most names that a message gives of a file's contents.
const SHOWN: usize = 16;

/// The tensors of a network in a checkpoint.
pub(super) struct Found {
    /// By name, in order.
    pub tensors: Tensors,
    /// Where they were, where there was a choice.
    pub parts: Vec<PartOf>,
}

/// The tensors of the wanted network in a checkpoint.
pub(super) fn state_dict(pickle: &Pickle, path: &Path, wanted: Wanted) -> Result<Found> {
    let root = pickle.root();
    if ["state", "param_groups"].iter().all(|key| pickle.lookup(root, key).is_some()) {
        let reason =
            "is the state of an optimizer (`state` and `param_groups`), and holds no weights of a network";
        return Err(Error::malformed(
            path,
            reason,
            "name the file of the weights, which the same program wrote beside it",
        ));
    }
    let mut search = Search { wanted, ..Search::new(pickle, path) };
    let found = search.within(root, 0);
    check_work(pickle, path)?;
    let tensors = found?.ok_or_else(|| {
        let keys = names_in(pickle, pickle.pairs(root).unwrap_or_default());
        let of = if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(", ")) };
        let reason = format!("holds {}{of}, and no state dict in it", pickle.describe(root));
        Error::malformed(path, reason, "save model.state_dict() with torch.save; nothing in the file was run")
    })?;
    let mut parts = search.parts;
    parts.reverse();
    let tensors = network_among(tensors, wanted, &mut parts);
    Ok(Found { tensors, parts })
}

/// Whether all that was looked for in a pickle could be looked at.
///
/// # Errors
/// [`Error::Malformed`] if not.
pub(super) fn check_work(pickle: &Pickle, path: &Path) -> Result<()> {
    match pickle.is_exhausted() {
        true => {
            Err(Error::malformed(path, "repeats its values so often that reading it would take hours", ""))
        }
        false => Ok(()),
    }
}

/// The first text keys of a dict.
fn names_in(pickle: &Pickle, pairs: &[(Ref, Ref)]) -> Vec<String> {
    pairs.iter().filter_map(|(key, _)| pickle.str(*key).map(str::to_owned)).take(SHOWN).collect()
}

/// The state of a pickled module: of an object, or in the dict of a persistent one (see [`super::modules`]).
pub(super) fn module_state(pickle: &Pickle, value: Ref) -> Option<Ref> {
    let object = pickle.object(value)?;
    let state = match pickle.class(object.class) {
        Some(("torch_utils.persistence", "_reconstruct_persistent_obj")) => {
            pickle.lookup(*pickle.sequence(object.args)?.first()?, "state")?
        }
        _ => object.state?,
    };
    let is_module = |name| pickle.lookup(state, name).is_some_and(|part| pickle.pairs(part).is_some());
    ["_parameters", "_buffers", "_modules"].into_iter().all(is_module).then_some(state)
}

pub(super) struct Search<'p> {
    pickle: &'p Pickle<'p>,
    path: &'p Path,
    wanted: Wanted,
    /// Dicts already looked into: values may be shared without bound.
    seen: HashSet<Ref>,
    storages: Storages<'p>,
    /// Bytes of names that may still be made.
    left: usize,
    /// Tensors in the dicts that were counted.
    counted: HashMap<Ref, usize>,
    /// What was chosen, the innermost first.
    parts: Vec<PartOf>,
}

type Tensors = Vec<(String, TensorView)>;

impl<'p> Search<'p> {
    pub(super) fn new(pickle: &'p Pickle<'p>, path: &'p Path) -> Self {
        Self {
            pickle,
            path,
            wanted: Wanted::default(),
            seen: HashSet::new(),
            storages: Storages::of(pickle),
            left: MAX_NAME_BYTES,
            counted: HashMap::new(),
            parts: Vec::new(),
        }
    }

    fn malformed(&self, reason: String) -> Error {
        let hint = "save model.state_dict() with torch.save; nothing in the file was run";
        Error::malformed(self.path, reason, hint)
    }

    /// Accounts for a name of so many bytes.
    fn name(&mut self, bytes: usize) -> Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.saturating_add(TENSOR_BYTES))
            .ok_or_else(|| self.malformed("has more tensors, or longer names, than any network".into()))?;
        Ok(())
    }

    /// The state dict in `value`; `None` if there is none.
    fn within(&mut self, value: Ref, depth: usize) -> Result<Option<Tensors>> {
        if depth > MAX_DEPTH || self.seen.len() > MAX_VISITED || !self.seen.insert(value) {
            return Ok(None);
        }
        if let Some(tensors) = self.module(value)? {
            return Ok(Some(tensors));
        }
        let Some(pairs) = self.pickle.pairs(value) else {
            // An object whose state is, or holds, a state dict.
            return match self.pickle.object(value).and_then(|object| object.state) {
                Some(state) => self.within(state, depth + 1),
                None => Ok(None),
            };
        };
        let own = self.tensors_among(pairs);
        let named = |key: &Ref| self.pickle.str(*key).unwrap_or("?");
        let inner: Vec<(&str, Ref)> = pairs
            .iter()
            .map(|(key, inner)| (named(key), *inner))
            .filter(|(name, _)| !is_training_state(name))
            .collect();
        let is_network = |search: &mut Self, (name, inner): &(&str, Ref)| {
            let count = search.tensors_in(*inner, 0);
            count > own || (count > 0 && rank(name, search.wanted).is_some())
        };
        if own > 0 && !inner.iter().any(|part| is_network(self, part)) {
            return self.entries("", pairs).map(Some);
        }
        let mut ranked: Vec<_> =
            inner.iter().filter_map(|part| Some((rank(part.0, self.wanted)?, part))).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        for (_, (name, inner)) in ranked {
            if let Some(tensors) = self.within(*inner, depth + 1)? {
                self.chosen(name, pairs);
                return Ok(Some(tensors));
            }
        }
        let mut found: Option<(&str, Tensors)> = None;
        let wanted = self.wanted;
        for (name, inner) in inner.iter().filter(|(name, _)| rank(name, wanted).is_none()) {
            if let Some(tensors) = self.within(*inner, depth + 1)? {
                if let Some((other, _)) = &found {
                    let reason = format!("holds several state dicts: `{other}`, `{name}`");
                    return Err(self.malformed(reason));
                }
                found = Some((name, tensors));
            }
        }
        Ok(found.map(|(name, tensors)| {
            self.chosen(name, pairs);
            tensors
        }))
    }

    /// Notes that the network was found under `name`, among what else the dict holds that is more than a number or a text.
    fn chosen(&mut self, name: &str, pairs: &[(Ref, Ref)]) {
        let is_part = |value: Ref| {
            self.pickle.pairs(value).is_some_and(|pairs| !pairs.is_empty())
                || self.pickle.object(value).is_some_and(|object| object.state.is_some())
        };
        let parts: Vec<(Ref, Ref)> = pairs.iter().copied().filter(|(_, value)| is_part(*value)).collect();
        let mut of = names_in(self.pickle, &parts);
        of.sort_unstable();
        if of.len() > 1 {
            self.parts.push(PartOf { name: name.to_owned(), of });
        }
    }

    fn is_tensor(&self, value: Ref) -> bool {
        !matches!(tensor_view(&self.storages, value), Err(NoTensor::Other))
    }

    fn tensors_among(&self, pairs: &[(Ref, Ref)]) -> usize {
        match self.pickle.spend(pairs.len()) {
            Some(_) => pairs.iter().filter(|(_, value)| self.is_tensor(*value)).count(),
            None => 0,
        }
    }

    /// Tensors of the largest state dict in a value.
    fn tensors_in(&mut self, value: Ref, depth: usize) -> usize {
        if let Some(&known) = self.counted.get(&value) {
            return known;
        }
        if depth > COUNTED_DEPTH || self.counted.len() > MAX_VISITED {
            return 0;
        }
        self.counted.insert(value, 0);
        let count = if self.module_parts(value).is_some() {
            usize::MAX
        } else if let Some(pairs) = self.pickle.pairs(value) {
            let own = self.tensors_among(pairs);
            pairs.iter().fold(own, |most, (_, inner)| most.max(self.tensors_in(*inner, depth + 1)))
        } else {
            let state = self.pickle.object(value).and_then(|object| object.state);
            state.map_or(0, |state| if self.is_tensor(value) { 0 } else { self.tensors_in(state, depth + 1) })
        };
        self.counted.insert(value, count);
        count
    }

    /// The tensors among the pairs of a state dict, `prefix` before their names.
    fn entries(&mut self, prefix: &str, pairs: &[(Ref, Ref)]) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        // Without a budget nothing is found, which is seen at the end.
        if self.pickle.spend(pairs.len()).is_none() {
            return Ok(tensors);
        }
        for &(key, value) in pairs {
            let Some(name) = self.pickle.str(key) else {
                return Err(
                    self.malformed(format!("has {} for the name of a tensor", self.pickle.describe(key)))
                );
            };
            match tensor_view(&self.storages, value) {
                Ok(view) => {
                    self.name(prefix.len() + name.len())?;
                    tensors.push((format!("{prefix}{name}"), view));
                }
                Err(NoTensor::Bad(reason)) => return Err(self.malformed(format!("tensor `{name}` {reason}"))),
                Err(NoTensor::Other) => {
                    if let Value::Object(object) = self.pickle.get(value)
                        && self.pickle.class(object.class) != Some(("collections", "OrderedDict"))
                    {
                        let what = self.pickle.describe(value);
                        return Err(self.malformed(format!("`{name}` is {what}, which is not known")));
                    }
                }
            }
        }
        Ok(tensors)
    }

    /// The `state_dict()` of a pickled `torch.nn.Module`; `None` if the value is none.
    pub(super) fn module(&mut self, value: Ref) -> Result<Option<Tensors>> {
        if self.module_parts(value).is_none() {
            return Ok(None);
        }
        let mut tensors = Tensors::new();
        let mut left = vec![(String::new(), value, 0)];
        let mut visited = 0;
        while let Some((prefix, module, depth)) = left.pop() {
            visited += 1;
            if visited > MAX_VISITED || depth > MAX_DEPTH {
                return Err(self.malformed("has too many modules".into()));
            }
            let Some([parameters, buffers, modules]) = self.module_parts(module) else {
                continue;
            };
            for pairs in [parameters, buffers] {
                tensors.extend(self.entries(&prefix, pairs)?);
            }
            for &(key, inner) in modules.iter().rev() {
                let name = self.pickle.str(key).unwrap_or("?");
                self.name(prefix.len() + name.len())?;
                left.push((format!("{prefix}{name}."), inner, depth + 1));
            }
        }
        Ok((!tensors.is_empty()).then_some(tensors))
    }

    fn module_parts(&self, value: Ref) -> Option<[&'p [(Ref, Ref)]; 3]> {
        let state = module_state(self.pickle, value)?;
        let part = |name| self.pickle.pairs(self.pickle.lookup(state, name)?);
        Some([part("_parameters")?, part("_buffers")?, part("_modules")?])
    }
}
