//! Fetching a file that its authors publish at an address of their own, whose name ends in the first digits of its SHA-256.

use super::cache::Cache;
use super::sources::ReleaseFile;
use crate::error::{Error, Result};
use crate::formats::digest::sha256_of_file;
use crate::progress::{Progress, check_stop};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use tempfile::{Builder, TempPath};

/// Bytes read at once.
const BLOCK: usize = 1 << 16;

/// Downloads the file beside its place in the cache, under a temporary name that is given up when the path is dropped.
pub(super) fn download(
    cache: &Cache,
    name: &str,
    wanted: &ReleaseFile,
    progress: &dyn Progress,
) -> Result<TempPath> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::data(format!("cannot fetch {}: {e}", wanted.url), cache.by_hand(name))
    };
    let agent = ureq::AgentBuilder::new().try_proxy_from_env(true).build();
    let response = agent.get(wanted.url).call().map_err(|e| failed(&e))?;
    let promised = response.header("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = response.into_reader().take(wanted.at_most + 1);
    let place = cache.weights_directory();
    fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
    let mut file = Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(&format!(".{}", Path::new(wanted.url).extension().unwrap_or_default().display()))
        .tempfile_in(&place)
        .map_err(Error::io("create", &place))?;
    progress.start(&format!("fetch {name}"), promised, "bytes");
    let mut block = vec![0; BLOCK];
    let mut received = 0;
    loop {
        check_stop(progress, || "nothing is kept; the same command begins again".into())?;
        let count = body.read(&mut block).map_err(|e| failed(&e))?;
        if count == 0 {
            break;
        }
        received += count as u64;
        if received > wanted.at_most {
            return Err(failed(&format!("it is larger than {} bytes", wanted.at_most)));
        }
        file.write_all(&block[..count]).map_err(Error::io("write", file.path()))?;
        progress.advance(count as u64);
    }
    progress.finish();
    check_prefix(file.path(), wanted)?;
    super::pypi::make_readable(file.path())?;
    Ok(file.into_temp_path())
}

/// # Errors
/// [`Error::Malformed`] if the SHA-256 of the file does not start as its published name says.
fn check_prefix(file: &Path, wanted: &ReleaseFile) -> Result<()> {
    let digest = sha256_of_file(file)?;
    if digest.starts_with(wanted.digest_prefix) {
        return Ok(());
    }
    let reason = format!("has the SHA-256 {digest}, which has to start with {}", wanted.digest_prefix);
    Err(Error::malformed(file, reason, "it is not used; fetch it again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::weights::sources::SOURCES;
    use crate::progress::Silent;
    use std::net::TcpListener;

    #[test]
    fn the_prefix_is_that_of_the_published_name() {
        let releases: Vec<_> = SOURCES.iter().filter_map(|source| source.release).collect();
        assert_eq!(releases.len(), 4);
        for release in releases {
            assert!(release.url.ends_with(&format!("-{}.pth", release.digest_prefix)), "{}", release.url);
        }
    }

    #[test]
    fn only_a_file_with_the_promised_digest_and_size_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(3) {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
                    .unwrap();
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let url: &'static str = format!("http://{address}/weights.pth").leak();
        let fetch = |digest_prefix, at_most| {
            download(&cache, "inception-fid", &ReleaseFile { url, digest_prefix, at_most }, &Silent)
        };
        // SHA-256 of `abc`.
        let file = fetch("ba7816bf", 3).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"abc");
        drop(file);
        assert!(fetch("00000000", 3).unwrap_err().to_string().contains("has to start with 00000000"));
        assert!(fetch("ba7816bf", 2).unwrap_err().to_string().contains("larger than 2 bytes"));
        assert_eq!(fs::read_dir(cache.weights_directory()).unwrap().count(), 0);
    }
}
