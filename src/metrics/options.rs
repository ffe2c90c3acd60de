//! Parameters of the metrics.

use super::manifold::Boundary;
use candle_core::Device;
use serde::{Deserialize, Serialize};

/// What the metrics depend on besides the features.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Options {
    /// Neighbours that set the radii of precision, recall, realism and rarity.
    pub k: usize,
    /// Neighbours that set the radii of density and coverage, clipped or not.
    pub k_density: usize,
    /// Whether a sample on a sphere's boundary counts as inside.
    pub boundary: Boundary,
    /// Subsets of `kid-subsets`.
    pub kid_subsets: usize,
    /// Rows of each subset of `kid-subsets`.
    pub kid_subset_size: usize,
    /// Random seed.
    pub seed: u64,
    /// A seed of `numpy.random.RandomState` that the parts of `inception-score` and the subsets of `kid-subsets` are drawn by, in the place
    /// of `seed`: as torch-fidelity draws them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numpy_seed: Option<u32>,
    /// Images of each part of `inception-score`, in the order of the images, as ADM's evaluator takes them; ten random parts if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inception_part: Option<usize>,
    /// Where exact search multiplies matrices; the metrics are the same on any device.
    #[serde(skip, default = "cpu")]
    pub device: Device,
}

fn cpu() -> Device {
    Device::Cpu
}

impl Default for Options {
    /// k 3 (Kynkäänniemi et al. 2019) and 5 (Naeem et al. 2020), ties outside as in prdc, 100 subsets of 1 000 as in torch-fidelity.
    fn default() -> Self {
        Options {
            k: 3,
            k_density: 5,
            boundary: Boundary::Excluded,
            kid_subsets: 100,
            kid_subset_size: 1000,
            seed: 0,
            numpy_seed: None,
            inception_part: None,
            device: Device::Cpu,
        }
    }
}
