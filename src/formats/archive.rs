//! Archives that carry a weights file: wheels and other zips, tar and tar.gz.

use super::element::{expansion_limit, read_exact};
use super::zip::open_zip;
use crate::error::{Error, Result};
use flate2::read::GzDecoder;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use tar::Archive;

/// Extensions of weights files, by which they are found in an archive.
const WEIGHTS_EXTENSIONS: [&str; 6] = ["pth", "pt", "ckpt", "th", "safetensors", "bin"];

/// Where the word `ustar` stands in the first header of a tar file.
const TAR_MAGIC_AT: u64 = 257;

/// Most entries of an archive that are looked at.
const MAX_ENTRIES: usize = 1 << 20;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Whether `source` is an archive of files; a torch checkpoint, itself a zip, is not one.
///
/// # Errors
/// [`Error::Io`] if it cannot be read.
pub(crate) fn is_archive(source: &mut (impl Read + Seek), path: &Path) -> Result<bool> {
    match kind(source, path)? {
        Some(Kind::Zip) => {
            let checkpoint = match open_zip(&mut *source) {
                Ok(zip) => zip.file_names().flatten().any(|name| is_checkpoint_pickle(&name)),
                Err(_) => true,
            };
            source.rewind().map_err(Error::io("read", path))?;
            Ok(!checkpoint)
        }
        other => Ok(other.is_some()),
    }
}

/// Whether a zip entry is the pickle of a torch checkpoint: `data.pkl`, directly in the one folder of the archive.
pub(crate) fn is_checkpoint_pickle(name: &str) -> bool {
    name == "data.pkl" || name.strip_suffix("/data.pkl").is_some_and(|folder| !folder.contains('/'))
}

/// Name and content of the one weights file in an archive; `path` is for messages.
///
/// # Errors
/// [`Error::Malformed`] if there is none, or several (all are named), or if it unfolds to far more than the archive holds.
pub(crate) fn read_single_weights(source: impl Read + Seek, path: &Path) -> Result<(String, Vec<u8>)> {
    read_member(source, path, &|name| {
        let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
        WEIGHTS_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
    })
}

/// Name and content of the one file of an archive whose name is `wanted`.
///
/// # Errors
/// As [`read_single_weights`].
pub(crate) fn read_member(
    mut source: impl Read + Seek,
    path: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(String, Vec<u8>)> {
    let length = source.seek(SeekFrom::End(0)).map_err(Error::io("read", path))?;
    let limit = expansion_limit(length);
    match kind(&mut source, path)? {
        Some(Kind::Zip) => from_zip(source, path, limit, wanted),
        Some(Kind::Tar) => from_tar(&mut source, path, limit, wanted),
        // The limit counts all bytes that are unfolded, those of skipped members included.
        Some(Kind::TarGz) => {
            let unfolded = GzDecoder::new(&mut source).take(limit);
            from_tar(unfolded, path, limit, wanted)
        }
        None => Err(Error::malformed(path, "is not an archive", "a wheel, .zip, .tar or .tar.gz is wanted")),
    }
}

enum Kind {
    Zip,
    Tar,
    TarGz,
}

fn kind(source: &mut (impl Read + Seek), path: &Path) -> Result<Option<Kind>> {
    let failed = |e| Error::io("read", path)(e);
    let mut start = Vec::new();
    source.rewind().map_err(failed)?;
    source.by_ref().take(TAR_MAGIC_AT + 5).read_to_end(&mut start).map_err(failed)?;
    source.rewind().map_err(failed)?;
    Ok(match start {
        _ if start.starts_with(b"PK\x03\x04") => Some(Kind::Zip),
        _ if start.starts_with(&GZIP_MAGIC) => Some(Kind::TarGz),
        _ if start.ends_with(b"ustar") && start.len() as u64 == TAR_MAGIC_AT + 5 => Some(Kind::Tar),
        _ => None,
    })
}

fn single<T>(mut found: Vec<(String, T)>, path: &Path) -> Result<(String, T)> {
    match found.len() {
        0 => Err(Error::malformed(
            path,
            "holds no weights file",
            "one .pth, .pt, .ckpt, .th or .safetensors in it is wanted",
        )),
        1 => Ok(found.remove(0)),
        _ => {
            let names: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
            let reason = format!("holds several weights files: {}", names.join(", "));
            Err(Error::malformed(path, reason, "unpack it and name one of them"))
        }
    }
}

fn from_zip(
    source: impl Read + Seek,
    path: &Path,
    limit: u64,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(String, Vec<u8>)> {
    let damaged = |e: zip::result::ZipError| Error::malformed(path, format!("damaged archive: {e}"), "");
    let mut zip = open_zip(source).map_err(damaged)?;
    let mut found = Vec::new();
    for index in 0..zip.len() {
        if let Some(Ok(name)) = zip.name_for_index(index)
            && wanted(&name)
        {
            found.push((name.into_owned(), index));
        }
    }
    let (name, index) = single(found, path)?;
    let mut entry = zip.by_index(index).map_err(damaged)?;
    let size = entry.size();
    let bytes = unfold(&mut entry, size, limit, &path.join(&name))?;
    Ok((name, bytes))
}

fn from_tar(
    source: impl Read,
    path: &Path,
    limit: u64,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(String, Vec<u8>)> {
    let damaged = |e: std::io::Error| {
        Error::malformed(
            path,
            format!("damaged archive, or one that unfolds to more than {limit} bytes: {e}"),
            "",
        )
    };
    let mut archive = Archive::new(source);
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in archive.entries().map_err(damaged)?.take(MAX_ENTRIES) {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || !wanted(&name) {
            continue;
        }
        let size = entry.size();
        // Only the first is kept: several are an error, which gives their names.
        let bytes =
            if found.is_empty() { unfold(&mut entry, size, limit, &path.join(&name))? } else { Vec::new() };
        found.push((name, bytes));
    }
    single(found, path)
}

/// Reads a member that declares `size` bytes, to its very end, so that its checksum is verified where there is one.
///
/// # Errors
/// [`Error::Malformed`] if it declares more than `limit`, or holds more or less than it declares.
pub(crate) fn unfold(source: &mut impl Read, size: u64, limit: u64, path: &Path) -> Result<Vec<u8>> {
    /// Most bytes of memory that are reserved beyond those that were read.
    const STEP_BYTES: usize = 1 << 24;
    if size > limit {
        let reason = format!("declares {size} bytes, far more than its archive holds");
        return Err(Error::malformed(path, reason, "unpack it first if you trust it"));
    }
    let size = usize::try_from(size).map_err(|_| Error::malformed(path, "is too large", ""))?;
    let mut bytes = Vec::new();
    while bytes.len() < size {
        let have = bytes.len();
        bytes.resize(size.min(have + STEP_BYTES.max(have)), 0);
        read_exact(source, &mut bytes[have..], path)?;
    }
    expect_end(source, path)?;
    Ok(bytes)
}

/// Checks that `source` ends here; reading its end is also what verifies a zip entry's checksum.
///
/// # Errors
/// [`Error::Malformed`].
pub(crate) fn expect_end(source: &mut impl Read, path: &Path) -> Result<()> {
    match source.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::malformed(path, "holds more bytes than it declares", "")),
        Err(e) => Err(Error::malformed(path, e.to_string(), "copy or download it again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::{Cursor, Write};
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            zip.start_file(*name, options).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn tarred(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn weights(bytes: &[u8]) -> Result<(String, Vec<u8>)> {
        read_single_weights(Cursor::new(bytes), Path::new("a.whl"))
    }

    #[test]
    fn the_one_weights_file_is_found_in_every_kind_of_archive() {
        let files: &[(&str, &[u8])] =
            &[("pkg/__init__.py", b"import os"), ("pkg/models/net.PTH", b"weights")];
        for bytes in [zipped(files), tarred(files), gzipped(&tarred(files))] {
            assert!(is_archive(&mut Cursor::new(&bytes), Path::new("a")).unwrap());
            assert_eq!(weights(&bytes).unwrap(), ("pkg/models/net.PTH".into(), b"weights".to_vec()));
        }
    }

    #[test]
    fn several_or_none_are_named() {
        let two: &[(&str, &[u8])] = &[("a.pth", b"1"), ("b.safetensors", b"2")];
        for bytes in [zipped(two), tarred(two), gzipped(&tarred(two))] {
            assert!(weights(&bytes).unwrap_err().to_string().contains("a.pth, b.safetensors"));
        }
        assert!(weights(&zipped(&[("readme", b"")])).unwrap_err().to_string().contains("no weights file"));
    }

    #[test]
    fn decompression_bombs_are_refused() {
        let zeros = vec![0; 80 << 20];
        let files: &[(&str, &[u8])] = &[("a.pth", &zeros)];
        assert!(weights(&zipped(files)).unwrap_err().to_string().contains("declares 83886080 bytes"));
        assert!(weights(&gzipped(&tarred(files))).is_err());
        let passed_over: &[(&str, &[u8])] = &[("a.txt", &zeros), ("a.pth", b"1")];
        assert!(weights(&gzipped(&tarred(passed_over))).unwrap_err().to_string().contains("unfolds to more"));
    }

    #[test]
    fn sizes_that_do_not_hold_are_refused() {
        let path = Path::new("a");
        assert!(
            unfold(&mut &b"abc"[..], 4, 10, path).unwrap_err().to_string().contains("ends in the middle")
        );
        assert!(unfold(&mut &b"abc"[..], 2, 10, path).unwrap_err().to_string().contains("more bytes"));
        assert!(unfold(&mut &b"abc"[..], 1 << 40, u64::MAX, path).is_err());
        assert_eq!(unfold(&mut &b"abc"[..], 3, 3, path).unwrap(), b"abc");
        let mut damaged = zipped(&[("a.pth", &[7; 100])]);
        let at = damaged.windows(5).position(|w| w == b"a.pth").unwrap() + 6;
        damaged[at] ^= 0x55;
        assert!(weights(&damaged).is_err());
    }
}
