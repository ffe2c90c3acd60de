//! Names of files, and texts of files, on a terminal: characters that it would obey are shown instead. A name may otherwise clear the
//! screen, set the clipboard, or look like a line of the program's own.

use std::borrow::Cow;
use std::fmt::Write;

/// A text that stands within a line.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// A text of lines. What is in JSON stays the same JSON.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n', '\t'])
}

fn escaped<'t>(text: &'t str, allowed: &[char]) -> Cow<'t, str> {
    let is_obeyed = |c: char| is_obeyed(c) && !allowed.contains(&c);
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_obeyed(c) {
            // As JSON writes it.
            true => drop(write!(out, "\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out.into()
}

/// Control characters, and those that change the direction or the lines of what follows.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_all_else_stays() {
        assert_eq!(one_line("\u{1b}]0;OWNED\u{7}a.png"), "\\u001b]0;OWNED\\u0007a.png");
        assert_eq!(
            one_line("a\nerror: fake\r\t\u{9b}2J\u{7f}"),
            "a\\u000aerror: fake\\u000d\\u0009\\u009b2J\\u007f"
        );
        assert_eq!(one_line("txt.\u{202e}gnp"), "txt.\\u202egnp");
        assert_eq!(lines("a\tb\n\u{1b}c\n"), "a\tb\n\\u001bc\n");
        for plain in ["", "Küche 1/日本.png", "🙂 a\\b"] {
            assert!(matches!(one_line(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}[2J\u{202e}", "b": ["\n"]});
        let text = format!("{value:#}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&lines(&text)).unwrap(), value);
        assert!(!lines(&text).chars().any(|c| is_obeyed(c) && c != '\n'));
    }
}
