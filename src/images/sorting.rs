//! Which entries of a folder or archive are images of the set: by what the name claims, else by the content.

use super::kind::{Archive, Kind, kind_of};
use super::names::{Claim, claim, unread_by_name};

/// What an entry is to the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// An image of the set.
    Image,
    /// An image of a kind that is not read.
    Unread(&'static str),
    /// An archive.
    Archive(Archive),
    /// What a system leaves behind.
    System,
    /// No image.
    Other,
}

/// Endings of the names of archives that are read. What else is compressed is no archive of images.
const ARCHIVES: [(&str, Archive); 6] = [
    (".zip", Archive::Zip),
    (".tar", Archive::Tar),
    (".tar.gz", Archive::Gzip),
    (".tgz", Archive::Gzip),
    (".tar.zst", Archive::Zstd),
    (".tzst", Archive::Zstd),
];

/// What the entry of this name is. `head` gives its first bytes; it is asked only where the name does not decide.
pub(super) fn place_of(name: &[u8], head: impl FnOnce() -> Option<Vec<u8>>) -> Place {
    match claim(name) {
        Claim::System => Place::System,
        Claim::Image => Place::Image,
        Claim::Raw(kind) => Place::Unread(kind),
        Claim::NoArchive => Place::Other,
        Claim::Nothing => match kind_of(&head().unwrap_or_default()) {
            Kind::Image(_) => Place::Image,
            Kind::UnreadImage(kind) => Place::Unread(kind),
            Kind::Archive(Archive::Gzip | Archive::Zstd) if archive_by_name(name).is_none() => Place::Other,
            Kind::Archive(archive) => Place::Archive(archive),
            // What is called an archive is one that is damaged, if its content does not say so.
            Kind::Other => match archive_by_name(name) {
                Some(archive) => Place::Archive(archive),
                None => unread_by_name(name).map_or(Place::Other, Place::Unread),
            },
        },
    }
}

/// The kind of archive that a name promises, letter case ignored.
pub(super) fn archive_by_name(name: &[u8]) -> Option<Archive> {
    let ends = |ending: &str| {
        let at = name.len().saturating_sub(ending.len());
        name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(ending.as_bytes()))
    };
    ARCHIVES.iter().find(|(ending, _)| ends(ending)).map(|&(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides_where_the_name_says_nothing() {
        let place = |name: &str, head: &[u8]| place_of(name.as_bytes(), || Some(head.to_vec()));
        let jpeg = b"\xFF\xD8\xFF\xE0";
        let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
        assert_eq!(place("a.jfif", jpeg), Place::Image);
        assert_eq!(place("IMG_99.HEIC", jpeg), Place::Image);
        assert_eq!(place("IMG_1.HEIC", heic), Place::Unread("heic"));
        assert_eq!(place("notes", b"text"), Place::Other);
        assert_eq!(place("icon.TGA", b"\0\0\x02"), Place::Unread("tga"));
        assert_eq!(place("a.tar.GZ", b"\x1F\x8B\x08"), Place::Archive(Archive::Gzip));
        assert_eq!(place("damaged.tar", &[0; 512]), Place::Archive(Archive::Tar));
        assert_eq!(place("labels.csv.gz", b"\x1F\x8B\x08"), Place::Other);
        assert_eq!(place("weights.npz", b"PK\x03\x04"), Place::Other);
        assert_eq!(place("photos.cbz", b"PK\x03\x04"), Place::Archive(Archive::Zip));
        assert_eq!(place("__MACOSX/a.jfif", jpeg), Place::System);
        assert_eq!(place_of(b"a.png", || panic!("looked into")), Place::Image);
        assert_eq!(place_of(b"unreadable", || None), Place::Other);
    }
}
