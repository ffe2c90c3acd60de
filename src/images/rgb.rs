//! An image in memory, and the largest that is read.

/// Pixels of one image, at most: twice the number above which Pillow warns, where it refuses a file as a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * 178_956_970;

/// Pixels along one side, at most; what resizing needs grows with it, whatever the other side is.
pub const MAX_SIDE: u64 = 1 << 18;

/// An image, `[H, W, 3]`, RGB, 0..=255.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height * width * 3` values, row by row.
    pub pixels: Vec<u8>,
}

/// Refuses images without pixels, and those above [`MAX_PIXELS`] or [`MAX_SIDE`].
///
/// # Errors
/// In words, without the path.
pub(super) fn check_pixels(width: u64, height: u64) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(0) => Err("the image has no pixels".into()),
        _ if width.max(height) > MAX_SIDE => {
            Err(format!("{width} x {height}: a side is longer than {MAX_SIDE} pixels"))
        }
        Some(n) if n <= MAX_PIXELS => Ok(()),
        _ => Err(format!("{width} x {height} pixels are more than the {MAX_PIXELS} that are read")),
    }
}
