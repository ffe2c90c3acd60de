//! Why a pickle cannot be read.

/// What is wrong with a pickle, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pickle damaged or not supported at byte {offset}: {reason}")]
pub struct PickleError {
    /// Bytes from the start of the pickle.
    pub offset: usize,
    /// In one phrase.
    pub reason: String,
}
