//! Candidates that another program makes.

mod generator;
mod images;
mod picture;
mod prompts;
mod source;

pub(crate) use generator::ProgramGenerator;
pub(crate) use prompts::{PromptFile, PromptOrder, Prompts};
pub(crate) use source::ProgramSource;
