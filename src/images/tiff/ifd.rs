//! Directories of tags: what TIFF files and Exif data are made of. BigTIFF is the same with longer numbers.
//! Every value lies inside the bytes that were given, so that no directory takes more memory than a few times its file.

/// Bytes of a number of each type, by the number of the type; 0 where there is none.
const TYPE_BYTES: [usize; 19] = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8];

/// How the numbers of a file are written.
#[derive(Debug, Clone, Copy)]
pub(in crate::images) struct Form {
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
    /// Whether it is a BigTIFF file.
    pub long: bool,
}

/// Where a file keeps the values of a tag.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u16,
    kind: u16,
    count: usize,
    /// The offset of the first value.
    at: usize,
}

/// One directory.
#[derive(Debug)]
pub(in crate::images) struct Directory<'a> {
    bytes: &'a [u8],
    form: Form,
    entries: Vec<Entry>,
    /// Where the next directory of the chain is; 0 if there is none.
    pub next: u64,
}

impl Form {
    /// The form of a file, and where its first directory is; `None` if it is no TIFF file.
    pub(in crate::images) fn of(bytes: &[u8]) -> Option<(Form, u64)> {
        // Some writers turn the bytes of the second number too.
        let (big_endian, long) = match bytes.first_chunk::<4>()? {
            b"II*\0" | b"II\0*" => (false, false),
            b"MM\0*" | b"MM*\0" => (true, false),
            b"II+\0" => (false, true),
            b"MM\0+" => (true, true),
            _ => return None,
        };
        let form = Form { big_endian, long };
        let first = if long { form.number(bytes, 8, 8)? } else { form.number(bytes, 4, 4)? };
        Some((form, first))
    }

    /// The unsigned number of this many bytes at an offset.
    pub(super) fn number(self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(size)?)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Some(if self.big_endian { digits.iter().fold(0, add) } else { digits.iter().rev().fold(0, add) })
    }
}

impl<'a> Directory<'a> {
    /// The directory at an offset; `None` if it is not inside the file.
    pub(in crate::images) fn read(bytes: &'a [u8], form: Form, offset: u64) -> Option<Self> {
        let offset = usize::try_from(offset).ok()?;
        let (count_size, entry_size, long_size) = if form.long { (8, 20, 8) } else { (2, 12, 4) };
        let count = usize::try_from(form.number(bytes, offset, count_size)?).ok()?;
        let first = offset.checked_add(count_size)?;
        let mut entries = Vec::new();
        for i in 0..count {
            let Some(at) = i.checked_mul(entry_size).and_then(|skip| first.checked_add(skip)) else { break };
            let Some(entry) = Entry::read(bytes, form, at, long_size) else {
                // A directory that is cut short ends there; a single entry that makes no sense is left out.
                if at.checked_add(entry_size).is_none_or(|end| end > bytes.len()) {
                    break;
                }
                continue;
            };
            entries.push(entry);
        }
        let end = count.checked_mul(entry_size).and_then(|length| first.checked_add(length));
        let next = end.and_then(|end| form.number(bytes, end, long_size)).unwrap_or(0);
        Some(Self { bytes, form, entries, next })
    }

    fn entry(&self, tag: u16) -> Option<Entry> {
        self.entries.iter().copied().find(|entry| entry.tag == tag)
    }

    /// Whole numbers of a tag; negative ones as they are stored.
    pub(in crate::images) fn numbers(&self, tag: u16) -> Option<Vec<u64>> {
        const FLOATS: [u16; 4] = [5, 10, 11, 12];
        let entry = self.entry(tag).filter(|entry| !FLOATS.contains(&entry.kind))?;
        let size = entry.size()?;
        (0..entry.count).map(|i| self.form.number(self.bytes, entry.at + i * size, size)).collect()
    }

    /// The first whole number of a tag.
    pub(in crate::images) fn first(&self, tag: u16) -> Option<u64> {
        self.numbers(tag)?.first().copied()
    }

    /// Fractions of a tag.
    pub(super) fn fractions(&self, tag: u16) -> Option<Vec<f64>> {
        const RATIONAL: u16 = 5;
        let entry = self.entry(tag).filter(|entry| entry.kind == RATIONAL)?;
        let part = |at| self.form.number(self.bytes, at, 4).map(|n| n as f64);
        (0..entry.count)
            .map(|i| {
                let at = entry.at + 8 * i;
                Some(part(at)? / part(at + 4)?)
            })
            .collect()
    }

    /// The bytes of a tag.
    pub(super) fn bytes_of(&self, tag: u16) -> Option<&'a [u8]> {
        let entry = self.entry(tag)?;
        self.bytes.get(entry.at..entry.at + entry.count * entry.size()?)
    }
}

impl Entry {
    fn read(bytes: &[u8], form: Form, at: usize, long_size: usize) -> Option<Entry> {
        let tag = form.number(bytes, at, 2)? as u16;
        let kind = form.number(bytes, at + 2, 2)? as u16;
        let count = usize::try_from(form.number(bytes, at + 4, long_size)?).ok()?;
        let value = at + 4 + long_size;
        let entry = Entry { tag, kind, count, at: value };
        let length = count.checked_mul(entry.size()?)?;
        let at = if length <= long_size {
            value
        } else {
            usize::try_from(form.number(bytes, value, long_size)?).ok()?
        };
        (at.checked_add(length)? <= bytes.len()).then_some(Entry { at, ..entry })
    }

    fn size(&self) -> Option<usize> {
        TYPE_BYTES.get(usize::from(self.kind)).copied().filter(|&size| size > 0)
    }
}
