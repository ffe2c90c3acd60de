//! Where in a checkpoint the state dict is.
//!
//! A dict (or `OrderedDict`) with a tensor among its values is one. Where the top of the file is none, it is looked
//! for under the names that training programs give it, in the order of [`PREFERRED`], then under any other name if
//! there is only one. A whole module that was pickled (`torch.save(model)`) gives the names that its
//! `state_dict()` would have. Values in a state dict that are no tensors (versions, counters) are passed over;
//! an object of a class that is not known is an error, for it might have been a tensor.
//!
//! Names lose the first part that wrappers put in front, if all tensors share it: `module.` (`DataParallel`),
//! `model.` (Lightning and others), `_orig_mod.` (`torch.compile`), as often as that is so.

use super::storage::Storages;
use super::tensor::{NoTensor, TensorView, tensor_view};
use crate::error::{Error, Result};
use crate::formats::pickle::{Pickle, Ref, Value};
use std::collections::HashSet;
use std::path::Path;

/// Names under which checkpoints keep their state dict, the first that is there being taken.
const PREFERRED: [&str; 17] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "params_ema",
    "params",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema",
    "g_ema",
    "generator",
    "weights",
    "state",
];

/// Prefixes that wrappers put in front of every name.
const WRAPPERS: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// How deep a state dict may lie, and modules in modules.
pub(super) const MAX_DEPTH: usize = 32;

/// Most dicts that are looked into, and most modules.
pub(super) const MAX_VISITED: usize = 1 << 16;

/// Most bytes that the names of tensors and modules may take, with what belongs to each: both may be shared in the file.
const MAX_NAME_BYTES: usize = 1 << 26;

/// Bytes that are kept for a tensor besides its name, about.
const TENSOR_BYTES: usize = 128;

/// The tensors of the state dict in a checkpoint, by name, in order.
pub(super) fn state_dict(pickle: &Pickle, path: &Path) -> Result<Vec<(String, TensorView)>> {
    let found = Search::new(pickle, path).within(pickle.root(), 0);
    check_work(pickle, path)?;
    let mut tensors = found?.ok_or_else(|| {
        let reason = format!("holds {}, and no state dict in it", pickle.describe(pickle.root()));
        Error::malformed(path, reason, "save model.state_dict() with torch.save; nothing in the file was run")
    })?;
    let cut = wrapped(&tensors);
    for (name, _) in &mut tensors {
        name.drain(..cut);
    }
    Ok(tensors)
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

/// Bytes of the prefixes that wrappers have put in front of every name.
fn wrapped(tensors: &[(String, TensorView)]) -> usize {
    let mut cut = 0;
    let is_wrapped = |name: &str, cut: usize, prefix: &str| {
        name.get(cut..).is_some_and(|rest| rest.len() > prefix.len() && rest.starts_with(prefix))
    };
    while let Some(prefix) =
        WRAPPERS.iter().find(|prefix| tensors.iter().all(|(name, _)| is_wrapped(name, cut, prefix)))
    {
        cut += prefix.len();
    }
    cut
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
    /// Dicts already looked into: values may be shared without bound.
    seen: HashSet<Ref>,
    storages: Storages<'p>,
    /// Bytes of names that may still be made.
    left: usize,
}

type Tensors = Vec<(String, TensorView)>;

impl<'p> Search<'p> {
    pub(super) fn new(pickle: &'p Pickle<'p>, path: &'p Path) -> Self {
        Self { pickle, path, seen: HashSet::new(), storages: Storages::of(pickle), left: MAX_NAME_BYTES }
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
        if pairs.iter().any(|(_, v)| !matches!(tensor_view(&self.storages, *v), Err(NoTensor::Other))) {
            return self.entries("", pairs).map(Some);
        }
        for name in PREFERRED {
            if let Some(inner) = self.pickle.lookup(value, name)
                && let Some(tensors) = self.within(inner, depth + 1)?
            {
                return Ok(Some(tensors));
            }
        }
        let mut found: Option<(&str, Tensors)> = None;
        for (key, inner) in pairs {
            let name = self.pickle.str(*key).unwrap_or("?");
            // The state of an optimizer holds tensors that are not weights.
            if name.contains("optim") || PREFERRED.contains(&name) {
                continue;
            }
            if let Some(tensors) = self.within(*inner, depth + 1)? {
                if let Some((other, _)) = &found {
                    let reason = format!("holds several state dicts: `{other}`, `{name}`");
                    return Err(self.malformed(reason));
                }
                found = Some((name, tensors));
            }
        }
        Ok(found.map(|(_, tensors)| tensors))
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
