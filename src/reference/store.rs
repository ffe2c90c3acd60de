//! Reading a reference directory, and writing its tables.

use super::descriptors::DescriptorFiles;
use super::files;
use super::manifest::{DensityRecord, Manifest};
use crate::density::{DensityPredictor, Distribution};
use crate::error::{Error, Result};
use crate::formats::FeatureRows;
use crate::formats::digest::{hex, sha256, sha256_of_file};
use crate::formats::npy::{NpyRows, read_npy};
use crate::formats::table::{Table, TableReader, Values, write_table};
use crate::images::Skipped;
use crate::neighbors;
use crate::remedy::Remedy;
use csv::StringRecord;
use ndarray::{Array2, Axis, concatenate, s};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A reference directory.
pub struct Reference {
    /// Where it is.
    pub dir: PathBuf,
    /// What it was made with.
    pub manifest: Manifest,
}

impl Reference {
    /// Opens a directory that `pd embed` made.
    ///
    /// # Errors
    /// As [`Manifest::load`], with a hint where there is no manifest.
    pub fn open(dir: &Path) -> Result<Self> {
        if !dir.join(files::MANIFEST).exists() {
            let (reason, hint) = if dir.join(files::PARTIAL).exists() {
                ("is an unfinished reference", Remedy::FinishReference)
            } else {
                ("is not a reference directory", Remedy::MakeReference)
            };
            return Err(Error::malformed(dir, reason, hint));
        }
        Ok(Self { dir: dir.to_path_buf(), manifest: Manifest::load(dir)? })
    }

    /// Features `[N, D]`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the files do not hold what the manifest says.
    pub fn features(&self) -> Result<Array2<f32>> {
        let mut parts = Vec::new();
        for name in &self.manifest.features {
            parts.push(read_npy(self.dir.join(name))?);
        }
        let features = match parts.len() {
            1 => parts.swap_remove(0),
            _ => {
                let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
                concatenate(Axis(0), &views).map_err(|e| Error::malformed(&self.dir, e.to_string(), ""))?
            }
        };
        let expected = (self.manifest.rows, self.manifest.identity.dimension);
        if features.dim() != expected {
            return Err(self.unfit(format!("shape {:?}", features.dim()), format!("{expected:?}")));
        }
        Ok(features)
    }

    /// The files of the features, to be read row by row.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they do not hold what the manifest says.
    pub(super) fn feature_files(&self) -> Result<FeatureFiles> {
        let mut files = Vec::new();
        let mut rows = 0;
        for name in &self.manifest.features {
            let file = NpyRows::open(self.dir.join(name), self.manifest.identity.dimension)?;
            rows += file.rows();
            files.push(file);
        }
        if rows != self.manifest.rows {
            return Err(self.unfit(format!("{rows} rows"), format!("{}", self.manifest.rows)));
        }
        Ok(FeatureFiles { files, rows, columns: self.manifest.identity.dimension })
    }

    /// The descriptors of its pictures; `None` where there are none: features came without pictures, or an earlier version made it.
    ///
    /// # Errors
    /// As [`Reference::feature_files`].
    pub(crate) fn descriptors(&self) -> Result<Option<DescriptorFiles>> {
        DescriptorFiles::open(&self.dir, &self.manifest)
    }

    fn unfit(&self, found: String, expected: String) -> Error {
        let reason = format!("features of {found}, but the manifest says {expected}");
        Error::malformed(&self.dir, reason, Remedy::RemakeFeatures)
    }

    /// The path of each row.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the table is damaged or of another length.
    pub fn paths(&self) -> Result<Vec<String>> {
        self.column(files::IMAGES, "path")
    }

    /// Bytes of the file of each row.
    ///
    /// # Errors
    /// As [`Reference::paths`].
    pub(super) fn bytes(&self) -> Result<Vec<u64>> {
        let path = self.dir.join(files::IMAGES);
        let wrong = |_| Error::malformed(&path, "holds a size that is no number", Remedy::RemakeReference);
        self.column(files::IMAGES, "bytes")?.iter().map(|bytes| bytes.parse().map_err(wrong)).collect()
    }

    /// What `pd index` found.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it has not run yet.
    pub fn density(&self) -> Result<&DensityRecord> {
        self.manifest.density.as_ref().ok_or_else(|| {
            Error::malformed(
                &self.dir,
                "has no pseudo densities yet",
                Remedy::IndexReference(Some(self.dir.clone())),
            )
        })
    }

    /// The densities of the reference, for percentiles.
    ///
    /// # Errors
    /// As [`Reference::paths`].
    pub fn distribution(&self) -> Result<Distribution> {
        Distribution::new(&self.densities()?)
    }

    /// The pseudo density of each row, `[N]`.
    ///
    /// # Errors
    /// As [`Reference::paths`].
    pub fn densities(&self) -> Result<Vec<f64>> {
        self.score_column("pseudo_density")
    }

    /// The distance of each row to the nearest other one, `[N]`.
    ///
    /// # Errors
    /// As [`Reference::paths`].
    pub fn nearest_distances(&self) -> Result<Vec<f64>> {
        self.score_column("nearest_distance")
    }

    /// The density predictor.
    ///
    /// # Errors
    /// [`Error::Malformed`] if `pd index` trained none, or the file is damaged.
    pub fn predictor(&self) -> Result<DensityPredictor> {
        if self.density()?.predictor.is_none() {
            return Err(Error::malformed(&self.dir, "has no density predictor", Remedy::TrainPredictor));
        }
        DensityPredictor::load(&self.dir.join(files::PREDICTOR), self.manifest.identity.dimension)
    }

    /// SHA-256 of the manifest: another for another set, extractor, K or index.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn digest(&self) -> Result<String> {
        sha256_of_file(self.dir.join(files::MANIFEST))
    }

    /// SHA-256 of what the manifest says of the features: not of densities, which may be computed anew.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be written as JSON.
    pub(super) fn digest_of_features(&self) -> Result<String> {
        let bare = Manifest { density: None, ..self.manifest.clone() };
        Ok(sha256(&serde_json::to_vec(&bare).map_err(|e| Error::data(e.to_string(), ""))?))
    }

    fn score_column(&self, name: &str) -> Result<Vec<f64>> {
        let mut values = Vec::new();
        for text in self.column(files::SCORES, name)? {
            values.push(text.parse().map_err(|_| {
                Error::malformed(
                    self.dir.join(files::SCORES),
                    format!("`{text}` in column {name} is not a number"),
                    Remedy::IndexReference(None),
                )
            })?);
        }
        Ok(values)
    }

    fn column(&self, file: &str, name: &str) -> Result<Vec<String>> {
        let path = self.dir.join(file);
        let wrong = |reason: String| Error::malformed(&path, reason, Remedy::RemakeReference);
        let mut reader = TableReader::open(&path).map_err(|e| wrong(e.to_string()))?;
        let headings = reader.headings().map_err(|e| wrong(e.to_string()))?;
        let at = headings
            .iter()
            .position(|h| h == name)
            .ok_or_else(|| wrong(format!("has no column `{name}`")))?;
        let mut values = Vec::new();
        let mut record = StringRecord::new();
        while reader.read(&mut record).map_err(|e| wrong(e.to_string()))? {
            values.push(record.get(at).unwrap_or_default().to_string());
        }
        if values.len() != self.manifest.rows {
            return Err(wrong(format!(
                "has {} rows, the manifest says {}",
                values.len(),
                self.manifest.rows
            )));
        }
        Ok(values)
    }
}

/// Features `[N, D]` in files, of which rows are read as they are wanted.
pub(super) struct FeatureFiles {
    files: Vec<NpyRows>,
    rows: usize,
    columns: usize,
}

impl FeatureRows for FeatureFiles {
    fn dim(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn read(&mut self, range: Range<usize>) -> Result<Array2<f32>> {
        let mut rows = None;
        let mut first = 0;
        for file in &mut self.files {
            let own = range.start.max(first)..range.end.min(first + file.rows());
            if own == range {
                return file.read(own.start - first..own.end - first);
            }
            if !own.is_empty() {
                let to = own.start - range.start..own.end - range.start;
                let part = file.read(own.start - first..own.end - first)?;
                let rows = rows.get_or_insert_with(|| Array2::zeros((range.len(), self.columns)));
                rows.slice_mut(s![to, ..]).assign(&part);
            }
            first += file.rows();
        }
        Ok(rows.unwrap_or_else(|| Array2::zeros((range.len(), self.columns))))
    }
}

/// Whether a path is a reference directory.
pub(crate) fn is_reference(path: &Path) -> bool {
    path.join(files::MANIFEST).is_file()
}

/// What was skipped when a reference was made.
///
/// # Errors
/// [`Error::Malformed`] if `skipped.csv` is damaged.
pub(crate) fn read_skipped(dir: &Path) -> Result<Vec<Skipped>> {
    let path = dir.join(files::SKIPPED);
    let wrong = |e: csv::Error| Error::malformed(&path, e.to_string(), "");
    let mut skipped = Vec::new();
    let mut reader = TableReader::open(&path).map_err(wrong)?;
    let mut record = StringRecord::new();
    while reader.read(&mut record).map_err(wrong)? {
        let cell = |i: usize| record.get(i).unwrap_or_default().to_string();
        skipped.push(Skipped { path: cell(0), reason: cell(1) });
    }
    Ok(skipped)
}

/// Writes a table that belongs to a reference.
pub(super) fn write_csv(path: &Path, table: &Table) -> Result<()> {
    write_table(path, table)
}

/// Writes `skipped.csv`.
pub(super) fn write_skipped(dir: &Path, skipped: &[Skipped]) -> Result<()> {
    let mut table = Table::new();
    table.push("path", Values::Text(skipped.iter().map(|s| s.path.clone()).collect()))?;
    table.push("reason", Values::Text(skipped.iter().map(|s| s.reason.clone()).collect()))?;
    write_csv(&dir.join(files::SKIPPED), &table)
}

/// Removes the manifest, and then what was computed from the features: the directory is that of a run that is not finished. A neighbour
/// graph is kept for the next one to begin with.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn unfinish(dir: &Path) -> Result<()> {
    let remove = |path: PathBuf| match fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path)(e)),
        _ => Ok(()),
    };
    for name in [files::MANIFEST, files::SCORES, files::DUPLICATES, files::PREDICTOR] {
        remove(dir.join(name))?;
    }
    neighbors::set_graphs_aside(dir)
}

/// SHA-256 over the digests of the files of all rows, in order: the same for the same images, whatever they are called.
pub(crate) fn content_digest<'a>(digests: impl Iterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    digests.for_each(|digest| hasher.update(digest.as_bytes()));
    hex(&hasher.finalize())
}
