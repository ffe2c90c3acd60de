//! The threshold tau on the pseudo density, as a person types it: a density or a percentile of the reference.

use super::quantiles::Distribution;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A threshold on the pseudo density: `1.18`, or `p80` for the 80th percentile of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Threshold {
    /// A pseudo density, finite and not negative.
    Density(f64),
    /// A percentile of the reference's densities, 0 to 100.
    Percentile(f64),
}

impl Threshold {
    /// The threshold as a pseudo density.
    pub fn resolve(self, reference: &Distribution) -> f64 {
        match self {
            Threshold::Density(density) => density,
            Threshold::Percentile(percentile) => reference.at_percentile(percentile),
        }
    }
}

impl FromStr for Threshold {
    type Err = Error;

    fn from_str(text: &str) -> Result<Threshold> {
        let (number, highest) = match text.strip_prefix('p') {
            Some(percentile) => (percentile, 100.0),
            None => (text, f64::MAX),
        };
        match number.parse::<f64>() {
            Ok(value) if (0.0..=highest).contains(&value) => {
                let value = value.abs();
                Ok(if number.len() < text.len() {
                    Threshold::Percentile(value)
                } else {
                    Threshold::Density(value)
                })
            }
            _ => Err(Error::usage(
                format!("`{text}` is not a threshold"),
                "give a pseudo density (1.18) or a percentile of the reference (p80, between p0 and p100)",
            )),
        }
    }
}

impl TryFrom<String> for Threshold {
    type Error = Error;

    fn try_from(text: String) -> Result<Threshold> {
        text.parse()
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> String {
        threshold.to_string()
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Threshold::Density(density) => write!(f, "{density}"),
            Threshold::Percentile(percentile) => write!(f, "p{percentile}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_density_and_a_percentile_are_told_apart() {
        assert_eq!("1.18".parse::<Threshold>().unwrap(), Threshold::Density(1.18));
        assert_eq!("p80".parse::<Threshold>().unwrap(), Threshold::Percentile(80.0));
        assert_eq!("p99.5".parse::<Threshold>().unwrap().to_string(), "p99.5");
        assert_eq!("-0".parse::<Threshold>().unwrap().to_string(), "0");
    }

    #[test]
    fn a_percentile_is_looked_up_in_the_reference() {
        let reference = Distribution::new(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(Threshold::Percentile(25.0).resolve(&reference), 2.0);
        assert_eq!(Threshold::Density(9.0).resolve(&reference), 9.0);
    }

    #[test]
    fn senseless_thresholds_are_wrong_usage() {
        for text in
            ["", "p", "p101", "p-1", "-1", "nan", "pnan", "inf", "1e999", "80%", "P80", "pp80", " 1", "1,2"]
        {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(matches!(error, Error::Usage { .. }), "{text}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn json_holds_what_was_typed() {
        let json = serde_json::to_string(&Threshold::Percentile(80.0)).unwrap();
        assert_eq!(json, "\"p80\"");
        assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), Threshold::Percentile(80.0));
        assert!(serde_json::from_str::<Threshold>("\"p800\"").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(density in 0.0..f64::MAX, percentile in 0.0..=100.0f64) {
            for threshold in [Threshold::Density(density), Threshold::Percentile(percentile)] {
                prop_assert_eq!(threshold.to_string().parse::<Threshold>().unwrap(), threshold);
            }
        }

        #[test]
        fn no_text_makes_the_parser_fail_otherwise(text in ".*") {
            let _ = text.parse::<Threshold>();
        }
    }
}
