//! The allocator, and one call into the command line.

use std::process::ExitCode;

/// Large blocks come and go with every layer of a network: without this each would be mapped and zeroed anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pseudo_density::cli::main()
}
