//! `grid.png`: each sample in a column, less common above, as it was in the middle, more common below, each with its density.

use super::glyphs;
use crate::images::{Filter, RgbImage, resize};

/// One sample: its images and their densities, from the less to the more common.
pub(super) type Column = [(RgbImage, f64); 3];

/// What the rows are called.
const ROWS: [&str; 3] = ["less common", "original", "more common"];
/// Images are enlarged (by whole factors) to at least this side, in pixels.
const LEAST_SIDE: u32 = 64;
/// Images whose longer side is above this are shrunk to it.
const LARGEST_SIDE: u32 = 256;
/// Pixels between cells.
const GAP: usize = 4;
/// Pixels of text for one of a glyph.
const TEXT_SCALE: usize = 2;
const PAPER: u8 = 255;
const INK: u8 = 0;
const CHANNELS: usize = 3;

/// The grid; `None` without columns.
pub(super) fn grid(columns: &[Column]) -> Option<RgbImage> {
    let (first, _) = columns.first()?.first()?;
    let (cell_width, cell_height) = cell(first);
    let text_height = glyphs::HEIGHT * TEXT_SCALE;
    let left = ROWS.iter().map(|row| glyphs::width(row)).max().unwrap_or(0) * TEXT_SCALE + 2 * GAP;
    let row_height = cell_height + text_height + 3 * GAP;
    let mut sheet = Sheet::new(left + columns.len() * (cell_width + GAP), GAP + ROWS.len() * row_height);
    for (row, label) in ROWS.iter().enumerate() {
        let top = GAP + row * row_height;
        sheet.text(label, GAP, top + cell_height.saturating_sub(text_height) / 2);
        for (at, column) in columns.iter().enumerate() {
            let (image, density) = &column[row];
            let x = left + at * (cell_width + GAP);
            sheet.draw(&scaled(image, (cell_width, cell_height)), cell_width, x, top);
            let text = short(*density);
            let indent = cell_width.saturating_sub(glyphs::width(&text) * TEXT_SCALE) / 2;
            sheet.text(&text, x + indent, top + cell_height + GAP);
        }
    }
    Some(RgbImage { width: sheet.width as u32, height: sheet.height as u32, pixels: sheet.bytes })
}

/// A density in few characters.
fn short(density: f64) -> String {
    match density {
        d if d < 100.0 => format!("{d:.2}"),
        d if d < 1e5 => format!("{d:.0}"),
        d => format!("{d:.0e}"),
    }
}

fn cell(image: &RgbImage) -> (usize, usize) {
    let (width, height) = (image.width.max(1), image.height.max(1));
    let longer = width.max(height);
    if longer > LARGEST_SIDE {
        let side =
            |side: u32| (u64::from(side) * u64::from(LARGEST_SIDE) / u64::from(longer)).max(1) as usize;
        return (side(width), side(height));
    }
    let factor = LEAST_SIDE.div_ceil(longer);
    ((width * factor) as usize, (height * factor) as usize)
}

/// The image in the size of a cell.
fn scaled(image: &RgbImage, (width, height): (usize, usize)) -> Vec<u8> {
    let size = (image.width, image.height);
    if width < size.0 as usize || height < size.1 as usize {
        return resize(&image.pixels, size, CHANNELS, (width as u32, height as u32), Filter::Bilinear);
    }
    let (across, down) = (width / (size.0 as usize).max(1), height / (size.1 as usize).max(1));
    let mut bytes = Vec::with_capacity(width * height * CHANNELS);
    for y in 0..height {
        for x in 0..width {
            let at = (y / down * size.0 as usize + x / across) * CHANNELS;
            bytes.extend_from_slice(&image.pixels[at..at + CHANNELS]);
        }
    }
    bytes
}

/// A white sheet in RGB.
struct Sheet {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Sheet {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, bytes: vec![PAPER; width * height * CHANNELS] }
    }

    fn draw(&mut self, rgb: &[u8], width: usize, x: usize, y: usize) {
        for (line, from) in rgb.chunks_exact(width * CHANNELS).enumerate() {
            let at = ((y + line) * self.width + x) * CHANNELS;
            if let Some(to) = self.bytes.get_mut(at..at + from.len()) {
                to.copy_from_slice(from);
            }
        }
    }

    fn text(&mut self, text: &str, left: usize, top: usize) {
        for (x, y) in glyphs::pixels(text) {
            for dot in 0..TEXT_SCALE * TEXT_SCALE {
                let x = left + x * TEXT_SCALE + dot % TEXT_SCALE;
                let y = top + y * TEXT_SCALE + dot / TEXT_SCALE;
                if x < self.width && y < self.height {
                    self.bytes[(y * self.width + x) * CHANNELS..][..CHANNELS].fill(INK);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(side: u32, value: u8) -> RgbImage {
        RgbImage { width: side, height: side, pixels: vec![value; (side * side) as usize * CHANNELS] }
    }

    #[test]
    fn every_image_has_its_place_and_its_density_below() {
        for side in [28, 32, 300] {
            let columns: Vec<Column> =
                (0..3).map(|c| [0, 1, 2].map(|row| (image(side, 100 + 10 * c + row), 0.5))).collect();
            let grid = grid(&columns).unwrap();
            assert_eq!(grid.pixels.len(), (grid.width * grid.height * 3) as usize);
            let (cell_width, cell_height) = cell(&columns[0][0].0);
            assert!((64..=256).contains(&cell_width));
            for value in [100, 101, 102, 110, 121] {
                let count = grid.pixels.iter().filter(|&&v| v == value).count();
                assert_eq!(count, cell_width * cell_height * 3, "{value} at {side}");
            }
            let ink = grid.pixels.iter().filter(|&&v| v == 0).count() / 3 / (TEXT_SCALE * TEXT_SCALE);
            let texts: usize = ROWS.iter().map(|row| glyphs::pixels(row).count()).sum();
            assert_eq!(ink, texts + 9 * glyphs::pixels("0.50").count());
        }
        assert_eq!(grid(&[]), None);
    }

    #[test]
    fn densities_of_any_size_are_short() {
        for (density, text) in
            [(0.0, "0.00"), (0.834, "0.83"), (99.9, "99.90"), (1234.5, "1234"), (1e300, "1e300")]
        {
            assert_eq!(short(density), text);
        }
    }
}
