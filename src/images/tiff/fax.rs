//! Fax codes (ITU-T T.4 and T.6), as scanners write them into TIFF files. The tables of codes are those of the `fax` crate, whose own
//! decoders know neither rows without end marks nor two-dimensional rows of group 3.

use super::layout::Compression;
use fax::BitReader;
use fax::maps::{Mode, black, mode, white};
use std::convert::Infallible;

/// Bits of an end-of-line mark: eleven zeros and a one.
const END_OF_LINE: u8 = 12;
/// End-of-line marks that end a page of group 3.
const ENDS_OF_PAGE: usize = 6;
/// Runs below this length end the number that they are part of.
const MAKE_UP: u16 = 64;
/// Zero bits that are read behind the end of the data, so that the last codes need not fill a byte.
const SPARE_BITS: usize = 64;

/// Bits of a byte string, first the highest of each byte; zeros behind its end.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader for Bits<'_> {
    type Error = Infallible;

    fn peek(&self, bits: u8) -> Option<u16> {
        let byte = |i: usize| u32::from(self.bytes.get(self.at / 8 + i).copied().unwrap_or(0));
        let window = byte(0) << 16 | byte(1) << 8 | byte(2);
        let shift = 24 - (self.at % 8) as u32 - u32::from(bits);
        Some((window >> shift) as u16 & ((1u32 << bits) - 1) as u16)
    }

    fn consume(&mut self, bits: u8) -> Result<(), Infallible> {
        self.at += usize::from(bits);
        Ok(())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        (self.at.wrapping_neg() % 8) as u8
    }
}

impl Bits<'_> {
    fn take(&mut self, bits: u8) -> u16 {
        let value = self.peek(bits).unwrap_or(0);
        self.at += usize::from(bits);
        value
    }

    fn is_exhausted(&self) -> bool {
        self.at > 8 * self.bytes.len() + SPARE_BITS
    }

    /// Skips an end-of-line mark with the zeros before it, if there is one.
    fn skip_end_of_line(&mut self) -> bool {
        let start = self.at;
        while self.peek(END_OF_LINE) == Some(0) {
            self.at += 1;
            if self.is_exhausted() {
                self.at = start;
                return false;
            }
        }
        if self.peek(END_OF_LINE) == Some(1) {
            self.at += usize::from(END_OF_LINE);
            return true;
        }
        self.at = start;
        false
    }
}

/// Where a row ends, or why it cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    Whole,
    EndOfPage,
    Damaged,
}

/// A row as the places where its colour changes, beginning with white.
type Changes = Vec<usize>;

/// The length of a run of one colour.
fn run(bits: &mut Bits, is_black: bool) -> Option<usize> {
    let mut length = 0;
    loop {
        let part = if is_black { black::decode(bits) } else { white::decode(bits) }?;
        length += usize::from(part);
        if part < MAKE_UP {
            return Some(length);
        }
        if bits.is_exhausted() {
            return None;
        }
    }
}

/// A row of runs.
fn one_dimensional(bits: &mut Bits, width: usize, row: &mut Changes) -> Row {
    let (mut at, mut is_black) = (0, false);
    while at < width {
        let Some(length) = run(bits, is_black) else { return Row::Damaged };
        at += length;
        row.push(at.min(width));
        is_black = !is_black;
        if bits.is_exhausted() {
            return Row::Damaged;
        }
    }
    Row::Whole
}

/// A row as differences from the one above.
fn two_dimensional(bits: &mut Bits, width: usize, above: &Changes, row: &mut Changes) -> Row {
    // The position before the first pixel counts as a change.
    let (mut at, mut is_black, mut begun) = (0usize, false, false);
    let mut next = 0;
    while at < width {
        if bits.is_exhausted() {
            return Row::Damaged;
        }
        // The first change above, right of here, to the other colour.
        while next > 0 && above.get(next - 1).is_some_and(|&change| change > at) {
            next -= 1;
        }
        while above.get(next).is_some_and(|&change| if begun { change <= at } else { false })
            || (next % 2 == 1) != is_black
        {
            next += 1;
        }
        let change = |i: usize| above.get(i).copied().unwrap_or(width);
        match mode::decode(bits) {
            Some(Mode::Pass) => at = change(next + 1),
            Some(Mode::Horizontal) => {
                for colour in [is_black, !is_black] {
                    let Some(length) = run(bits, colour) else { return Row::Damaged };
                    at = (at + length).min(width);
                    row.push(at);
                }
            }
            Some(Mode::Vertical(by)) => {
                let to = change(next).saturating_add_signed(isize::from(by));
                if to < at {
                    return Row::Damaged;
                }
                at = to.min(width);
                row.push(at);
                is_black = !is_black;
            }
            Some(Mode::EOF) if !begun => return Row::EndOfPage,
            _ => return Row::Damaged,
        }
        begun = true;
    }
    Row::Whole
}

/// Rows of `width` pixels, a bit each, 1 where it is black; every row begins with a byte.
///
/// # Errors
/// A reason: the codes make no sense, or end before all rows are there.
pub(super) fn decode(
    bytes: &[u8],
    compression: Compression,
    (width, rows): (usize, usize),
) -> Result<Vec<u8>, String> {
    let mut bits = Bits { bytes, at: 0 };
    let row_bytes = width.div_ceil(8);
    let mut out = vec![0u8; row_bytes * rows];
    let (mut above, mut row) = (Changes::new(), Changes::new());
    for (number, pixels) in out.chunks_exact_mut(row_bytes.max(1)).enumerate() {
        row.clear();
        let result = match compression {
            Compression::Fax3 { two_dimensional: mixed } => {
                let mut ends = 0;
                let mut is_first_kind = true;
                while ends < ENDS_OF_PAGE && bits.skip_end_of_line() {
                    ends += 1;
                    is_first_kind = !mixed || bits.take(1) == 1;
                }
                if ends > 1 && number > 0 {
                    Row::EndOfPage
                } else if is_first_kind {
                    one_dimensional(&mut bits, width, &mut row)
                } else {
                    two_dimensional(&mut bits, width, &above, &mut row)
                }
            }
            Compression::Fax4 => two_dimensional(&mut bits, width, &above, &mut row),
            _ => {
                let result = one_dimensional(&mut bits, width, &mut row);
                bits.at = bits.at.next_multiple_of(8);
                result
            }
        };
        match result {
            Row::Whole => {}
            // In group 3 the next end-of-line mark puts a damaged row right.
            Row::Damaged if matches!(compression, Compression::Fax3 { .. }) && !bits.is_exhausted() => {
                while !bits.is_exhausted() && bits.peek(END_OF_LINE) != Some(1) {
                    bits.at += 1;
                }
            }
            Row::Damaged => return Err(format!("its fax codes are damaged or cut short in row {number}")),
            Row::EndOfPage => return Err(format!("its fax codes end after {number} of {rows} rows")),
        }
        paint(&row, pixels, width);
        std::mem::swap(&mut above, &mut row);
    }
    Ok(out)
}

fn paint(row: &Changes, pixels: &mut [u8], width: usize) {
    for pair in row.chunks(2).skip_while(|pair| pair.is_empty()) {
        let (from, to) = (pair.first().copied().unwrap_or(width), pair.get(1).copied().unwrap_or(width));
        for x in from..to.min(width) {
            if let Some(byte) = pixels.get_mut(x / 8) {
                *byte |= 0x80 >> (x % 8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let bits: Vec<u8> = text.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |sum, (i, bit)| sum | bit << (7 - i)))
            .collect()
    }

    // The codes are those of T.4, tables 2 and 3: white 4 is 1011, white 2 is 0111, black 2 is 11, white 0 is 00110101.
    #[test]
    fn rows_of_runs_are_read_with_and_without_end_marks() {
        let rows = packed("1011 11 0111 000000  00110101 11 1011 11 00");
        let found = decode(&rows, Compression::FaxRows, (8, 2)).unwrap();
        assert_eq!(found, [0b0000_1100, 0b1100_0011]);
        let marked = packed("000000000001 1011 11 0111 0000 000000000001 00110101 11 1011 11");
        let found = decode(&marked, Compression::Fax3 { two_dimensional: false }, (8, 2)).unwrap();
        assert_eq!(found, [0b0000_1100, 0b1100_0011]);
    }

    // T.6: horizontal 001, vertical 0 is 1, one to the right 011, one to the left 010, pass 0001.
    #[test]
    fn rows_that_differ_from_the_one_above_are_read() {
        let rows = packed("001 1011 11 1  1 1 1  011 1 1  0001 1");
        let found = decode(&rows, Compression::Fax4, (8, 4)).unwrap();
        assert_eq!(found, [0b0000_1100, 0b0000_1100, 0b0000_0100, 0]);
    }

    #[test]
    fn damaged_codes_are_a_reason_and_never_a_panic() {
        for bytes in [&[][..], &[0; 9], &[0xFF; 40], &[0x12, 0x34, 0x56, 0x78, 0x9A]] {
            for width in [1, 7, 64, 10_000] {
                for compression in
                    [Compression::FaxRows, Compression::Fax3 { two_dimensional: true }, Compression::Fax4]
                {
                    let _ = decode(bytes, compression, (width, 50));
                }
            }
        }
        assert!(decode(&[], Compression::Fax4, (8, 1)).is_err());
    }
}
