//! From samples to red, green and blue, as Pillow has them.

use super::ifd::Directory;
use super::layout::{AlphaKind, Colours, Layout, Number};
use super::samples::Samples;
use crate::images::alpha::{Alpha, resolve};
use crate::images::jpeg::rgb_of_cmyk;

const COLOUR_MAP: u16 = 320;
const COEFFICIENTS: u16 = 529;
const REFERENCE_BLACK_WHITE: u16 = 532;

/// Values that white mostly is, in numbers of which a file does not say their range.
const WHITES_OF_FLOATS: &[f32] = &[1.0, 255.0, 65535.0];
const WHITES_OF_SIGNED: &[f32] = &[255.0, 32767.0, 65535.0];
const WHITES_OF_UNSIGNED: &[f32] = &[255.0, 65535.0];
/// Share of the range by which values may lie outside it: filters overshoot.
const OVERSHOOT: f32 = 0.2;
/// Share of a long range that the values of an image reach: those of a sensor of 12 bits in numbers of 16 have a range of their own.
const LEAST_SHARE: f32 = 0.5;

/// `[H, W, 3]`, and what is worth knowing about the conversion.
pub(super) fn rgb(
    layout: &Layout,
    directory: &Directory,
    samples: Samples,
    is_rgb: bool,
    alpha: Alpha,
) -> Result<(Vec<u8>, String), String> {
    let (values, top, note) = match samples {
        Samples::Bytes { values, top } => {
            let note = if layout.bits > 8 { format!("{}-bit", layout.bits) } else { String::new() };
            (values, top, note)
        }
        Samples::Numbers(values) => {
            let (values, note) = in_range(layout, &values);
            (values, u8::MAX, note)
        }
    };
    let note = if layout.colours == Colours::Cmyk && note.is_empty() { "cmyk".into() } else { note };
    let colours = if is_rgb && layout.colours.count() == 3 { Colours::Rgb } else { layout.colours };
    let convert = Converter::new(colours, layout, directory, top)?;
    let (count, used) = (layout.colours.count(), layout.used());
    let mut out = Vec::with_capacity(layout.width * layout.height * 3);
    for pixel in values.chunks_exact(used) {
        let (colour, rest) = pixel.split_at(count);
        let [mut colour, opacity] = [convert.rgb(colour), [rest.first().copied().unwrap_or(u8::MAX); 3]];
        let opacity = opacity[0];
        match layout.alpha {
            AlphaKind::None => {}
            AlphaKind::Straight => colour = resolve(colour, opacity, alpha),
            AlphaKind::Associated => {
                let straight = |v: u8| match opacity {
                    0 | u8::MAX => v,
                    a => (u32::from(v) * 255 / u32::from(a)).min(255) as u8,
                };
                colour = resolve(colour.map(straight), opacity, alpha);
            }
        }
        out.extend_from_slice(&colour);
    }
    Ok((out, note))
}

/// Numbers as bytes. What is black and white is found from the values: the range that they fit into, or else their own.
fn in_range(layout: &Layout, values: &[f32]) -> (Vec<u8>, String) {
    let (count, used) = (layout.colours.count(), layout.used());
    let colours = || values.chunks_exact(used).flat_map(|pixel| pixel.iter().take(count)).copied();
    let finite = || colours().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let whites = match layout.number {
        Number::Float => WHITES_OF_FLOATS,
        Number::Signed => WHITES_OF_SIGNED,
        Number::Unsigned => WHITES_OF_UNSIGNED,
    };
    let fits = |white: &&f32| {
        let is_used = **white <= f32::from(u8::MAX) || high >= LEAST_SHARE * **white;
        is_used && low >= -OVERSHOOT * **white && high <= (1.0 + OVERSHOOT) * **white
    };
    let (black, white) = match whites.iter().find(fits) {
        Some(&white) => (0.0, white),
        None if high > low.min(0.0) => (low.min(0.0), high),
        None => (0.0, 1.0),
    };
    let scale = 255.0 / (white - black);
    let byte = |v: f32| ((v - black) * scale).round() as u8;
    // Opacity has no range of its own: it is full at 1, or at white.
    let is_colour = |i: usize| i % used < count;
    let full =
        values.iter().enumerate().filter(|(i, _)| !is_colour(*i)).fold(1.0f32, |full, (_, v)| full.max(*v));
    let bytes = values.iter().enumerate();
    let bytes = bytes.map(|(i, &v)| if is_colour(i) { byte(v) } else { (v * 255.0 / full).round() as u8 });
    let kind = match layout.number {
        Number::Float => "floating point".to_string(),
        _ => format!("{}-bit", layout.bits),
    };
    (bytes.collect(), format!("{kind}, range {black} to {white}"))
}

/// How the colours of a pixel become red, green and blue.
enum Converter {
    Gray(Vec<u8>),
    Palette(Vec<[u8; 3]>),
    /// Red, green and blue, of fewer bits where `top` is below 255.
    Rgb(u8),
    Cmyk,
    YCbCr(YCbCr),
    Lab {
        offset: bool,
    },
}

impl Converter {
    fn new(colours: Colours, layout: &Layout, directory: &Directory, top: u8) -> Result<Self, String> {
        Ok(match colours {
            Colours::Gray { white_is_zero } => Converter::Gray(
                (0..=u8::MAX)
                    .map(|v| {
                        let full = (u32::from(v.min(top)) * 255 / u32::from(top)) as u8;
                        // Of numbers with a sign or a point Pillow takes no notice that white may be zero, nor do we.
                        let turns = white_is_zero && layout.number == Number::Unsigned;
                        if turns { u8::MAX - full } else { full }
                    })
                    .collect(),
            ),
            Colours::Palette => Converter::Palette(palette(directory, layout.bits)?),
            Colours::Rgb => Converter::Rgb(top),
            Colours::Cmyk => Converter::Cmyk,
            Colours::YCbCr => Converter::YCbCr(YCbCr::of(directory)),
            Colours::Lab { offset } => Converter::Lab { offset },
        })
    }

    fn rgb(&self, colour: &[u8]) -> [u8; 3] {
        let triple = || [0, 1, 2].map(|c| colour.get(c).copied().unwrap_or(0));
        match self {
            Converter::Gray(table) => [table.get(usize::from(triple()[0])).copied().unwrap_or(0); 3],
            Converter::Palette(table) => table.get(usize::from(triple()[0])).copied().unwrap_or([0; 3]),
            Converter::Rgb(u8::MAX) => triple(),
            Converter::Rgb(top) => triple().map(|v| (u32::from(v) * 255 / u32::from(*top)) as u8),
            Converter::Cmyk => {
                let [c, m, y] = triple();
                rgb_of_cmyk([c, m, y, colour.get(3).copied().unwrap_or(0)])
            }
            Converter::YCbCr(convert) => convert.rgb(triple()),
            Converter::Lab { offset } => rgb_of_lab(triple(), *offset),
        }
    }
}

/// The colours of a palette: of 16 bits each, of which Pillow takes the high byte.
fn palette(directory: &Directory, bits: usize) -> Result<Vec<[u8; 3]>, String> {
    let map = directory.numbers(COLOUR_MAP).ok_or("its palette is missing")?;
    let count = map.len() / 3;
    if count < 1 << bits {
        return Err(format!("its palette has {count} colours for {bits} bits"));
    }
    let of = |channel: usize, i: usize| map.get(channel * count + i).map_or(0, |&v| (v >> 8) as u8);
    Ok((0..count).map(|i| [0, 1, 2].map(|channel| of(channel, i))).collect())
}

/// Luma and chroma as TIFF describes them; without tags, as JPEG has them (ITU-R BT.601).
struct YCbCr {
    red: f64,
    green: f64,
    blue: f64,
    black_white: [f64; 6],
}

impl YCbCr {
    fn of(directory: &Directory) -> Self {
        const BT_601: [f64; 3] = [0.299, 0.587, 0.114];
        const FULL: [f64; 6] = [0.0, 255.0, 128.0, 255.0, 128.0, 255.0];
        let finite = |values: &Vec<f64>| values.iter().all(|v| v.is_finite());
        let given = directory.fractions(COEFFICIENTS).filter(finite);
        let [red, green, blue] = match given.as_deref() {
            Some(&[red, green, blue]) if green > 0.0 => [red, green, blue],
            _ => BT_601,
        };
        let range = directory.fractions(REFERENCE_BLACK_WHITE).filter(finite);
        let black_white = range.and_then(|range| <[f64; 6]>::try_from(range).ok());
        let sane = |range: &[f64; 6]| range[1] > range[0] && range[3] > range[2] && range[5] > range[4];
        Self { red, green, blue, black_white: black_white.filter(sane).unwrap_or(FULL) }
    }

    fn rgb(&self, [y, cb, cr]: [u8; 3]) -> [u8; 3] {
        let [y0, y1, b0, b1, r0, r1] = self.black_white;
        let y = (f64::from(y) - y0) * 255.0 / (y1 - y0);
        let cb = (f64::from(cb) - b0) * 127.0 / (b1 - b0);
        let cr = (f64::from(cr) - r0) * 127.0 / (r1 - r0);
        let r = cr * (2.0 - 2.0 * self.red) + y;
        let b = cb * (2.0 - 2.0 * self.blue) + y;
        let g = (y - self.blue * b - self.red * r) / self.green;
        [r, g, b].map(|v| v.round() as u8)
    }
}

/// CIE L*a*b* of the D50 white, as TIFF has it, to sRGB: Bradford adaptation, clipped, without a rendering intent.
fn rgb_of_lab([l, a, b]: [u8; 3], offset: bool) -> [u8; 3] {
    const D50: [f64; 3] = [0.9642, 1.0, 0.8249];
    const TO_SRGB: [[f64; 3]; 3] = [
        [3.133_856_1, -1.616_866_7, -0.490_614_6],
        [-0.978_768_4, 1.916_141_5, 0.033_454_0],
        [0.071_945_3, -0.228_991_4, 1.405_242_7],
    ];
    let signed = |v: u8| if offset { f64::from(v) - 128.0 } else { f64::from(v as i8) };
    let y = (f64::from(l) / 2.55 + 16.0) / 116.0;
    let cube =
        |t: f64| if t > 6.0 / 29.0 { t.powi(3) } else { 3.0 * (6.0f64 / 29.0).powi(2) * (t - 4.0 / 29.0) };
    let [wx, wy, wz] = D50;
    let xyz = [wx * cube(y + signed(a) / 500.0), wy * cube(y), wz * cube(y - signed(b) / 200.0)];
    TO_SRGB.map(|row| {
        let linear = row.iter().zip(xyz).map(|(m, v)| m * v).sum::<f64>().clamp(0.0, 1.0);
        let v = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
        (255.0 * v).round() as u8
    })
}
