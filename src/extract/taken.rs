//! Whether a network takes all blocks that a weights file has: a shallower one of the same widths finds all it needs in the file of a deeper
//! one, and its features would be wrong without a word.

use super::parameters::{FileParameters, ParameterSource};
use crate::error::{Error, Result};
use crate::remedy::Remedy;
use candle_core::Tensor;
use std::cell::RefCell;
use std::collections::HashSet;

/// The tensors of a weights file, with the names of those that were taken.
pub(super) struct Taken<'a> {
    file: &'a FileParameters,
    names: RefCell<HashSet<String>>,
}

impl<'a> Taken<'a> {
    pub(super) fn of(file: &'a FileParameters) -> Self {
        Self { file, names: RefCell::default() }
    }

    /// Refuses a file of which a block was left out whose siblings were taken. Heads and other towers may be left out.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming a tensor of that block.
    pub(super) fn check_blocks(self) -> Result<()> {
        let names = self.names.into_inner();
        let taken: HashSet<String> = names.iter().flat_map(|name| blocks_of(name)).collect();
        let is_left = |name: &&String| {
            !names.contains(*name) && blocks_of(name).iter().any(|block| taken.contains(block))
        };
        match self.file.tensors.keys().filter(is_left).min() {
            None => Ok(()),
            Some(name) => Err(Error::malformed(
                &self.file.path,
                format!("has more blocks than `{}`, which would leave `{name}` out", self.file.architecture),
                Remedy::WeightsOf(self.file.architecture.clone()),
            )),
        }
    }
}

impl ParameterSource for Taken<'_> {
    fn contains(&self, name: &str) -> bool {
        self.file.contains(name)
    }

    fn dims(&self, name: &str) -> Option<Vec<usize>> {
        self.file.dims(name)
    }

    fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        self.names.borrow_mut().insert(name.into());
        self.file.get(name, dims)
    }
}

/// The name with the number of a block left out, for each number in it that a layer and a parameter follow: `layer1.#.conv1.weight`.
fn blocks_of(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let is_block = |at: &usize| parts[*at].parse::<u32>().is_ok();
    let without = |at: usize| [&parts[..at], &["#"], &parts[at + 1..]].concat().join(".");
    (0..parts.len().saturating_sub(2)).filter(is_block).map(without).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use std::collections::HashMap;

    #[test]
    fn a_block_that_is_left_out_is_an_error_and_a_head_is_none() {
        let names =
            ["layer1.0.conv.weight", "layer1.1.conv.weight", "text.layer1.2.conv.weight", "head.3.weight"];
        let tensor = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let tensors: HashMap<_, _> = names.map(|name| (name.to_string(), tensor.clone())).into();
        let file = FileParameters { path: "w.pth".into(), architecture: "shallow".into(), tensors };
        let built = |blocks: usize| {
            let taken = Taken::of(&file);
            names[..blocks].iter().for_each(|name| drop(taken.get(name, &[1]).unwrap()));
            taken.check_blocks()
        };
        let error = built(1).unwrap_err().to_string();
        assert!(error.contains("`shallow`") && error.contains("`layer1.1.conv.weight`"), "{error}");
        built(2).unwrap();
    }
}
