//! Text from files, made safe for HTML and SVG.

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
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            c if c.is_control() && c != '\n' => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_very_long_name_keeps_both_ends() {
        let name = format!("start{}end", "ä".repeat(100_000));
        let short = shortened(&name);
        assert!(short.starts_with("start") && short.ends_with("end") && short.chars().count() <= 161);
        assert_eq!(shortened("a.png"), "a.png");
    }
}
