//! What is counted with spheres around samples: improved precision and recall (Kynkäänniemi et al. 2019), density and
//! coverage (Naeem et al. 2020), and their clipped forms (Salvy et al. 2025).
//! [`Manifold`] is the spheres of a set, computed once; [`Membership`] is who lies in them.

pub mod clipped;
pub mod coverage;
pub mod density;
mod manifold;
pub mod precision;
pub mod recall;
mod subset;

pub use clipped::clipped_radii;
pub use manifold::{Boundary, Manifold, Membership, Test};
pub use subset::PoolMembership;

use super::comparison::Comparison;

/// Shared by the metrics of this module: sets so small that the radii say little.
fn too_few_for(comparison: &Comparison<'_>, k: usize) -> Option<String> {
    let small = [comparison.real, comparison.generated].into_iter().filter_map(|set| set.rows()).min()?;
    let needed = ROWS_PER_NEIGHBOR * k;
    (small < needed).then(|| {
        format!(
            "{small} rows are few for spheres of {k} neighbours (below {needed} they cover much of the space)"
        )
    })
}

/// A set of fewer rows than this for each neighbour is warned about; prdc itself needs k + 2 rows.
const ROWS_PER_NEIGHBOR: usize = 10;
