//! What can be measured of a single picture.

use crate::images::RgbImage;

/// How sharp a picture is: the standard deviation of the Laplacian of its luma, in gray levels. Blur lowers it.
pub(crate) fn sharpness(image: &RgbImage) -> f64 {
    let (width, height) = (image.width as usize, image.height as usize);
    if width < 3 || height < 3 {
        return 0.0;
    }
    let luma: Vec<f32> = image
        .pixels
        .as_chunks::<3>()
        .0
        .iter()
        .map(|&[r, g, b]| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b))
        .collect();
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
    fn the_sharpness_of_stripes_is_known() {
        // Columns of 0 and 10: the Laplacian is 20 and -20 in turn.
        let pixels = (0..8 * 6).flat_map(|i| [if i % 2 == 0 { 0 } else { 10 }; 3]).collect();
        let stripes = RgbImage { width: 8, height: 6, pixels };
        assert!((sharpness(&stripes) - 20.0).abs() < 1e-4);
        let plain = RgbImage { width: 8, height: 6, pixels: vec![90; 8 * 6 * 3] };
        assert!(sharpness(&plain) < 1e-3);
        assert_eq!(sharpness(&RgbImage { width: 1, height: 1, pixels: vec![1, 2, 3] }), 0.0);
    }
}
