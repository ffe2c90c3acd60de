//! What became of the inputs of a command: used, skipped with a reason, or left out by kind.

use super::kind::{Archive, unread};
use super::skipped::Skipped;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Archives that are named in a line.
const NAMED: usize = 3;

/// Files that lie among the images of a set and were not looked into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Images, by their content, of kinds that are not read: how many of each kind, by its usual extension.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, u64>,
    /// Archives beside images, or inside other archives.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub archives: u64,
    /// Files and folders that operating systems and programs leave behind (`__MACOSX`, `Thumbs.db`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub system: u64,
    /// Files that are no images.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other: u64,
    /// The first of the images and archives, with the reason.
    #[serde(skip)]
    first: Option<Skipped>,
    /// The first few archives, by name.
    #[serde(skip)]
    named: BTreeSet<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl LeftOut {
    /// The numbers alone, as they are kept on disk.
    pub(crate) fn counts(&self) -> LeftOut {
        LeftOut { first: None, named: BTreeSet::new(), ..self.clone() }
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.archives + self.system + self.other == 0
    }

    /// Images and archives that were left out.
    pub fn unread(&self) -> u64 {
        self.images.values().sum::<u64>() + self.archives
    }

    /// The first image or archive that was left out, with the reason.
    pub fn first_unread(&self) -> Option<&Skipped> {
        self.first.as_ref()
    }

    pub(super) fn add_image(&mut self, path: String, kind: &str) {
        *self.images.entry(kind.into()).or_default() += 1;
        self.note(Skipped::new(path, unread(kind)));
    }

    pub(super) fn add_archive(&mut self, path: String, archive: Archive) {
        self.archives += 1;
        self.named.insert(path.clone());
        self.shorten();
        let reason = match archive {
            Archive::Unread(kind) => {
                format!(".{kind} archives are not read: unpack it, or make a .zip or .tar of it")
            }
            _ => "an archive beside images is not looked into: name it by itself, or unpack it".into(),
        };
        self.note(Skipped::new(path, reason));
    }

    fn shorten(&mut self) {
        while self.named.len() > NAMED {
            self.named.pop_last();
        }
    }

    /// The first by name is kept, so that it does not depend on the order in which files are listed.
    fn note(&mut self, skipped: Skipped) {
        if self.first.as_ref().is_none_or(|first| skipped < *first) {
            self.first = Some(skipped);
        }
    }

    /// Adds what was left out of another part of the same set.
    pub(crate) fn merge(&mut self, other: LeftOut) {
        for (kind, count) in other.images {
            *self.images.entry(kind).or_default() += count;
        }
        self.archives += other.archives;
        self.system += other.system;
        self.other += other.other;
        self.named.extend(other.named);
        self.shorten();
        if let Some(first) = other.first {
            self.note(first);
        }
    }

    /// `13 .heic, 2 archives (a.zip, b.tar), 7 other files`; empty if nothing was.
    pub fn describe(&self) -> String {
        let mut parts: Vec<String> =
            self.images.iter().map(|(kind, count)| format!("{count} .{kind}")).collect();
        let mut count = |n: u64, one: &str, many: &str| match n {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            n => parts.push(format!("{n} {many}")),
        };
        let names = self.names_of_archives();
        count(self.archives, &format!("archive{names}"), &format!("archives{names}"));
        count(self.system, "leftover of the system", "leftovers of the system");
        count(self.other, "other file", "other files");
        parts.join(", ")
    }

    /// What turns the most frequent of the images that are not read into images that are; `None` if there are none.
    pub fn advice(&self) -> Option<String> {
        let most = self.images.iter().max_by_key(|(kind, count)| (**count, std::cmp::Reverse(*kind)));
        most.map(|(kind, _)| unread(kind))
    }

    fn names_of_archives(&self) -> String {
        let more = if self.archives as usize > self.named.len() { ", …" } else { "" };
        let names: Vec<&str> = self.named.iter().map(String::as_str).collect();
        if names.is_empty() { String::new() } else { format!(" ({}{more})", names.join(", ")) }
    }
}

/// What became of the inputs of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Images that were used.
    pub used: usize,
    /// Those that could not be used, each with its reason.
    pub skipped: Vec<Skipped>,
    /// Those that were not looked into, by kind.
    pub left_out: LeftOut,
}

impl Inputs {
    /// One line for a person: `404 images used, 2 skipped, left out: 13 .heic`.
    pub fn describe(&self) -> String {
        let images = if self.used == 1 { "image" } else { "images" };
        let mut line = format!("{} {images} used, {} skipped", self.used, self.skipped.len());
        if !self.left_out.is_empty() {
            let _ = write!(line, ", left out: {}", self.left_out.describe());
        }
        line
    }

    /// The numbers alone.
    pub fn counts(&self) -> InputCounts {
        InputCounts { used: self.used, skipped: self.skipped.len(), left_out: self.left_out.counts() }
    }

    /// For a caller that wants every image and archive to be read.
    ///
    /// # Errors
    /// [`Error::Strict`] with the first input that was skipped, or else the first image or archive that was left out.
    pub fn check_strict(&self) -> crate::error::Result<()> {
        match self.skipped.first().or(self.left_out.first_unread()) {
            Some(first) => Err(Error::Strict { path: first.path.clone(), reason: first.reason.clone() }),
            None => Ok(()),
        }
    }
}

/// [`Inputs`] as numbers, for summaries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputCounts {
    /// Images that were used.
    pub used: usize,
    /// Images that could not be used.
    pub skipped: usize,
    /// What was not looked into, by kind.
    pub left_out: LeftOut,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_used_skipped_and_left_out() {
        let mut inputs = Inputs { used: 404, ..Inputs::default() };
        assert_eq!(inputs.describe(), "404 images used, 0 skipped");
        assert!(inputs.check_strict().is_ok());
        inputs.left_out.other = 7;
        assert!(inputs.check_strict().is_ok(), "files that are no images are only counted");
        for i in 0..13 {
            inputs.left_out.add_image(format!("{i:02}.HEIC"), "heic");
        }
        for name in ["b.zip", "a.rar", "c.tar", "d.tar"] {
            inputs.left_out.add_archive(name.into(), Archive::Zip);
        }
        inputs.left_out.system = 1;
        let expected = "404 images used, 0 skipped, left out: 13 .heic, 4 archives (a.rar, b.zip, c.tar, …), \
                        1 leftover of the system, 7 other files";
        assert_eq!(inputs.describe(), expected);
        let error = inputs.check_strict().unwrap_err();
        assert!(error.to_string().contains("00.HEIC") && error.to_string().contains("magick"), "{error}");
        assert!(matches!(error, Error::Strict { .. }));
        assert!(inputs.left_out.advice().unwrap().contains("*.heic"));
        let json = serde_json::json!({"images": {"heic": 13}, "archives": 4, "system": 1, "other": 7});
        assert_eq!(serde_json::to_value(inputs.counts()).unwrap()["left_out"], json);
        let mut twice = inputs.left_out.clone();
        twice.merge(inputs.left_out.clone());
        assert_eq!((twice.images["heic"], twice.archives, twice.other), (26, 8, 14));
        assert_eq!(serde_json::to_value(LeftOut::default()).unwrap(), serde_json::json!({}));
    }
}
