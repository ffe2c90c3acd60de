//! What programs and papers compute: resizing, network, metrics and parameters of each, as a table of values.
//!
//! The Inception network of 2015 resizes as TensorFlow 1 does (`interpolate-tf1`) and takes colours as `(x - 128) / 128`. pytorch-fid
//! has its weights with PyTorch's resizing and `2 x - 1` in their place, clean-fid with a resizing of its own.

use super::manifold::Boundary;
use super::options::Options;
use super::registry::named;
use crate::error::{Error, Result};
use crate::extract::{INCEPTION_FEATURES, INCEPTION_LOGITS, INCEPTION_SPATIAL};
use crate::images::{Alpha, Filter, Fit, Preprocessing};

/// Changes what is done to an image before a network.
type Preparation = fn(&mut Preprocessing);

/// A protocol of evaluation.
pub(crate) struct Protocol {
    /// The name that it is asked for by.
    pub(crate) name: &'static str,
    /// What it reproduces, in one line.
    pub(crate) about: &'static str,
    /// Extractors, and what is done to an image before each in the place of its own preprocessing.
    pub(crate) spaces: &'static [(&'static str, Preparation)],
    /// Metrics, each in the spaces that it is for.
    pub(crate) metrics: &'static [&'static str],
    /// Neighbours of precision and recall, and of density and coverage.
    pub(crate) k: (usize, usize),
    /// Whether a sample on the boundary of a neighbourhood is inside.
    pub(crate) boundary: Boundary,
    /// The seed of its draws, where it has one.
    pub(crate) numpy_seed: Option<u32>,
    /// Images of each part of the Inception Score in their order, where it does not take ten random parts.
    pub(crate) inception_part: Option<usize>,
    /// Generated images that published values are of, where there is a custom.
    pub(crate) images: Option<usize>,
    /// Whether compressed images move its values away from published ones.
    pub(crate) lossless: bool,
    /// What it has that is not computed here.
    pub(crate) lacks: Option<&'static str>,
}

/// 128 of 255, as networks of TensorFlow 1 centre and scale their colours.
const TF1_GREY: f32 = 128.0 / 255.0;
/// The seed of torch-fidelity where none is given.
const TORCH_FIDELITY_SEED: u32 = 2020;
/// Images of each part of ADM's Inception Score.
const ADM_PART: usize = 5000;
/// Images that papers compare.
const FIFTY_THOUSAND: usize = 50_000;

/// Every protocol.
pub(crate) const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "adm",
        about: "ADM's evaluator (Dhariwal and Nichol 2021): Inception Score, FID, sFID, precision and recall of 50 000 images",
        spaces: &[
            (INCEPTION_FEATURES, tensorflow),
            (INCEPTION_SPATIAL, tensorflow),
            (INCEPTION_LOGITS, tensorflow),
        ],
        metrics: &["inception-score", "fd", "sfid", "precision", "recall"],
        k: (3, 5),
        boundary: Boundary::Included,
        numpy_seed: None,
        inception_part: Some(ADM_PART),
        images: Some(FIFTY_THOUSAND),
        lossless: true,
        lacks: Some(
            "precision and recall of distances in half precision, as it rounds them; here they are exact",
        ),
    },
    Protocol {
        name: "edm2",
        about: "EDM2's evaluation (Karras et al. 2024): FID and FD in DINOv2 ViT-L/14 of 50 000 images",
        spaces: &[(INCEPTION_FEATURES, tensorflow), ("dinov2-l14", bicubic_in_float)],
        metrics: &["fd"],
        k: (3, 5),
        boundary: Boundary::Excluded,
        numpy_seed: None,
        inception_part: None,
        images: Some(FIFTY_THOUSAND),
        lossless: true,
        lacks: None,
    },
    Protocol {
        name: "dgm",
        about: "dgm-eval (Stein et al. 2023) in DINOv2 ViT-L/14: FD, precision, recall, density, coverage, authenticity",
        spaces: &[("dinov2-l14", bicubic_of_pillow)],
        metrics: &["fd", "precision", "recall", "density", "coverage", "authenticity"],
        k: (5, 5),
        boundary: Boundary::Excluded,
        numpy_seed: None,
        inception_part: None,
        images: Some(FIFTY_THOUSAND),
        lossless: false,
        lacks: Some(
            "KD over subsets that it draws without a seed, its share of 10 000 images for precision to coverage, CT and FLS",
        ),
    },
    Protocol {
        name: "clean-fid",
        about: "clean-fid (Parmar et al. 2022), mode clean: FID",
        spaces: &[(INCEPTION_FEATURES, clean)],
        metrics: &["fd"],
        k: (3, 5),
        boundary: Boundary::Excluded,
        numpy_seed: None,
        inception_part: None,
        images: None,
        lossless: true,
        lacks: Some("KID over subsets that it draws without a seed"),
    },
    Protocol {
        name: "pytorch-fid",
        about: "pytorch-fid: FID",
        spaces: &[(INCEPTION_FEATURES, of_pillow)],
        metrics: &["fd"],
        k: (3, 5),
        boundary: Boundary::Excluded,
        numpy_seed: None,
        inception_part: None,
        images: None,
        lossless: false,
        lacks: None,
    },
    Protocol {
        name: "torch-fidelity",
        about: "torch-fidelity with its seed of 2020: Inception Score, FID, KID, precision and recall",
        spaces: &[(INCEPTION_FEATURES, tensorflow), (INCEPTION_LOGITS, tensorflow)],
        metrics: &["inception-score", "fd", "kid-subsets", "precision", "recall"],
        k: (3, 5),
        boundary: Boundary::Included,
        numpy_seed: Some(TORCH_FIDELITY_SEED),
        inception_part: None,
        images: None,
        lossless: true,
        lacks: None,
    },
];

/// Colours of transparent pixels as they are in the file, as Pillow's `convert("RGB")` leaves them.
fn of_pillow(preprocessing: &mut Preprocessing) {
    preprocessing.alpha = Alpha::Drop;
}

fn tensorflow(preprocessing: &mut Preprocessing) {
    of_pillow(preprocessing);
    preprocessing.filter = Filter::InterpolateTf1;
    preprocessing.mean = vec![TF1_GREY; 3];
    preprocessing.std = vec![TF1_GREY; 3];
}

fn clean(preprocessing: &mut Preprocessing) {
    tensorflow(preprocessing);
    preprocessing.filter = Filter::BicubicClipped;
}

fn bicubic_of_pillow(preprocessing: &mut Preprocessing) {
    of_pillow(preprocessing);
    preprocessing.fit = Fit::Squash;
    preprocessing.crop_ratio = 1.0;
    preprocessing.filter = Filter::Bicubic;
}

fn bicubic_in_float(preprocessing: &mut Preprocessing) {
    bicubic_of_pillow(preprocessing);
    preprocessing.filter = Filter::BicubicFloat;
}

/// The protocol of this name.
///
/// # Errors
/// [`Error::Usage`] naming those that are known.
pub(crate) fn protocol(name: &str) -> Result<&'static Protocol> {
    PROTOCOLS.iter().find(|protocol| protocol.name == name).ok_or_else(|| {
        let known: Vec<&str> = PROTOCOLS.iter().map(|protocol| protocol.name).collect();
        Error::usage(format!("there is no preset `{name}`"), format!("known are {}", known.join(", ")))
    })
}

impl Protocol {
    /// The metrics of `asked` (by name; all where none are named).
    ///
    /// # Errors
    /// [`Error::Usage`] for a metric that the protocol does not have.
    pub(crate) fn metrics(&self, asked: &[String]) -> Result<Vec<String>> {
        let asked = named(asked)?;
        if let Some(metric) = asked.iter().find(|metric| !self.metrics.contains(&metric.name)) {
            return Err(Error::usage(
                format!("the preset {} has no {}", self.name, metric.name),
                format!("its metrics are {}", self.metrics.join(", ")),
            ));
        }
        let chosen = |name: &&&str| asked.is_empty() || asked.iter().any(|metric| metric.name == **name);
        Ok(self.metrics.iter().filter(chosen).map(|name| (*name).to_owned()).collect())
    }

    /// Its parameters in the place of `options`.
    pub(crate) fn settle(&self, options: &mut Options) {
        (options.k, options.k_density) = self.k;
        options.boundary = self.boundary;
        options.numpy_seed = self.numpy_seed;
        options.inception_part = self.inception_part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::architecture;
    use crate::metrics::{EvaluationOptions, SpacesRequest};

    #[test]
    fn every_metric_of_every_protocol_has_a_space_and_every_preprocessing_is_valid() {
        for protocol in PROTOCOLS {
            let request = SpacesRequest { preset: Some(protocol.name.into()), ..SpacesRequest::default() };
            let settled = request.settled(EvaluationOptions::default()).unwrap();
            assert_eq!(settled.names().len(), protocol.spaces.len(), "{}", protocol.name);
            for (name, prepare) in protocol.spaces {
                let mut preprocessing = (architecture(name).unwrap().preprocessing)();
                let before = preprocessing.clone();
                prepare(&mut preprocessing);
                preprocessing.validate().unwrap();
                let size = |p: &Preprocessing| (p.width, p.height, p.channels());
                assert_eq!(size(&before), size(&preprocessing));
            }
        }
        let asked = |name: &str| protocol("edm2").unwrap().metrics(&[name.to_owned()]);
        assert_eq!(asked("fid").unwrap(), ["fd"]);
        assert!(asked("vendi").unwrap_err().to_string().contains("has no vendi"));
        assert!(protocol("stylegan").is_err());
    }
}
