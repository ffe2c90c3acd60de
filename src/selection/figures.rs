//! The figures that a chosen set is judged by, the same for any set of candidates.

use crate::error::Result;
use crate::metrics::{Comparison, FeatureSet, Options, estimate, metric};
use crate::neighbors::distance::squared_l2;
use crate::progress::Progress;
use crate::random::{Purpose, uniform};
use ndarray::{ArcArray2, ArrayView1, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Parts of the reference that a coverage is averaged over, at most.
const PARTS: usize = 20;

/// What a set is like.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Share of the reference inside a sphere of the set (Kynkäänniemi et al. 2019); `None` for fewer than four images.
    pub recall: Option<f64>,
    /// Share of the spheres of so many reference images as the set has that hold one of the set (Naeem et al. 2020), averaged over
    /// parts of the reference; `None` for fewer than six images, or more than the reference has.
    pub coverage: Option<f64>,
    /// Effective number of different images (Friedman and Dieng 2023).
    pub vendi: Option<f64>,
    /// Smallest distance between two of the set.
    pub smallest_distance: Option<f64>,
    /// Mean pseudo density.
    pub mean_density: f64,
}

impl Figures {
    /// The mean of each figure over several sets.
    pub(crate) fn mean(sets: &[Figures]) -> Figures {
        let count = sets.len().max(1) as f64;
        let mean =
            |figure: fn(&Figures) -> Option<f64>| Some(sets.iter().map(figure).sum::<Option<f64>>()? / count);
        Figures {
            recall: mean(|set| set.recall),
            coverage: mean(|set| set.coverage),
            vendi: mean(|set| set.vendi),
            smallest_distance: mean(|set| set.smallest_distance),
            mean_density: mean(|set| Some(set.mean_density)).unwrap_or(0.0),
        }
    }
}

/// What the figures of a set are measured against.
pub(crate) struct SetMeasures<'a> {
    /// Features of the reference, or of all candidates where there is none, `[T, D]`.
    pub targets: &'a ArcArray2<f32>,
    /// Features of the candidates, `[M, D]`.
    pub candidates: &'a ArcArray2<f32>,
    /// Their pseudo densities, `[M]`.
    pub densities: &'a [f64],
    /// Key of the random parts of the reference.
    pub seed: u64,
}

impl SetMeasures<'_> {
    /// The figures of some of the candidates.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`]; what the metrics return.
    pub(crate) fn figures(&self, rows: &[usize], progress: &dyn Progress) -> Result<Figures> {
        let defaults = Options::default();
        // A small set has no spheres of so many neighbours, and no coverage.
        let largest = rows.len().saturating_sub(1).max(1);
        let options = Options { k_density: defaults.k_density.min(largest), ..defaults.clone() };
        let set = self.candidates.select(Axis(0), rows).into_shared();
        let chosen = FeatureSet::new(set.clone(), &options, progress)?;
        let value = |name: &str, real: &FeatureSet<'_>| -> Result<Option<f64>> {
            let comparison = Comparison::new(real, &chosen, &options, progress)?;
            let found = estimate(&comparison, &[metric(name)?], None)?;
            Ok(found.first().map(|estimate| estimate.value).filter(|value| value.is_finite()))
        };
        let real = FeatureSet::new(self.targets.clone(), &options, progress)?;
        let mut coverage = None;
        if rows.len() > defaults.k_density {
            let mut sum = 0.0;
            let parts = self.parts(rows.len());
            for part in &parts {
                let part =
                    FeatureSet::new(self.targets.select(Axis(0), part).into_shared(), &options, progress)?;
                sum += value("coverage", &part)?.unwrap_or(0.0);
            }
            coverage = (!parts.is_empty()).then(|| sum / parts.len() as f64);
        }
        Ok(Figures {
            recall: if rows.len() > options.k { value("recall", &real)? } else { None },
            coverage,
            vendi: if rows.is_empty() { None } else { value("vendi", &real)? },
            smallest_distance: smallest_distance(&set),
            mean_density: rows.iter().map(|&row| self.densities[row]).sum::<f64>() / rows.len().max(1) as f64,
        })
    }

    /// Disjoint random parts of the targets of `size` rows each.
    fn parts(&self, size: usize) -> Vec<Vec<usize>> {
        let order = random_order(self.targets.nrows(), self.seed, Purpose::ReferenceParts, 0);
        order.chunks_exact(size).take(PARTS).map(<[usize]>::to_vec).collect()
    }

    /// The `n` of the `allowed` rows with the highest density.
    pub(crate) fn densest(&self, allowed: &[usize], n: usize) -> Vec<usize> {
        let mut rows = allowed.to_vec();
        rows.sort_by(|&a, &b| self.densities[b].total_cmp(&self.densities[a]).then(a.cmp(&b)));
        rows.truncate(n);
        rows
    }

    /// Set number `draw` of `n` random ones of the `allowed` rows.
    pub(crate) fn random(&self, allowed: &[usize], n: usize, draw: u64) -> Vec<usize> {
        let order = random_order(allowed.len(), self.seed, Purpose::RandomSet, draw);
        order.into_iter().take(n).map(|at| allowed[at]).collect()
    }
}

/// The numbers below `count` in random order.
fn random_order(count: usize, seed: u64, purpose: Purpose, draw: u64) -> Vec<usize> {
    let key = |at: usize| (uniform(seed, purpose, draw << 32 | at as u64), at);
    let mut keys: Vec<(f64, usize)> = (0..count).into_par_iter().map(key).collect();
    keys.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    keys.into_iter().map(|(_, at)| at).collect()
}

fn smallest_distance(set: &ArcArray2<f32>) -> Option<f64> {
    let distance =
        |a: ArrayView1<f32>, b: ArrayView1<f32>| Some(squared_l2(a.to_slice()?, b.to_slice()?).sqrt());
    let of_row = |row: usize| {
        let others = (row + 1..set.nrows()).filter_map(|other| distance(set.row(row), set.row(other)));
        others.min_by(f64::total_cmp)
    };
    (0..set.nrows()).into_par_iter().filter_map(of_row).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use ndarray::Array2;

    #[test]
    fn figures_are_those_of_the_metrics_and_small_sets_lack_some() {
        let targets = Array2::from_shape_fn((60, 3), |(i, k)| ((i * 37 + k * 11) as f32).sin()).into_shared();
        let densities: Vec<f64> = (0..60).map(f64::from).collect();
        let measures =
            SetMeasures { targets: &targets, candidates: &targets, densities: &densities, seed: 1 };
        let all: Vec<usize> = (0..60).collect();
        let whole = measures.figures(&all, &Silent).unwrap();
        assert_eq!((whole.recall, whole.coverage, whole.mean_density), (Some(1.0), Some(1.0), 29.5));
        let few = measures.figures(&[3, 9], &Silent).unwrap();
        assert_eq!((few.recall, few.coverage, few.mean_density), (None, None, 6.0));
        for count in 1..8 {
            let found = measures.figures(&all[..count], &Silent).unwrap();
            assert_eq!((found.recall.is_some(), found.coverage.is_some()), (count > 3, count > 5), "{count}");
        }
        let apart: f64 =
            (0..3).map(|k| f64::from(targets[[3, k]] - targets[[9, k]]).powi(2)).sum::<f64>().sqrt();
        assert!((few.smallest_distance.unwrap() - apart).abs() < 1e-6);
        assert!((1.0..=2.0).contains(&few.vendi.unwrap()));
        assert_eq!(measures.densest(&all[..10], 2), [9, 8]);
        let random = measures.random(&all, 60, 0);
        let mut sorted = random.clone();
        sorted.sort_unstable();
        assert!(sorted == all && random != all && random != measures.random(&all, 60, 1));
        let both = Figures::mean(&[few, Figures { mean_density: 8.0, ..few }]);
        assert_eq!((both.mean_density, both.smallest_distance), (7.0, few.smallest_distance));
    }
}
