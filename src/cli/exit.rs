//! Exit codes of `pd`: what a script learns of an error.

use crate::error::Error;

/// What was typed cannot be carried out.
pub(super) const WRONG_USAGE: u8 = 2;

/// 1 failed, 2 wrong usage, 3 strict and not everything could be used, 130 interrupted.
pub(super) fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Usage { .. } => WRONG_USAGE,
        Error::Strict { .. } | Error::Incomplete { .. } => 3,
        Error::Interrupted { .. } => 130,
        _ => 1,
    }
}
