//! Every kind of TIFF that is read, made here tag by tag.

use super::super::alpha::Alpha;
use super::{Tiff, decode};
use std::io::Write;

/// A file that is made tag by tag, with one page.
struct File {
    big_endian: bool,
    long: bool,
    /// Tag, type and values: 3 are numbers of 16 bits, 4 of 32, 12 would be fractions (not made here).
    tags: Vec<(u16, u16, Vec<u32>)>,
    chunks: Vec<Vec<u8>>,
    tiled: bool,
}

impl File {
    fn new(width: u32, height: u32, photometric: u32, bits: &[u32]) -> Self {
        let tags = vec![
            (256, 4, vec![width]),
            (257, 4, vec![height]),
            (258, 3, bits.to_vec()),
            (262, 3, vec![photometric]),
            (277, 3, vec![bits.len() as u32]),
        ];
        Self { big_endian: false, long: false, tags, chunks: Vec::new(), tiled: false }
    }

    fn tag(mut self, tag: u16, values: &[u32]) -> Self {
        self.tags.push((tag, if values.iter().any(|&v| v > 0xFFFF) { 4 } else { 3 }, values.to_vec()));
        self
    }

    fn chunk(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.chunks.push(bytes.into());
        self
    }

    fn number(&self, value: u64, size: usize) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..size].to_vec();
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    fn bytes(mut self) -> Vec<u8> {
        let (offsets, lengths) = if self.tiled { (324, 325) } else { (273, 279) };
        let (header, count_size, entry, size) = if self.long { (16, 8, 20, 8) } else { (8, 2, 12, 4) };
        let data_lengths: Vec<u32> = self.chunks.iter().map(|c| c.len() as u32).collect();
        self.tags.push((offsets, 4, vec![0; self.chunks.len()]));
        self.tags.push((lengths, 4, data_lengths));
        self.tags.sort();
        let end = header + count_size + entry * self.tags.len() + size;
        let width = |kind: u16| if kind == 3 { 2 } else { 4 };
        let outside: usize =
            self.tags.iter().map(|(_, kind, v)| v.len() * width(*kind)).filter(|&n| n > size).sum();
        let mut at = end + outside;
        for chunk in 0..self.chunks.len() {
            let place = self.tags.iter_mut().find(|(tag, ..)| *tag == offsets).unwrap();
            place.2[chunk] = at as u32;
            at += self.chunks[chunk].len();
        }
        let mut out = if self.big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        out.extend(self.number(if self.long { 43 } else { 42 }, 2));
        if self.long {
            out.extend([self.number(8, 2), self.number(0, 2)].concat());
        }
        out.extend(self.number(header as u64, size));
        out.extend(self.number(self.tags.len() as u64, count_size));
        let mut more = Vec::new();
        for (tag, kind, values) in &self.tags {
            let mut bytes: Vec<u8> =
                values.iter().flat_map(|&v| self.number(v.into(), width(*kind))).collect();
            out.extend([self.number((*tag).into(), 2), self.number((*kind).into(), 2)].concat());
            out.extend(self.number(values.len() as u64, size));
            if bytes.len() <= size {
                bytes.resize(size, 0);
                out.extend(bytes);
            } else {
                out.extend(self.number((end + more.len()) as u64, size));
                more.extend(bytes);
            }
        }
        out.extend(vec![0; size]);
        out.extend(more);
        self.chunks.iter().for_each(|chunk| out.extend(chunk));
        out
    }

    fn pixels(self) -> Vec<u8> {
        read(&self.bytes()).image.pixels
    }
}

fn read(bytes: &[u8]) -> Tiff {
    decode(bytes, Alpha::White).unwrap_or_else(|reason| panic!("{reason}"))
}

fn gray(values: &[u8]) -> Vec<u8> {
    values.iter().flat_map(|&v| [v; 3]).collect()
}

/// Colours of 20 by 20 pixels, no two rows or columns alike.
fn colours() -> Vec<u8> {
    (0..20 * 20 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect()
}

#[test]
fn gray_of_every_depth_is_read_and_white_may_be_zero() {
    let of = |bits: u32, photometric: u32, bytes: &[u8]| {
        File::new(4, 1, photometric, &[bits]).chunk(bytes).pixels()
    };
    assert_eq!(of(1, 1, &[0b1010_0000]), gray(&[255, 0, 255, 0]));
    assert_eq!(of(1, 0, &[0b1010_0000]), gray(&[0, 255, 0, 255]));
    assert_eq!(of(2, 1, &[0b0001_1011]), gray(&[0, 85, 170, 255]));
    assert_eq!(of(4, 1, &[0x0F, 0x73]), gray(&[0, 255, 119, 51]));
    assert_eq!(of(8, 0, &[0, 255, 7, 9]), gray(&[255, 0, 248, 246]));
    assert_eq!(of(12, 1, &[0xFF, 0xF0, 0x0F, 0x80, 0x01, 0x23]), gray(&[255, 0, 128, 18]));
    assert_eq!(of(16, 1, &[0, 1, 255, 2, 0, 255, 9, 16]), gray(&[1, 2, 255, 16]));
    let file = File { big_endian: true, ..File::new(2, 1, 1, &[16]) };
    assert_eq!(file.chunk([1, 0, 255, 2]).pixels(), gray(&[1, 255]));
    let reversed = File::new(4, 1, 1, &[1]).tag(266, &[2]).chunk([0b0000_0101]).pixels();
    assert_eq!(reversed, gray(&[255, 0, 255, 0]));
    let note = read(&File::new(1, 1, 1, &[16]).chunk([0, 1]).bytes()).note;
    assert_eq!(note, "16-bit");
}

#[test]
fn palettes_have_sixteen_bits_of_which_the_high_byte_counts() {
    let map = [0x1234, 0xFF00, 0x0000, 0x5678, 0x00FF, 0x8000, 0x9ABC, 0, 0x40FF, 1, 2, 3];
    let pixels = File::new(3, 1, 3, &[2]).tag(320, &map).chunk([0b0001_1000]).pixels();
    assert_eq!(pixels, [0x12, 0x00, 0x40, 0xFF, 0x80, 0x00, 0x00, 0x9A, 0x00]);
    let short = File::new(3, 1, 3, &[8]).tag(320, &map).chunk([0, 1, 2]).bytes();
    assert!(decode(&short, Alpha::White).err().unwrap().contains("palette"));
}

#[test]
fn strips_tiles_and_planes_give_the_same_picture() {
    let colours = colours();
    let rgb = || File::new(20, 20, 2, &[8, 8, 8]);
    assert_eq!(rgb().chunk(&colours[..]).pixels(), colours);
    let strips = colours.chunks(7 * 60).fold(rgb().tag(278, &[7]), |file, strip| file.chunk(strip));
    assert_eq!(strips.pixels(), colours);
    let plane = |c: usize| colours.iter().skip(c).step_by(3).copied().collect::<Vec<u8>>();
    let planes = (0..3).fold(rgb().tag(284, &[2]), |file, c| file.chunk(plane(c)));
    assert_eq!(planes.pixels(), colours);
    // Tiles of 16 by 16, whose last column and row reach over the edge, a plane for each colour.
    let tile = |c: usize, top: usize, left: usize| -> Vec<u8> {
        let pixel = |y: usize, x: usize| if y < 20 && x < 20 { colours[(y * 20 + x) * 3 + c] } else { 0 };
        (top..top + 16).flat_map(|y| (left..left + 16).map(move |x| pixel(y, x))).collect()
    };
    let places = [(0, 0), (0, 16), (16, 0), (16, 16)];
    let empty = File { tiled: true, ..rgb().tag(284, &[2]).tag(322, &[16]).tag(323, &[16]) };
    let tiles = (0..3).flat_map(|c| places.map(|(y, x)| tile(c, y, x))).fold(empty, |file, t| file.chunk(t));
    assert_eq!(tiles.pixels(), colours);
    for (big_endian, long) in [(true, false), (false, true), (true, true)] {
        let file = File { big_endian, long, ..rgb() };
        assert_eq!(file.chunk(&colours[..]).pixels(), colours, "{big_endian} {long}");
    }
}

#[test]
fn compressions_are_undone_and_differences_summed() {
    let colours = colours();
    let differences: Vec<u8> = colours
        .chunks(60)
        .flat_map(|row| (0..60).map(move |i| if i < 3 { row[i] } else { row[i].wrapping_sub(row[i - 3]) }))
        .collect();
    let zlib = |bytes: &[u8]| {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let lzw = |bytes: &[u8]| {
        weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8).encode(bytes).unwrap()
    };
    let zstd = |bytes: &[u8]| {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Uncompressed)
    };
    let copied: Vec<u8> = colours.chunks(100).flat_map(|part| [&[99][..], part].concat()).collect();
    let file = |code| File::new(20, 20, 2, &[8, 8, 8]).tag(259, &[code]);
    for (code, chunk) in [
        (8, zlib(&colours)),
        (32946, zlib(&colours)),
        (5, lzw(&colours)),
        (50000, zstd(&colours)),
        (32773, copied),
    ] {
        assert_eq!(file(code).chunk(chunk.clone()).pixels(), colours, "{code}");
        let cut = file(code).chunk(&chunk[..chunk.len() / 2]).bytes();
        assert!(decode(&cut, Alpha::White).is_err(), "{code}");
    }
    for (code, chunk) in [(8, zlib(&differences)), (5, lzw(&differences))] {
        assert_eq!(file(code).tag(317, &[2]).chunk(chunk).pixels(), colours, "{code}");
    }
    // Differences of 16 bits, in the order of the file.
    for big_endian in [false, true] {
        let values = [300u16, 65535, 2, 513];
        let differences = [300u16, 65235, 3, 511];
        let bytes: Vec<u8> = differences
            .iter()
            .flat_map(|v| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() })
            .collect();
        let file = File { big_endian, ..File::new(4, 1, 1, &[16]) };
        let pixels = file.tag(259, &[8]).tag(317, &[2]).chunk(zlib(&bytes)).pixels();
        assert_eq!(pixels, gray(&values.map(|v| (v >> 8) as u8)));
    }
    for (code, name) in [(34925, "LZMA"), (34712, "JPEG 2000"), (50001, "WebP"), (99, "compression 99")] {
        let reason = decode(&file(code).chunk([0; 1200]).bytes(), Alpha::White).err().unwrap();
        assert!(reason.contains(name), "{reason}");
    }
}

#[test]
fn jpeg_inside_is_read_with_its_tables_apart() {
    let smooth: Vec<u8> =
        (0..32 * 16u32).flat_map(|i| [(i % 32 * 8) as u8, (i / 32 * 16) as u8, 128]).collect();
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_size(32, 16);
    encoder.set_quality(95.0);
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(&smooth).unwrap();
    let jpeg = started.finish().unwrap();
    let file = || File::new(32, 16, 6, &[8, 8, 8]).tag(259, &[7]);
    let whole = file().chunk(&jpeg[..]).pixels();
    let expected = super::super::decode(&jpeg, Alpha::White).unwrap().pixels;
    assert_eq!(whole, expected);
    // The quantisation and Huffman tables (DB and C4) in a tag of their own.
    let (mut tables, mut rest, mut at) = (vec![0xFF, 0xD8], vec![0xFF, 0xD8], 2);
    while jpeg[at + 1] != 0xDA {
        let length = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        let to = if matches!(jpeg[at + 1], 0xDB | 0xC4) { &mut tables } else { &mut rest };
        to.extend(&jpeg[at..at + length]);
        at += length;
    }
    rest.extend(&jpeg[at..]);
    tables.extend([0xFF, 0xD9]);
    assert!(super::super::decode(&rest, Alpha::White).is_err());
    let mut apart = file();
    apart.tags.push((347, 1, Vec::new()));
    let mut bytes = apart.chunk(rest).bytes();
    // The writer above knows no bytes as values: they are put behind the file.
    let entry = bytes.windows(4).position(|w| w == [0x5B, 1, 1, 0]).unwrap();
    let end = bytes.len() as u32;
    bytes[entry + 2..entry + 4].copy_from_slice(&7u16.to_le_bytes());
    bytes[entry + 4..entry + 8].copy_from_slice(&(tables.len() as u32).to_le_bytes());
    bytes[entry + 8..entry + 12].copy_from_slice(&end.to_le_bytes());
    bytes.extend(tables);
    assert_eq!(read(&bytes).image.pixels, expected);
}

#[test]
fn alpha_may_be_multiplied_into_the_colours_or_mean_nothing() {
    // Half transparent red: straight, and multiplied.
    let file = |extra: u32, pixel: [u8; 4]| {
        File::new(1, 1, 2, &[8, 8, 8, 8]).tag(338, &[extra]).chunk(pixel).bytes()
    };
    let pixels = |bytes: &[u8], alpha| decode(bytes, alpha).unwrap().image.pixels;
    let (straight, associated) = (file(2, [200, 0, 100, 128]), file(1, [100, 0, 50, 128]));
    assert_eq!(pixels(&straight, Alpha::Drop), [200, 0, 100]);
    assert_eq!(pixels(&associated, Alpha::Drop), [199, 0, 99]);
    assert_eq!(pixels(&straight, Alpha::White), [227, 127, 177]);
    assert_eq!(pixels(&straight, Alpha::Black), [100, 0, 50]);
    assert_eq!(pixels(&file(0, [200, 0, 100, 0]), Alpha::White), [200, 0, 100]);
    let untagged = File::new(1, 1, 2, &[8, 8, 8, 8]).chunk([200, 0, 100, 0]).bytes();
    assert_eq!(pixels(&untagged, Alpha::White), [255, 255, 255]);
    let gray = File::new(1, 1, 1, &[8, 8]).tag(338, &[2]).chunk([100, 0]).bytes();
    assert_eq!((pixels(&gray, Alpha::White), pixels(&gray, Alpha::Drop)), (vec![255; 3], vec![100; 3]));
}

#[test]
fn inks_chroma_and_lab_become_red_green_and_blue() {
    let one = |photometric, samples: &[u8]| {
        let bits = vec![8; samples.len()];
        File::new(1, 1, photometric, &bits).tag(530, &[1, 1]).chunk(samples).pixels()
    };
    assert_eq!(one(5, &[0, 255, 255, 0]), [255, 0, 0]);
    assert_eq!(one(5, &[0, 0, 0, 255]), [0, 0, 0]);
    assert_eq!(one(6, &[76, 85, 255]), [254, 0, 0]);
    assert_eq!(one(6, &[128, 128, 128]), [128, 128, 128]);
    // Pillow's conversion of the same values by littleCMS: (50, 40, -20), white, and mid gray.
    let close = |found: Vec<u8>, expected: [u8; 3]| {
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 2), "{found:?} {expected:?}");
    };
    close(one(8, &[128, 40, 256u16.wrapping_sub(20) as u8]), LAB_COLOUR);
    close(one(8, &[255, 0, 0]), [255, 255, 255]);
    close(one(9, &[128, 128, 128]), [119, 119, 119]);
    // Two by two pixels to a pair of chroma samples; 3 by 3 pixels take four blocks.
    let block = |luma: u8| [luma, luma + 1, luma + 2, luma + 3, 128, 128];
    let blocks: Vec<u8> = [10, 20, 30, 40].into_iter().flat_map(block).collect();
    let pixels = File::new(3, 3, 6, &[8, 8, 8]).tag(530, &[2, 2]).chunk(blocks).pixels();
    assert_eq!(pixels, gray(&[10, 11, 20, 12, 13, 22, 30, 31, 40]));
}

/// Red, green and blue of L*a*b* (128 / 2.55, 40, -20), as Pillow 12 gives them.
const LAB_COLOUR: [u8; 3] = [171, 92, 153];

#[test]
fn numbers_without_a_range_get_it_from_their_values() {
    let floats = |values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let file = File::new(values.len() as u32, 1, 1, &[32]).tag(339, &[3]).chunk(bytes).bytes();
        let tiff = read(&file);
        (tiff.image.pixels, tiff.note)
    };
    let expected = gray(&[0, 51, 255]);
    assert_eq!(floats(&[0.0, 0.2, 1.0]), (expected.clone(), "floating point, range 0 to 1".into()));
    assert_eq!(floats(&[0.0, 51.0, 255.0]), (expected.clone(), "floating point, range 0 to 255".into()));
    assert_eq!(floats(&[-500.0, 0.0, 2000.0]).0, expected);
    assert_eq!(floats(&[-0.01, 0.2, 1.1]).0, expected);
    assert_eq!(floats(&[0.0, f32::NAN, 1.0]).0, gray(&[0, 0, 255]));
    let signed: Vec<u8> = [0i16, 51, 255].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(File::new(3, 1, 1, &[16]).tag(339, &[2]).chunk(signed).pixels(), expected);
}

#[test]
fn pages_are_counted_and_the_first_is_taken() {
    let mut bytes = File::new(1, 1, 1, &[8]).chunk([7]).bytes();
    let second = bytes.len() as u32;
    let entries = 7;
    let next = 8 + 2 + 12 * entries;
    let directory = bytes[8..next].to_vec();
    bytes[next..next + 4].copy_from_slice(&second.to_le_bytes());
    bytes.extend(directory);
    // The chain leads back to the first page.
    bytes.extend(8u32.to_le_bytes());
    let tiff = read(&bytes);
    assert_eq!((tiff.image.pixels, tiff.note.as_str()), (gray(&[7]), "page 1 of 2"));
}

#[test]
fn what_is_not_read_is_named() {
    let reason = |file: File| decode(&file.chunk([0; 64]).bytes(), Alpha::White).err().unwrap();
    assert!(reason(File::new(2, 2, 32803, &[16])).contains("raw camera"));
    assert!(reason(File::new(2, 2, 2, &[8, 8, 16])).contains("different depths"));
    assert!(reason(File::new(2, 2, 1, &[24]).tag(339, &[3])).contains("24 bits"));
    assert!(reason(File::new(2, 2, 1, &[64]).tag(339, &[6])).contains("complex"));
    assert!(reason(File::new(60_000, 60_000, 1, &[8])).contains("pixels"));
    assert!(reason(File::new(30, 30, 1, &[8])).contains("cut short"));
    assert!(decode(b"II*\0\xFF\xFF\xFF\xFF", Alpha::White).is_err());
}

#[test]
fn no_damage_makes_the_decoder_panic_or_take_more_than_its_share() {
    let tile = File { tiled: true, ..File::new(20, 20, 2, &[8, 8, 8]).tag(322, &[16]).tag(323, &[16]) };
    let samples = [
        File::new(20, 20, 2, &[8, 8, 8]).chunk(colours()).bytes(),
        (0..4).fold(tile, |file, _| file.chunk([9; 768])).bytes(),
        File::new(16, 4, 1, &[1]).tag(259, &[4]).chunk([0x26, 0xA0, 0x11, 0x80]).bytes(),
        File::new(3, 3, 6, &[8, 8, 8]).tag(530, &[2, 2]).chunk([5; 24]).bytes(),
    ];
    for sample in samples {
        for i in 0..sample.len().min(300) {
            for value in [0, 1, 0x7F, 0x80, 0xFF, sample[i].wrapping_add(1)] {
                let mut damaged = sample.clone();
                damaged[i] = value;
                let _ = decode(&damaged, Alpha::White);
            }
            let _ = decode(&sample[..i], Alpha::White);
        }
    }
}
