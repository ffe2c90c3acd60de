//! The identity that every result made with an extractor carries, and what is said where two differ.

use super::onnx::OnnxPorts;
use crate::device::Precision;
use crate::images::Preprocessing;
use serde::{Deserialize, Serialize};

/// The name of features that another program made.
pub(super) const EXTERNAL: &str = "external";

/// The revision of a network that has always computed the same.
pub(super) const FIRST_REVISION: u32 = 1;

/// What features were made with. Features of different identities cannot be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Name of the architecture, [`super::onnx::ONNX`], or [`EXTERNAL`].
    pub extractor: String,
    /// Width of the features.
    pub dimension: usize,
    /// SHA-256 of the weights file; absent for [`EXTERNAL`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weights_sha256: Option<String>,
    /// What is done to an image before the network; absent for [`EXTERNAL`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preprocessing: Option<Preprocessing>,
    /// The revision of the network, where the same weights gave other features before; absent for the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision: Option<u32>,
    /// Whether features are on the unit sphere.
    pub normalize: bool,
    /// Which input and output of an ONNX file were used; absent for all else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub onnx: Option<OnnxPorts>,
    /// The numbers that the network computed with; absent for float32.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub precision: Option<Precision>,
}

impl Identity {
    /// Features that another program made.
    pub fn external(dimension: usize, normalize: bool) -> Self {
        Self {
            extractor: EXTERNAL.into(),
            dimension,
            weights_sha256: None,
            preprocessing: None,
            revision: None,
            normalize,
            onnx: None,
            precision: None,
        }
    }

    /// One line for a person.
    pub fn describe(&self) -> String {
        let mut parts = vec![format!("{} ({}-d)", self.extractor, self.dimension)];
        if let Some(preprocessing) = &self.preprocessing {
            parts.push(preprocessing.describe());
        }
        if self.normalize {
            parts.push("unit length".into());
        }
        if self.precision == Some(Precision::Bf16) {
            parts.push("bfloat16".into());
        }
        parts.join(", ")
    }

    /// What differs between this and another, both sides named; `None` if features can be compared.
    pub fn difference(&self, other: &Identity) -> Option<String> {
        let say = |what: &str, a: String, b: String| Some(format!("{what} {a} there, {b} here"));
        if self.extractor != other.extractor {
            return say("extractor", self.extractor.clone(), other.extractor.clone());
        }
        if self.dimension != other.dimension {
            return say("features of width", self.dimension.to_string(), other.dimension.to_string());
        }
        if self.weights_sha256 != other.weights_sha256 {
            let text = |id: &Identity| id.weights_sha256.clone().unwrap_or_else(|| "unknown".into());
            return say("weights with SHA-256", text(self), text(other));
        }
        if self.revision != other.revision {
            let number = |id: &Identity| id.revision.unwrap_or(FIRST_REVISION);
            return Some(format!(
                "features of revision {} of {} there, of {} here; the older ones have to be made again",
                number(self),
                self.extractor,
                number(other)
            ));
        }
        if self.onnx != other.onnx {
            let text = |id: &Identity| match &id.onnx {
                Some(OnnxPorts { input, output }) => format!("`{input}` to `{output}`"),
                None => "none".into(),
            };
            return say("ONNX input and output", text(self), text(other));
        }
        if self.preprocessing != other.preprocessing {
            let text = |id: &Identity| match &id.preprocessing {
                Some(preprocessing) => format!("({})", preprocessing.describe()),
                None => "none".into(),
            };
            return say("preprocessing", text(self), text(other));
        }
        if self.normalize != other.normalize {
            let text =
                |id: &Identity| if id.normalize { "of unit length" } else { "as they are" }.to_string();
            return say("features", text(self), text(other));
        }
        if self.precision.unwrap_or_default() != other.precision.unwrap_or_default() {
            let text = |id: &Identity| match id.precision.unwrap_or_default() {
                Precision::F32 => "float32".into(),
                Precision::Bf16 => "bfloat16".into(),
            };
            return say("features computed in", text(self), text(other));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_that_differ_say_how_with_both_sides() {
        let a = Identity::external(3, false);
        assert_eq!(a.difference(&a), None);
        assert_eq!(a.difference(&Identity::external(4, false)).unwrap(), "features of width 3 there, 4 here");
        assert!(a.difference(&Identity::external(3, true)).unwrap().contains("unit length"));
        let newer = Identity { revision: Some(2), ..a.clone() };
        let expected =
            "features of revision 1 of external there, of 2 here; the older ones have to be made again";
        assert_eq!(a.difference(&newer).unwrap(), expected);
        let stored = serde_json::to_string(&a).unwrap();
        assert!(!stored.contains("revision") && serde_json::from_str::<Identity>(&stored).unwrap() == a);
        let coarse = Identity { precision: Some(Precision::Bf16), ..a.clone() };
        assert_eq!(coarse.difference(&a).unwrap(), "features computed in bfloat16 there, float32 here");
        assert_eq!(Identity { precision: Some(Precision::F32), ..a.clone() }.difference(&a), None);
        assert!(coarse.describe().ends_with("bfloat16"));
    }
}
