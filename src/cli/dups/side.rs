//! What `pd dups` is given as pictures: a set of them, or a reference, which keeps what is needed of each.

use super::found::is_itself;
use crate::cli::common::ExtractorArgs;
use crate::cli::terminal::Terminal;
use crate::cli::{input, network};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::is_features_file;
use crate::images::ImageSet;
use crate::reference::{Pictures, Reference, is_reference};
use std::path::Path;

/// Pictures that copies are looked for among.
pub(super) enum Side {
    /// To be read.
    Images(Box<ImageSet>),
    /// As they were read.
    Reference(Box<Reference>),
}

impl Side {
    /// # Errors
    /// If `path` holds features alone: copies are decided by looking at pictures; what opening it returns.
    pub(super) fn open(path: &Path, terminal: &Terminal) -> Result<Self> {
        if is_features_file(path) {
            return Err(Error::usage(
                format!("{} holds features, and copies are told by the pictures themselves", path.display()),
                "name the folder or the archive of its pictures",
            ));
        }
        match is_reference(path) {
            true => Reference::open(path).map(|reference| Self::Reference(Box::new(reference))),
            false => ImageSet::open(path, terminal).map(|images| Self::Images(Box::new(images))),
        }
    }

    fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Images(_) => None,
        }
    }

    /// Whether row `row` of these pictures is row `other` of `theirs`, whose pixels are the same.
    pub(super) fn is_itself(
        &self,
        (set, path): (&Path, &str),
        theirs: &Self,
        (other_set, other): (&Path, &str),
    ) -> bool {
        match (self, theirs) {
            (Self::Images(_), Self::Images(_)) => is_itself((set, path), (other_set, other)),
            // Where the pictures of a reference are is not known: their names are.
            _ => path == other,
        }
    }
}

/// The network that makes features of the pictures of all sides; `None` where none are made. What a reference was made with is taken.
///
/// # Errors
/// [`Error::Usage`] if two references were made with different networks; as [`network::for_images`].
pub(super) fn network_of(
    ours: &Side,
    theirs: Option<&Side>,
    args: &ExtractorArgs,
    terminal: &Terminal,
) -> Result<Option<LoadedExtractor>> {
    let sides = [Some(ours), theirs];
    let mut references = sides.into_iter().flatten().filter_map(Side::reference);
    let first = references.next();
    if let (Some(first), Some(second)) = (first, references.next())
        && let Some(difference) = first.manifest.identity.difference(&second.manifest.identity)
    {
        return Err(Error::usage(
            format!("{} does not fit {}: {difference}", second.dir.display(), first.dir.display()),
            "both sides have to be made with the same extractor, weights and preprocessing",
        ));
    }
    let images = sides.into_iter().flatten().find_map(|side| match side {
        Side::Images(images) => Some(images),
        Side::Reference(_) => None,
    });
    match (images, first) {
        (None, _) => {
            args.refuse_for_features()?;
            Ok(None)
        }
        (Some(_), Some(reference)) => input::extractor(args, reference, terminal).map(Some),
        (Some(images), None) => network::for_images(args, images, None, terminal).map(Some),
    }
}

/// The pictures, with features unless only exact copies are looked for.
///
/// # Errors
/// As [`Pictures::read`] and [`Pictures::of_reference`].
pub(super) fn read(
    side: &Side,
    extractor: Option<&LoadedExtractor>,
    with_features: bool,
    args: &ExtractorArgs,
    terminal: &Terminal,
) -> Result<Pictures> {
    let pictures = match side {
        Side::Images(set) => {
            Pictures::read(set, extractor.filter(|_| with_features), args.embed_options(), terminal)?
        }
        Side::Reference(reference) => Pictures::of_reference(reference, with_features)?,
    };
    terminal.report_skipped(&pictures.skipped);
    Ok(pictures)
}
