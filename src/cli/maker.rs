//! What makes the candidates of a command: a network of this process, or another program.

use super::generator_args::GeneratorArgs;
use super::program_args::ProgramArgs;
use super::terminal::Terminal;
use crate::candidates::{CandidateSource, GeneratorSource, LatentSource, ProgramSource};
use crate::error::Result;
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
    /// `batch` requests open at once.
    pub(super) fn open(
        (network, program): (&GeneratorArgs, &ProgramArgs),
        default_seeds: &Seeds,
        batch: usize,
        terminal: &Terminal,
    ) -> Result<Self> {
        if let Some(program) = program.start(terminal)? {
            let latents = network.latents_of_program(program.info(), default_seeds, terminal.device())?;
            return Ok(Self::Program(Box::new(ProgramSource::new(program, latents, batch)?)));
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

    /// What decides results, without a path in it: for a record of the run.
    pub(super) fn describe(&self, arguments: &GeneratorArgs, default_seeds: &Seeds) -> Result<Value> {
        match self {
            Self::Network { generator, origin, .. } => {
                arguments.describe((generator.as_ref(), origin), default_seeds)
            }
            Self::Program(source) => arguments.describe_program(&source.info(), default_seeds),
        }
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
