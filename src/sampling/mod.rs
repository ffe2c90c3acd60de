//! Drawing images by importance weight (rules 5 and 7): from a generator under a budget, or from a pool of existing images.
//! [`Weighing`] turns densities into weights, [`Acceptance`] weights into probabilities, [`Kept`] keeps the kept apart.
//! [`draw::draw`] goes through candidates until enough is kept, made by a generator ([`Making`], resumable) or found in the parts of
//! several machines ([`sharded`]); [`pool::choose_from_pool`] takes from what exists.

mod acceptance;
pub mod choose;
pub mod draw;
#[cfg(test)]
mod draw_tests;
mod judge;
mod making;
pub mod pool;
pub mod sharded;
mod source;
mod spacing;
pub mod sweep;
mod weighing;

pub use acceptance::Acceptance;
pub use judge::Judge;
pub use making::{Judgement, Making};
pub use source::{Latents, Source};
pub use spacing::{Decision, Kept, Spacing};
pub use weighing::{Candidates, Pilot, Weighing, WeightOptions};
