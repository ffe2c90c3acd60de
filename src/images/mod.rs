//! Images: find them, decode them, turn them upright, resize them as Pillow does, and prepare them for a network.
//! [`ImageSet`] lists and reads, [`decode()`] gives pixels, [`Preprocessing`] gives the input of a network, [`load`] does all of it in parallel.
//! A damaged file is a value with a reason and does not end a run.

mod alpha;
mod archives;
mod batch;
mod budget;
mod container;
mod decode;
mod dir;
mod filter;
mod gif;
mod given;
mod glyphs;
mod inputs;
mod jpeg;
#[cfg(test)]
mod jpeg_tests;
mod kind;
mod names;
mod orientation;
mod pixel_array;
mod png;
mod preprocess;
mod prompts;
mod read_at;
mod resize;
mod rgb;
mod sheet;
mod skipped;
mod sorting;
mod source;
#[cfg(test)]
mod source_tests;
mod tar;
#[cfg(test)]
mod tests;
mod tiff;
mod unpack;
mod write;
mod zip;

pub use alpha::Alpha;
pub(crate) use batch::{FromImage, Loaded, Original, load_some};
pub use batch::{Prepared, load};
pub use budget::set_decoding_memory;
pub(crate) use container::InputDigest;
pub use decode::decode_noted;
pub(crate) use decode::{ONE_COLOUR, decode};
pub use filter::Filter;
pub use given::{Picture, PictureSource};
pub(crate) use inputs::InputCounts;
pub use inputs::{Inputs, LeftOut};
pub(crate) use jpeg::{decodes_jpeg_with_vector_instructions, encode_jpeg};
pub(crate) use names::promised_format;
pub(crate) use preprocess::Pixels;
pub use preprocess::{Color, Fit, Preprocessing};
pub(crate) use prompts::prompt_of;
pub(crate) use resize::{AxisMap, resize};
pub use rgb::RgbImage;
pub(crate) use sheet::{contact_sheet, labelled_sheet, tiled};
pub use skipped::Skipped;
pub use source::ImageSet;
pub use write::write_png;
pub(crate) use write::{gray_or_rgb, write_png_bytes};
