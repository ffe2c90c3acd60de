//! A reference that is open, with what scores against it.

use crate::call::run;
use crate::embed::Network;
use crate::features::Rows;
use crate::images::Images;
use candle_core::Device;
use pseudo_density::{DensityBy, Progress, ReferenceDensity, Result, Scorer};
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A reference directory, as `pd embed` and `pd index` make it: features of real images, their neighbours, their pseudo densities and the
/// density predictor.
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct Reference {
    pub(crate) opened: Arc<Opened>,
    /// Its features, once they were asked for.
    pub(crate) rows: OnceLock<Arc<Rows>>,
}

/// A reference with what scores against it.
pub(crate) struct Opened {
    pub(crate) reference: pseudo_density::Reference,
    device: Device,
    density: Mutex<Option<Arc<ReferenceDensity>>>,
}

impl Opened {
    pub(crate) fn new(reference: pseudo_density::Reference, device: Device) -> Self {
        Self { reference, device, density: Mutex::default() }
    }

    /// What scores against the reference; it is read when it is first needed.
    pub(crate) fn density(&self, progress: &dyn Progress) -> Result<Arc<ReferenceDensity>> {
        let mut density = self.density.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(density) = &*density {
            return Ok(density.clone());
        }
        let reference = &self.reference;
        let predictor = match reference.density()?.predictor {
            Some(_) => Some(reference.predictor()?),
            None => None,
        };
        let scorer = Scorer::open(reference, &self.device, progress)?;
        let read = Arc::new(ReferenceDensity::new(scorer, predictor, DensityBy::Knn)?);
        *density = Some(read.clone());
        Ok(read)
    }

    /// Features of images by the network that the reference was made with.
    pub(crate) fn embed(&self, network: &Network, images: Images, progress: &dyn Progress) -> Result<Rows> {
        let set = images.open(progress)?;
        let extractor = network.same_as(&self.reference.manifest.identity)?;
        network.rows(&set, &extractor, progress)
    }

    /// Checks features that are to be measured against the reference. Of an array it is not known what made it.
    pub(crate) fn check(&self, name: &str, rows: &Rows) -> Result<()> {
        match &rows.identity {
            Some(identity) => self.reference.check_identity(name, identity),
            None => Ok(()),
        }
    }
}

impl Reference {
    pub(crate) fn of(opened: Opened) -> Self {
        Self { opened: Arc::new(opened), rows: OnceLock::new() }
    }

    /// Its features with their names.
    pub(crate) fn rows(&self, py: Python<'_>) -> PyResult<Arc<Rows>> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows.clone());
        }
        let density = run(py, None, |progress| self.opened.density(progress))?;
        let scorer = density.scorer();
        let rows = Rows {
            features: scorer.shared_features(),
            paths: scorer.paths().to_vec(),
            identity: Some(self.opened.reference.manifest.identity.clone()),
            descriptors: Vec::new(),
            skipped: Vec::new(),
        };
        Ok(self.rows.get_or_init(|| Arc::new(rows)).clone())
    }
}
