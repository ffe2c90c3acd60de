//! Gives what libFuzzer makes up to one reader of files: the one whose kind the environment variable `FUZZ` names.

#![no_main]

#[path = "../../support/memory.rs"]
mod memory;
#[path = "../../support/read.rs"]
mod read;

use libfuzzer_sys::fuzz_target;
use memory::Counting;
use pseudo_density::internals::readers::{READERS, Reader};
use read::{BOUND, memory_to_read};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static READER: LazyLock<&Reader> = LazyLock::new(|| {
    let kind = std::env::var("FUZZ").unwrap_or_default();
    READERS.iter().find(|reader| reader.kind == kind).unwrap_or_else(|| {
        let kinds: Vec<_> = READERS.iter().map(|reader| reader.kind).collect();
        panic!("FUZZ is `{kind}`; known are {}", kinds.join(", "))
    })
});

/// The most memory that any input took.
static MOST: AtomicUsize = AtomicUsize::new(0);

fuzz_target!(|bytes: &[u8]| {
    let taken = memory_to_read(&READER, bytes);
    if taken > MOST.fetch_max(taken, Ordering::Relaxed) {
        eprintln!("most memory: {taken} bytes for an input of {}", bytes.len());
    }
    assert!(taken < BOUND, "{taken} bytes of memory for an input of {}", bytes.len());
});
