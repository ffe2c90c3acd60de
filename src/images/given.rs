//! Sets that another program puts together: image files in an order of its own, and pictures that it holds in memory.

use super::container::{Container, Entry, Listing, modified};
use super::dir::read_file;
use super::inputs::LeftOut;
use super::names::shown;
use super::rgb::RgbImage;
use super::source::ImageSet;
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::PathBuf;

/// A picture that a program holds.
pub enum Picture {
    /// The bytes of an image file of any format that is read from disk too.
    File(Vec<u8>),
    /// Pixels.
    Pixels(RgbImage),
}

/// Gives picture `i` of a program, or says why it cannot be used. It is asked from several threads at once.
pub type PictureSource = dyn Fn(usize) -> Result<Picture, String> + Send + Sync;

struct Files(Vec<PathBuf>);

impl Container for Files {
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        self.0.get(entry.slot).map_or_else(|| Err("there is no such file".into()), |path| read_file(path))
    }
}

struct Pictures(Box<PictureSource>);

impl Container for Pictures {
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        match (self.0)(entry.slot)? {
            Picture::File(bytes) => Ok(bytes),
            Picture::Pixels(image) => image.as_file(),
        }
    }
}

impl ImageSet {
    /// The image files of these paths, in this order. One that cannot be read is skipped when its turn comes, as a damaged one is.
    ///
    /// # Errors
    /// [`Error::Data`] if there are none, or one is named twice.
    pub fn of_files(paths: Vec<PathBuf>) -> Result<ImageSet> {
        let entry = |(slot, path): (usize, &PathBuf)| {
            let metadata = std::fs::metadata(path).ok();
            Entry {
                path: shown(path.as_os_str().as_encoded_bytes().to_vec()),
                size: metadata.as_ref().map_or(0, |metadata| metadata.len()),
                slot,
                modified: metadata.as_ref().map_or(0, modified),
            }
        };
        let entries = paths.iter().enumerate().map(entry).collect();
        given(entries, Box::new(Files(paths)))
    }

    /// Pictures that a program holds, in the order of their names. `picture` gives each when it is needed, and never keeps it.
    ///
    /// # Errors
    /// [`Error::Data`] if there are none, or two have one name.
    pub fn of_pictures(names: Vec<String>, picture: Box<PictureSource>) -> Result<ImageSet> {
        let entry = |(slot, path)| Entry { path, size: 0, slot, modified: 0 };
        let entries = names.into_iter().enumerate().map(entry).collect();
        given(entries, Box::new(Pictures(picture)))
    }
}

fn given(entries: Vec<Entry>, container: Box<dyn Container>) -> Result<ImageSet> {
    if entries.is_empty() {
        return Err(Error::data("no images were given", ""));
    }
    let mut names = HashSet::with_capacity(entries.len());
    if let Some(twice) = entries.iter().find(|entry| !names.insert(entry.path.as_str())) {
        return Err(Error::data(format!("{} is given twice", twice.path), "name each image once"));
    }
    let listing = Listing {
        container,
        found: Vec::new(),
        unreadable: Vec::new(),
        left_out: LeftOut::default(),
        archives: None,
    };
    Ok(ImageSet::in_order(listing, entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{Alpha, decode, write_png};

    fn picture(side: u32, shift: u32) -> RgbImage {
        let pixels = (0..side * side * 3).map(|i| ((i * 31 + shift * 97) % 256) as u8).collect();
        RgbImage { width: side, height: side, pixels }
    }

    #[test]
    fn files_keep_the_order_they_are_given_in_and_a_missing_one_has_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        write_png(&path("b.png"), &picture(5, 1)).unwrap();
        write_png(&path("a.png"), &picture(6, 2)).unwrap();
        let set = ImageSet::of_files(vec![path("b.png"), path("missing.png"), path("a.png")]).unwrap();
        assert_eq!((set.len(), set.path(0)), (3, path("b.png").to_str().unwrap()));
        assert_eq!(decode(&set.read(2).unwrap(), Alpha::White).unwrap(), picture(6, 2));
        assert!(set.read(1).is_err());
        assert!(ImageSet::of_files(Vec::new()).is_err());
        assert!(ImageSet::of_files(vec![path("a.png"), path("a.png")]).is_err());
    }

    #[test]
    fn pictures_in_memory_are_read_as_their_pixels_or_their_file() {
        let source = |i: usize| match i {
            0 => Ok(Picture::Pixels(picture(7, 3))),
            1 => Ok(Picture::File(picture(4, 9).as_file().unwrap())),
            2 => Ok(Picture::Pixels(RgbImage { width: 2, height: 2, pixels: vec![0; 11] })),
            _ => Err("is lost".to_string()),
        };
        let names = (0..4).map(|i| i.to_string()).collect();
        let set = ImageSet::of_pictures(names, Box::new(source)).unwrap();
        let decoded = |i: usize| decode(&set.read(i).unwrap(), Alpha::White).unwrap();
        assert_eq!((decoded(0), decoded(1)), (picture(7, 3), picture(4, 9)));
        assert!(set.read(2).unwrap_err().contains("11 values"));
        assert_eq!(set.read(3).unwrap_err(), "is lost");
    }
}
