//! How many threads compute: ours, and those that candle keeps for its own operations.

use crate::error::{Error, Result};
use std::thread::available_parallelism;

/// candle's threads wait for each other without sleeping, and by default there are as many as the machine has cores, whatever this
/// process may use: with more than ours both would stand in each other's way.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// Both take this many, or as many as this process may use. To be called once, before work begins.
///
/// # Errors
/// [`Error::Usage`] if there cannot be so many.
pub(super) fn set_up(threads: Option<u16>) -> Result<()> {
    let count = threads.map(usize::from).or_else(|| available_parallelism().ok().map(usize::from));
    if let Some(count) = count {
        // SAFETY: no other thread reads the environment: the one that waits for signals never does, those of MPI have read it, and
        // there is none beside these yet.
        unsafe { std::env::set_var(CANDLE_THREADS, count.to_string()) };
    }
    if let Some(threads) = threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global().map_err(|e| {
            Error::usage(format!("cannot start {threads} threads: {e}"), "use fewer --threads")
        })?;
    }
    Ok(())
}
