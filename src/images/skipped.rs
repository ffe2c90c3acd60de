//! An input that could not be used, with the reason.

/// An input that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// The input, as it is named in results.
    pub path: String,
    /// Why it could not be used.
    pub reason: String,
}

impl Skipped {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Skipped {
        Skipped { path: path.into(), reason: reason.into() }
    }
}
