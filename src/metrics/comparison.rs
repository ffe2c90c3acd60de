//! Two sets side by side, with everything that several metrics share computed once: neighbours, memberships, statistics.
//! A [`FeatureSet`] is one of them; that of the real set serves any number of comparisons.

use super::kernel::{self, Kernel};
use super::manifold::{Boundary, Manifold, Membership, Test, clipped_radii};
use super::spectrum;
use super::statistics::{RootedStatistics, Statistics};
use crate::error::{Error, Result};
use crate::neighbors::{ExactIndex, NeighborIndex, Neighbors, Search, check_finite};
use crate::progress::Progress;
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;

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
            device: Device::Cpu,
        }
    }
}

/// A real or generated set, with what metrics have computed of it.
pub struct FeatureSet<'p> {
    name: String,
    features: Option<ArcArray2<f32>>,
    k: usize,
    device: Device,
    progress: &'p dyn Progress,
    statistics: OnceCell<Statistics>,
    rooted: OnceCell<RootedStatistics>,
    index: OnceCell<ExactIndex>,
    manifold: OnceCell<Manifold>,
    cubic_own: OnceCell<f64>,
    gaussian_own: OnceCell<f64>,
    spectrum: OnceCell<Vec<f64>>,
}

/// The content of `cell`, made on first use.
fn cached<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

impl<'p> FeatureSet<'p> {
    /// A set of features `[N, D]`; nothing is computed yet.
    ///
    /// # Errors
    /// [`Error::Data`] if there are none or a value is not finite.
    pub fn new(features: ArcArray2<f32>, options: &Options, progress: &'p dyn Progress) -> Result<Self> {
        check_finite(features.view())?;
        let k = options.k.max(options.k_density);
        let device = options.device.clone();
        Ok(FeatureSet { features: Some(features), device, ..Self::empty(k, progress) })
    }

    /// A set of which only mean and covariance are known.
    pub fn from_statistics(statistics: Statistics, progress: &'p dyn Progress) -> Self {
        FeatureSet { statistics: OnceCell::from(statistics), ..Self::empty(1, progress) }
    }

    fn empty(k: usize, progress: &'p dyn Progress) -> Self {
        FeatureSet {
            name: String::new(),
            features: None,
            k,
            device: Device::Cpu,
            progress,
            statistics: OnceCell::new(),
            rooted: OnceCell::new(),
            index: OnceCell::new(),
            manifold: OnceCell::new(),
            cubic_own: OnceCell::new(),
            gaussian_own: OnceCell::new(),
            spectrum: OnceCell::new(),
        }
    }

    /// Gives the set a name, which its errors begin with.
    pub fn named(self, name: impl Into<String>) -> Self {
        FeatureSet { name: name.into(), ..self }
    }

    /// Puts the name of the set in front of an error.
    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| if self.name.is_empty() { error } else { error.about(&self.name) })
    }

    /// `[N, D]`
    ///
    /// # Errors
    /// [`Error::Usage`] if only statistics are known.
    pub fn features(&self) -> Result<ArrayView2<'_, f32>> {
        self.shared().map(|features| features.view())
    }

    fn shared(&self) -> Result<&ArcArray2<f32>> {
        self.features.as_ref().ok_or_else(|| {
            Error::usage(
                "a file of mean and covariance serves the Frechet distance only",
                "leave other metrics out, or give images or features",
            )
        })
    }

    /// Whether the features themselves are known.
    pub fn has_features(&self) -> bool {
        self.features.is_some()
    }

    /// How many rows, where that is known.
    pub fn rows(&self) -> Option<usize> {
        match &self.features {
            Some(features) => Some(features.nrows()),
            None => self.statistics.get().and_then(|statistics| statistics.rows),
        }
    }

    /// Width D of the features.
    pub fn width(&self) -> usize {
        match (&self.features, self.statistics.get()) {
            (Some(features), _) => features.ncols(),
            (None, Some(statistics)) => statistics.width(),
            (None, None) => 0,
        }
    }

    /// Mean and covariance.
    ///
    /// # Errors
    /// As [`Statistics::of`].
    pub fn statistics(&self) -> Result<&Statistics> {
        cached(&self.statistics, || self.told(Statistics::of(self.features()?, self.progress)))
    }

    /// Mean, covariance and its root.
    ///
    /// # Errors
    /// As [`FeatureSet::statistics`].
    pub fn rooted(&self) -> Result<&RootedStatistics> {
        cached(&self.rooted, || self.told(self.statistics()?.clone().rooted()))
    }

    /// The exact index of the rows.
    ///
    /// # Errors
    /// As [`FeatureSet::features`].
    pub fn index(&self) -> Result<&ExactIndex> {
        cached(&self.index, || Ok(ExactIndex::new(self.shared()?.clone())?.on(&self.device)))
    }

    /// The spheres around the rows, for every k of the options.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not k other rows for each.
    pub fn manifold(&self) -> Result<&Manifold> {
        cached(&self.manifold, || {
            self.told(Manifold::of(self.shared()?.clone(), self.index()?, self.k, self.progress))
        })
    }

    /// The mean of the kernel of KID over pairs of different rows.
    ///
    /// # Errors
    /// [`Error::Data`] for fewer than two rows; [`Error::Interrupted`].
    pub(super) fn cubic_own(&self) -> Result<f64> {
        self.own_kernel(&self.cubic_own, Kernel::Cubic)
    }

    /// The mean of the kernel of CMMD over pairs of different rows.
    ///
    /// # Errors
    /// As [`FeatureSet::cubic_own`].
    pub(super) fn gaussian_own(&self) -> Result<f64> {
        self.own_kernel(&self.gaussian_own, Kernel::CMMD)
    }

    fn own_kernel(&self, cell: &OnceCell<f64>, kernel: Kernel) -> Result<f64> {
        cached(cell, || self.told(kernel::own_pairs(self.features()?, kernel, self.progress))).copied()
    }

    /// Eigenvalues of the second moment of the rows at unit length (the cosine kernel's, but for zeros).
    ///
    /// # Errors
    /// As [`spectrum::spectrum`].
    pub fn spectrum(&self) -> Result<&[f64]> {
        cached(&self.spectrum, || self.told(spectrum::spectrum(self.features()?, self.progress)))
            .map(Vec::as_slice)
    }
}

/// Which generated rows lie in which real spheres, for each convention that a metric uses.
pub(super) struct Memberships {
    /// Radii of k.
    pub precision: Membership,
    /// Radii of k for density.
    pub density: Membership,
    /// The same without ties: what clipped coverage counts.
    pub strict: Membership,
    /// Radii clipped at their median, ties inside: what clipped density counts.
    pub clipped: Membership,
}

/// A real and a generated set.
pub struct Comparison<'a> {
    /// The real set.
    pub real: &'a FeatureSet<'a>,
    /// The generated set.
    pub generated: &'a FeatureSet<'a>,
    /// Parameters of the metrics; both sets were made with them.
    pub options: &'a Options,
    /// What long metrics report to, and ask whether to stop.
    pub(super) progress: &'a dyn Progress,
    memberships: OnceCell<Memberships>,
    recalled: OnceCell<Membership>,
    nearest: OnceCell<Neighbors>,
}

impl<'a> Comparison<'a> {
    /// Puts two sets side by side; nothing is computed yet. Both must have been made with these `options`.
    ///
    /// # Errors
    /// [`Error::Data`] if they differ in width.
    pub fn new(
        real: &'a FeatureSet<'a>,
        generated: &'a FeatureSet<'a>,
        options: &'a Options,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        if real.width() != generated.width() {
            return Err(Error::data(
                format!(
                    "the real features have {} values per row, the generated ones {}",
                    real.width(),
                    generated.width()
                ),
                "both sides have to be made with the same extractor",
            ));
        }
        Ok(Comparison {
            real,
            generated,
            options,
            progress,
            memberships: OnceCell::new(),
            recalled: OnceCell::new(),
            nearest: OnceCell::new(),
        })
    }

    pub(super) fn memberships(&self) -> Result<&Memberships> {
        cached(&self.memberships, || {
            let spheres = self.real.manifold()?;
            let Options { k, k_density, boundary, .. } = *self.options;
            let tests = [
                Test { radii: spheres.radii(k)?, boundary },
                Test { radii: spheres.radii(k_density)?, boundary },
                Test { radii: spheres.radii(k_density)?, boundary: Boundary::Excluded },
                Test { radii: clipped_radii(&spheres.radii(k_density)?), boundary: Boundary::Included },
            ];
            let [precision, density, strict, clipped] =
                spheres.memberships(self.generated.index()?, tests, self.progress)?;
            Ok(Memberships { precision, density, strict, clipped })
        })
    }

    /// Which real rows lie in which generated spheres.
    pub(super) fn recalled(&self) -> Result<&Membership> {
        cached(&self.recalled, || {
            let spheres = self.generated.manifold()?;
            let test = Test { radii: spheres.radii(self.options.k)?, boundary: self.options.boundary };
            let [found] = spheres.memberships(self.real.index()?, [test], self.progress)?;
            Ok(found)
        })
    }

    /// The nearest real row of each generated one.
    ///
    /// # Errors
    /// [`Error::Usage`] if only statistics are known; [`Error::Interrupted`].
    pub fn nearest(&self) -> Result<&Neighbors> {
        cached(&self.nearest, || {
            let search = Search { k: 1, skip_zero: false };
            self.real.index()?.search(self.generated.features()?, None, search, self.progress)
        })
    }

    /// A warning if a set has so few rows that spheres of `k` neighbours say little.
    pub(super) fn too_few_for(&self, k: usize) -> Option<String> {
        let small = [self.real, self.generated].into_iter().filter_map(|set| set.rows()).min()?;
        let needed = ROWS_PER_NEIGHBOR * k;
        (small < needed).then(|| {
            format!(
                "{small} rows are few for spheres of {k} neighbours (below {needed} they cover much of the space)"
            )
        })
    }
}

/// A set of fewer rows than this for each neighbour is warned about; prdc itself needs k + 2 rows.
const ROWS_PER_NEIGHBOR: usize = 10;
