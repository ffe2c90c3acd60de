//! Downloading one file over https, continued where it was interrupted. Nothing that a server says becomes part of a path.

use super::waiting;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::remedy::Remedy;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body};

/// How often a broken connection is taken up again.
const RESUMPTIONS: usize = 5;
/// Bytes read at once.
const BLOCK: usize = 1 << 18;
/// Blocks that may wait to be written.
const WAITING_BLOCKS: usize = 4;
/// How long a server may take to accept a connection, and to say the next word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest entity tag that is kept.
const LONGEST_TAG: usize = 200;

/// What has arrived.
const PART: &str = "part";
/// The entity tag that the server gave it, which tells whether the rest belongs to it.
const TAG: &str = "part.etag";

const KEPT: &str = "what has arrived is kept; the same command continues";

const PARTIAL_CONTENT: u16 = 206;
/// What a server answers when there is nothing behind the part that is here.
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// How connections are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Connections {
    /// By https alone, after redirects too.
    #[default]
    Encrypted,
    /// Also without encryption: for servers that tests start.
    #[cfg(test)]
    Any,
}

type Request = ureq::RequestBuilder<WithoutBody>;

/// A file to download.
pub(super) struct Remote<'a> {
    pub(super) url: &'a str,
    /// Bytes that it must not exceed.
    pub(super) at_most: u64,
    /// Shown to the host of `url` and to no other.
    pub(super) token: Option<&'a str>,
    /// What to do where it cannot be had.
    pub(super) otherwise: &'a Remedy,
    pub(super) connections: Connections,
}

impl Remote<'_> {
    fn request(&self, redirects: u32) -> Request {
        let agent: Agent = Agent::config_builder()
            .max_redirects(redirects)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .https_only(self.connections == Connections::Encrypted)
            .build()
            .into();
        let request = agent.get(self.url);
        match self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn failed(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::data(format!("cannot fetch {}: {reason}", self.url), self.otherwise.clone())
    }

    /// The value of the first of these headers that the first server, before any redirect, sends.
    ///
    /// # Errors
    /// [`Error::Data`] if it does not answer; [`Error::Interrupted`] on request.
    pub(super) fn header(&self, names: &[&str], progress: &dyn Progress) -> Result<Option<String>> {
        let request = self.request(0).header("Range", "bytes=0-0");
        let (sender, answer) = sync_channel(1);
        std::thread::spawn(move || {
            // Nobody listens any more after a stop.
            let _ = sender.send(request.call().map_err(|e| reason(&e)));
        });
        let Some(answer) = waiting::next(&answer, KEPT, progress)? else { return Ok(None) };
        let response = answer.map_err(|e| self.failed(&e))?;
        Ok(names.iter().find_map(|name| header(&response, name)).map(String::from))
    }

    /// Downloads the file into a directory that no other process writes, and gives its path there.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be had; [`Error::Io`]; [`Error::Interrupted`] on request.
    pub(super) fn download(&self, step: &str, directory: &Path, progress: &dyn Progress) -> Result<PathBuf> {
        let part = directory.join(PART);
        let mut last = String::new();
        for _ in 0..=RESUMPTIONS {
            let outcome = self.attempt(step, directory, progress)?;
            progress.finish();
            match outcome {
                Outcome::Whole => return Ok(part),
                Outcome::Broken(reason) => last = reason,
            }
        }
        Err(self.failed(&last))
    }

    fn attempt(&self, step: &str, directory: &Path, progress: &dyn Progress) -> Result<Outcome> {
        let part = directory.join(PART);
        let mut file =
            OpenOptions::new().append(true).create(true).open(&part).map_err(Error::io("create", &part))?;
        let mut have = file.metadata().map_err(Error::io("read", &part))?.len();
        let mut request = self.request(MOST_REDIRECTS);
        match fs::read_to_string(directory.join(TAG)).ok().filter(|tag| is_tag(tag)) {
            Some(tag) if have > 0 && have <= self.at_most => {
                request = request.header("Range", format!("bytes={have}-")).header("If-Range", &tag);
            }
            // Nothing tells to which version of the file the part belongs.
            _ => have = restart(&file, &part)?,
        }
        let messages = converse(request);
        let mut total = None;
        loop {
            match waiting::next(&messages, KEPT, progress)? {
                Some(Message::Head { status, range, length, tag }) => {
                    let continued =
                        status == PARTIAL_CONTENT && range.is_some_and(|(start, _)| start == have);
                    if !continued {
                        if status == PARTIAL_CONTENT && have > 0 {
                            restart(&file, &part)?;
                            return Ok(Outcome::Broken("it sends another part than was asked for".into()));
                        }
                        have = restart(&file, &part)?;
                    }
                    total = match continued {
                        true => range.and_then(|(_, total)| total),
                        false => length,
                    };
                    if let Some(total) = total.filter(|total| *total > self.at_most) {
                        return Err(self.failed(&self.too_large(total)));
                    }
                    remember_tag(directory, tag.as_deref())?;
                    progress.start(step, total.unwrap_or(0), "bytes");
                    progress.advance(have);
                }
                Some(Message::Block(block)) => {
                    have += block.len() as u64;
                    if have > self.at_most {
                        restart(&file, &part)?;
                        return Err(self.failed(&self.too_large(have)));
                    }
                    file.write_all(&block).map_err(Error::io("write", &part))?;
                    progress.advance(block.len() as u64);
                }
                Some(Message::Refused(RANGE_NOT_SATISFIABLE)) if have > 0 => {
                    restart(&file, &part)?;
                    return Ok(Outcome::Broken("it has nothing behind what was here".into()));
                }
                Some(Message::Refused(status)) => return Err(self.failed(&format!("it answers {status}"))),
                Some(Message::Unreachable(reason)) => return Err(self.failed(&reason)),
                Some(Message::Broken(reason)) => return Ok(Outcome::Broken(reason)),
                None => break,
            }
        }
        if let Some(total) = total.filter(|total| *total != have) {
            return Ok(Outcome::Broken(format!("it ends after {have} of {total} bytes")));
        }
        file.sync_all().map_err(Error::io("write", &part))?;
        Ok(Outcome::Whole)
    }

    fn too_large(&self, bytes: u64) -> String {
        format!("it has {bytes} bytes or more, and must not have more than {}", self.at_most)
    }
}

/// Redirects that are followed.
const MOST_REDIRECTS: u32 = 10;

enum Outcome {
    Whole,
    Broken(String),
}

/// What the thread that talks to the server tells.
enum Message {
    /// The answer begins.
    Head {
        status: u16,
        /// First byte, and the length of the whole file where it is told.
        range: Option<(u64, Option<u64>)>,
        length: Option<u64>,
        tag: Option<String>,
    },
    Block(Vec<u8>),
    /// The server answers with this status.
    Refused(u16),
    /// There is no answer.
    Unreachable(String),
    /// The connection broke within the answer.
    Broken(String),
}

/// Sends a request from a thread of its own, which ends with the answer, or when nobody listens any more.
fn converse(request: Request) -> Receiver<Message> {
    let (sender, receiver) = sync_channel(WAITING_BLOCKS);
    std::thread::spawn(move || {
        let response = match request.call() {
            Ok(response) => response,
            Err(ureq::Error::StatusCode(status)) => return drop(sender.send(Message::Refused(status))),
            Err(e) => return drop(sender.send(Message::Unreachable(reason(&e)))),
        };
        let mut go_on = sender.send(head(&response)).is_ok();
        let mut body = response.into_body().into_reader();
        while go_on {
            let mut block = vec![0; BLOCK];
            let message = match body.read(&mut block) {
                Ok(0) => return,
                Ok(count) => {
                    block.truncate(count);
                    Message::Block(block)
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return drop(sender.send(Message::Broken(e.to_string()))),
            };
            go_on = sender.send(message).is_ok();
        }
    });
    receiver
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::RequireHttpsOnly(_) => "only https is used".into(),
        error => error.to_string(),
    }
}

fn head(response: &Response<Body>) -> Message {
    Message::Head {
        status: response.status().as_u16(),
        range: header(response, "Content-Range").and_then(range),
        length: header(response, "Content-Length").and_then(|length| length.parse().ok()),
        tag: header(response, "ETag").map(String::from),
    }
}

/// A header of visible ASCII.
fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// First byte and length of the whole of `bytes 5-9/10`.
fn range(header: &str) -> Option<(u64, Option<u64>)> {
    let (bounds, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = bounds.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// Whether an entity tag is one that may be sent back; a weak one does not tell that bytes are equal.
fn is_tag(tag: &str) -> bool {
    tag.len() <= LONGEST_TAG
        && tag.len() > 2
        && tag.starts_with('"')
        && tag.bytes().all(|b| b.is_ascii_graphic())
}

fn remember_tag(directory: &Path, tag: Option<&str>) -> Result<()> {
    let file = directory.join(TAG);
    let done = match tag.filter(|tag| is_tag(tag)) {
        Some(tag) => fs::write(&file, tag),
        None => match fs::remove_file(&file) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        },
    };
    done.map_err(Error::io("write", &file))
}

/// Empties the part; gives its length.
fn restart(file: &File, part: &Path) -> Result<u64> {
    file.set_len(0).map_err(Error::io("write", part))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_hostile_ones_are_not_sent_back() {
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 0-9/*"), Some((0, None)));
        for damaged in ["", "bytes", "bytes -/", "bytes x-9/10", "bytes 99999999999999999999-9/10"] {
            assert_eq!(range(damaged), None, "{damaged}");
        }
        assert!(is_tag("\"abc\"") && is_tag("\"../../x\""));
        for tag in ["", "\"\"", "W/\"abc\"", "\"a\r\nHost: b\"", &format!("\"{}\"", "x".repeat(300))] {
            assert!(!is_tag(tag), "{tag}");
        }
    }
}
