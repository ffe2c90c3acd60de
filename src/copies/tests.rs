//! The second look on pictures that are made here: edited copies are found, other pictures are not.

use super::{Compared, Comparer, Descriptor, Level};
use crate::images::Alpha;
use crate::images::{Filter, RgbImage, decode, encode_jpeg, resize};
use crate::ops::simd::testing::with_each_isa;
use crate::progress::Silent;
use crate::random::{Purpose, uniform};

/// A picture of `width` x `height` with 60 coloured rectangles of all sizes.
fn picture(seed: u64, width: u32, height: u32) -> RgbImage {
    let mut number = 0;
    let mut below = |limit: u32| {
        number += 1;
        (uniform(seed, Purpose::Draw, number) * f64::from(limit)) as u32
    };
    let mut pixels = vec![0; (3 * width * height) as usize];
    for rectangle in 0..60 {
        let largest = if rectangle < 10 { width / 2 } else { width / 8 };
        let (left, top) = (below(width), below(height));
        let (right, bottom) = (left + 2 + below(largest), top + 2 + below(largest));
        let colour = [below(256), below(256), below(256)].map(|v| v as u8);
        for y in top..bottom.min(height) {
            for x in left..right.min(width) {
                let at = (3 * (y * width + x)) as usize;
                pixels[at..at + 3].copy_from_slice(&colour);
            }
        }
    }
    RgbImage { width, height, pixels }
}

/// The picture whose pixel at (x, y) is `of(x, y)`.
fn made(width: u32, height: u32, of: impl Fn(u32, u32) -> [u8; 3]) -> RgbImage {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| of(x, y));
    RgbImage { width, height, pixels: pixels.collect() }
}

fn at(image: &RgbImage, x: u32, y: u32) -> [u8; 3] {
    let at = (3 * (y * image.width + x)) as usize;
    [image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]]
}

fn half(image: &RgbImage) -> RgbImage {
    let (width, height) = (image.width / 2, image.height / 2);
    let pixels = resize(&image.pixels, (image.width, image.height), 3, (width, height), Filter::Bilinear);
    RgbImage { width, height, pixels }
}

fn found(first: &RgbImage, second: &RgbImage) -> Compared {
    let of = |image| Descriptor::of(image).unwrap();
    Comparer::default().compare(&[of(first)], &[of(second)], &[(0, 0)], &Silent).unwrap()[0]
}

/// Each kind of edit, with whether the copy is mirrored.
fn edits(image: &RgbImage) -> Vec<(&'static str, bool, RgbImage)> {
    let (w, h) = (image.width, image.height);
    let each = |change: fn([u8; 3]) -> [u8; 3]| made(w, h, |x, y| change(at(image, x, y)));
    let compressed = decode(&encode_jpeg(image, 30).unwrap(), Alpha::White).unwrap();
    let mirrored = made(w, h, |x, y| at(image, w - 1 - x, y));
    vec![
        ("compressed", false, compressed),
        ("half size", false, half(image)),
        ("mirrored", true, mirrored),
        ("cropped", false, made(w * 4 / 5, h * 4 / 5, |x, y| at(image, x + w / 8, y + h / 6))),
        ("brighter", false, each(|c| c.map(|v| v.saturating_add(v / 4)))),
        (
            "gray",
            false,
            each(|c| [((u32::from(c[0]) * 3 + u32::from(c[1]) * 6 + u32::from(c[2])) / 10) as u8; 3]),
        ),
        ("other colours", false, each(|c| [c[1], c[2], c[0]])),
        (
            "framed",
            false,
            made(w + 30, h + 30, |x, y| match (x.checked_sub(15), y.checked_sub(15)) {
                (Some(x), Some(y)) if x < w && y < h => at(image, x, y),
                _ => [255; 3],
            }),
        ),
        (
            "written over",
            false,
            made(w, h, |x, y| if (h / 3..h / 2).contains(&y) { [200, 0, 0] } else { at(image, x, y) }),
        ),
        ("stretched", false, {
            let pixels = resize(&image.pixels, (w, h), 3, (w * 11 / 10, h), Filter::Bilinear);
            RgbImage { width: w * 11 / 10, height: h, pixels }
        }),
        ("blurred", false, {
            let small = half(&half(image));
            let pixels = resize(&small.pixels, (small.width, small.height), 3, (w, h), Filter::Bilinear);
            RgbImage { width: w, height: h, pixels }
        }),
    ]
}

#[test]
fn every_kind_of_edited_copy_is_found() {
    for seed in [1, 2] {
        let image = picture(seed, 200, 160);
        for (kind, mirrored, copy) in edits(&image) {
            let found = found(&image, &copy);
            assert_eq!(found.level, Some(Level::Edited), "{kind} of picture {seed}: {}", found.score);
            assert_eq!(found.mirrored, mirrored, "{kind}");
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_score() {
    let image = picture(7, 200, 160);
    let others: Vec<RgbImage> =
        edits(&image).into_iter().map(|edit| edit.2).chain([picture(8, 200, 160)]).collect();
    let mut all = Vec::new();
    with_each_isa(|_| all.push(others.iter().map(|other| found(&image, other).score).collect::<Vec<_>>()));
    assert!(all.windows(2).all(|two| two[0] == two[1]), "{all:?}");
}

#[test]
fn other_pictures_are_no_copies() {
    let pictures: Vec<RgbImage> = (10..16).map(|seed| picture(seed, 200, 160)).collect();
    let of: Vec<Descriptor> = pictures.iter().map(|image| Descriptor::of(image).unwrap()).collect();
    let pairs: Vec<(usize, usize)> = (0..6).flat_map(|i| (0..i).map(move |j| (i, j))).collect();
    for found in Comparer::default().compare(&of, &of, &pairs, &Silent).unwrap() {
        assert_eq!(found.level, None, "{found:?}");
    }
}

#[test]
fn the_order_of_a_pair_does_not_matter_and_the_same_pixels_are_exact() {
    let (image, other) = (picture(3, 120, 160), picture(4, 120, 160));
    let copy = half(&image);
    let (one, two) = (found(&image, &copy), found(&copy, &image));
    assert_eq!((one.score, one.level, one.mirrored), (two.score, two.level, two.mirrored));
    assert_eq!(found(&image, &image).level, Some(Level::Exact));
    assert_eq!(found(&image, &image).score, 1.0);
    assert!(found(&image, &other).score < 0.5);
}

#[test]
fn small_pictures_are_copies_only_if_they_are_the_same_to_the_pixel() {
    let image = picture(6, 31, 60);
    let brighter =
        RgbImage { pixels: image.pixels.iter().map(|v| v.saturating_add(9)).collect(), ..image.clone() };
    assert_eq!(found(&image, &brighter).level, None);
    assert_eq!(found(&image, &image.clone()).level, Some(Level::Exact));
}

#[test]
fn pictures_without_content_or_of_odd_shapes_are_compared_without_harm() {
    let plain =
        |width, height, value| RgbImage { width, height, pixels: vec![value; (3 * width * height) as usize] };
    let odd = [plain(64, 64, 255), plain(1, 1, 7), plain(1, 400, 90), plain(500, 2, 3), picture(5, 9, 200)];
    for first in &odd {
        for second in &odd {
            let found = found(first, second);
            assert_eq!(found.level.is_some(), first == second, "{} x {}", first.width, second.width);
        }
    }
}
