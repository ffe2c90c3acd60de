//! An image in memory, and how large it may be.

/// Most pixels of one image: Pillow refuses larger files as decompression bombs (twice the number at which it warns).
pub(super) const MAX_PIXELS: u64 = 2 * 178_956_970;

/// Most pixels along one side: the memory that resizing needs grows with each side alone.
pub(super) const MAX_SIDE: u64 = 1 << 18;

/// What decoding takes for each pixel beside the stored ones: its three bytes, and once more when the image is turned.
pub(super) const RGB_BYTES_PER_PIXEL: u64 = 3 + 3;

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

impl RgbImage {
    /// The pixels as a PNM file, which is no more than a line and the pixels themselves.
    pub(super) fn as_file(&self) -> Result<Vec<u8>, String> {
        let RgbImage { width, height, pixels } = self;
        let mut file = format!("P6\n{width} {height}\n255\n").into_bytes();
        if pixels.len() as u64 != 3 * u64::from(*width) * u64::from(*height) {
            return Err(format!("{} values for {width} x {height} RGB pixels", pixels.len()));
        }
        file.extend_from_slice(pixels);
        Ok(file)
    }

    /// With left and right exchanged.
    pub(crate) fn mirrored(&self) -> Self {
        let rows = self.pixels.chunks_exact(3 * self.width.max(1) as usize);
        let pixels = rows.flat_map(|row| row.as_chunks::<3>().0.iter().rev().flatten().copied()).collect();
        Self { width: self.width, height: self.height, pixels }
    }
}

/// Refuses images without pixels, and those above [`MAX_PIXELS`] or [`MAX_SIDE`].
///
/// # Errors
/// A reason without the path.
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
