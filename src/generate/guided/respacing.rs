//! Which of the timesteps of training are visited in sampling.

use crate::error::{Error, Result};
use crate::remedy::Remedy;

/// Timesteps of the original schedule that are kept, rising.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Respacing(Vec<usize>);

impl Respacing {
    /// All of them.
    pub(super) fn whole(total: usize) -> Self {
        Self((0..total).collect())
    }

    /// The kept timesteps.
    pub(super) fn kept(&self) -> &[usize] {
        &self.0
    }

    /// `ddimN`, or the numbers of timesteps in equal sections, separated by commas.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is neither, or cannot be met.
    pub(super) fn parse(total: usize, text: &str) -> Result<Self> {
        let number = |text: &str| {
            text.trim().parse::<usize>().map_err(|_| {
                Error::usage(
                    format!("`timestep_respacing` cannot be `{text}`"),
                    "it is like ddim50, or like 250 or 10,15,20",
                )
            })
        };
        if let Some(count) = text.strip_prefix("ddim") {
            return Self::ddim(total, number(count)?);
        }
        Self::sections(total, &text.split(',').map(number).collect::<Result<Vec<_>>>()?)
    }

    /// `count` timesteps from 0 by the first whole stride that gives as many.
    ///
    /// # Errors
    /// [`Error::Usage`] if no stride does.
    pub(super) fn ddim(total: usize, count: usize) -> Result<Self> {
        let stride = (1..total.max(2)).find(|&stride| total.div_ceil(stride) == count);
        match stride {
            Some(stride) => Ok(Self((0..total).step_by(stride).collect())),
            None => Err(Error::usage(
                format!("no whole stride through {total} timesteps makes {count} steps"),
                Remedy::DenoisingSteps(50),
            )),
        }
    }

    /// The timesteps cut into as many sections as there are counts, the first ones longer where they cannot be equal; in each so many,
    /// at a fractional stride with both ends kept, rounded half to even.
    ///
    /// # Errors
    /// [`Error::Usage`] if a section is shorter than its count.
    pub(super) fn sections(total: usize, counts: &[usize]) -> Result<Self> {
        let sections = counts.len().max(1);
        let mut kept = Vec::new();
        let mut start = 0;
        for (i, &count) in counts.iter().enumerate() {
            let size = total / sections + usize::from(i < total % sections);
            if !(1..=size).contains(&count) {
                return Err(Error::usage(
                    format!("{count} steps were asked for where there are {size} timesteps"),
                    format!("this model takes 1 to {size}"),
                ));
            }
            let stride = if count > 1 { (size - 1) as f64 / (count - 1) as f64 } else { 1.0 };
            // Summed as the original does: a product would round elsewhere.
            let mut place = 0f64;
            for _ in 0..count {
                kept.push(start + place.round_ties_even() as usize);
                place += stride;
            }
            start += size;
        }
        kept.dedup();
        Ok(Self(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(total: usize, text: &str) -> Vec<usize> {
        Respacing::parse(total, text).unwrap().0
    }

    // From `space_timesteps` of the original, as the fixtures' config.json records it.
    #[test]
    fn timesteps_are_those_of_the_original() {
        assert_eq!(kept(1000, "ddim5"), [0, 200, 400, 600, 800]);
        assert_eq!(kept(4000, "ddim5"), [0, 800, 1600, 2400, 3200]);
        assert_eq!(kept(1000, "5"), [0, 250, 500, 749, 999]);
        assert_eq!(kept(4000, "5"), [0, 1000, 2000, 2999, 3999]);
        #[rustfmt::skip]
        assert_eq!(kept(1000, "10,15,20"), [
            0, 37, 74, 111, 148, 185, 222, 259, 296, 333, 334, 358, 381, 405, 429, 453, 476, 500, 524, 547, 571, 595, 619,
            642, 666, 667, 684, 702, 719, 737, 754, 772, 789, 807, 824, 842, 859, 877, 894, 912, 929, 947, 964, 982, 999,
        ]);
        #[rustfmt::skip]
        assert_eq!(kept(4000, "10,15,20"), [
            0, 148, 296, 444, 592, 741, 889, 1037, 1185, 1333, 1334, 1429, 1524, 1619, 1715, 1810, 1905, 2000, 2095, 2190,
            2285, 2381, 2476, 2571, 2666, 2667, 2737, 2807, 2877, 2947, 3018, 3088, 3158, 3228, 3298, 3368, 3438, 3508,
            3578, 3648, 3719, 3789, 3859, 3929, 3999,
        ]);
        assert_eq!(kept(1000, "1000").len(), 1000);
        assert_eq!(kept(10, "1"), [0]);
    }

    #[test]
    fn what_cannot_be_met_is_refused() {
        for text in ["ddim0", "ddim999", "ddim", "0", "1001", "600,600", "x", "-3", ""] {
            assert!(matches!(Respacing::parse(1000, text).unwrap_err(), Error::Usage { .. }), "{text}");
        }
    }
}
