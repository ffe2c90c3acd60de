//! The pictures of a page: each is made once, however many cards show it.

use super::pictures::{Pictures, Thumbnail};
use crate::error::Result;
use crate::progress::{Progress, check_stop};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::PathBuf;

/// Pictures in a block of the page: a browser reads a block when one of its pictures is seen.
pub(super) const BLOCK: usize = 32;
/// Pictures made between two looks for a request to stop.
const AT_ONCE: usize = 64;

/// An image by its set and its path.
type Key = (PathBuf, String);

fn key(pictures: &Pictures, path: &str) -> Key {
    (pictures.root().to_path_buf(), path.to_owned())
}

/// The pictures of a page.
#[derive(Default)]
pub(super) struct Album {
    thumbnails: Vec<Thumbnail>,
    /// Where the picture of each image is that was asked for; `None` for one that has none.
    places: HashMap<Key, Option<usize>>,
}

impl Album {
    /// Makes pictures of images, none larger than `side`, unless they are there.
    ///
    /// # Errors
    /// [`crate::error::Error::Interrupted`] on request.
    pub(super) fn add(
        &mut self,
        wanted: &[(&Pictures, &str)],
        side: u32,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut named = HashSet::new();
        let missing: Vec<(&Pictures, &str)> = wanted
            .iter()
            .copied()
            .filter(|(pictures, path)| {
                let key = key(pictures, path);
                !pictures.is_empty() && !self.places.contains_key(&key) && named.insert(key)
            })
            .collect();
        progress.start("making the pictures of the page", missing.len() as u64, "images");
        for some in missing.chunks(AT_ONCE) {
            let made: Vec<Option<Thumbnail>> = some
                .par_iter()
                .map(|(pictures, path)| {
                    let made = pictures.thumbnail(path, side);
                    progress.advance(1);
                    made
                })
                .collect();
            check_stop(progress, || "no page was written".into())?;
            for ((pictures, path), thumbnail) in some.iter().zip(made) {
                let place = thumbnail.is_some().then_some(self.thumbnails.len());
                self.thumbnails.extend(thumbnail);
                self.places.insert(key(pictures, path), place);
            }
        }
        progress.finish();
        Ok(())
    }

    /// The number of the picture of an image, if it has one.
    pub(super) fn place(&self, pictures: &Pictures, path: &str) -> Option<usize> {
        self.places.get(&key(pictures, path)).copied().flatten()
    }

    /// The blocks: an address a line, in elements that a browser takes for text.
    pub(super) fn html(&self) -> String {
        let mut out = String::new();
        for block in self.thumbnails.chunks(BLOCK) {
            out.push_str("<script type=\"text/plain\" class=\"block\">\n");
            for thumbnail in block {
                let _ = writeln!(out, "{}", thumbnail.address());
            }
            out.push_str("</script>\n");
        }
        out
    }
}
