//! `pd`: parse, dispatch, print the error chain, exit code.

mod cli;

use clap::Parser;
use std::process::ExitCode;

/// Large blocks come and go with every layer of a network: without this each would be mapped and zeroed anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pseudo_density::memory::keep_freed_memory();
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
