//! Generators that are programs of their own: started once, asked for images by lines of JSON on their standard input, answering by lines
//! on their standard output. [`GeneratorProgram`] is such a program, [`Request`] what it is asked for.

mod conversation;
mod lines;
mod process;
mod protocol;
mod running;
mod words;

pub(crate) use process::kill_all;
pub(crate) use protocol::{ProgramInfo, Request};
pub(crate) use running::{Answered, GeneratorProgram};
pub(crate) use words::ProgramCommand;
