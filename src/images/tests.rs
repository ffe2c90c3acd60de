//! Decoding, resizing and preparing against what Pillow, torchvision and timm made of the same files.

use super::decode::decode_file;
use super::*;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

pub(super) fn file(name: &str) -> Vec<u8> {
    bytes(&format!("preprocess/files/{name}"))
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

fn sha(pixels: &[u8]) -> String {
    crate::formats::digest::hex(&Sha256::digest(pixels))
}

pub(super) fn preprocessing(width: u32, height: u32, fit: Fit, filter: Filter) -> Preprocessing {
    Preprocessing {
        width,
        height,
        fit,
        crop_ratio: 1.0,
        filter,
        alpha: Alpha::White,
        color: Color::Rgb,
        fast_decode: false,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    }
}

const FILTERS: [Filter; 3] = [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];

/// File names of the fixture with Pillow's findings.
fn files() -> Vec<(String, Value)> {
    let expected = json("preprocess/expected.json");
    expected["files"].as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[test]
fn every_readable_file_gives_pillows_pixels() {
    let stored = bytes("preprocess/rgb.safetensors");
    let rgb = SafeTensors::deserialize(&stored).unwrap();
    let mut compared = 0;
    for (name, facts) in files() {
        if facts["error"].is_string() || name == "gray16_50x40.png" {
            continue;
        }
        let image = decode(&file(&name), Alpha::Drop).unwrap_or_else(|e| panic!("{name}: {e}"));
        let applied = &facts["if_orientation_applied"];
        let facts = if applied.is_object() { applied } else { &facts };
        assert_eq!(Value::from(image.width), facts["width"], "{name}");
        assert_eq!(Value::from(image.height), facts["height"], "{name}");
        assert_eq!(Value::from(sha(&image.pixels)), facts["rgb_sha256"], "{name}");
        if !applied.is_object() {
            assert_eq!(image.pixels, rgb.tensor(&name).unwrap().data(), "{name}");
        }
        compared += 1;
    }
    assert_eq!(compared, 19);
}

#[test]
fn every_damaged_file_gives_a_reason() {
    let mut damaged = 0;
    for (name, _) in files().iter().filter(|(_, facts)| facts["error"].is_string()) {
        let reason = decode(&file(name), Alpha::White).expect_err(name);
        let part = match name.as_str() {
            "empty.png" => "empty",
            "text.png" => "known kind",
            "truncated.jpg" => "Premature end of JPEG file",
            "bad_crc_ihdr.png" => "CRC",
            _ => "end",
        };
        assert!(reason.contains(part), "{name}: {reason}");
        damaged += 1;
    }
    assert_eq!(damaged, 5);
}

#[test]
fn gray_of_16_bits_is_scaled_and_not_clipped() {
    let decoded = decode_file(&file("gray16_50x40.png"), Alpha::White, &|_| (1, 1)).unwrap();
    assert_eq!(decoded.note, "16-bit");
    let first: Vec<u8> = decoded.image.pixels.chunks(3).take(8).map(|p| p[0]).collect();
    assert_eq!(first, [0, 0, 0, 0, 0, 1, 1, 255]);
}

#[test]
fn transparency_is_composited_on_white_or_dropped() {
    let (white, stored) = (
        decode(&file("rgba_64x48.png"), Alpha::White).unwrap(),
        decode(&file("rgba_64x48.png"), Alpha::Drop).unwrap(),
    );
    assert!(white.pixels[..64 * 8 * 3].iter().all(|&v| v == 255), "the first rows are transparent");
    assert_ne!(white.pixels, stored.pixels);
    let centre = (24 * 64 + 32) * 3;
    assert_eq!(white.pixels[centre..centre + 3], stored.pixels[centre..centre + 3], "the middle is opaque");
    let outside = (40 * 64 + 20) * 3; // opacity 80 of 255
    for (white, stored) in white.pixels[outside..outside + 3].iter().zip(&stored.pixels[outside..]) {
        let expected = (f64::from(*stored) * 80.0 + 255.0 * 175.0) / 255.0;
        assert!((f64::from(*white) - expected).abs() <= 0.5);
    }

    let palette = decode(&file("palette_transparent_80x60.png"), Alpha::White).unwrap();
    assert_ne!(palette, decode(&file("palette_transparent_80x60.png"), Alpha::Drop).unwrap());
}

#[test]
fn all_eight_orientations_are_turned_upright() {
    let upright_of = |value: u8| {
        let mut jpeg = file("exif6_64x40.jpg");
        let exif = jpeg.windows(6).position(|w| w == b"Exif\0\0").unwrap();
        let tag = [[0x12, 0x01, 3, 0].as_slice(), &[0x01, 0x12, 0, 3]]
            .iter()
            .find_map(|tag| jpeg.windows(4).position(|w| w == *tag))
            .unwrap();
        assert!(tag > exif);
        let at = (tag + 8..tag + 10).find(|&i| jpeg[i] == 6).unwrap();
        jpeg[at] = value;
        decode(&jpeg, Alpha::White).unwrap()
    };
    let stored = upright_of(1);
    let (w, h) = (stored.width as usize, stored.height as usize);
    let pixel = |image: &RgbImage, x: usize, y: usize| {
        let at = (y * image.width as usize + x) * 3;
        [image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]]
    };
    for value in 2..=8u8 {
        let turned = upright_of(value);
        let swapped = value >= 5;
        assert_eq!(
            (turned.width as usize, turned.height as usize),
            if swapped { (h, w) } else { (w, h) },
            "{value}"
        );
        for (x, y) in [(0, 0), (5, 3), (w - 1, 0), (w / 2, h - 1)] {
            // Exif 2.3, 4.6.4 A: where row 0 and column 0 of the stored image are seen.
            let (tx, ty) = match value {
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (h - 1 - y, x),
                7 => (h - 1 - y, w - 1 - x),
                _ => (y, w - 1 - x),
            };
            assert_eq!(pixel(&turned, tx, ty), pixel(&stored, x, y), "orientation {value}, pixel {x},{y}");
        }
    }
    assert_eq!(upright_of(9), stored, "an unknown orientation is none");
}

#[test]
fn resizing_gives_pillows_bytes() {
    let (sources, resized) = (bytes("preprocess/rgb.safetensors"), bytes("preprocess/pil_small.safetensors"));
    let (sources, resized) =
        (SafeTensors::deserialize(&sources).unwrap(), SafeTensors::deserialize(&resized).unwrap());
    let mut compared = 0;
    for (name, expected) in resized.tensors() {
        let [source, filter, side]: [&str; 3] = name.split('/').collect::<Vec<_>>().try_into().unwrap();
        let filter = FILTERS.into_iter().find(|f| f.name() == filter).unwrap();
        let source = sources.tensor(source).unwrap();
        let side: u32 = side.parse().unwrap();
        let size = (source.shape()[1] as u32, source.shape()[0] as u32);
        let ours = resize(source.data(), size, 3, (side, side), filter);
        assert!(ours == expected.data(), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 20 * 3 * 2);
}

#[test]
fn cropping_and_normalising_are_torchvisions() {
    let stored = bytes("preprocess/prepared.safetensors");
    let prepared = SafeTensors::deserialize(&stored).unwrap();
    let mut how = preprocessing(64, 64, Fit::Crop, Filter::Bicubic);
    how.crop_ratio = 64.0 / 72.5;
    for name in ["rgb_37x53.png", "rgb_640x427_q90_420.jpg"] {
        let pixels = how.apply(&decode(&file(name), Alpha::White).unwrap());
        assert!(
            pixels.clone().into_bytes()
                == prepared.tensor(&format!("{name}/shorter72_crop64_u8")).unwrap().data(),
            "{name}"
        );
        let mut values = vec![0.0; how.values()];
        how.normalise(&pixels, &mut values);
        let expected = prepared.tensor(&format!("{name}/shorter72_crop64_normalised")).unwrap();
        let (expected, rest) = expected.data().as_chunks::<4>();
        assert!(rest.is_empty() && expected.len() == values.len());
        assert!(
            values.iter().zip(expected).all(|(v, e)| *v == f32::from_le_bytes(*e)),
            "{name}: not the same floats"
        );
    }
}

#[test]
fn timms_evaluation_transform_and_the_squash_are_met_to_the_byte() {
    let expected = json("efficientnet_lite0_real/images.json");
    for (name, facts) in expected["images"].as_object().unwrap() {
        let image = decode(&bytes(&format!("efficientnet_lite0_real/{name}")), Alpha::White).unwrap();
        assert_eq!(Value::from(sha(&image.pixels)), facts["pixels_sha256"], "{name}");
        let mut how = preprocessing(224, 224, Fit::Squash, Filter::Bicubic);
        assert_eq!(Value::from(sha(&how.apply(&image).into_bytes())), facts["squash_sha256"], "{name}");
        (how.fit, how.crop_ratio) = (Fit::Crop, 0.875);
        assert_eq!(Value::from(sha(&how.apply(&image).into_bytes())), facts["crop_sha256"], "{name}");
    }
}

#[test]
fn padding_and_gray_are_pillows() {
    for case in json("preprocess/pad_and_gray.json")["cases"].as_array().unwrap() {
        let of = |key: &str| serde_json::from_value::<u32>(case[key].clone()).unwrap();
        let fit = serde_json::from_value(case["fit"].clone()).unwrap();
        let mut how = preprocessing(
            of("width"),
            of("height"),
            fit,
            serde_json::from_value(case["filter"].clone()).unwrap(),
        );
        how.color = serde_json::from_value(case["color"].clone()).unwrap();
        let image = decode(&file(case["file"].as_str().unwrap()), Alpha::White).unwrap();
        assert_eq!(Value::from(sha(&how.apply(&image).into_bytes())), case["sha256"], "{case}");
    }
}

#[test]
fn a_set_is_loaded_in_order_with_reasons_and_notes() {
    let set = ImageSet::open(&fixture("preprocess/files"), &crate::progress::Silent).unwrap();
    assert_eq!(set.len(), 25);
    let how = preprocessing(32, 24, Fit::Pad, Filter::Bilinear);
    let all = load(&set, 0..set.len(), &how);
    let mut skipped = Vec::new();
    for (i, result) in all.iter().enumerate() {
        match result {
            Ok(prepared) => {
                assert_eq!(prepared.pixels.len(), how.values(), "{}", set.path(i));
                let note = match set.path(i) {
                    "cmyk_60x60.jpg" => "cmyk",
                    "gray16_50x40.png" | "rgb16_30x22.png" => "16-bit",
                    "animated_48x32.gif" => "animated, first frame",
                    "jpeg_named.png" => "named .png but is jpeg",
                    _ => "",
                };
                assert_eq!(prepared.note, note, "{}", set.path(i));
            }
            Err(reason) => {
                assert_eq!(reason.path, set.path(i));
                skipped.push(reason.path.as_str());
            }
        }
    }
    assert_eq!(skipped, ["bad_crc_ihdr.png", "empty.png", "text.png", "truncated.jpg", "truncated.png"]);
    assert_eq!(load(&set, 3..7, &how), all[3..7]);
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(alone.install(|| load(&set, 0..set.len(), &how)), all);
}

#[test]
fn declared_sizes_take_no_memory_before_they_are_believed() {
    let mut jpeg = file("gray_120x90.jpg");
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x3F, 0xFF, 0x3F, 0xFF]);
    assert!(decode(&jpeg, Alpha::White).unwrap_err().contains("cannot hold"));
    for header in ["P6 60000 60000 255\n", "P5 300000 10 255\n"] {
        let reason = decode(header.as_bytes(), Alpha::White).unwrap_err();
        assert!(reason.contains("pixels"), "{reason}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_the_decoder_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let names: Vec<String> = files().into_iter().map(|(name, _)| name).filter(|n| !n.starts_with("rgb_640")).collect();
        let mut bytes = file(which.get::<String>(&names));
        prop_assume!(!bytes.is_empty());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        for alpha in [Alpha::White, Alpha::Drop] {
            if let Ok(image) = decode(&bytes, alpha) {
                prop_assert_eq!(image.pixels.len(), image.width as usize * image.height as usize * 3);
            }
        }
    }
}

/// Two rows of three colours each, as a file of this format.
fn six_colours(format: image::ImageFormat) -> (Vec<u8>, Vec<u8>) {
    let pixels: Vec<u8> = (0..18).map(|i| (i * 13) as u8).collect();
    let image = image::RgbImage::from_raw(3, 2, pixels.clone()).unwrap();
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    (file.into_inner(), pixels)
}

#[test]
fn a_png_without_its_end_is_read_if_no_pixel_is_missing() {
    let (whole, pixels) = six_colours(image::ImageFormat::Png);
    let data = whole.windows(4).position(|w| w == b"IDAT").unwrap();
    let length = u32::from_be_bytes(whole[data - 4..data].try_into().unwrap()) as usize;
    let data_end = data + 4 + length;
    // Without the end; in the middle of it; without the checksum of the data.
    for end in [data_end + 4, data_end + 9, data_end, data_end + 2] {
        let read = decode(&whole[..end], Alpha::White);
        assert_eq!(read.map(|image| image.pixels), Ok(pixels.clone()), "{end} of {}", whole.len());
    }
    for end in [data + 4, data + 10, data_end - 6] {
        assert!(decode(&whole[..end], Alpha::White).is_err(), "{end}");
    }
}

#[test]
fn every_format_is_turned_upright_by_whatever_says_how() {
    use super::orientation::tests::exif;
    let turned = |bytes: &[u8]| {
        let image = decode(bytes, Alpha::White).unwrap();
        (image.width, image.height)
    };
    let exif = exif(4, 6, false);
    let prefixed = [b"Exif\0\0", &exif[..]].concat();
    let xmp = b"<x:xmpmeta><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>".to_vec();

    let (webp, _) = six_colours(image::ImageFormat::WebP);
    let chunk = |name: &[u8], data: &[u8]| {
        let padding = &[0][..data.len() % 2];
        [name, &(data.len() as u32).to_le_bytes(), data, padding].concat()
    };
    let extended = |flags: u8, more: Vec<u8>| {
        let header = chunk(b"VP8X", &[flags, 0, 0, 0, 2, 0, 0, 1, 0, 0]);
        let body = [b"WEBP", &header[..], &webp[12..], &more].concat();
        [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
    };
    assert_eq!(turned(&webp), (3, 2));
    for data in [&exif, &prefixed] {
        assert_eq!(turned(&extended(8, chunk(b"EXIF", data))), (2, 3));
    }
    assert_eq!(turned(&extended(4, chunk(b"XMP ", &xmp))), (2, 3));

    let (jpeg, _) = six_colours_jpeg();
    let segment = |data: &[u8]| {
        let length = (data.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, data, &jpeg[2..]].concat()
    };
    assert_eq!(turned(&jpeg), (3, 2));
    assert_eq!(turned(&segment(&prefixed)), (2, 3));
    assert_eq!(turned(&segment(&[b"http://ns.adobe.com/xap/1.0/\0", &xmp[..]].concat())), (2, 3));

    let (png, _) = six_colours(image::ImageFormat::Png);
    let with = |name: &[u8], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(name);
        crc.update(data);
        let chunk = [&(data.len() as u32).to_be_bytes()[..], name, data, &crc.sum().to_be_bytes()].concat();
        [&png[..33], &chunk, &png[33..]].concat()
    };
    assert_eq!(turned(&png), (3, 2));
    assert_eq!(turned(&with(b"eXIf", &exif)), (2, 3));
    let digits: String = prefixed.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("Raw profile type exif\0\nexif\n{:8}\n{digits}\n", prefixed.len());
    assert_eq!(turned(&with(b"tEXt", text.as_bytes())), (2, 3));
    let text = [b"XML:com.adobe.xmp\0\0\0\0\0", &xmp[..]].concat();
    assert_eq!(turned(&with(b"iTXt", &text)), (2, 3));
}

/// [`six_colours`] as JPEG, which the `image` crate does not write here.
fn six_colours_jpeg() -> (Vec<u8>, Vec<u8>) {
    let (_, pixels) = six_colours(image::ImageFormat::Png);
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_size(3, 2);
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(&pixels).unwrap();
    (started.finish().unwrap(), pixels)
}

#[test]
fn a_fourth_byte_that_a_bmp_file_leaves_zero_is_no_transparency() {
    let image = |alpha: u8| {
        let image = image::RgbaImage::from_fn(2, 1, |x, _| image::Rgba([10 * x as u8, 20, 30, alpha]));
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Bmp).unwrap();
        decode(&file.into_inner(), Alpha::White).unwrap().pixels
    };
    assert_eq!(image(0), [0, 20, 30, 10, 20, 30]);
    assert_eq!(image(255), [0, 20, 30, 10, 20, 30]);
}

#[test]
fn images_of_one_colour_by_their_transparency_are_noted() {
    let white_on_nothing =
        image::RgbaImage::from_fn(4, 4, |x, _| image::Rgba([255, 255, 255, if x < 2 { 255 } else { 0 }]));
    let mut file = std::io::Cursor::new(Vec::new());
    white_on_nothing.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let note = |alpha| decode_file(file.get_ref(), alpha, &|_| (1, 1)).unwrap().note;
    assert_eq!(note(Alpha::White), super::ONE_COLOUR);
    assert_eq!((note(Alpha::Black), note(Alpha::Drop)), (String::new(), String::new()));
}
