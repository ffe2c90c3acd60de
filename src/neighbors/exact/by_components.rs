//! Exact search by products of principal components, where these leave enough pairs out: one pass, in which every pair that is not left
//! out is compared exactly.

use super::ExactIndex;
use super::blocked::Operand;
use super::candidates::WithinLimit;
use super::components::{Components, Framed, Narrowed, PROBES, Projected, worthwhile};
use super::index::{Asked, Open};
use crate::error::Result;
use crate::neighbors::search::Neighbors;
use crate::progress::{Progress, Unreported};

impl ExactIndex {
    pub(super) fn framed<'a>(&'a self, rows: &'a [f32]) -> Framed<'a> {
        Framed { frame: &self.frame, rows, width: self.features.ncols() }
    }

    /// The components to search with, found by this search where none was large enough before.
    pub(super) fn components(
        &self,
        asked: &Asked<'_>,
        symmetric: bool,
        progress: &dyn Progress,
    ) -> Result<Option<&Components>> {
        let (rows, width) = self.features.dim();
        let queries = asked.queries;
        let pairs = queries.half_norms.len() as f64 * rows as f64 / if symmetric { 2.0 } else { 1.0 };
        if let Some(found) = self.components.get() {
            return Ok(found.as_ref());
        }
        if !worthwhile(rows, width, pairs) {
            return Ok(None);
        }
        let inside: Vec<u32> = (0..queries.half_norms.len() as u32)
            .filter(|q| queries.outside.binary_search(q).is_err())
            .collect();
        let probed = PROBES.min(inside.len());
        let probes: Vec<u32> = (0..probed).map(|at| inside[at * inside.len() / probed]).collect();
        let near = self.answer_some(asked, &probes, &Unreported(progress))?;
        let limits: Vec<f64> =
            near.distances.chunks_exact(near.k).map(|each| each[near.k - 1] * self.frame.scale()).collect();
        let contents = queries.some(&probes);
        let set = self.framed(self.all_rows());
        Ok(self
            .components
            .get_or_init(|| Components::measured(set, self.framed(&contents), &limits))
            .as_ref())
    }

    /// The answers for some of the queries that are asked.
    fn answer_some(&self, asked: &Asked<'_>, some: &[u32], progress: &dyn Progress) -> Result<Neighbors> {
        let rows = asked.queries.some(some);
        let half_norms: Vec<f32> = some.iter().map(|&q| asked.queries.half_norms[q as usize]).collect();
        let asked = Asked {
            queries: Operand {
                rows: &rows,
                width: self.features.ncols(),
                half_norms: &half_norms,
                outside: &[],
            },
            exclude: &|at| (asked.exclude)(some[at as usize]),
            copy: &|at| (asked.copy)(some[at as usize]),
            search: asked.search,
        };
        self.answer_by_rows(&asked, false, progress)
    }

    /// One pass over products of components; every pair that they do not leave out is compared exactly.
    pub(super) fn answer_by_components(
        &self,
        components: &Components,
        asked: &Asked<'_>,
        symmetric: bool,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        let (queries, k) = (asked.queries, asked.search.k);
        let count = queries.half_norms.len();
        progress.start("nearest neighbours", count as u64, "rows");
        let mut projected = None;
        let narrowed = if symmetric {
            components.own_pairs(self.blocking)
        } else {
            self.narrowest_pairs(queries, &mut projected)
        };
        let limits = vec![f64::INFINITY; count];
        let near = WithinLimit::new(&narrowed, self.rows_with(queries), &limits, k);
        let refuse = |q, row| self.refuses(asked, narrowed.left(q), narrowed.right(row));
        narrowed.pairs.run(&near, refuse, progress)?;
        progress.finish();
        let mut neighbors = Neighbors { k, rows: vec![0; count * k], distances: vec![0.0; count * k] };
        let is_outside = |query: usize| queries.outside.binary_search(&(query as u32)).is_ok();
        self.write(asked, near.into_sorted().filter(|&(query, _)| !is_outside(query)), &mut neighbors)?;
        let outside = |&query: &u32| Open { query: query as usize, limit: f64::INFINITY };
        let outside: Vec<Open> = queries.outside.iter().map(outside).collect();
        self.answer_directly(asked, &outside, &mut neighbors, progress)?;
        Ok(neighbors)
    }

    /// The pairs of `queries` with the set: of their components, for which `projected` is the place, once a search found how many spare
    /// time; of whole rows before. Their products never say that a pair is farther apart than it is.
    pub(in crate::neighbors) fn narrowest_pairs<'a>(
        &'a self,
        queries: Operand<'a>,
        projected: &'a mut Option<Projected>,
    ) -> Narrowed<'a> {
        match self.components.get() {
            Some(Some(components)) => {
                let projected =
                    projected.insert(components.project(self.framed(queries.rows), queries.outside));
                components.pairs_with(projected, self.blocking)
            }
            _ => Narrowed::whole(self.pairs(queries, false)),
        }
    }
}
