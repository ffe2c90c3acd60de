//! Gives bytes to a reader of files, as the file that it expects, and measures the memory that it takes.

use super::memory::peak;
use pseudo_density::internals::images::set_decoding_memory;
use pseudo_density::internals::readers::Reader;
use std::sync::Once;

/// Memory that a small file may take, whatever it says: the largest image that is decoded under [`DECODING`], and room for a copy.
pub const BOUND: usize = 128 << 20;

/// What decoding may take in all threads together; half of it for one image.
const DECODING: u64 = 64 << 20;

/// The most memory, in bytes, that `reader` held while it read a file of these bytes.
pub fn memory_to_read(reader: &Reader, bytes: &[u8]) -> usize {
    static LIMIT: Once = Once::new();
    LIMIT.call_once(|| set_decoding_memory(DECODING));
    let directory = tempfile::tempdir().expect("the folder for temporary files can be written");
    let path = directory.path().join(reader.file);
    std::fs::write(&path, bytes).expect("the folder for temporary files can be written");
    peak(|| (reader.read)(&path))
}
