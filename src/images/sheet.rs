//! Sheets: many images on white, side by side, plain or with labels.

use super::filter::Filter;
use super::glyphs;
use super::resize::resize;
use super::rgb::RgbImage;

/// Pixels around and between the images of a contact sheet.
const CONTACT_MARGIN: usize = 2;
/// Pixels around and between the cells of a labelled sheet, and between an image and the text below it.
const LABELLED_MARGIN: usize = 4;
/// Larger images are shrunk until their longer side is this.
const LARGEST_SIDE: u32 = 256;
/// On a labelled sheet smaller images are enlarged, by a whole factor, to at least this longer side: text needs room.
const SMALLEST_LABELLED_SIDE: u32 = 64;
/// Pixels of text for one of a glyph.
const TEXT_SCALE: usize = 2;
const PAPER: u8 = u8::MAX;
const INK: u8 = 0;
const RGB: usize = 3;

/// Images of one size, each `[height, width, channels]`, in rows of `columns` with `margin` pixels around and between them: the sheet's
/// bytes `[H, W, channels]` with its (W, H).
pub(crate) fn tiled(
    tiles: &[impl AsRef<[u8]>],
    (width, height): (usize, usize),
    channels: usize,
    columns: usize,
    margin: usize,
) -> (Vec<u8>, (u32, u32)) {
    let columns = columns.clamp(1, tiles.len().max(1));
    let rows = tiles.len().div_ceil(columns).max(1);
    let mut canvas =
        Canvas::new(columns * (width + margin) + margin, rows * (height + margin) + margin, channels);
    for (i, tile) in tiles.iter().enumerate() {
        let (column, row) = (i % columns, i / columns);
        canvas.draw(
            tile.as_ref(),
            width,
            margin + column * (width + margin),
            margin + row * (height + margin),
        );
    }
    (canvas.bytes, (canvas.width as u32, canvas.height as u32))
}

/// Images side by side in rows of `columns`, each in a tile of the first one's size (or smaller, if that is large).
pub(crate) fn contact_sheet(images: &[RgbImage], columns: usize) -> RgbImage {
    let size = images.first().map_or((1, 1), |first| {
        let scale = (f64::from(LARGEST_SIDE) / f64::from(first.width.max(first.height))).min(1.0);
        let side = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
        (side(first.width), side(first.height))
    });
    let tiles: Vec<Vec<u8>> = images.iter().map(|image| scaled(image, size)).collect();
    let size = (size.0 as usize, size.1 as usize);
    let (pixels, (width, height)) = tiled(&tiles, size, RGB, columns, CONTACT_MARGIN);
    RgbImage { width, height, pixels }
}

/// One column for each sample: an image with a text below it for every row; `rows` are the labels on the left. `None` without columns.
/// All cells have the size that suits the first image.
pub(crate) fn labelled_sheet<const N: usize>(
    rows: [&str; N],
    columns: &[[(RgbImage, String); N]],
) -> Option<RgbImage> {
    let (first, _) = columns.first()?.first()?;
    let (width, height) = labelled_cell(first);
    let (cell_width, cell_height) = (width as usize, height as usize);
    let text_height = glyphs::HEIGHT * TEXT_SCALE;
    let left =
        rows.iter().map(|row| glyphs::width(row)).max().unwrap_or(0) * TEXT_SCALE + 2 * LABELLED_MARGIN;
    let row_height = cell_height + text_height + 3 * LABELLED_MARGIN;
    let mut canvas = Canvas::new(
        left + columns.len() * (cell_width + LABELLED_MARGIN),
        LABELLED_MARGIN + N * row_height,
        RGB,
    );
    for (row, label) in rows.iter().enumerate() {
        let top = LABELLED_MARGIN + row * row_height;
        canvas.text(label, LABELLED_MARGIN, top + cell_height.saturating_sub(text_height) / 2);
        for (at, column) in columns.iter().enumerate() {
            let (image, text) = &column[row];
            let x = left + at * (cell_width + LABELLED_MARGIN);
            canvas.draw(&repeated(image, (width, height)), cell_width, x, top);
            let indent = cell_width.saturating_sub(glyphs::width(text) * TEXT_SCALE) / 2;
            canvas.text(text, x + indent, top + cell_height + LABELLED_MARGIN);
        }
    }
    Some(RgbImage { width: canvas.width as u32, height: canvas.height as u32, pixels: canvas.bytes })
}

fn labelled_cell(image: &RgbImage) -> (u32, u32) {
    let (width, height) = (image.width.max(1), image.height.max(1));
    let longer = width.max(height);
    if longer > LARGEST_SIDE {
        let side = |side: u32| (u64::from(side) * u64::from(LARGEST_SIDE) / u64::from(longer)).max(1) as u32;
        return (side(width), side(height));
    }
    let factor = SMALLEST_LABELLED_SIDE.div_ceil(longer);
    (width * factor, height * factor)
}

/// The pixels in another size, interpolated.
fn scaled(image: &RgbImage, to: (u32, u32)) -> Vec<u8> {
    let size = (image.width, image.height);
    if size == to { image.pixels.clone() } else { resize(&image.pixels, size, RGB, to, Filter::Bilinear) }
}

/// The pixels in another size: repeated where that is a multiple of their own, else interpolated.
fn repeated(image: &RgbImage, (width, height): (u32, u32)) -> Vec<u8> {
    let size = (image.width, image.height);
    if size.0 == 0 || size.1 == 0 || !width.is_multiple_of(size.0) || !height.is_multiple_of(size.1) {
        return scaled(image, (width, height));
    }
    let (across, down) = ((width / size.0) as usize, (height / size.1) as usize);
    let mut pixels = Vec::with_capacity(width as usize * height as usize * RGB);
    for row in image.pixels.chunks_exact(size.0 as usize * RGB) {
        let wide: Vec<u8> = row.chunks_exact(RGB).flat_map(|pixel| pixel.repeat(across)).collect();
        pixels.extend(wide.repeat(down));
    }
    pixels
}

/// A white image to draw on.
struct Canvas {
    width: usize,
    height: usize,
    channels: usize,
    /// `[height, width, channels]`
    bytes: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize, channels: usize) -> Self {
        Self { width, height, channels, bytes: vec![PAPER; width * height * channels] }
    }

    /// Draws an image of this width with its upper left corner at (`x`, `y`).
    fn draw(&mut self, image: &[u8], width: usize, x: usize, y: usize) {
        for (line, from) in image.chunks_exact((width * self.channels).max(1)).enumerate() {
            let at = ((y + line) * self.width + x) * self.channels;
            if let Some(to) = self.bytes.get_mut(at..at + from.len()) {
                to.copy_from_slice(from);
            }
        }
    }

    /// Writes a text; what lies outside is cut off.
    fn text(&mut self, text: &str, left: usize, top: usize) {
        for (x, y) in glyphs::pixels(text) {
            for dot in 0..TEXT_SCALE * TEXT_SCALE {
                let x = left + x * TEXT_SCALE + dot % TEXT_SCALE;
                let y = top + y * TEXT_SCALE + dot / TEXT_SCALE;
                if x < self.width && y < self.height {
                    self.bytes[(y * self.width + x) * self.channels..][..self.channels].fill(INK);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(side: u32, value: u8) -> RgbImage {
        RgbImage { width: side, height: side, pixels: vec![value; (side * side) as usize * RGB] }
    }

    #[test]
    fn a_contact_sheet_has_each_image_in_its_place() {
        let image = |v: u8| RgbImage { width: 2, height: 1, pixels: vec![v; 6] };
        let sheet = contact_sheet(&[image(10), image(20), image(30)], 2);
        assert_eq!((sheet.width, sheet.height), (2 * 4 + 2, 2 * 3 + 2));
        let at = |x: u32, y: u32| sheet.pixels[3 * (y * sheet.width + x) as usize];
        assert_eq!((at(2, 2), at(6, 2), at(2, 5), at(6, 5), at(0, 0)), (10, 20, 30, 255, 255));
        let empty = contact_sheet(&[], 4);
        assert_eq!((empty.width, empty.height), (5, 5));
    }

    #[test]
    fn tiles_without_margin_touch() {
        let (bytes, size) = tiled(&[[1, 2], [3, 4], [5, 6]], (1, 2), 1, 2, 0);
        assert_eq!((bytes, size), (vec![1, 3, 2, 4, 5, PAPER, 6, PAPER], (2, 4)));
    }

    #[test]
    fn whole_factors_repeat_pixels() {
        let image = RgbImage { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        let row = [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6];
        assert_eq!(repeated(&image, (4, 2)), [row, row].concat());
    }

    #[test]
    fn every_image_of_a_labelled_sheet_has_its_place_and_its_text_below() {
        const ROWS: [&str; 3] = ["less common", "original", "more common"];
        for side in [28, 32, 300] {
            let columns: Vec<[(RgbImage, String); 3]> = (0..3)
                .map(|c| [0, 1, 2].map(|row| (square(side, 100 + 10 * c + row), "0.50".to_owned())))
                .collect();
            let sheet = labelled_sheet(ROWS, &columns).unwrap();
            assert_eq!(sheet.pixels.len(), (sheet.width * sheet.height * 3) as usize);
            let (cell_width, cell_height) = labelled_cell(&columns[0][0].0);
            assert!((64..=256).contains(&cell_width));
            for value in [100, 101, 102, 110, 121] {
                let count = sheet.pixels.iter().filter(|&&v| v == value).count();
                assert_eq!(count as u32, cell_width * cell_height * 3, "{value} at {side}");
            }
            let ink = sheet.pixels.iter().filter(|&&v| v == INK).count() / RGB / (TEXT_SCALE * TEXT_SCALE);
            let texts: usize = ROWS.iter().map(|row| glyphs::pixels(row).count()).sum();
            assert_eq!(ink, texts + 9 * glyphs::pixels("0.50").count());
        }
        assert_eq!(labelled_sheet(ROWS, &[]), None);
    }
}
