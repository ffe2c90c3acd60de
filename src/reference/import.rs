//! Features that another program made, as a reference.

use super::embed::{finished_manifest, reference_run};
use super::files;
use super::manifest::Manifest;
use super::store::{write_csv, write_skipped};
use crate::error::Result;
use crate::extract::Identity;
use crate::formats::digest::{sha256, sha256_of_file};
use crate::formats::features_files;
use crate::formats::npy::write_npy;
use crate::formats::table::{Table, Values};
use crate::neighbors::check_finite;
use crate::runs::{Opened, RunDir};
use ndarray::Array2;
use std::path::Path;

/// The name of a row that has no path.
pub fn row_name(row: usize) -> String {
    format!("row:{row}")
}

/// SHA-256 of a features file; of several parts, of the digests of all.
fn digest_of(file: &Path) -> Result<String> {
    let digests: Vec<String> = features_files(file)?.iter().map(sha256_of_file).collect::<Result<_>>()?;
    match &digests[..] {
        [one] => Ok(one.clone()),
        several => Ok(sha256(several.concat().as_bytes())),
    }
}

/// Writes `features` `[N, D]`, read from `file`, as a reference of extractor `external`.
///
/// # Errors
/// [`crate::Error::Data`] if a value is not finite; as [`RunDir::open`].
pub(crate) fn import(dir: &Path, file: &Path, features: &Array2<f32>, normalize: bool) -> Result<Manifest> {
    check_finite(features.view())?;
    let identity = Identity::external(features.ncols(), normalize);
    let digest = digest_of(file)?;
    let _directory = match RunDir::open(dir, &reference_run(&identity, Some(&digest)))? {
        Opened::Finished(_) => return finished_manifest(dir),
        Opened::New(directory) | Opened::Continue(directory) => directory,
    };
    write_npy(dir.join(files::FEATURES), features)?;
    let rows = features.nrows();
    let mut table = Table::new();
    table.push("row", Values::Int((0..rows as i64).collect()))?;
    table.push("path", Values::Text((0..rows).map(row_name).collect()))?;
    table.push("width", Values::OptionalInt(vec![None; rows]))?;
    table.push("height", Values::OptionalInt(vec![None; rows]))?;
    table.push("note", Values::Text(vec![String::new(); rows]))?;
    write_csv(&dir.join(files::IMAGES), &table)?;
    write_skipped(dir, &[])?;
    let manifest = Manifest::new(identity, digest, rows, 0);
    manifest.save(dir)?;
    Ok(manifest)
}
