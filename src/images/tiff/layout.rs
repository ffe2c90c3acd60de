//! How the pixels of a TIFF image are stored: what its tags say, checked.

use super::ifd::Directory;
use crate::images::rgb::{MAX_PIXELS, check_pixels};

/// Most samples of a pixel that is read.
const MAX_SAMPLES: u64 = 64;

/// What the samples of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Gray {
        white_is_zero: bool,
    },
    Palette,
    Rgb,
    Cmyk,
    YCbCr,
    /// CIE L*a*b*; whether a* and b* are stored with an offset instead of a sign.
    Lab {
        offset: bool,
    },
}

impl Colours {
    /// Samples of a pixel without alpha.
    pub(super) fn count(self) -> usize {
        match self {
            Colours::Gray { .. } | Colours::Palette => 1,
            Colours::Rgb | Colours::YCbCr | Colours::Lab { .. } => 3,
            Colours::Cmyk => 4,
        }
    }
}

/// What the sample after the colours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AlphaKind {
    None,
    /// Colours are stored as they are.
    Straight,
    /// Colours are multiplied by it.
    Associated,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Unsigned,
    Signed,
    Float,
}

/// How chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    /// Modified Huffman: rows of one-dimensional fax codes.
    FaxRows,
    Fax3 {
        two_dimensional: bool,
    },
    Fax4,
    Lzw,
    OldJpeg,
    Jpeg,
    Deflate,
    PackBits,
    Zstd,
}

/// How rows were made more compressible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    Differences,
    FloatDifferences,
}

/// How the pixels of an image are stored.
#[derive(Debug)]
pub(super) struct Layout {
    pub width: usize,
    pub height: usize,
    pub colours: Colours,
    pub alpha: AlphaKind,
    pub compression: Compression,
    /// Bits of each sample.
    pub bits: usize,
    /// Samples of a pixel, those that are not used included.
    pub samples: usize,
    pub number: Number,
    /// Whether each sample has chunks of its own.
    pub planar: bool,
    pub predictor: Predictor,
    /// Whether the first pixel of a byte is its lowest bit.
    pub reversed_bits: bool,
    /// Pixels of a chunk: a strip or a tile.
    pub chunk: (usize, usize),
    pub tiled: bool,
    pub offsets: Vec<u64>,
    pub lengths: Vec<u64>,
    /// Luma samples to one chroma sample, across and down.
    pub subsampling: (usize, usize),
}

mod tag {
    pub(super) const WIDTH: u16 = 256;
    pub(super) const HEIGHT: u16 = 257;
    pub(super) const BITS: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC: u16 = 262;
    pub(super) const FILL_ORDER: u16 = 266;
    pub(super) const STRIP_OFFSETS: u16 = 273;
    pub(super) const SAMPLES: u16 = 277;
    pub(super) const ROWS_PER_STRIP: u16 = 278;
    pub(super) const STRIP_LENGTHS: u16 = 279;
    pub(super) const PLANAR: u16 = 284;
    pub(super) const FAX3_OPTIONS: u16 = 292;
    pub(super) const PREDICTOR: u16 = 317;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_HEIGHT: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_LENGTHS: u16 = 325;
    pub(super) const EXTRA_SAMPLES: u16 = 338;
    pub(super) const SAMPLE_FORMAT: u16 = 339;
    pub(super) const SUBSAMPLING: u16 = 530;
}

impl Layout {
    /// What a directory says; `file_length` bounds what chunks can hold.
    ///
    /// # Errors
    /// A reason in words: a kind that is not read, or tags that make no sense.
    pub(super) fn of(directory: &Directory, file_length: usize) -> Result<Self, String> {
        let or = |tag: u16, default: u64| directory.first(tag).unwrap_or(default);
        let needed =
            |tag: u16, what: &str| directory.first(tag).ok_or_else(|| format!("its {what} is missing"));
        let (width, height) = (needed(tag::WIDTH, "width")?, needed(tag::HEIGHT, "height")?);
        check_pixels(width, height)?;
        let (width, height) = (width as usize, height as usize);
        let compression = compression(or(tag::COMPRESSION, 1), or(tag::FAX3_OPTIONS, 0))?;
        let colours = match compression {
            // Whatever such files say, they hold the colours of JPEG.
            Compression::OldJpeg => Colours::YCbCr,
            _ => colours(directory.first(tag::PHOTOMETRIC))?,
        };
        let usual = if compression == Compression::OldJpeg { 3 } else { 1 };
        let samples = or(tag::SAMPLES, usual);
        if samples == 0 || samples > MAX_SAMPLES || (samples as usize) < colours.count() {
            return Err(format!("{samples} samples to a pixel do not fit its colours"));
        }
        let samples = samples as usize;
        let bits = bits(directory.numbers(tag::BITS).unwrap_or_else(|| vec![1]), samples, colours)?;
        let number = match directory.numbers(tag::SAMPLE_FORMAT).and_then(|formats| formats.first().copied())
        {
            None | Some(1 | 4) => Number::Unsigned,
            Some(2) => Number::Signed,
            Some(3) => Number::Float,
            Some(other) => return Err(format!("samples of format {other} (complex numbers) are not read")),
        };
        check_bits(bits, number, colours)?;
        let planar = or(tag::PLANAR, 1) == 2 && samples > 1;
        let alpha = alpha(directory.numbers(tag::EXTRA_SAMPLES), samples, colours);
        let predictor = match or(tag::PREDICTOR, 1) {
            2 => Predictor::Differences,
            3 => Predictor::FloatDifferences,
            _ => Predictor::None,
        };
        let tiled = directory.first(tag::TILE_WIDTH).is_some();
        let chunk = if tiled {
            let side = |tag| directory.first(tag).filter(|&n| n > 0 && n <= MAX_PIXELS);
            let sides = side(tag::TILE_WIDTH).zip(side(tag::TILE_HEIGHT));
            let (across, down) = sides.ok_or("the size of its tiles makes no sense")?;
            (across as usize, down as usize)
        } else {
            let rows = or(tag::ROWS_PER_STRIP, u64::MAX).min(height as u64).max(1);
            (width, rows as usize)
        };
        let subsampling = match (colours, directory.numbers(tag::SUBSAMPLING).as_deref()) {
            (Colours::YCbCr, Some(&[h @ (1 | 2 | 4), v @ (1 | 2 | 4), ..])) => (h as usize, v as usize),
            (Colours::YCbCr, None) => (2, 2),
            (Colours::YCbCr, _) => return Err("its chroma subsampling makes no sense".into()),
            _ => (1, 1),
        };
        let (offset_tag, length_tag) = match tiled {
            true => (tag::TILE_OFFSETS, tag::TILE_LENGTHS),
            // Some writers of tiles use the tags of strips.
            false => (tag::STRIP_OFFSETS, tag::STRIP_LENGTHS),
        };
        let list = |tag, other| directory.numbers(tag).or_else(|| directory.numbers(other));
        let offsets = list(offset_tag, tag::STRIP_OFFSETS).unwrap_or_default();
        let lengths = list(length_tag, tag::STRIP_LENGTHS)
            .unwrap_or_else(|| offsets.iter().map(|&at| (file_length as u64).saturating_sub(at)).collect());
        Ok(Self {
            width,
            height,
            colours,
            alpha,
            compression,
            bits,
            samples,
            number,
            planar,
            predictor,
            reversed_bits: or(tag::FILL_ORDER, 1) == 2,
            chunk,
            tiled,
            offsets,
            lengths,
            subsampling,
        })
    }

    /// Samples that are used: colours, and alpha.
    pub(super) fn used(&self) -> usize {
        self.colours.count() + usize::from(self.alpha != AlphaKind::None)
    }

    /// Samples of a pixel in one chunk.
    pub(super) fn chunk_samples(&self) -> usize {
        if self.planar { 1 } else { self.samples }
    }

    /// Chunks across and down.
    pub(super) fn grid(&self) -> (usize, usize) {
        (self.width.div_ceil(self.chunk.0), self.height.div_ceil(self.chunk.1))
    }
}

fn compression(code: u64, fax3_options: u64) -> Result<Compression, String> {
    Ok(match code {
        1 => Compression::None,
        2 => Compression::FaxRows,
        3 => Compression::Fax3 { two_dimensional: fax3_options & 1 == 1 },
        4 => Compression::Fax4,
        5 => Compression::Lzw,
        6 => Compression::OldJpeg,
        7 => Compression::Jpeg,
        8 | 32946 => Compression::Deflate,
        32773 => Compression::PackBits,
        50000 | 34926 => Compression::Zstd,
        other => {
            let name = match other {
                32809 => "ThunderScan",
                32908 | 32909 => "Pixar",
                34661 | 34663 => "JBIG",
                34676 | 34677 => "LogLuv",
                34712 | 33003 | 33004 | 33005 => "JPEG 2000",
                34887 => "LERC",
                34892 => "lossy DNG JPEG",
                34925 => "LZMA",
                50001 | 34927 => "WebP",
                50002 | 52546 => "JPEG XL",
                _ => return Err(format!("TIFF compression {other} is not read")),
            };
            return Err(format!("{name} compression inside TIFF is not read"));
        }
    })
}

fn colours(photometric: Option<u64>) -> Result<Colours, String> {
    Ok(match photometric {
        Some(0) => Colours::Gray { white_is_zero: true },
        None | Some(1) => Colours::Gray { white_is_zero: false },
        Some(2) => Colours::Rgb,
        Some(3) => Colours::Palette,
        Some(5) => Colours::Cmyk,
        Some(6) => Colours::YCbCr,
        Some(8) => Colours::Lab { offset: false },
        Some(9 | 10) => Colours::Lab { offset: true },
        Some(4) => return Err("a transparency mask is no image".into()),
        Some(32803) => return Err("raw camera data (a colour filter array) are not read".into()),
        Some(34892) => return Err("linear raw camera data are not read".into()),
        Some(32844 | 32845) => return Err("LogLuv colours are not read".into()),
        Some(other) => return Err(format!("TIFF colours of kind {other} are not read")),
    })
}

/// The bits of every sample that is used. Programs that write one number for all samples, or more numbers than samples, are understood.
fn bits(mut bits: Vec<u64>, samples: usize, colours: Colours) -> Result<usize, String> {
    bits.truncate(samples);
    let first = *bits.first().ok_or("its bits per sample are missing")?;
    let used = bits.get(..colours.count()).unwrap_or(&bits);
    if used.iter().any(|&other| other != first) {
        return Err(format!("samples of different depths ({bits:?} bits) are not read"));
    }
    usize::try_from(first).map_err(|_| "its bits per sample make no sense".into())
}

fn check_bits(bits: usize, number: Number, colours: Colours) -> Result<(), String> {
    let fits = match (number, colours) {
        (Number::Float, Colours::Gray { .. } | Colours::Rgb) => matches!(bits, 16 | 32 | 64),
        (_, Colours::Palette) => matches!(bits, 1 | 2 | 4 | 8),
        (Number::Unsigned | Number::Signed, Colours::Gray { .. } | Colours::Rgb) => {
            matches!(bits, 1..=16 | 32)
        }
        (Number::Unsigned, Colours::Cmyk) => matches!(bits, 8 | 16),
        (_, Colours::Lab { .. }) => matches!(bits, 8 | 16),
        (Number::Unsigned, Colours::YCbCr) => bits == 8,
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("{bits} bits per sample of this kind ({number:?}) are not read")) }
}

fn alpha(extra: Option<Vec<u64>>, samples: usize, colours: Colours) -> AlphaKind {
    match extra.and_then(|extra| extra.first().copied()) {
        _ if samples <= colours.count() => AlphaKind::None,
        Some(1) => AlphaKind::Associated,
        // 999 is what Corel Draw writes.
        Some(2 | 999) => AlphaKind::Straight,
        // Without the tag, a fourth sample beside three colours is mostly alpha.
        None if colours == Colours::Rgb && samples == 4 => AlphaKind::Straight,
        _ => AlphaKind::None,
    }
}
