//! Candidates that another program makes.

mod picture;
mod source;

pub(crate) use source::ProgramSource;
