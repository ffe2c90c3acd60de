//! What a user says of an ONNX file that makes images.

use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// What a user says; everything left out is found in the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct OnnxGeneratorRequest {
    /// What inputs take, by their names.
    pub inputs: Vec<OnnxInput>,
    /// Name of the image output; needed where several outputs may be images.
    pub output: Option<String>,
    /// The values of black and white; found by making images if not given.
    pub range: Option<ValueRange>,
}

/// An input by its name, and what it takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OnnxInput {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub takes: Takes,
}

/// What an input takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Takes {
    /// The latent.
    Latent,
    /// The class: its number, or zeros with a one at its place.
    Class,
    /// This number, wherever it has one.
    Number(f32),
}

/// The values of black and white.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ValueRange {
    /// Black.
    pub black: f32,
    /// White.
    pub white: f32,
}

impl FromStr for OnnxInput {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            // The command line shows the reason alone.
            let known = "NAME=latent, NAME=class or NAME=0.7";
            Error::usage(format!("`{text}` does not say what an input takes: {known}"), "")
        };
        let (name, takes) = text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        let takes = match takes {
            "latent" => Takes::Latent,
            "class" => Takes::Class,
            number => Takes::Number(
                number.parse().ok().filter(|number: &f32| number.is_finite()).ok_or_else(wrong)?,
            ),
        };
        Ok(Self { name: name.into(), takes })
    }
}

impl fmt::Display for OnnxInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.takes {
            Takes::Latent => write!(f, "{}=latent", self.name),
            Takes::Class => write!(f, "{}=class", self.name),
            Takes::Number(number) => write!(f, "{}={number}", self.name),
        }
    }
}

impl FromStr for ValueRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = |text: &str| text.trim().parse::<f32>().ok().filter(|number| number.is_finite());
        let range = text.split_once(',').and_then(|(black, white)| {
            let range = Self { black: number(black)?, white: number(white)? };
            (range.black != range.white).then_some(range)
        });
        range.ok_or_else(|| {
            let known = "the values of black and white, such as -1,1 or 0,255";
            Error::usage(format!("`{text}` is no range of values: {known}"), "")
        })
    }
}

impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.black, self.white)
    }
}

impl ValueRange {
    /// Of networks that end with a hyperbolic tangent.
    pub(super) const SIGNED: Self = Self { black: -1.0, white: 1.0 };
    /// Of networks that end with a sigmoid.
    const UNIT: Self = Self { black: 0.0, white: 1.0 };
    /// Of bytes.
    pub(super) const BYTES: Self = Self { black: 0.0, white: 255.0 };

    /// The usual range that values between `lowest` and `highest` are most probably of; `None` if they are of none.
    pub(super) fn of_values(lowest: f32, highest: f32) -> Option<Self> {
        // Networks without a last bound overshoot a little.
        const OVERSHOOT: f32 = 0.25;
        let fits = |range: &Self| {
            let beyond = OVERSHOOT * (range.white - range.black);
            lowest >= range.black - beyond && highest <= range.white + beyond
        };
        // So far below 0 only dark pixels are, of a range that begins at -1.
        const DARK: f32 = -0.02;
        match lowest < DARK {
            true => Some(Self::SIGNED).filter(fits),
            false => [Self::UNIT, Self::BYTES].into_iter().find(fits),
        }
    }

    /// A value of this range in -1..=1.
    pub(super) fn signed(self, value: f32) -> f32 {
        if self == Self::SIGNED {
            value
        } else {
            2.0 * (value - self.black) / (self.white - self.black) - 1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_read_as_it_is_shown_and_nothing_else_is() {
        for text in ["z=latent", "label=class", "a=b=0.5", "psi=-2"] {
            assert_eq!(text.parse::<OnnxInput>().unwrap().to_string(), text);
        }
        for text in ["", "z", "=latent", "z=", "z=much", "z=nan"] {
            assert!(text.parse::<OnnxInput>().is_err(), "{text}");
        }
        assert_eq!("-1,1".parse::<ValueRange>().unwrap().to_string(), "-1,1");
        for text in ["", "1", "1,1", "0,inf", "a,b", "0,1,2"] {
            assert!(text.parse::<ValueRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_range_is_the_usual_one_that_values_fill() {
        let found = |lowest, highest| ValueRange::of_values(lowest, highest).map(|range| range.to_string());
        assert_eq!(found(-0.98, 0.97).as_deref(), Some("-1,1"));
        assert_eq!(found(-1.2, 1.3).as_deref(), Some("-1,1"));
        assert_eq!(found(0.0, 0.99).as_deref(), Some("0,1"));
        assert_eq!(found(0.0, 240.0).as_deref(), Some("0,255"));
        assert_eq!(found(-3.0, 4.0), None);
        assert_eq!(found(0.0, 1000.0), None);
        assert_eq!(found(f32::NAN, 1.0), None);
        let bytes = ValueRange::BYTES;
        assert_eq!((bytes.signed(0.0), bytes.signed(255.0)), (-1.0, 1.0));
        assert_eq!(ValueRange { black: 1.0, white: 0.0 }.signed(1.0), -1.0);
    }
}
