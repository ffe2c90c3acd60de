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

/// The tensors of the state dict in a checkpoint, by name, in order.
pub(super) fn state_dict(pickle: &Pickle, path: &Path) -> Result<Vec<(String, TensorView)>> {
    let mut tensors = Search::new(pickle, path).within(pickle.root(), 0)?.ok_or_else(|| {
        let reason = format!("holds {}, and no state dict in it", pickle.describe(pickle.root()));
        Error::malformed(path, reason, "save model.state_dict() with torch.save; nothing in the file was run")
    })?;
    while let Some(prefix) =
        WRAPPERS.iter().find(|prefix| tensors.iter().all(|(name, _)| is_wrapped(name, prefix)))
    {
        for (name, _) in &mut tensors {
            name.drain(..prefix.len());
        }
    }
    Ok(tensors)
}

fn is_wrapped(name: &str, prefix: &str) -> bool {
    name.len() > prefix.len() && name.starts_with(prefix)
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
}

type Tensors = Vec<(String, TensorView)>;

impl<'p> Search<'p> {
    pub(super) fn new(pickle: &'p Pickle<'p>, path: &'p Path) -> Self {
        Self { pickle, path, seen: HashSet::new() }
    }

    fn malformed(&self, reason: String) -> Error {
        let hint = "save model.state_dict() with torch.save; nothing in the file was run";
        Error::malformed(self.path, reason, hint)
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
        if pairs.iter().any(|(_, v)| !matches!(tensor_view(self.pickle, *v), Err(NoTensor::Other))) {
            return self.entries(pairs).map(Some);
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

    /// The tensors among the pairs of a state dict.
    fn entries(&self, pairs: &[(Ref, Ref)]) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for &(key, value) in pairs {
            let Some(name) = self.pickle.str(key) else {
                return Err(
                    self.malformed(format!("has {} for the name of a tensor", self.pickle.describe(key)))
                );
            };
            match tensor_view(self.pickle, value) {
                Ok(view) => tensors.push((name.to_owned(), view)),
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
    pub(super) fn module(&self, value: Ref) -> Result<Option<Tensors>> {
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
                let named = self.entries(pairs)?.into_iter();
                tensors.extend(named.map(|(name, view)| (format!("{prefix}{name}"), view)));
            }
            for &(key, inner) in modules.iter().rev() {
                let name = self.pickle.str(key).unwrap_or("?");
                left.push((format!("{prefix}{name}."), inner, depth + 1));
            }
        }
        Ok((!tensors.is_empty()).then_some(tensors))
    }

    fn module_parts(&self, value: Ref) -> Option<[&[(Ref, Ref)]; 3]> {
        let state = module_state(self.pickle, value)?;
        let part = |name| self.pickle.pairs(self.pickle.lookup(state, name)?);
        Some([part("_parameters")?, part("_buffers")?, part("_modules")?])
    }
}
