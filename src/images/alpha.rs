//! How transparent pixels become colours.

use serde::{Deserialize, Serialize};

/// How transparent pixels are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// Composited on white, as a page shows it.
    #[default]
    White,
    /// Composited on black: for white drawings on a transparent ground.
    Black,
    /// Dropped; the stored colours show, as with Pillow's `convert("RGB")`.
    Drop,
}

/// A colour of opacity `a` on white or black, or as it is stored.
pub(super) fn resolve(colour: [u8; 3], a: u8, alpha: Alpha) -> [u8; 3] {
    let ground = match alpha {
        Alpha::Drop => return colour,
        Alpha::White => 255,
        Alpha::Black => 0,
    };
    colour.map(|v| {
        let (v, a) = (u32::from(v), u32::from(a));
        ((v * a + ground * (255 - a) + 127) / 255) as u8
    })
}
