//! A real or generated set with everything that metrics compute of one set alone: that of the real set serves any number of comparisons.

use super::factored::Factored;
use super::keep::{Keep, Kept};
use super::kernel::{self, Kernel};
use super::manifold::Manifold;
use super::options::Options;
use super::spectrum;
use super::statistics::{RootedStatistics, Statistics};
use crate::error::{Error, Result};
use crate::neighbors::{ExactIndex, check_finite};
use crate::progress::Progress;
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2};
use std::cell::OnceCell;
use std::sync::Arc;

/// A real or generated set, with what metrics have computed of it.
pub struct FeatureSet<'p> {
    name: String,
    features: Option<ArcArray2<f32>>,
    /// Whether mean and covariance were given beside the features: they are of other rows.
    has_own_statistics: bool,
    kept: Option<Arc<dyn Keep>>,
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
pub(super) fn cached<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
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
            has_own_statistics: false,
            kept: None,
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

    /// Takes mean and covariance of more images than there are rows, where they are given; distances of these alone are theirs.
    ///
    /// # Errors
    /// [`Error::Data`] if they are of another width.
    pub(super) fn with_statistics(self, given: Option<Statistics>) -> Result<Self> {
        let Some(given) = given else { return Ok(self) };
        if given.width() != self.width() {
            return Err(Error::data(
                format!(
                    "mean and covariance of {} columns beside features of {}",
                    given.width(),
                    self.width()
                ),
                "they have to be of the same extractor",
            ));
        }
        Ok(FeatureSet { statistics: OnceCell::from(given), has_own_statistics: true, ..self })
    }

    /// Takes what was computed of the same features before, and keeps what is computed.
    pub(super) fn keeping(self, kept: Option<Arc<dyn Keep>>) -> Self {
        let kept = kept.filter(|_| self.features.is_some());
        FeatureSet { kept, ..self }
    }

    /// What is kept under this name, else what `make` gives.
    fn kept<T: Kept>(&self, name: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(kept) = &self.kept else { return make() };
        let shape = self.features.as_ref().map_or((0, 0), |features| features.dim());
        if let Some(found) = kept.read(name, T::COUNT).and_then(|arrays| T::from_arrays(arrays, shape)) {
            return Ok(found);
        }
        let made = make()?;
        kept.write(name, &made.arrays());
        Ok(made)
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

    /// As [`FeatureSet::features`], to be kept.
    pub(super) fn shared(&self) -> Result<&ArcArray2<f32>> {
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

    /// How many rows mean and covariance are of, where that is known.
    pub(super) fn rows_of_statistics(&self) -> Option<usize> {
        match self.has_own_statistics {
            true => self.statistics.get().and_then(|statistics| statistics.rows),
            false => self.rows(),
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
        // Where they are kept, they are kept with the root.
        if self.kept.is_some() && !self.has_own_statistics {
            return Ok(self.rooted()?.statistics());
        }
        cached(&self.statistics, || self.told(Statistics::of(self.features()?, self.progress)))
    }

    /// Mean, covariance and its root.
    ///
    /// # Errors
    /// As [`FeatureSet::statistics`].
    pub fn rooted(&self) -> Result<&RootedStatistics> {
        cached(&self.rooted, || match self.kept {
            Some(_) if !self.has_own_statistics => self.kept("moments", || {
                self.told(Statistics::of(self.features()?, self.progress).and_then(Statistics::rooted))
            }),
            _ => self.told(self.statistics()?.clone().rooted()),
        })
    }

    /// Whether the rows of mean and covariance are at hand and no more than their numbers, so that the covariance is singular.
    pub(super) fn has_few_rows(&self) -> bool {
        let few = |features: &ArcArray2<f32>| features.nrows() <= features.ncols();
        !self.has_own_statistics && self.features.as_ref().is_some_and(few)
    }

    /// Mean and a factor of the covariance: the rows themselves where they are few, else the root.
    ///
    /// # Errors
    /// As [`FeatureSet::statistics`].
    pub(super) fn factored(&self) -> Result<Factored<'_>> {
        match self.has_few_rows() {
            true => {
                let features = self.features()?;
                self.told(Factored::of_rows(features, features.nrows(), |at| at))
            }
            false => Ok(self.rooted()?.into()),
        }
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
            let features = self.shared()?.clone();
            let search = || self.told(Manifold::nearest(&features, self.index()?, self.k, self.progress));
            let neighbors = self.kept(&format!("neighbours-{}", self.k), search)?;
            Ok(Manifold::with(features, neighbors))
        })
    }

    /// The mean of the kernel of KID over pairs of different rows.
    ///
    /// # Errors
    /// [`Error::Data`] for fewer than two rows; [`Error::Interrupted`].
    pub(super) fn cubic_own(&self) -> Result<f64> {
        self.own_kernel(&self.cubic_own, "cubic-kernel", Kernel::Cubic)
    }

    /// The mean of the kernel of CMMD over pairs of different rows.
    ///
    /// # Errors
    /// As [`FeatureSet::cubic_own`].
    pub(super) fn gaussian_own(&self) -> Result<f64> {
        self.own_kernel(&self.gaussian_own, "gaussian-kernel", Kernel::CMMD)
    }

    fn own_kernel(&self, cell: &OnceCell<f64>, name: &str, kernel: Kernel) -> Result<f64> {
        let compute = || self.told(kernel::own_pairs(self.features()?, kernel, self.progress));
        cached(cell, || self.kept(name, compute)).copied()
    }

    /// Eigenvalues of the second moment of the rows at unit length (the cosine kernel's, but for zeros).
    ///
    /// # Errors
    /// As [`spectrum::spectrum`].
    pub fn spectrum(&self) -> Result<&[f64]> {
        let compute = || self.told(spectrum::spectrum(self.features()?, self.progress));
        cached(&self.spectrum, || self.kept("spectrum", compute)).map(Vec::as_slice)
    }
}
