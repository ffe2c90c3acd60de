//! How many images are wanted: a number, or all.

use std::str::FromStr;

/// The most that can be asked for.
const MOST: u64 = 100_000_000;

/// How many images are to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All that the weights and distances let through.
    All,
    /// So many.
    Number(u64),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u64>() {
            Ok(n @ 1..=MOST) => Ok(Wanted::Number(n)),
            _ if text == "all" => Ok(Wanted::All),
            _ => Err(format!("must be a number from 1 to {MOST}, or `all`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_all_are_read() {
        assert_eq!(("7".parse(), "all".parse()), (Ok(Wanted::Number(7)), Ok(Wanted::All)));
        for text in ["0", "-1", "", "some", "100000001", "1.5"] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}
