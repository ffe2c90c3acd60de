//! What a GIF file says of its frames, without decoding them.

/// Bytes of the header and of the description of the canvas.
const HEADER: usize = 13;
/// Bytes of the description of a frame, with its mark.
const DESCRIPTION: usize = 10;

/// Width and height of every frame, as far as the file can be followed.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = (u16, u16)> {
    let mut at = bytes.get(HEADER - 3).map_or(bytes.len(), |&flags| HEADER + colours(flags));
    std::iter::from_fn(move || {
        loop {
            match bytes.get(at)? {
                b'!' => at = end_of_blocks(bytes, at + 2)?,
                b',' => {
                    let number =
                        |place: usize| Some(u16::from_le_bytes(*bytes.get(at + place..)?.first_chunk()?));
                    let frame = (number(5)?, number(7)?);
                    let flags = *bytes.get(at + DESCRIPTION - 1)?;
                    // The size of a code stands before the pixels. What is cut short is the last one.
                    let pixels = at + DESCRIPTION + colours(flags) + 1;
                    at = end_of_blocks(bytes, pixels).unwrap_or(bytes.len());
                    return Some(frame);
                }
                _ => return None,
            }
        }
    })
}

/// Bytes of the table of colours that flags tell of.
fn colours(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Where the blocks end of which the first is at `at`; each begins with its length, and the last one has none.
fn end_of_blocks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *bytes.get(at)? as usize;
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_behind_tables_and_extensions() {
        let mut bytes = b"GIF89a\x05\0\x06\0\x80\0\0".to_vec();
        bytes.extend([0; 6]);
        bytes.extend(b"!\xf9\x04\0\0\0\0\0");
        bytes.extend(b",\0\0\0\0\x01\0\x02\0\0\x02\x02\x44\x01\0");
        assert_eq!(frames(&bytes).collect::<Vec<_>>(), [(1, 2)]);
        bytes.extend(b",\0\0\0\0\xff\xff\x03\0\x81\0\0\0\0\0\0\0\0\0\0\0\0\x02\x01\x44\0;");
        assert_eq!(frames(&bytes).collect::<Vec<_>>(), [(1, 2), (65_535, 3)]);
        for length in 0..bytes.len() {
            assert!(frames(&bytes[..length]).count() <= 2);
        }
    }
}
