//! What may be wrong with a picture: a number of it is far from what is usual in its set. The limits are learnt from the set, not made for
//! all sets: a robust distance from the median, on each side by the spread of that side.

use super::measures::Measures;
use crate::density::median;
use serde::Serialize;

/// How many times the spread of its side a number may be away from the median: the usual limit for outliers by the median absolute
/// deviation (Iglewicz and Hoaglin 1993).
const TIMES: f64 = 3.5;
/// What makes a median absolute deviation the standard deviation of a normal distribution.
const NORMAL: f64 = 1.4826;
/// A picture is gray if its colours are nearer together than this.
const GRAY: f64 = 0.01;
/// Gray pictures are odd where fewer than this share of the set are gray.
const FEW: f64 = 0.1;

/// What may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flag {
    /// Sharpness is low.
    Blurred,
    /// Brightness is low.
    Dark,
    /// Brightness is high.
    Bright,
    /// Entropy is low.
    LowInformation,
    /// The longer side is unusual.
    OddSize,
    /// The ratio of the longer to the shorter side is unusual.
    OddAspect,
    /// Gray among coloured ones.
    Gray,
}

impl Flag {
    /// As it stands in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Flag::Blurred => "blurred",
            Flag::Dark => "dark",
            Flag::Bright => "bright",
            Flag::LowInformation => "low_information",
            Flag::OddSize => "odd_size",
            Flag::OddAspect => "odd_aspect",
            Flag::Gray => "gray",
        }
    }
}

/// A check: the number that is looked at, and how.
struct Check {
    /// The flag of a number that is too low, and of one that is too high.
    low: Option<Flag>,
    high: Option<Flag>,
    number: &'static str,
    of: fn(&Measures) -> f64,
    /// Whether ratios count and not differences.
    ratios: bool,
    /// The smallest difference (of logarithms, for ratios) from the median that matters, however narrow the spread is.
    matters: f64,
}

const CHECKS: [Check; 5] = [
    Check {
        low: Some(Flag::Blurred),
        high: None,
        number: "sharpness",
        of: |m| m.sharpness,
        ratios: true,
        matters: std::f64::consts::LN_2,
    },
    Check {
        low: Some(Flag::Dark),
        high: Some(Flag::Bright),
        number: "brightness",
        of: |m| m.brightness,
        ratios: false,
        matters: 0.2,
    },
    Check {
        low: Some(Flag::LowInformation),
        high: None,
        number: "entropy",
        of: |m| m.entropy,
        ratios: false,
        matters: 1.0,
    },
    Check {
        low: Some(Flag::OddSize),
        high: Some(Flag::OddSize),
        number: "longer side",
        of: |m| m.width.max(m.height).into(),
        ratios: true,
        matters: std::f64::consts::LN_2,
    },
    Check {
        low: Some(Flag::OddAspect),
        high: Some(Flag::OddAspect),
        // Upright or lying does not matter: many sets hold both.
        number: "longer by shorter side",
        of: |m| f64::from(m.width.max(m.height)) / f64::from(m.width.min(m.height).max(1)),
        ratios: true,
        matters: 0.4,
    },
];

/// A limit that a set has taught, and how many of its pictures are beyond it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Limit {
    pub(crate) flag: Flag,
    /// What is limited.
    pub(crate) number: &'static str,
    /// Numbers below are flagged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) below: Option<f64>,
    /// Numbers above are flagged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) above: Option<f64>,
    pub(crate) images: usize,
}

/// The limits of a set, and what is beyond them.
pub(crate) struct Checked {
    pub(crate) limits: Vec<Limit>,
    /// Of each picture, in the order of [`Flag`].
    pub(crate) flags: Vec<Vec<Flag>>,
}

impl Checked {
    /// Checks each picture of a set against the others.
    pub(crate) fn of(measures: &[Measures]) -> Self {
        let mut all = Self { limits: Vec::new(), flags: vec![Vec::new(); measures.len()] };
        for check in &CHECKS {
            let scaled = |m: &Measures| {
                let number = (check.of)(m);
                if check.ratios { number.max(f64::MIN_POSITIVE).ln() } else { number }
            };
            let unscaled = |v: f64| if check.ratios { v.exp() } else { v };
            let numbers: Vec<f64> = measures.iter().map(scaled).collect();
            let Some((low, high)) = range(&numbers, check.matters) else { continue };
            for (flag, below, above) in [(check.low, Some(low), None), (check.high, None, Some(high))] {
                let Some(flag) = flag else { continue };
                let is_beyond =
                    |v: f64| below.is_some_and(|low| v < low) || above.is_some_and(|high| v > high);
                let beyond: Vec<bool> = numbers.iter().map(|&v| is_beyond(v)).collect();
                let (below, above) = (below.map(unscaled), above.map(unscaled));
                all.add(flag, check.number, (below, above), &beyond);
            }
        }
        let gray: Vec<bool> = measures.iter().map(|m| m.colour < GRAY).collect();
        let count = gray.iter().filter(|&&gray| gray).count();
        if (count as f64) < FEW * measures.len() as f64 {
            all.add(Flag::Gray, "colour", (Some(GRAY), None), &gray);
        }
        all
    }

    fn add(
        &mut self,
        flag: Flag,
        number: &'static str,
        (below, above): (Option<f64>, Option<f64>),
        beyond: &[bool],
    ) {
        for (flags, _) in self.flags.iter_mut().zip(beyond).filter(|(_, beyond)| **beyond) {
            flags.push(flag);
        }
        let images = beyond.iter().filter(|&&beyond| beyond).count();
        self.limits.push(Limit { flag, number, below, above, images });
    }

    /// The names of a picture's flags, as one cell of a table.
    pub(crate) fn cell(&self, row: usize) -> String {
        let names: Vec<&str> = self.flags.get(row).into_iter().flatten().map(|flag| flag.name()).collect();
        names.join(";")
    }
}

/// What is usual: from and to. `None` without numbers.
fn range(numbers: &[f64], matters: f64) -> Option<(f64, f64)> {
    if numbers.is_empty() {
        return None;
    }
    let middle = median(numbers.to_vec());
    let spread = |side: &dyn Fn(f64) -> f64| {
        let apart: Vec<f64> = numbers.iter().map(|&v| side(v)).filter(|&v| v >= 0.0).collect();
        (TIMES * NORMAL * median(apart)).max(matters)
    };
    Some((middle - spread(&|v| middle - v), middle + spread(&|v| v - middle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(i: usize) -> Measures {
        let wave = (i as f64 * 0.7).sin();
        Measures {
            sharpness: 20.0 * (0.2 * wave).exp(),
            brightness: 0.6 + 0.05 * wave,
            contrast: 0.2,
            entropy: 7.0 + 0.2 * wave,
            colour: 0.3,
            width: 400 + i as u32 % 7,
            height: 300,
        }
    }

    #[test]
    fn each_flag_is_raised_by_what_is_far_from_the_set_and_by_nothing_else() {
        let plain = usual(0);
        let odd = [
            (Measures { sharpness: 2.0, ..plain }, "blurred"),
            (Measures { brightness: 0.05, ..plain }, "dark"),
            (Measures { brightness: 0.99, ..plain }, "bright"),
            (Measures { entropy: 1.0, ..plain }, "low_information"),
            (Measures { width: 80, height: 60, ..plain }, "odd_size"),
            (Measures { width: 400, height: 100, ..plain }, "odd_aspect"),
            (Measures { width: 150, height: 400, ..plain }, "odd_aspect"),
            (Measures { colour: 0.0, ..plain }, "gray"),
            (
                Measures { sharpness: 0.0, brightness: 0.0, entropy: 0.0, colour: 0.0, ..plain },
                "blurred;dark;low_information;gray",
            ),
        ];
        let mut all: Vec<Measures> = (0..100).map(usual).collect();
        all.extend(odd.iter().map(|odd| odd.0));
        let checked = Checked::of(&all);
        assert!((0..100).all(|row| checked.cell(row).is_empty()));
        for (at, (_, expected)) in odd.iter().enumerate() {
            assert_eq!(checked.cell(100 + at), *expected);
        }
        let limit = |flag| checked.limits.iter().find(|limit| limit.flag == flag).unwrap();
        assert_eq!(
            (limit(Flag::Blurred).images, limit(Flag::Dark).images, limit(Flag::Gray).images),
            (2, 2, 2)
        );
        assert!((0.3..0.5).contains(&limit(Flag::Dark).below.unwrap()));
    }

    #[test]
    fn what_stands_upright_is_not_odd_among_what_lies() {
        let turned = |i: usize| Measures { width: 300, height: 400, ..usual(i) };
        let all: Vec<Measures> = (0..100).map(|i| if i % 6 == 0 { turned(i) } else { usual(i) }).collect();
        assert!(Checked::of(&all).flags.iter().all(Vec::is_empty));
    }

    #[test]
    fn the_limits_are_those_of_the_set() {
        // Brightness of 0.10, 0.11, …, 0.20: half of each side is within 0.025 of the median.
        let of = |brightness| Measures { brightness, ..usual(0) };
        let night: Vec<Measures> = (0..11).map(|i| of(0.1 + 0.01 * f64::from(i))).collect();
        let checked = Checked::of(&night);
        assert!(checked.flags.iter().all(Vec::is_empty));
        let dark = checked.limits.iter().find(|limit| limit.flag == Flag::Bright).unwrap();
        assert!((dark.above.unwrap() - 0.35).abs() < 1e-9, "{dark:?}");
    }

    #[test]
    fn where_many_are_gray_none_is_odd_and_few_pictures_are_checked_without_harm() {
        let gray: Vec<Measures> =
            (0..20).map(|i| Measures { colour: f64::from(i % 2), ..usual(0) }).collect();
        assert!(Checked::of(&gray).flags.iter().all(Vec::is_empty));
        assert!(Checked::of(&[]).limits.iter().all(|limit| limit.images == 0));
        assert_eq!(Checked::of(&[usual(3)]).cell(0), "");
    }
}
