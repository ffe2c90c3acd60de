//! Text from files, made safe for HTML, SVG and the data of a page.

use crate::error::{Error, Result};
use serde::Serialize;
use std::fmt::Write;

/// Longest name that is shown whole, in characters.
const LONGEST_NAME: usize = 160;

/// Text for HTML and SVG: markup is escaped; control characters and marks that change the direction of text become visible.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_hidden(c) && c != '\n' => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

/// A control character, or a mark that changes the direction or the lines of text.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A value as JSON that can stand in an element of a page: no text in it ends the element, begins another or turns the source around.
///
/// # Errors
/// [`Error::Data`] if it cannot be JSON.
pub(super) fn json_text(value: &impl Serialize) -> Result<String> {
    let plain = serde_json::to_string(value).map_err(|e| Error::data(e.to_string(), ""))?;
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        if matches!(c, '<' | '>' | '&') || is_hidden(c) {
            // Such characters are in JSON within strings only, and all are of one unit of UTF-16.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// A name with its middle left out if it is very long.
pub(super) fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= LONGEST_NAME {
        return name.to_owned();
    }
    let side = LONGEST_NAME / 2;
    let start: String = name.chars().take(side).collect();
    let end: String = name.chars().skip(count - side).collect();
    format!("{start}…{end}")
}

/// A count with a thin space between thousands.
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([7, 1797, 100_000].map(count), ["7", "1\u{202f}797", "100\u{202f}000"]);
    }

    #[test]
    fn data_comes_back_and_holds_no_markup() {
        let name = "</script><!-- & \"\\ \u{202e}gnp\u{2028}\u{1}.é😀";
        let json = json_text(&vec![name]).unwrap();
        assert!(!json.contains(['<', '>', '&', '\u{202e}', '\u{2028}', '\u{1}']), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [name]);
    }

    #[test]
    fn a_very_long_name_keeps_both_ends() {
        let name = format!("start{}end", "ä".repeat(100_000));
        let short = shortened(&name);
        assert!(short.starts_with("start") && short.ends_with("end") && short.chars().count() <= 161);
        assert_eq!(shortened("a.png"), "a.png");
    }
}
