//! Opening of zip archives, the same for every reader of them.
//!
//! Where the central directory begins follows from the records at the end of the file, as in Python's `zipfile`: its size counts back
//! from the zip64 records where there are any, and from the end record where there are none. PyTorch writes zip64 records into files
//! of any size, and then leaves the true numbers in the end record: a reader that looks for zip64 records only where those numbers are
//! `0xFFFF_FFFF` counts from the wrong place.

use std::io::{Read, Result, Seek, SeekFrom};
use zip::read::{ArchiveOffset, Config};
use zip::{ZipArchive, result::ZipResult};

const DIRECTORY_ENTRY: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64: [u8; 4] = *b"PK\x06\x07";

/// Bytes of the end record without its comment, of the zip64 end record without extensions, and of the record that locates this.
const END_BYTES: usize = 22;
const END64_BYTES: usize = 56;
const LOCATOR64_BYTES: usize = 20;

/// The longest comment.
const MAX_COMMENT_BYTES: usize = u16::MAX as usize;

/// The archive in `source`, which may have other bytes before it.
///
/// # Errors
/// If it is no archive, or damaged.
pub(crate) fn open_zip<R: Read + Seek>(mut source: R) -> ZipResult<ZipArchive<R>> {
    let archive_offset = archive_offset(&mut source)?.map_or(ArchiveOffset::Detect, ArchiveOffset::Known);
    ZipArchive::with_config(Config { archive_offset }, source)
}

/// Where the archive begins, by the records at its end; `None` if no directory is where they say.
fn archive_offset(source: &mut (impl Read + Seek)) -> Result<Option<u64>> {
    let length = source.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    let longest = (LOCATOR64_BYTES + END64_BYTES + END_BYTES + MAX_COMMENT_BYTES) as u64;
    let tail_start = length.saturating_sub(longest);
    source.seek(SeekFrom::Start(tail_start))?;
    source.by_ref().take(longest).read_to_end(&mut tail)?;
    let Some((directory, declared)) = directory(&tail, tail_start) else { return Ok(None) };
    let mut start = Vec::new();
    source.seek(SeekFrom::Start(directory))?;
    source.by_ref().take(DIRECTORY_ENTRY.len() as u64).read_to_end(&mut start)?;
    Ok(if start == DIRECTORY_ENTRY { directory.checked_sub(declared) } else { None })
}

/// Where the central directory is, and where the archive says that it is, from the last bytes of a file, which begin at `tail_start`.
fn directory(tail: &[u8], tail_start: u64) -> Option<(u64, u64)> {
    let last = tail.len().checked_sub(END_BYTES)?;
    let end = (0..=last).rev().find(|&at| tail[at..].starts_with(&END))?;
    let locator = end.checked_sub(LOCATOR64_BYTES).filter(|&at| tail[at..].starts_with(&LOCATOR64));
    let (after, size, declared) = match locator {
        Some(locator) => {
            let record = locator.checked_sub(END64_BYTES).filter(|&at| tail[at..].starts_with(&END64))?;
            let number = |at: usize| {
                let bytes = tail.get(record + at..)?.first_chunk()?;
                Some(u64::from_le_bytes(*bytes))
            };
            (record, number(40)?, number(48)?)
        }
        None => {
            let number = |at: usize| {
                let bytes = tail.get(end + at..)?.first_chunk()?;
                Some(u64::from(u32::from_le_bytes(*bytes)))
            };
            (end, number(12)?, number(16)?)
        }
    };
    Some(((tail_start + after as u64).checked_sub(size)?, declared))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{Cursor, Write};
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    /// Puts zip64 records into an archive that was written without, and leaves the numbers in its end record, as PyTorch's writer does.
    pub(crate) fn with_zip64_records(archive: &[u8]) -> Vec<u8> {
        let end = archive.len() - END_BYTES;
        assert!(archive[end..].starts_with(&END), "an archive without comment");
        let word = |at: usize| u32::from_le_bytes(archive[end + at..][..4].try_into().unwrap());
        let count = u64::from(u16::from_le_bytes(archive[end + 10..][..2].try_into().unwrap()));
        let mut bytes = archive[..end].to_vec();
        bytes.extend(END64);
        bytes.extend((END64_BYTES as u64 - 12).to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([count, count, word(12).into(), word(16).into()].map(u64::to_le_bytes).concat());
        bytes.extend(LOCATOR64);
        bytes.extend([0; 4]);
        bytes.extend((end as u64).to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(&archive[end..]);
        bytes
    }

    fn archive(stem: &str, comment: &str) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for name in ["data.pkl", "byteorder", "data/0"] {
            zip.start_file(format!("{stem}/{name}"), options).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.set_comment(comment).unwrap();
        zip.finish().unwrap().into_inner()
    }

    fn contents(bytes: &[u8], stem: &str) -> Vec<String> {
        let mut zip = open_zip(Cursor::new(bytes)).unwrap();
        assert_eq!(zip.len(), 3);
        ["data.pkl", "byteorder", "data/0"]
            .map(|name| std::io::read_to_string(zip.by_name(&format!("{stem}/{name}")).unwrap()).unwrap())
            .to_vec()
    }

    #[test]
    fn archives_are_read_whatever_the_length_of_their_names_and_whatever_lies_before_them() {
        for length in 1..70 {
            let stem = "c".repeat(length);
            let plain = archive(&stem, "");
            for bytes in [with_zip64_records(&plain), archive(&stem, "a comment"), plain] {
                let prefixed = [b"#!/bin/sh\nPK\x01\x02 and more\n", &bytes[..]].concat();
                for bytes in [bytes, prefixed] {
                    assert_eq!(contents(&bytes, &stem), ["data.pkl", "byteorder", "data/0"], "{length}");
                }
            }
        }
    }

    #[test]
    fn empty_cut_and_foreign_files_are_no_archives_or_empty_ones() {
        let whole = with_zip64_records(&archive("stem", ""));
        for cut in 0..whole.len() {
            let found = open_zip(Cursor::new(&whole[..cut]));
            assert!(found.map_or(0, |zip| zip.len()) <= 3);
        }
        let empty = ZipWriter::new(Cursor::new(Vec::new())).finish().unwrap().into_inner();
        for bytes in [with_zip64_records(&empty), empty] {
            assert!(open_zip(Cursor::new(bytes)).unwrap().is_empty());
        }
    }
}
