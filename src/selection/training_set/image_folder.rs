//! Folders as torchvision's `ImageFolder` reads them: the first folder below the set is the class of an image.

use super::names::{file_name, folders, is_taken};
use super::{SetOptions, WrittenSet, each_image, put};
use crate::candidates::PoolSource;
use crate::error::Result;
use crate::formats::atomic::link_or_copy;
use crate::progress::Progress;
use std::path::Path;

/// Extensions of the files that `ImageFolder` takes for images (torchvision.datasets.folder.IMG_EXTENSIONS).
pub(super) const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// As [`super::write_training_set`].
pub(super) fn write(
    source: &PoolSource,
    dir: &Path,
    repeats: &[u32],
    options: &SetOptions,
    progress: &dyn Progress,
) -> Result<WrittenSet> {
    let mut written = WrittenSet { files: vec![None; repeats.len()], ..WrittenSet::default() };
    let name = options.name.to_string();
    each_image(repeats.len(), progress, |row| {
        let path = source.paths().get(row).map_or("", String::as_str);
        let convert = !is_taken(path, &EXTENSIONS);
        written.converted += usize::from(convert);
        let mut folder = folders(path).join("/");
        if folder.is_empty() {
            folder.clone_from(&name);
        }
        let (stem, extension) = file_name(row, path, &EXTENSIONS);
        let file = |time: u32| format!("{folder}/{stem}-{time:04}.{extension}");
        let first = dir.join(file(1));
        put(source, row, &first, convert, options.link)?;
        for time in 2..=repeats.get(row).copied().unwrap_or(1) {
            let target = dir.join(file(time));
            match options.link && !convert {
                true => put(source, row, &target, convert, true)?,
                false => link_or_copy(&first, &target)?,
            }
        }
        written.files[row] = Some(file(1));
        Ok(())
    })?;
    Ok(written)
}
