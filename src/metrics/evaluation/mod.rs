//! The comparison of generated sets with a real one, from features to the table of results: `pd eval` as a library.

mod asked_spaces;
mod by_group;
mod evaluated_set;
mod evaluator;
mod images;
mod loaded_spaces;
mod options;
mod outcome;
mod sample_scores;
mod sets;
mod spaces;
mod table;
mod verdict;

pub use asked_spaces::SpacesRequest;
pub(crate) use evaluated_set::EvaluatedSet;
pub use evaluated_set::GroupedSet;
pub(crate) use evaluator::Evaluator;
pub use evaluator::evaluate;
pub use images::evaluate_images;
pub(crate) use loaded_spaces::Spaces;
pub use options::EvaluationOptions;
pub use outcome::Evaluation;
pub(crate) use sets::check_same;
pub use sets::{EvaluationSet, SetContent};
pub use spaces::SpaceResults;
pub(crate) use spaces::{check_metrics, check_rows};
pub use verdict::Verdict;

#[cfg(test)]
mod tests;
