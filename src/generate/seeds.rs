//! Lists of seeds such as `0-99,200`, kept as ranges however long they are.

use crate::error::{Error, Result};
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

/// Seeds in the order they were given; not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(Vec<RangeInclusive<u32>>);

impl Seeds {
    /// `count` seeds from `first`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are none, or if they pass the largest seed of numpy, 2^32 - 1.
    pub fn consecutive(first: u32, count: u64) -> Result<Self> {
        let last = count.checked_sub(1).and_then(|more| u64::from(first).checked_add(more));
        match last.and_then(|last| u32::try_from(last).ok()) {
            Some(last) => Ok(Self(vec![first..=last])),
            None => Err(Error::usage(
                format!("there are no {count} seeds from {first} on"),
                "seeds go from 0 to 4294967295",
            )),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| u64::from(*range.end()) - u64::from(*range.start()) + 1).sum()
    }

    /// Those at places `range` of the list, fewer where it ends before; the time does not grow with the start of the range.
    pub fn at(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        let (mut skip, mut left) = (range.start as u64, range.len() as u64);
        self.0.iter().flat_map(move |seeds| {
            let (first, count) =
                (u64::from(*seeds.start()), u64::from(*seeds.end()) - u64::from(*seeds.start()) + 1);
            let from = skip.min(count);
            let taken = left.min(count - from);
            skip -= from;
            left -= taken;
            (first + from..first + from + taken).map(|seed| seed as u32)
        })
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().cloned().flatten()
    }
}

impl FromStr for Seeds {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(number(first)?..=number(last)?).filter(|range| !range.is_empty())
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| {
            Error::usage(
                format!("`{text}` is no list of seeds"),
                "write numbers from 0 to 4294967295 and ranges of them: 0-99,200",
            )
        })
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_those_of_the_whole_list() {
        let seeds: Seeds = "5-9,2,100-103".parse().unwrap();
        let all: Vec<u32> = seeds.iter().collect();
        for (from, to) in (0..12).flat_map(|from| (from..12).map(move |to| (from, to))) {
            let expected = &all[from.min(all.len())..to.min(all.len())];
            assert_eq!(seeds.at(from..to).collect::<Vec<_>>(), expected, "{from}..{to}");
        }
        let last = Seeds::consecutive(0, 1 << 32).unwrap();
        assert_eq!(last.at((1 << 32) - 1..1 << 32).collect::<Vec<_>>(), [u32::MAX]);
    }

    #[test]
    fn lists_and_ranges_keep_their_order() {
        let seeds: Seeds = "7, 0-3,200".parse().unwrap();
        assert_eq!(seeds.iter().collect::<Vec<_>>(), [7, 0, 1, 2, 3, 200]);
        assert_eq!((seeds.count(), seeds.to_string().as_str()), (6, "7,0-3,200"));
        assert_eq!("0-4294967295".parse::<Seeds>().unwrap().count(), 1 << 32);
    }

    #[test]
    fn what_is_no_list_of_seeds_is_refused() {
        for text in ["", ",", "1,", "5-2", "-1", "1-", "a", "1.5", "4294967296", "1-2-3", "0x10"] {
            assert!(matches!(text.parse::<Seeds>().unwrap_err(), Error::Usage { .. }), "{text}");
        }
        assert!(Seeds::consecutive(u32::MAX, 2).is_err());
        assert!(Seeds::consecutive(0, 0).is_err());
        assert_eq!(Seeds::consecutive(3, 2).unwrap().to_string(), "3-4");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(parts in proptest::collection::vec((0u32..1000, 0u32..50), 1..6)) {
            let seeds = Seeds(parts.into_iter().map(|(first, more)| first..=first + more).collect());
            prop_assert_eq!(&seeds.to_string().parse::<Seeds>().unwrap(), &seeds);
            prop_assert_eq!(seeds.iter().count() as u64, seeds.count());
        }
    }
}
