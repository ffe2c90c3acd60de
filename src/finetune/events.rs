//! TensorBoard's event file: TFRecords (length and data, each with a masked CRC-32C) of `Event` messages in protobuf's wire format.
//!
//! <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h>,
//! <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto>. Wall times are 0: the same run gives the
//! same bytes.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// TensorBoard looks for `tfevents` in the name.
const NAME: &str = "events.out.tfevents.0.pd";
/// The first record of every file.
const VERSION: &str = "brain.Event:2";

/// An event file that grows.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts the file of a directory anew.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let path = directory.join(NAME);
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let mut events = Self { path, file };
        let mut event = wall_time();
        bytes_field(&mut event, EVENT_FILE_VERSION, VERSION.as_bytes());
        events.write(&event)?;
        Ok(events)
    }

    /// Adds the scalars of a step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn append(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        self.write(&scalar_event(step, scalars))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&record(event)).map_err(Error::io("write", &self.path))
    }
}

// Field numbers of event.proto and summary.proto.
const EVENT_WALL_TIME: u8 = 1;
const EVENT_STEP: u8 = 2;
const EVENT_FILE_VERSION: u8 = 3;
const EVENT_SUMMARY: u8 = 5;
const SUMMARY_VALUE: u8 = 1;
const VALUE_TAG: u8 = 1;
const VALUE_SIMPLE: u8 = 2;
// Wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

fn key(field: u8, wire: u8) -> u8 {
    field << 3 | wire
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(key(field, BYTES));
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn wall_time() -> Vec<u8> {
    let mut event = vec![key(EVENT_WALL_TIME, FIXED64)];
    event.extend(0f64.to_le_bytes());
    event
}

fn scalar_event(step: u64, scalars: &[(String, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in scalars {
        let mut value = Vec::new();
        bytes_field(&mut value, VALUE_TAG, tag.as_bytes());
        value.push(key(VALUE_SIMPLE, FIXED32));
        value.extend((*number as f32).to_le_bytes());
        bytes_field(&mut summary, SUMMARY_VALUE, &value);
    }
    let mut event = wall_time();
    event.push(key(EVENT_STEP, VARINT));
    varint(&mut event, step);
    bytes_field(&mut event, EVENT_SUMMARY, &summary);
    event
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(crc32c(&length)).to_le_bytes());
    out.extend(data);
    out.extend(masked(crc32c(data)).to_le_bytes());
    out
}

/// CRC-32C (Castagnoli), bit by bit: the records are short.
fn crc32c(data: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (REVERSED_POLYNOMIAL * (crc & 1)))
    })
}

/// As records store it, so that a CRC of data with CRCs in them is not weak.
fn masked(crc: u32) -> u32 {
    const DELTA: u32 = 0xa282_ead8;
    crc.rotate_right(15).wrapping_add(DELTA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_file_begins_as_those_of_tensorflow_do() {
        let directory = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(directory.path()).unwrap();
        events.append(300, &[("fd".into(), 1.5)]).unwrap();
        let bytes = std::fs::read(directory.path().join(NAME)).unwrap();
        // The length of the version record, 24, and its checksum, as in any file that TensorFlow wrote.
        assert_eq!(bytes[..12], *b"\x18\0\0\0\0\0\0\0\xa3\x7fK\x22");
        assert_eq!(bytes[21..36], *b"\x1a\x0dbrain.Event:2");
        let second = &bytes[12 + 24 + 4..];
        let event = b"\x09\0\0\0\0\0\0\0\0\x10\xac\x02\x2a\x0b\x0a\x09\x0a\x02fd\x15\0\0\xc0\x3f";
        assert_eq!(second[..8], (event.len() as u64).to_le_bytes());
        assert_eq!(second[12..12 + event.len()], *event);
        assert_eq!(second[12 + event.len()..], masked(crc32c(event)).to_le_bytes());
    }
}
