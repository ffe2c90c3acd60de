//! Arguments that name another program as the generator: for every command that generates.

use super::terminal::Terminal;
use crate::candidates::PromptFile;
use crate::error::Result;
use crate::formats::digest::sha256_of_file;
use crate::generate::{GeneratorProgram, ProgramCommand};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// How long a program may be without an answer, in seconds: the first includes that a model is loaded.
const TIMEOUT: u32 = 600;

/// A generator that is another program.
#[derive(Args)]
#[command(next_help_heading = "Generator")]
pub(super) struct ProgramArgs {
    /// Program that makes the images, such as 'python make.py', instead of --generator. It is started once and reads lines of JSON from its standard input. To {"hello": 1} it answers {"name": "mine"}, and {"name": "mine", "latent": [4, 64, 64], "classes": 10} if it takes latents and classes. Then for each image it gets a line such as {"id": 17, "seed": 5, "output": "/…/17.png"}, writes that file and prints {"id": 17}, in any order; --batch requests are open at once. A latent (an .npy file), a class and a prompt are in the line where there are any
    #[arg(long, value_name = "COMMAND")]
    generator_command: Option<ProgramCommand>,
    /// Number of seconds for which the program of --generator-command may be without an answer, loading included
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = TIMEOUT,
        requires = "generator_command",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    generator_timeout: u32,
    /// File of prompts for the program of --generator-command, each of which gets the same seeds: one prompt a line, or a .csv file with the column prompt and, where wanted, n, the number of candidates of this prompt
    #[arg(long, value_name = "FILE", requires = "generator_command")]
    prompts: Option<PathBuf>,
}

impl ProgramArgs {
    /// Whether a program was named.
    pub(super) fn is_named(&self) -> bool {
        self.generator_command.is_some()
    }

    /// The flags that name the program and its prompts, for commands that are printed.
    pub(super) fn shown(&self) -> Option<String> {
        let mut shown = format!("--generator-command {}", self.generator_command.as_ref()?.quoted());
        if let Some(prompts) = &self.prompts {
            shown += &format!(" --prompts {}", prompts.display());
        }
        Some(shown)
    }

    /// The prompts, where a file of them was named.
    pub(super) fn prompts(&self) -> Result<Option<PromptFile>> {
        self.prompts.as_deref().map(PromptFile::read).transpose()
    }

    /// What tells the prompts from others.
    pub(super) fn describe_prompts(&self) -> Result<Option<String>> {
        self.prompts.as_ref().map(sha256_of_file).transpose()
    }

    /// Starts the program, where one was named, and says what it has said of itself.
    pub(super) fn start(&self, terminal: &Terminal) -> Result<Option<GeneratorProgram>> {
        let Some(command) = &self.generator_command else { return Ok(None) };
        let timeout = Duration::from_secs(self.generator_timeout.into());
        let program = GeneratorProgram::start(command, timeout, terminal)?;
        terminal.say(&format!("generator {}", program.info()));
        Ok(Some(program))
    }
}
