//! What makes the candidates of a command: a network of this process, or another program.

use super::generator_args::GeneratorArgs;
use super::program_args::ProgramArgs;
use super::terminal::Terminal;
use crate::candidates::{
    CandidateSource, GeneratorSource, LatentSource, ProgramSource, PromptFile, PromptOrder, Prompts,
};
use crate::error::{Error, Result};
use crate::generate::{Generator, Origin, Seeds};
use serde_json::Value;

/// What makes candidates, opened.
pub(super) enum Maker {
    /// A network, with the latents that it makes them of.
    Network {
        /// The network.
        generator: Box<dyn Generator>,
        /// Where it was found.
        origin: Origin,
        /// One for each candidate.
        latents: LatentSource,
    },
    /// Another program, with what it is asked for.
    Program(Box<ProgramSource>),
}

impl Maker {
    /// Opens what the arguments name. Without seeds or latents of one's own, candidates are those of `default_seeds`. A program has
    /// `batch` requests open at once, and may be asked for images of prompts.
    pub(super) fn open(
        (network, program): (&GeneratorArgs, &ProgramArgs),
        prompts: Option<NumberedPrompts>,
        default_seeds: &Seeds,
        batch: usize,
        terminal: &Terminal,
    ) -> Result<Self> {
        if program.is_named() {
            network.refuse_for_program()?;
        }
        if let Some(program) = program.start(terminal)? {
            let latents = network.latents_of_program(program.info(), default_seeds, terminal.device())?;
            let prompts = prompts.map(|prompts| prompts.with_seeds(latents.len())).transpose()?;
            return Ok(Self::Program(Box::new(ProgramSource::new(program, latents, prompts, batch)?)));
        }
        let (generator, origin) = network.open(terminal)?;
        let latents = network.candidate_latents(generator.as_ref(), default_seeds, terminal.device())?;
        Ok(Self::Network { generator, origin, latents })
    }

    /// The candidates; a network makes `batch` of them in a forward pass.
    pub(super) fn source(&self, batch: usize) -> Source<'_> {
        match self {
            Self::Network { generator, latents, .. } => {
                Source::Network(GeneratorSource { generator: generator.as_ref(), latents, batch })
            }
            Self::Program(source) => Source::Program(source),
        }
    }

    /// How many candidates each prompt has; `None` without prompts.
    pub(super) fn of_prompts(&self) -> Option<Vec<usize>> {
        match self {
            Self::Network { .. } => None,
            Self::Program(source) => {
                let count = |&count: &u64| usize::try_from(count).unwrap_or(usize::MAX);
                source.prompts().map(|prompts| prompts.counts().iter().map(count).collect())
            }
        }
    }

    /// What decides results, without a path in it: for a record of the run.
    pub(super) fn describe(
        &self,
        (network, program): (&GeneratorArgs, &ProgramArgs),
        default_seeds: &Seeds,
    ) -> Result<Value> {
        match self {
            Self::Network { generator, origin, .. } => {
                network.describe((generator.as_ref(), origin), default_seeds)
            }
            Self::Program(source) => {
                network.describe_program(source.info(), program.describe_prompts()?, default_seeds)
            }
        }
    }
}

/// The prompts of a file, with the order in which their candidates are numbered.
pub(super) struct NumberedPrompts {
    /// The file.
    pub file: PromptFile,
    /// The order.
    pub order: PromptOrder,
    /// Most candidates of a prompt.
    pub most: u64,
}

impl NumberedPrompts {
    /// The prompts, each of which gets the first of `seeds` seeds.
    fn with_seeds(self, seeds: u64) -> Result<Prompts> {
        if let Some(count) = self.file.largest_count().filter(|&count| count > seeds) {
            return Err(Error::usage(
                format!("a prompt is to have {count} candidates, and there are {seeds} seeds or latents"),
                "list more of them, or none: --seeds may be left out",
            ));
        }
        Ok(self.with_at_most(seeds))
    }

    /// The prompts, none of which gets more than `seeds` candidates.
    pub(super) fn with_at_most(self, seeds: u64) -> Prompts {
        self.file.with_at_most(seeds.min(self.most), self.order)
    }
}

/// The candidates of a command.
pub(super) enum Source<'a> {
    /// Made by a network.
    Network(GeneratorSource<'a>),
    /// Made by another program.
    Program(&'a ProgramSource),
}

impl<'a> Source<'a> {
    /// What sampling takes.
    pub(super) fn candidates(&self) -> &(dyn CandidateSource + 'a) {
        match self {
            Self::Network(source) => source,
            Self::Program(source) => *source,
        }
    }
}
