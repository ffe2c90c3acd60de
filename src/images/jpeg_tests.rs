//! Tests of reading JPEG files, against the fixtures' pictures.

use super::decode::decode_file;
use super::tests::{file, fixture, preprocessing};
use super::*;

#[test]
fn a_jpeg_is_decoded_at_the_smallest_size_that_covers_what_is_wanted() {
    // Its file says that it is turned by a quarter.
    let mut jpeg = file("exif6_64x40.jpg");
    let whole = decode(&jpeg, Alpha::White).unwrap();
    let (width, height) = (whole.width, whole.height);
    assert_eq!(u64::from(width.min(height)), 40);
    for eighths in 1..=8 {
        let at = |side: u32| (side * eighths).div_ceil(8);
        let decoded = decode_file(&jpeg, Alpha::White, &|size| {
            assert_eq!(size, (width, height));
            (at(width).into(), at(height).into())
        })
        .unwrap();
        assert_eq!((decoded.image.width, decoded.image.height), (at(width), at(height)));
        assert_eq!(decoded.size, (width, height));
        // The same picture: each pixel is about what resizing gives, whose filter reaches farther.
        let small = resize(&whole.pixels, (width, height), 3, (at(width), at(height)), Filter::Bilinear);
        let mean = |pixels: &[u8]| pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / pixels.len() as f64;
        let apart =
            small.iter().zip(&decoded.image.pixels).map(|(&a, &b)| a.abs_diff(b)).collect::<Vec<u8>>();
        let shuffled = small.iter().rev().zip(&small).map(|(&a, &b)| a.abs_diff(b)).collect::<Vec<u8>>();
        assert!(mean(&apart) < 0.5 * mean(&shuffled), "{eighths}: {} {}", mean(&apart), mean(&shuffled));
        assert!((mean(&decoded.image.pixels) - mean(&whole.pixels)).abs() < 3.0, "{eighths}");
    }
    for least in [(1, 33), (33, 1), (40, 64), (64, 40), (99, 99)] {
        let decoded = decode_file(&jpeg, Alpha::White, &|_| least).unwrap().image;
        let covered = |side: u32, whole: u32, least: u64| side == whole || u64::from(side) >= least;
        assert!(covered(decoded.width, width, least.0) && covered(decoded.height, height, least.1));
    }
    jpeg.truncate(jpeg.len() / 2);
    assert!(decode_file(&jpeg, Alpha::White, &|_| (1, 1)).is_err());
}

#[test]
fn fast_decoding_keeps_the_size_of_the_original_and_leaves_other_formats_alone() {
    let set = ImageSet::open(&fixture("preprocess/files"), &crate::progress::Silent).unwrap();
    let whole = preprocessing(8, 8, Fit::Squash, Filter::Bilinear);
    let fast = Preprocessing { fast_decode: true, ..whole.clone() };
    let mut differ = 0;
    for (i, (whole, fast)) in
        load(&set, 0..set.len(), &whole).into_iter().zip(load(&set, 0..set.len(), &fast)).enumerate()
    {
        let (Ok(whole), Ok(fast)) = (&whole, &fast) else {
            assert_eq!(whole, fast);
            continue;
        };
        assert_eq!((whole.width, whole.height, &whole.note), (fast.width, fast.height, &fast.note));
        if whole.pixels != fast.pixels {
            assert!(set.path(i).contains("jp"), "{}", set.path(i));
            differ += 1;
        }
    }
    assert!(differ > 0);
}

#[test]
fn a_jpeg_with_lost_data_is_damage_and_one_with_stray_bytes_is_not() {
    let whole = file("rgb_640x427_q90_420.jpg");
    let mut zeroed = whole.clone();
    let middle = whole.len() / 2;
    zeroed[middle..middle + 200].fill(0);
    assert!(decode(&zeroed, Alpha::White).unwrap_err().contains("Corrupt JPEG data"));
    let without_end = &whole[..whole.len() - 2];
    assert!(decode(without_end, Alpha::White).unwrap_err().contains("Premature end"));
    let mut stray = whole.clone();
    let scan = whole.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap();
    stray.splice(scan..scan, *b"junk");
    let trailing = [&whole[..], b"trailing bytes"].concat();
    for same in [stray, trailing] {
        assert_eq!(decode(&same, Alpha::White).unwrap(), decode(&whole, Alpha::White).unwrap());
    }
}

/// A progressive JPEG of one block whose coefficients are refined bit by bit, each bit in a scan of its own.
fn jpeg_of_scans(scans: usize) -> Vec<u8> {
    let segment = |marker: u8, content: &[u8]| {
        [&[0xFF, marker], &(content.len() as u16 + 2).to_be_bytes()[..], content].concat()
    };
    let scan = |first: u8, last: u8, bits: u8| {
        // One block whose code is the single bit 0, filled up with ones.
        [segment(0xDA, &[1, 1, 0x00, first, last, bits]), vec![0x7F]].concat()
    };
    let one_symbol = |class: u8| [&[class, 1][..], &[0; 15], &[0]].concat();
    let mut jpeg = vec![0xFF, 0xD8];
    jpeg.extend(segment(0xDB, &[&[0][..], &[1; 64]].concat()));
    jpeg.extend(segment(0xC2, &[8, 0, 8, 0, 8, 1, 1, 0x11, 0]));
    jpeg.extend(segment(0xC4, &one_symbol(0x00)));
    jpeg.extend(segment(0xC4, &one_symbol(0x10)));
    jpeg.extend(scan(0, 0, 0));
    let refinements = (1..64u8)
        .flat_map(|k| (0..14u8).rev().map(move |low| (k, if low == 13 { 13 } else { (low + 1) << 4 | low })));
    refinements.take(scans - 1).for_each(|(k, bits)| jpeg.extend(scan(k, k, bits)));
    jpeg.extend([0xFF, 0xD9]);
    jpeg
}

#[test]
fn a_jpeg_of_endless_scans_is_refused() {
    assert_eq!(decode(&jpeg_of_scans(500), Alpha::White).unwrap().pixels, [128; 8 * 8 * 3]);
    assert_eq!(decode(&jpeg_of_scans(501), Alpha::White).unwrap_err(), "more than 500 scans");
}
