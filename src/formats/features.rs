//! Features that another program computed: one matrix `[N, D]` from .npy, .npz or .safetensors.

use super::archive::expect_end;
use super::element::expansion_limit;
use super::npy::{PixelArray, into_matrix, read_array, read_header, read_npy};
use super::safetensors::SafetensorsReader;
use super::zip::open_zip;
use crate::error::{Error, Result};
use crate::formats::regular::open_regular;
use crate::remedy::Remedy;
use ndarray::{Array2, Axis, concatenate};
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// Reads the array `key` of a file; without a key, the only one.
type Reader = fn(&Path, Option<&str>) -> Result<Array2<f32>>;

/// The formats, by extension.
const FORMATS: [(&str, Reader); 3] = [("npy", npy), ("npz", npz), ("safetensors", safetensors)];

/// Names of the mean and the covariance in a file of statistics. They hold no row for each image: one that stands alone is taken for
/// features only where it is named.
pub(crate) const STATISTICS: [&str; 2] = ["mu", "sigma"];
/// The same of spatial features.
pub(crate) const SPATIAL_STATISTICS: [&str; 2] = ["mu_s", "sigma_s"];

/// Extension of the arrays in a .npz file.
const MEMBER_SUFFIX: &str = ".npy";

fn reader(path: &Path) -> Option<Reader> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    FORMATS.iter().find(|(known, _)| *known == extension).map(|(_, reader)| *reader)
}

/// What the parts of clip-retrieval are named by: `img_emb_0.npy`, `img_emb_1.npy`, … in a folder `img_emb`.
const PART: (&str, &str) = ("img_emb_", ".npy");
const PARTS: &str = "img_emb";

/// The part files of a folder that clip-retrieval made, or of the one within, with their numbers; none for anything else.
fn numbered_parts(path: &Path) -> Vec<(usize, PathBuf)> {
    for dir in [path.to_path_buf(), path.join(PARTS)] {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        let number = |name: &str| name.strip_prefix(PART.0)?.strip_suffix(PART.1)?.parse::<usize>().ok();
        let mut parts: Vec<(usize, PathBuf)> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter_map(|path| Some((number(path.file_name()?.to_str()?)?, path)))
            .collect();
        if !parts.is_empty() {
            parts.sort();
            return parts;
        }
    }
    Vec::new()
}

/// The files of a set of features in order: `path` itself, or the parts of clip-retrieval in the folder that it names.
///
/// # Errors
/// [`Error::Malformed`] if a part is missing.
pub(crate) fn features_files(path: &Path) -> Result<Vec<PathBuf>> {
    let parts = numbered_parts(path);
    if parts.is_empty() {
        return Ok(vec![path.to_path_buf()]);
    }
    // Rows are numbered through all parts: with a part missing, every later row would have a wrong number.
    if let Some((expected, _)) = (0..).zip(&parts).find(|(expected, (number, _))| expected != number) {
        let reason = format!("has {} parts but not {}{expected}{}", parts.len(), PART.0, PART.1);
        return Err(Error::malformed(path, reason, "finish clip-retrieval inference, or copy the part"));
    }
    Ok(parts.into_iter().map(|(_, path)| path).collect())
}

/// Whether a path names a features file, by its extension, or a folder of part files. A folder of images may be called `run.npy`, and a
/// `.npz` file may hold the pixels of images ([`PixelArray`]).
pub(crate) fn is_features_file(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    let is_named_so = reader(path).is_some() && !path.is_dir() && PixelArray::of(path).is_none();
    is_named_so || !numbered_parts(path).is_empty()
}

/// Reads features `[N, D]`, one row per image, converted to float32; `[N, D, 1, 1]` loses its last dimensions. The parts of a
/// folder are read one after the other.
/// `key` names the array where the file holds several.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] for a damaged file or an array of another shape; [`Error::Usage`] for an
/// unknown extension, and if `key` is missing or names nothing (the message gives the names and shapes of all).
pub fn read_features(path: impl AsRef<Path>, key: Option<&str>) -> Result<Array2<f32>> {
    let path = path.as_ref();
    let files = features_files(path)?;
    if files != [path] {
        let parts: Vec<Array2<f32>> = files.iter().map(|file| npy(file, key)).collect::<Result<_>>()?;
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        return concatenate(Axis(0), &views).map_err(|_| {
            let widths: Vec<usize> = parts.iter().map(|part| part.ncols()).collect();
            Error::malformed(path, format!("has parts of the widths {widths:?}"), "are they of one model?")
        });
    }
    let reader = reader(path).ok_or_else(|| {
        let known: Vec<_> = FORMATS.iter().map(|(extension, _)| format!(".{extension}")).collect();
        Error::usage(
            format!("{} is not a features file", path.display()),
            format!("known: {}", known.join(", ")),
        )
    })?;
    reader(path, key)
}

fn npy(path: &Path, key: Option<&str>) -> Result<Array2<f32>> {
    if let Some(key) = key {
        let reason = format!("{} holds one array without a name, not `{key}`", path.display());
        return Err(Error::usage(reason, Remedy::DropArrayName));
    }
    read_npy(path)
}

fn npz(path: &Path, key: Option<&str>) -> Result<Array2<f32>> {
    let damaged = |e: zip::result::ZipError| Error::malformed(path, format!("damaged .npz file: {e}"), "");
    let file = open_regular(path)?;
    let limit = expansion_limit(file.metadata().map_err(Error::io("read", path))?.len());
    let mut zip = open_zip(BufReader::new(file)).map_err(damaged)?;
    let members: Vec<String> = zip
        .file_names()
        .flatten()
        .filter_map(|name| name.strip_suffix(MEMBER_SUFFIX).map(String::from))
        .collect();
    let name = match choose(key, members.iter().map(String::as_str)) {
        Some(name) => name,
        None => return Err(not_chosen(path, key, npz_shapes(&mut zip, &members, path))),
    };
    let mut entry = zip.by_name(&format!("{name}{MEMBER_SUFFIX}")).map_err(damaged)?;
    let size = entry.size();
    if size > limit {
        let reason = format!("array `{name}` declares {size} bytes, far more than its file holds");
        return Err(Error::malformed(
            path,
            reason,
            "save it with numpy.savez, not compressed, if you trust it",
        ));
    }
    let array = read_array(&mut entry, size, path)?;
    expect_end(&mut entry, path)?;
    into_matrix(array, path)
}

fn npz_shapes(
    zip: &mut ZipArchive<impl Read + Seek>,
    members: &[String],
    path: &Path,
) -> Vec<(String, Vec<usize>)> {
    let shape = |name: &String| {
        let mut entry = zip.by_name(&format!("{name}{MEMBER_SUFFIX}")).ok()?;
        let (header, _) = read_header(&mut entry, path).ok()?;
        Some((name.clone(), header.shape))
    };
    members.iter().filter_map(shape).collect()
}

fn safetensors(path: &Path, key: Option<&str>) -> Result<Array2<f32>> {
    let file = open_regular(path)?;
    let mut reader = SafetensorsReader::new(BufReader::new(file), path)?;
    let tensors = reader.tensors();
    match choose(key, tensors.iter().map(|(name, _)| name.as_str())) {
        Some(name) => into_matrix(reader.array(name)?, path),
        None => Err(not_chosen(path, key, tensors)),
    }
}

/// The array meant by `key`: the one of that name, or the only one where no name is given.
fn choose<'n>(key: Option<&str>, mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    match key {
        Some(key) => names.find(|name| *name == key),
        None => names.next().filter(|name| {
            let is_statistic = [STATISTICS, SPATIAL_STATISTICS].as_flattened().contains(name);
            !is_statistic && names.next().is_none()
        }),
    }
}

fn not_chosen(path: &Path, key: Option<&str>, arrays: Vec<(String, Vec<usize>)>) -> Error {
    let known: Vec<_> = arrays.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
    let reason = match key {
        _ if arrays.is_empty() => return Error::malformed(path, "holds no array", ""),
        Some(key) => format!("{} holds no array `{key}`", path.display()),
        None if arrays.len() == 1 => {
            format!("{} holds no features, but a part of statistics", path.display())
        }
        None => format!("{} holds several arrays", path.display()),
    };
    Error::usage(reason, Remedy::NameArray(known))
}

#[cfg(test)]
mod part_tests {
    use super::*;
    use crate::formats::npy::write_npy;

    #[test]
    fn parts_are_read_by_number_and_none_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(PARTS);
        std::fs::create_dir(&folder).unwrap();
        assert!(!is_features_file(dir.path()));
        for part in 0..11 {
            let rows = Array2::from_elem((2, 3), part as f32);
            write_npy(folder.join(format!("img_emb_{part}.npy")), &rows).unwrap();
        }
        for path in [dir.path(), &folder] {
            assert!(is_features_file(path));
            let read = read_features(path, None).unwrap();
            assert_eq!(read.column(0).to_vec(), (0..22).map(|row| (row / 2) as f32).collect::<Vec<_>>());
        }
        write_npy(folder.join("img_emb_10.npy"), &Array2::<f32>::zeros((2, 4))).unwrap();
        assert!(read_features(&folder, None).unwrap_err().to_string().contains("widths"));
        std::fs::remove_file(folder.join("img_emb_4.npy")).unwrap();
        assert!(read_features(&folder, None).unwrap_err().to_string().contains("not img_emb_4.npy"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::state_dict::{HostTensor, StateDict, TensorData};
    use super::*;
    use crate::formats::npy::write_npy;
    use ndarray::{Array, Array2, Dimension, arr1, arr2};
    use std::fs::File;
    use std::io::Write;
    use std::path::PathBuf;
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    fn npy_bytes<D: Dimension>(array: &Array<f32, D>) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        write_npy(directory.path().join("a.npy"), array).unwrap();
        std::fs::read(directory.path().join("a.npy")).unwrap()
    }

    fn write_npz(path: &Path, arrays: &[(&str, &[u8])], method: CompressionMethod) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in arrays {
            let options = SimpleFileOptions::default().compression_method(method);
            zip.start_file(format!("{name}.npy"), options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_path_buf();
        (directory, path)
    }

    #[test]
    fn npy_npz_and_safetensors_give_the_same_matrix() {
        let (_keep, directory) = scratch();
        let matrix = arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let bytes = npy_bytes(&matrix);
        std::fs::write(directory.join("a.npy"), &bytes).unwrap();
        write_npz(&directory.join("stored.NPZ"), &[("f", &bytes)], CompressionMethod::Stored);
        write_npz(&directory.join("packed.npz"), &[("f", &bytes)], CompressionMethod::Deflated);
        let mut dict = StateDict::new("a");
        let data = TensorData::F32(matrix.iter().copied().collect());
        dict.insert("f", HostTensor { shape: vec![2, 3, 1, 1], data });
        super::super::safetensors::write_safetensors(directory.join("a.safetensors"), &dict).unwrap();
        for name in ["a.npy", "stored.NPZ", "packed.npz", "a.safetensors"] {
            assert!(is_features_file(name));
            assert_eq!(read_features(directory.join(name), None).unwrap(), matrix, "{name}");
        }
    }

    #[test]
    fn of_several_arrays_the_key_picks_one_and_the_error_lists_all() {
        let (_keep, directory) = scratch();
        let path = directory.join("a.npz");
        let (a, b) = (npy_bytes(&arr2(&[[1.0f32, 2.0]])), npy_bytes(&arr1(&[1.0f32])));
        write_npz(&path, &[("act", &a), ("mu", &b)], CompressionMethod::Deflated);
        assert_eq!(read_features(&path, Some("act")).unwrap(), arr2(&[[1.0, 2.0]]));
        assert!(read_features(&path, Some("mu")).unwrap_err().to_string().contains("[1]"));
        for key in [None, Some("sigma")] {
            let error = read_features(&path, key).unwrap_err();
            let arrays = ["act [1, 2]", "mu [1]"].map(String::from);
            assert_eq!(error.remedy(), Some(&Remedy::NameArray(arrays.into())));
            assert!(matches!(error, Error::Usage { .. }));
        }
    }

    #[test]
    fn a_part_of_statistics_is_taken_for_features_only_by_name() {
        let (_keep, directory) = scratch();
        let path = directory.join("a.npz");
        let matrix = arr2(&[[1.0f32, 0.5], [0.5, 1.0]]);
        write_npz(&path, &[("sigma", &npy_bytes(&matrix))], CompressionMethod::Stored);
        assert!(read_features(&path, None).unwrap_err().to_string().contains("part of statistics"));
        assert_eq!(read_features(&path, Some("sigma")).unwrap(), matrix);
    }

    #[test]
    fn other_files_and_needless_keys_are_usage_errors() {
        let (_keep, directory) = scratch();
        assert!(!is_features_file("a.csv") && !is_features_file("npy"));
        assert!(matches!(read_features("a.csv", None).unwrap_err(), Error::Usage { .. }));
        let path = directory.join("a.npy");
        std::fs::write(&path, npy_bytes(&Array2::<f32>::zeros((1, 1)))).unwrap();
        assert!(matches!(read_features(&path, Some("x")).unwrap_err(), Error::Usage { .. }));
        assert!(
            read_features(directory.join("missing.npz"), None)
                .unwrap_err()
                .to_string()
                .contains("missing.npz")
        );
    }

    #[test]
    fn damaged_and_bursting_archives_are_refused() {
        let (_keep, directory) = scratch();
        let path = directory.join("a.npz");
        let bytes = npy_bytes(&Array2::<f32>::zeros((1 << 20, 20)));
        write_npz(&path, &[("f", &bytes)], CompressionMethod::Deflated);
        assert!(read_features(&path, None).unwrap_err().to_string().contains("far more"));
        write_npz(&path, &[("f", &npy_bytes(&arr2(&[[1.0f32; 64]])))], CompressionMethod::Stored);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(read_features(&path, None).is_err(), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        let at = flipped.windows(4).position(|w| w == 1.0f32.to_le_bytes()).unwrap();
        flipped[at] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert!(read_features(&path, None).unwrap_err().to_string().to_lowercase().contains("checksum"));
    }
}
