//! Lines that a program writes, read in bounded memory.

use std::io::{self, BufRead};

/// Most bytes of a line that are kept; the rest of a longer one is left out.
const MAX_LINE: usize = 1 << 20;

/// The next line without its end, cut where it is too long to be a message; `None` at the end. Bytes that are no UTF-8 are replaced.
/// What a carriage return within a line would have written over is left out, as on a terminal: progress bars are redrawn so.
///
/// # Errors
/// What `source` returns.
pub(super) fn next_line(source: &mut impl BufRead) -> io::Result<Option<String>> {
    let (mut line, mut ended, mut any) = (Vec::new(), false, false);
    while !ended {
        let available = match source.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        if available.is_empty() {
            break;
        }
        any = true;
        let end = available.iter().position(|&byte| byte == b'\n');
        ended = end.is_some();
        let part = &available[..end.unwrap_or(available.len())];
        let room = MAX_LINE.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let taken = part.len() + usize::from(ended);
        source.consume(taken);
    }
    let text = String::from_utf8_lossy(&line);
    let shown = text.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    Ok(any.then(|| shown.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    fn lines(bytes: &[u8], buffer: usize) -> Vec<String> {
        let mut source = BufReader::with_capacity(buffer, Cursor::new(bytes.to_vec()));
        std::iter::from_fn(|| next_line(&mut source).unwrap()).collect()
    }

    #[test]
    fn lines_end_in_any_way_and_progress_bars_leave_their_last_state() {
        for buffer in [1, 2, 3, 7, 100] {
            assert_eq!(lines(b"a\n\nbc\r\nlast", buffer), ["a", "", "bc", "last"], "{buffer}");
            assert_eq!(lines(b" 0%\r 50%\r100%\nnext\n", buffer), ["100%", "next"], "{buffer}");
            assert_eq!(lines(b"\xff!\n", buffer), ["\u{fffd}!"], "{buffer}");
        }
        assert!(lines(b"", 5).is_empty());
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory_and_the_next_one_is_read() {
        let mut bytes = vec![b'x'; 3 * MAX_LINE];
        bytes.extend(b"\nafter\n");
        let found = lines(&bytes, 4096);
        assert_eq!((found[0].len(), found[1].as_str()), (MAX_LINE, "after"));
    }
}
