//! Prompts from a file, and which candidate is made of which.

use crate::error::{Error, Result};
use crate::formats::regular::open_regular;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// Largest file of prompts, in bytes.
const MAX_FILE: u64 = 1 << 28;
/// The columns of a table of prompts.
const PROMPT: &str = "prompt";
const COUNT: &str = "n";

/// The prompts of a file, in its order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PromptFile(Vec<(String, Option<u64>)>);

/// In which order candidates of several prompts are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PromptOrder {
    /// One candidate of each prompt, then the second one of each, and so on: the first so many are spread over all prompts.
    InTurn,
    /// All candidates of the first prompt, then those of the second one.
    OneByOne,
}

/// Prompts, each with a number of candidates.
#[derive(Debug, Clone)]
pub(crate) struct Prompts {
    texts: Vec<String>,
    counts: Vec<u64>,
    order: PromptOrder,
    /// The counts, ascending, and the sums of the first of them.
    ascending: Vec<u64>,
    sums: Vec<u64>,
    /// The number of each prompt's first candidate where they come one by one.
    starts: Vec<u64>,
}

impl PromptFile {
    /// Reads a file: a `.csv` has a column `prompt`, and may have `n`, the number of candidates of each; in any other each line is a
    /// prompt.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the line of an empty prompt or a number that is none; if there are no prompts; [`Error::Io`].
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::malformed(path, reason, "");
        let mut bytes = Vec::new();
        open_regular(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(wrong(format!("has more than the {MAX_FILE} bytes that are read")));
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let before = e.utf8_error().valid_up_to();
            let line = 1 + e.as_bytes()[..before].iter().filter(|&&byte| byte == b'\n').count();
            wrong(format!("line {line} is no UTF-8"))
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let is_table = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        let found = if is_table { of_table(text) } else { of_lines(text) }.map_err(wrong)?;
        match found.is_empty() {
            true => Err(wrong("has no prompts".into())),
            false => Ok(Self(found)),
        }
    }

    /// Whether it says of each prompt how many candidates it has.
    pub(crate) fn counts_all(&self) -> bool {
        self.0.iter().all(|(_, count)| count.is_some())
    }

    /// The prompt, where there is only one.
    pub(crate) fn only(&self) -> Option<&String> {
        match self.0.as_slice() {
            [(prompt, _)] => Some(prompt),
            _ => None,
        }
    }

    /// The largest number of candidates that it gives to a prompt; `None` if it gives none.
    pub(crate) fn largest_count(&self) -> Option<u64> {
        self.0.iter().filter_map(|(_, count)| *count).max()
    }

    /// The prompts with their candidates: so many as the file says of each, or `most`, and never more than that.
    pub(crate) fn with_at_most(self, most: u64, order: PromptOrder) -> Prompts {
        let (texts, counts): (Vec<_>, Vec<_>) =
            self.0.into_iter().map(|(text, count)| (text, count.unwrap_or(most).min(most))).unzip();
        let sums_of = |counts: &[u64]| {
            let sums = counts.iter().scan(0, |sum, count| {
                *sum += count;
                Some(*sum)
            });
            [0].into_iter().chain(sums).collect::<Vec<u64>>()
        };
        let mut ascending = counts.clone();
        ascending.sort_unstable();
        Prompts { sums: sums_of(&ascending), starts: sums_of(&counts), texts, counts, order, ascending }
    }
}

fn of_lines(text: &str) -> Result<Vec<(String, Option<u64>)>, String> {
    let prompt = |(at, line): (usize, &str)| checked(line, at as u64 + 1).map(|text| (text, None));
    text.lines().enumerate().map(prompt).collect()
}

fn of_table(text: &str) -> Result<Vec<(String, Option<u64>)>, String> {
    let words = |e: csv::Error| e.to_string();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(words)?.clone();
    let column = |name: &str| headers.iter().position(|header| header.trim() == name);
    let prompt = column(PROMPT).ok_or_else(|| format!("has no column `{PROMPT}`"))?;
    let count = column(COUNT);
    let mut found = Vec::new();
    for record in reader.records() {
        let record = record.map_err(words)?;
        let line = record.position().map_or(0, csv::Position::line);
        let text = checked(record.get(prompt).unwrap_or_default(), line)?;
        let number = |text: &str| match text.trim().parse::<u64>() {
            Ok(n @ 1..) => Ok(n),
            Ok(0) => Err(format!("line {line}: {COUNT} is 0; leave the prompt out")),
            Err(_) => Err(format!("line {line}: {COUNT} is `{text}`, and no number of candidates")),
        };
        found.push((text, count.map(|at| number(record.get(at).unwrap_or_default())).transpose()?));
    }
    Ok(found)
}

fn checked(prompt: &str, line: u64) -> Result<String, String> {
    match prompt.trim() {
        "" => Err(format!("line {line}: the prompt is empty")),
        prompt => Ok(prompt.to_owned()),
    }
}

impl Prompts {
    /// How many candidates there are.
    pub(super) fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// How many candidates each prompt has.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// A prompt.
    pub(super) fn text(&self, prompt: usize) -> Option<&String> {
        self.texts.get(prompt)
    }

    /// The prompt of each candidate of a range, and its number among the candidates of that prompt.
    pub(super) fn places(&self, range: Range<usize>) -> Vec<(usize, u64)> {
        let (start, end) = (range.start as u64, (range.end as u64).min(self.len()));
        let mut places = Vec::new();
        match self.order {
            PromptOrder::OneByOne => {
                let mut prompt = self.starts.partition_point(|&first| first <= start).saturating_sub(1);
                for number in start..end {
                    while self.starts[prompt + 1] <= number {
                        prompt += 1;
                    }
                    places.push((prompt, number - self.starts[prompt]));
                }
            }
            PromptOrder::InTurn => {
                let mut turn = self.turn_of(start);
                let mut number = self.before(turn);
                while number < end {
                    for prompt in (0..self.counts.len()).filter(|&prompt| self.counts[prompt] > turn) {
                        if (start..end).contains(&number) {
                            places.push((prompt, turn));
                        }
                        number += 1;
                    }
                    turn += 1;
                }
            }
        }
        places
    }

    /// Candidates before the turn of this number.
    fn before(&self, turn: u64) -> u64 {
        let ended = self.ascending.partition_point(|&count| count <= turn);
        self.sums[ended] + turn * (self.ascending.len() - ended) as u64
    }

    /// The last turn that begins at this candidate or before.
    fn turn_of(&self, number: u64) -> u64 {
        let (mut low, mut high) = (0, self.ascending.last().copied().unwrap_or_default());
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if self.before(middle) <= number { low = middle } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn read(name: &str, content: &[u8]) -> Result<PromptFile> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), content).unwrap();
        PromptFile::read(&dir.path().join(name))
    }

    fn prompts(counts: &[u64], order: PromptOrder) -> Prompts {
        let named = counts.iter().enumerate().map(|(i, &count)| (format!("p{i}"), Some(count)));
        PromptFile(named.collect()).with_at_most(u64::MAX, order)
    }

    #[test]
    fn lines_and_tables_are_read() {
        let lines = read("a.txt", "\u{feff}a red shoe\r\n  a \"blue\" bag, new \n".as_bytes()).unwrap();
        let found = [("a red shoe".into(), None), ("a \"blue\" bag, new".into(), None)];
        assert_eq!((lines.0.as_slice(), lines.counts_all()), (found.as_slice(), false));
        let table = read("a.CSV", b"n,prompt\n3,\"a shoe,\nred\"\n12, bag\n").unwrap();
        assert_eq!(table.0, [("a shoe,\nred".into(), Some(3)), ("bag".into(), Some(12))]);
        assert!(table.counts_all());
        assert_eq!(read("a.csv", b"prompt\nbag\n").unwrap().0, [("bag".into(), None)]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        for (name, content, words) in [
            ("a.txt", &b"a\n\nb"[..], "line 2: the prompt is empty"),
            ("a.txt", b"a\nb\n  \n", "line 3: the prompt is empty"),
            ("a.txt", b"", "has no prompts"),
            ("a.txt", b"a\nb\xff", "line 2 is no UTF-8"),
            ("a.csv", b"prompt,n\na,1\nb,0\n", "line 3: n is 0"),
            ("a.csv", b"prompt,n\na,-1\n", "line 2: n is `-1`"),
            ("a.csv", b"prompt,n\na,\n", "line 2: n is ``"),
            ("a.csv", b"prompt,n\n\"a\nb\",1\n,2\n", "line 4: the prompt is empty"),
            ("a.csv", b"text,n\na,1\n", "has no column `prompt`"),
            ("a.csv", b"prompt,n\n", "has no prompts"),
            ("a.csv", b"prompt,n\na\n", "record"),
        ] {
            let error = read(name, content).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn candidates_come_in_turn_or_one_by_one() {
        let of = |order| prompts(&[2, 1, 3], order).places(0..10);
        assert_eq!(of(PromptOrder::InTurn), [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (2, 2)]);
        assert_eq!(of(PromptOrder::OneByOne), [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)]);
        let endless = prompts(&[1 << 32; 3], PromptOrder::InTurn);
        assert_eq!(endless.len(), 3 << 32);
        assert_eq!(endless.places(3_000_000_001..3_000_000_003), [(1, 1_000_000_000), (2, 1_000_000_000)]);
        let capped = PromptFile(vec![("a".into(), Some(9)), ("b".into(), None)])
            .with_at_most(4, PromptOrder::OneByOne);
        assert_eq!((capped.counts(), capped.len()), ([4, 4].as_slice(), 8));
    }

    proptest! {
        #[test]
        fn a_range_is_a_part_of_the_whole(
            counts in proptest::collection::vec(1u64..6, 1..6), cut in 0usize..40, length in 0usize..10, turns in any::<bool>()
        ) {
            let order = if turns { PromptOrder::InTurn } else { PromptOrder::OneByOne };
            let prompts = prompts(&counts, order);
            let whole = prompts.places(0..usize::MAX);
            prop_assert_eq!(whole.len() as u64, prompts.len());
            let expected: Vec<_> = whole.iter().copied().skip(cut).take(length).collect();
            prop_assert_eq!(prompts.places(cut..cut + length), expected);
        }
    }
}
