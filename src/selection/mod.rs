//! The best N images together, and training sets whose images come as often as their weights say.
//!
//! The best N are a set that maximises the mean quality of its images plus L times how varied they are.
//!
//! ```text
//! mean over the chosen x of quality(x) / sd(quality)  +  L * worth(chosen)
//! ```
//!
//! The quality of an image is the logarithm of its pseudo density (Li et al., TMLR 2024, section 3.1) or of the density ratio (the ratio
//! rule with B = 0); what a set has together, in percent, is a [`SetWorth`]. [`select()`] takes greedily, with lazy evaluation where gains
//! only fall, then swaps until no swap helps, within [`Limits`]. [`select_without_copies`] repeats that until no copy is chosen. The same inputs give the same set at any number of threads, and memory
//! grows with rows, never with pairs.

mod entropy;
mod facility;
mod figures;
mod greedy;
mod kinds;
mod limits;
mod nearest_two;
mod quality;
mod repeats;
mod resample;
mod select;
mod shares;
mod spread;
mod swaps;
#[cfg(test)]
mod tests;
mod training_set;
mod without_copies;
mod worth;

pub(crate) use figures::{Figures, SetMeasures};
pub use kinds::SetWorth;
pub use limits::{Conflicts, Limits, Reason, TooNear};
pub use quality::{Qualities, QualityBy};
pub(crate) use repeats::{MOST_REPEATS, PROMISED, RepeatLevel};
pub(crate) use resample::{ResampleOptions, Resampled, resample};
pub use select::{Selection, SelectionOptions, select};
pub use shares::Shares;
pub(crate) use training_set::{
    CaptionCounts, Captions, KohyaFolders, SetName, SetOptions, TrainerFormat, WrittenSet, write_training_set,
};
pub(crate) use without_copies::{CopyPairs, FoundCopies, select_without_copies};
