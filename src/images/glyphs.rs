//! Letters and digits of 5 x 7 pixels, for the labels of a sheet of images.

/// Columns of a glyph.
const WIDTH: usize = 5;
/// Rows of a glyph.
pub(super) const HEIGHT: usize = 7;
/// Columns from one glyph to the next.
const ADVANCE: usize = WIDTH + 1;

/// Pixels that a text is wide.
pub(super) fn width(text: &str) -> usize {
    (text.chars().count() * ADVANCE).saturating_sub(1)
}

/// The dark pixels (x, y) of a text; characters that have no glyph are left out.
pub(super) fn pixels(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.chars().enumerate().flat_map(|(at, character)| {
        let rows = glyph(character).unwrap_or_default();
        rows.into_iter().enumerate().flat_map(move |(y, row)| {
            (0..WIDTH).filter(move |x| row >> (WIDTH - 1 - x) & 1 == 1).map(move |x| (at * ADVANCE + x, y))
        })
    })
}

/// One number for each row, its highest of five bits on the left.
fn glyph(character: char) -> Option<[u8; HEIGHT]> {
    Some(match character {
        '0' => [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111],
        '3' => [0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110],
        '4' => [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        '6' => [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
        '7' => [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
        '8' => [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
        '9' => [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
        '.' => [0, 0, 0, 0, 0, 0b01100, 0b01100],
        '-' => [0, 0, 0, 0b11111, 0, 0, 0],
        'a' => [0, 0, 0b01110, 0b00001, 0b01111, 0b10001, 0b01111],
        'c' => [0, 0, 0b01110, 0b10000, 0b10000, 0b10001, 0b01110],
        'e' => [0, 0, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110],
        'g' => [0, 0b01111, 0b10001, 0b10001, 0b01111, 0b00001, 0b01110],
        'i' => [0b00100, 0, 0b01100, 0b00100, 0b00100, 0b00100, 0b01110],
        'l' => [0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        'm' => [0, 0, 0b11010, 0b10101, 0b10101, 0b10101, 0b10101],
        'n' => [0, 0, 0b10110, 0b11001, 0b10001, 0b10001, 0b10001],
        'o' => [0, 0, 0b01110, 0b10001, 0b10001, 0b10001, 0b01110],
        'r' => [0, 0, 0b10110, 0b11001, 0b10000, 0b10000, 0b10000],
        's' => [0, 0, 0b01111, 0b10000, 0b01110, 0b00001, 0b11110],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_lies_within_its_width_and_every_digit_has_its_own_glyph() {
        for text in ["0.83", "less common", "original", "more common", "-1e9"] {
            assert!(text.chars().all(|c| c == ' ' || glyph(c).is_some()), "{text}");
            assert!(pixels(text).all(|(x, y)| x < width(text) && y < HEIGHT));
        }
        let mut glyphs: Vec<_> = "0123456789".chars().filter_map(glyph).collect();
        glyphs.sort_unstable();
        glyphs.dedup();
        assert_eq!(glyphs.len(), 10);
        assert_eq!((width(""), pixels("\n").count()), (0, 0));
    }
}
