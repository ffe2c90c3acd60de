//! What can be measured of a single picture.

use crate::images::RgbImage;

/// Gray levels.
const LEVELS: usize = 256;
/// The largest gray level.
const WHITE: f64 = 255.0;

/// Numbers of a picture that tell whether something may be wrong with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measures {
    /// How sharp it is: the standard deviation of the Laplacian of its luma, in gray levels. Blur lowers it.
    pub(crate) sharpness: f64,
    /// Mean of its luma, from 0 (black) to 1 (white).
    pub(crate) brightness: f64,
    /// Standard deviation of its luma, on the same scale.
    pub(crate) contrast: f64,
    /// Shannon entropy of its gray levels in bits, 0 to 8: a plain picture has none.
    pub(crate) entropy: f64,
    /// Mean difference of the largest and the smallest of red, green and blue, 0 to 1: that of a gray picture is 0.
    pub(crate) colour: f64,
    /// Pixels.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
}

impl Measures {
    /// Of a picture as it is shown.
    pub(crate) fn of(image: &RgbImage) -> Self {
        let pixels = image.pixels.as_chunks::<3>().0;
        let luma: Vec<f32> = pixels
            .iter()
            .map(|&[r, g, b]| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b))
            .collect();
        let mut counts = [0u64; LEVELS];
        let (mut sum, mut squares, mut colour) = (0.0f64, 0.0f64, 0u64);
        for (&level, [r, g, b]) in luma.iter().zip(pixels) {
            counts[(level.round() as usize).min(LEVELS - 1)] += 1;
            let level = f64::from(level);
            sum += level;
            squares += level * level;
            colour += u64::from(r.max(g).max(b) - r.min(g).min(b));
        }
        let count = luma.len().max(1) as f64;
        let mean = sum / count;
        let share = counts.iter().filter(|&&n| n > 0).map(|&n| n as f64 / count);
        Self {
            sharpness: sharpness(&luma, image.width as usize, image.height as usize),
            brightness: mean / WHITE,
            contrast: (squares / count - mean * mean).max(0.0).sqrt() / WHITE,
            entropy: share.map(|p| -p * p.log2()).sum::<f64>().max(0.0),
            colour: colour as f64 / count / WHITE,
            width: image.width,
            height: image.height,
        }
    }
}

fn sharpness(luma: &[f32], width: usize, height: usize) -> f64 {
    if width < 3 || height < 3 {
        return 0.0;
    }
    let rows: Vec<&[f32]> = luma.chunks_exact(width).collect();
    let (mut sum, mut squares, mut count) = (0.0f64, 0.0f64, 0.0f64);
    for three in rows.windows(3) {
        let [above, row, below] = three else { continue };
        for ((around, above), below) in row.windows(3).zip(&above[1..]).zip(&below[1..]) {
            let [left, here, right] = around else { continue };
            let laplacian = f64::from(left + right + above + below - 4.0 * here);
            sum += laplacian;
            squares += laplacian * laplacian;
            count += 1.0;
        }
    }
    (squares / count - (sum / count).powi(2)).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_stripes_are_known() {
        // Columns of 0 and 10: the Laplacian is 20 and -20 in turn.
        let pixels = (0..8 * 6).flat_map(|i| [if i % 2 == 0 { 0 } else { 10 }; 3]).collect();
        let of = Measures::of(&RgbImage { width: 8, height: 6, pixels });
        assert!((of.sharpness - 20.0).abs() < 1e-4);
        assert!((of.brightness - 5.0 / 255.0).abs() < 1e-6 && (of.contrast - 5.0 / 255.0).abs() < 1e-6);
        assert_eq!((of.entropy, of.colour, of.width, of.height), (1.0, 0.0, 8, 6));
        let red = Measures::of(&RgbImage { width: 4, height: 4, pixels: [200, 100, 50].repeat(16) });
        assert!(red.sharpness < 1e-3 && red.entropy == 0.0 && (red.colour - 150.0 / 255.0).abs() < 1e-9);
        let luma = (0.299 * 200.0 + 0.587 * 100.0 + 0.114 * 50.0) / 255.0;
        assert!((red.brightness - luma).abs() < 1e-6 && red.contrast < 1e-3);
    }

    #[test]
    fn pictures_of_odd_shapes_have_numbers() {
        for (width, height) in [(1, 1), (1, 300), (2, 2), (0, 0)] {
            let pixels = vec![7; (3 * width * height) as usize];
            let of = Measures::of(&RgbImage { width, height, pixels });
            assert_eq!((of.sharpness, of.entropy), (0.0, 0.0));
            assert!(of.brightness.is_finite() && of.contrast.is_finite());
        }
    }
}
