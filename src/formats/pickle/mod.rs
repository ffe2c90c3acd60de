//! Pickles, read without running anything: protocols 0 to 5 become a flat table of inert values.
//! A class, a call or a state is recorded by name and arguments, never imported, called or applied.
//! Sizes are checked against the bytes that are left, and the number of steps is limited.
//! Opcodes: <https://github.com/python/cpython/blob/main/Lib/pickletools.py>.

mod error;
mod input;
mod machine;
mod value;

pub(crate) use error::PickleError;
pub use machine::parse;
pub(crate) use value::{Pickle, Ref, Value};

#[cfg(test)]
mod tests;
