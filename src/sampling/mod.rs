//! Drawing images by importance weight (Li et al., TMLR 2024, section 3.4, and the ratio rule): from a generator under a budget, or
//! from a pool of existing images. [`weights::ImportanceWeights`] turns densities into weights, [`acceptance::Acceptance`] weights into
//! probabilities, [`spacing::SpacingFilter`] keeps the kept apart.
//! [`draw::draw`] goes through candidates until enough is kept ([`groups`]: of each prompt), made by a source ([`GeneratedCandidates`], resumable) or found in the parts of
//! several machines ([`sharded`]); [`pool::choose_from_pool`] takes from what exists.

mod acceptance;
pub(crate) mod choose;
pub(crate) mod draw;
#[cfg(test)]
mod draw_tests;
mod generated;
pub(crate) mod groups;
pub(crate) mod pool;
mod record;
mod reference_stats;
mod remarks;
pub(crate) mod sharded;
mod spacing;
pub(crate) mod sweep;
mod weigh;
mod weights;

pub(crate) use generated::GeneratedCandidates;
pub(crate) use record::{DrawRecord, WeightRecord};
pub(crate) use reference_stats::ReferenceStats;
pub use spacing::Spacing;
pub(crate) use spacing::{Copied, Decision, RefusedCopies};
pub use weigh::{DEFAULT_BUDGET, WeighedImages, weigh};
