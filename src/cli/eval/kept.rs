//! Features and statistics of the real set, kept in the cache by the content of its images and by what made the features: comparing with
//! the same real set again decodes none of it.

use crate::cli::common::ExtractorArgs;
use crate::cli::input::Input;
use crate::cli::kept::{Folder, content_of, name_of};
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::atomic::write_atomic;
use crate::formats::digest::sha256_of_file;
use crate::formats::npy::{read_npy, read_npz_f64, write_npy, write_npz_f64};
use crate::images::{ImageSet, Inputs, Skipped};
use crate::metrics::Keep;
use crate::reference::embed::{ImageRow, embed_in_spaces};
use ndarray::{Array2, ArrayD};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where in the cache the features are, a directory for each set and network.
const REAL_SETS: Folder = Folder { name: "real-sets", mark: "images.json", most_bytes: 4 << 30 };
/// What a directory holds beside the mark.
const FEATURES: &str = "features.npy";

/// Features of a set by several networks.
pub(super) struct InSpaces {
    /// `[N, D]`, by network.
    pub features: Vec<Array2<f32>>,
    /// `[N]`
    pub images: Vec<ImageRow>,
    /// What became of the inputs.
    pub inputs: Inputs,
    /// Where they are kept, by network; empty where they are not.
    places: Vec<PathBuf>,
}

/// What is kept beside the features: the images, and what was skipped, each with the reason.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Of the features.
    sha256: String,
    images: Vec<ImageRow>,
    skipped: Vec<(String, String)>,
}

impl InSpaces {
    /// Each image decoded once for all networks.
    ///
    /// # Errors
    /// As [`embed_in_spaces`].
    pub(super) fn of(
        set: &ImageSet,
        extractors: &[&LoadedExtractor],
        args: &ExtractorArgs,
        terminal: &Terminal,
    ) -> Result<Self> {
        let embedded = embed_in_spaces(set, extractors, args.embed_options(), terminal)?;
        let features = [embedded.features].into_iter().chain(embedded.others).collect();
        Ok(Self { features, images: embedded.images, inputs: embedded.inputs, places: Vec::new() })
    }

    /// Where the statistics of the features of `extractor` are kept, which the network at this position makes.
    pub(super) fn statistics(&self, network: usize, extractor: &str) -> Option<Arc<dyn Keep>> {
        let place = self.places.get(network)?.clone();
        Some(Arc::new(KeptStatistics { place, extractor: extractor.to_owned() }))
    }

    /// The same of the real set, from the cache as far as that has it.
    ///
    /// # Errors
    /// As [`InSpaces::of`].
    pub(super) fn of_real(
        set: &ImageSet,
        extractors: &[&LoadedExtractor],
        args: &ExtractorArgs,
        terminal: &Terminal,
    ) -> Result<Self> {
        let bytes: Vec<u64> =
            extractors.iter().map(|extractor| bytes_of(set.len(), extractor.identity().dimension)).collect();
        // What a device computes differs from the processor in the last bits.
        let on_cpu = extractors.iter().all(|extractor| extractor.device().is_cpu());
        let Some(root) = REAL_SETS.root(bytes.iter().sum()).filter(|_| on_cpu && !set.is_empty()) else {
            return Self::of(set, extractors, args, terminal);
        };
        let content = content_of(set, "looking at the real set", terminal)?;
        let place = |extractor: &&LoadedExtractor| Ok(root.join(name_of(&content, extractor.identity())?));
        let places: Vec<PathBuf> = extractors.iter().map(place).collect::<Result<_>>()?;
        let mut all: Vec<Option<(Array2<f32>, Record)>> = places.iter().map(|place| read(place)).collect();
        let missing: Vec<usize> = (0..all.len()).filter(|&i| all[i].is_none()).collect();
        if missing.is_empty() {
            terminal
                .say(&format!("{} real images are as before: their features are in the cache", set.len()));
        } else {
            let networks: Vec<&LoadedExtractor> = missing.iter().map(|&i| extractors[i]).collect();
            let Self { features, images, inputs, .. } = Self::of(set, &networks, args, terminal)?;
            let skipped: Vec<(String, String)> =
                inputs.skipped.into_iter().map(|skipped| (skipped.path, skipped.reason)).collect();
            for (i, features) in missing.into_iter().zip(features) {
                let mut record =
                    Record { sha256: String::new(), images: images.clone(), skipped: skipped.clone() };
                // A cache that cannot be written costs time later, and nothing else.
                let _ = REAL_SETS
                    .make_room(&root, bytes[i], &places[i])
                    .and_then(|()| write(&places[i], &features, &mut record));
                all[i] = Some((features, record));
            }
        }
        places.iter().for_each(|place| REAL_SETS.touch(place));
        let (features, records): (Vec<_>, Vec<_>) = all.into_iter().flatten().unzip();
        let Some(Record { images, skipped, .. }) = records.into_iter().next() else {
            return Self::of(set, extractors, args, terminal);
        };
        let skipped = skipped.into_iter().map(|(path, reason)| Skipped { path, reason }).collect();
        let inputs = Inputs { used: images.len(), skipped, left_out: set.left_out().clone() };
        if args.strict {
            inputs.check_strict()?;
        }
        Ok(Self { features, images, inputs, places })
    }
}

/// Features, mean, covariance and its root, and neighbours. Several spaces of one network have smaller covariances than one.
fn bytes_of(rows: usize, width: usize) -> u64 {
    let (row, matrix) = (width * size_of::<f32>() + NEIGHBOUR_BYTES, width * width * size_of::<f64>());
    (rows * row + 2 * matrix) as u64
}

/// Bytes of the neighbours of a row at the usual k.
const NEIGHBOUR_BYTES: usize = 2 * 5 * size_of::<f64>();

/// Statistics in a directory of the cache.
struct KeptStatistics {
    place: PathBuf,
    extractor: String,
}

impl KeptStatistics {
    fn file(&self, name: &str) -> PathBuf {
        self.place.join(format!("{}.{name}.npz", self.extractor))
    }
}

/// What arrays of a file are called.
fn array_names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("arr_{i}")).collect()
}

impl Keep for KeptStatistics {
    fn read(&self, name: &str, count: usize) -> Option<Vec<ArrayD<f64>>> {
        let names = array_names(count);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        read_npz_f64(self.file(name), &names).ok()?
    }

    fn write(&self, name: &str, arrays: &[ArrayD<f64>]) {
        let names = array_names(arrays.len());
        let named: Vec<_> =
            names.iter().map(String::as_str).zip(arrays.iter().map(|array| array.view())).collect();
        // As above.
        let _ = write_npz_f64(self.file(name), &named);
    }
}

/// The real set in the one space of `extractor`.
///
/// # Errors
/// As [`InSpaces::of_real`].
pub(super) fn real_input(
    set: &ImageSet,
    extractor: &LoadedExtractor,
    args: &ExtractorArgs,
    terminal: &Terminal,
) -> Result<(Input, Option<Arc<dyn Keep>>)> {
    let found = InSpaces::of_real(set, &[extractor], args, terminal)?;
    let kept = found.statistics(0, &extractor.identity().extractor);
    let InSpaces { features, images, inputs, .. } = found;
    let paths = images.iter().map(|image| image.path.clone()).collect();
    let features = features.into_iter().next().unwrap_or_default();
    let input = Input::of_features(features, paths, extractor.identity().clone());
    Ok((Input { images, inputs: Some(inputs), ..input }, kept))
}

/// What a directory holds; `None` if that is not whole.
fn read(place: &Path) -> Option<(Array2<f32>, Record)> {
    let text = fs::read(place.join(REAL_SETS.mark)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let file = place.join(FEATURES);
    if sha256_of_file(&file).ok()? != record.sha256 {
        return None;
    }
    let features = read_npy(file).ok()?;
    (features.nrows() == record.images.len()).then_some((features, record))
}

fn write(place: &Path, features: &Array2<f32>, record: &mut Record) -> Result<()> {
    fs::create_dir_all(place).map_err(Error::io("create", place))?;
    let file = place.join(FEATURES);
    write_npy(&file, features)?;
    record.sha256 = sha256_of_file(&file)?;
    let text = serde_json::to_vec(record).map_err(|e| Error::data(e.to_string(), ""))?;
    write_atomic(place.join(REAL_SETS.mark), |out| out.write_all(&text))
}
