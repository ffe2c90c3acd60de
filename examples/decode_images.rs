//! The pixels of image files at full size, as portable pixmaps: `benches/pillow_pixels.py` compares them with Pillow's.
//!
//! `decode_images FOLDER FILE…` writes `FOLDER/0.ppm`, `FOLDER/1.ppm`, …, and prints a line for each file: its number, its path, and
//! what is worth knowing about it, or why it cannot be read.

use pseudo_density::internals::images::{Alpha, decode_noted};
use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = std::path::PathBuf::from(arguments.next().unwrap_or_default());
    for (number, path) in arguments.enumerate() {
        let said = match decode_noted(&std::fs::read(&path)?, Alpha::White) {
            Ok((image, note)) => {
                let mut file = std::fs::File::create(folder.join(format!("{number}.ppm")))?;
                write!(file, "P6\n{} {}\n255\n", image.width, image.height)?;
                file.write_all(&image.pixels)?;
                note
            }
            Err(reason) => format!("refused: {reason}"),
        };
        println!("{number}\t{path}\t{said}");
    }
    Ok(())
}
