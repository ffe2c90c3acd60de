//! "Did you mean": names that are typed, and the known one that is most like them.

use crate::density::RuleChoice;
use crate::extract::ARCHITECTURES;
use crate::formats::onnx::is_onnx;
use crate::generate::FAMILIES;
use std::path::Path;

/// Likeness from which on a name is suggested: that of clap for its flags.
const ALIKE: f64 = 0.7;
/// Rules as they are typed.
const RULES: [&str; 5] = ["two-level", "power:2", "power:-2", "ratio:2", "ratio:-2"];

/// The known name that was probably meant.
fn most_alike<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let text = text.to_lowercase();
    let likeness = |name: &&str| strsim::jaro(&text, name);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > ALIKE).then_some(best)
}

fn unknown(text: &str, known: &[&str], all: &str) -> String {
    match most_alike(text, known) {
        Some(name) => format!("did you mean `{name}`? {all}"),
        None => all.to_owned(),
    }
}

/// The value of `--extractor`.
pub(super) fn extractor(text: &str) -> Result<String, String> {
    if is_onnx(Path::new(text)) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
    name(text, &known, &format!("Known are {}, and .onnx files", known.join(", ")))
}

/// The value of `--arch`.
pub(super) fn arch(text: &str) -> Result<String, String> {
    let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    name(text, &known, &format!("Known are {}", known.join(", ")))
}

fn name(text: &str, known: &[&str], all: &str) -> Result<String, String> {
    match known.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(unknown(text, known, all)),
    }
}

/// The value of `--rule`.
pub(super) fn rule(text: &str) -> Result<RuleChoice, String> {
    let all = "Known are two-level, power:B and ratio:B, with a number for B (2 towards fidelity, -2 towards diversity)";
    text.parse().map_err(|_| unknown(text, &RULES, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_nonsense_is_not() {
        let said = |found: Result<String, String>| found.unwrap_err();
        assert!(said(extractor("efficientnet-light0")).starts_with("did you mean `efficientnet-lite0`?"));
        assert!(said(extractor("ViT-B16")).starts_with("did you mean `vit-b16`?"));
        assert!(said(extractor("qqq")).starts_with("Known are"));
        assert!(said(arch("dcgam")).starts_with("did you mean `dcgan`?"));
        assert!(rule("twolevel").unwrap_err().starts_with("did you mean `two-level`?"));
        assert!(rule("raito:2").unwrap_err().starts_with("did you mean `ratio:2`?"));
        assert!(rule("ratio:").unwrap_err().contains("power:B"));
        assert_eq!(rule("power:3").unwrap(), RuleChoice::Power(3.0));
        assert_eq!(extractor("tiny").unwrap(), "tiny");
        assert_eq!(extractor("my/model.onnx").unwrap(), "my/model.onnx");
    }
}
