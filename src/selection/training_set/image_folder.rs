//! Folders as torchvision's `ImageFolder` and `imagefolder` of Hugging Face's datasets read them. The first folder below the set is the class
//! of an image; what is written of it goes along in `metadata.jsonl`, a line for each file, which the latter reads.

use super::captions::{Caption, Captions, Tally};
use super::metadata::{JSONL, Metadata, Row};
use super::names::{file_name, folders, is_taken};
use super::{SetOptions, WrittenSet, each_image, put};
use crate::candidates::PoolSource;
use crate::error::Result;
use crate::formats::atomic::{link_or_copy, write_atomic};
use crate::progress::Progress;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write as _};
use std::path::Path;

/// Extensions of the files that `ImageFolder` takes for images (torchvision.datasets.folder.IMG_EXTENSIONS).
pub(super) const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// Where the files of an image are: its folder and name, without the number of the repeat.
struct Place {
    start: String,
    extension: String,
}

impl Place {
    /// The file of a repeat, counted from 1.
    fn file(&self, time: u32) -> String {
        format!("{}-{time:04}.{}", self.start, self.extension)
    }
}

/// A line of `metadata.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    file_name: &'a str,
    #[serde(flatten)]
    row: &'a Row,
}

/// As [`super::write_training_set`].
pub(super) fn write(
    source: &PoolSource,
    captions: &Captions,
    dir: &Path,
    repeats: &[u32],
    options: &SetOptions,
    progress: &dyn Progress,
) -> Result<WrittenSet> {
    let mut written = WrittenSet { files: vec![None; repeats.len()], ..WrittenSet::default() };
    let name = options.name.to_string();
    let mut places = Vec::with_capacity(repeats.len());
    each_image(repeats.len(), progress, |row| {
        let path = source.paths().get(row).map_or("", String::as_str);
        let convert = !is_taken(path, &EXTENSIONS);
        written.converted += usize::from(convert);
        let mut folder = folders(path).join("/");
        if folder.is_empty() {
            folder.clone_from(&name);
        }
        let (stem, extension) = file_name(row, path, &EXTENSIONS);
        let place = Place { start: format!("{folder}/{stem}"), extension };
        let first = dir.join(place.file(1));
        put(source, row, &first, convert, options.link)?;
        for time in 2..=repeats.get(row).copied().unwrap_or(1) {
            let target = dir.join(place.file(time));
            match options.link && !convert {
                true => put(source, row, &target, convert, true)?,
                false => link_or_copy(&first, &target)?,
            }
        }
        written.files[row] = Some(place.file(1));
        places.push(place);
        Ok(())
    })?;
    if captions.are_there(source.paths()) {
        let mut tally = Tally::new(options.strict);
        let rows = rows(captions, source.paths(), &name, &mut tally)?;
        write_atomic(dir.join(JSONL), |out| {
            for ((place, row), &repeats) in places.iter().zip(&rows).zip(repeats) {
                for time in 1..=repeats {
                    let line = Line { file_name: &place.file(time), row };
                    serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
                    out.write_all(b"\n")?;
                }
            }
            Ok(())
        })?;
        written.captions = Some(tally.counts(progress));
    }
    Ok(written)
}

/// What is written of each image: its row, with the caption of the file beside it where the row has none. Where images have captions, those
/// without one are called `name`.
///
/// # Errors
/// [`crate::Error::Strict`] for a caption that cannot be used, where that was asked for.
fn rows(captions: &Captions, paths: &[String], name: &str, tally: &mut Tally) -> Result<Vec<Row>> {
    let known = captions.metadata().caption_column();
    let column = known.or_else(|| captions.has_files(paths).then_some(Metadata::USUAL));
    let mut rows = Vec::with_capacity(paths.len());
    for path in paths {
        let mut row = captions.row(path).cloned().unwrap_or_default();
        let caption = match (captions.metadata().caption(path), column) {
            (Some(caption), _) => Caption::Text(caption.into()),
            // Rows without captions.
            (None, None) if !row.is_empty() => Caption::Text(String::new()),
            (None, _) => captions.beside(path),
        };
        let text = tally.text(path, caption)?;
        if let Some(column) = column {
            let text = text.as_deref().map_or(name, str::trim_end);
            row.insert(column.into(), Value::String(text.into()));
        }
        rows.push(row);
    }
    Ok(rows)
}
