//! The direction in which perturbation moves a density.

use crate::density::Preset;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Towards which density latents are moved. Files hold the preset that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Preset", into = "Preset")]
pub enum Direction {
    /// Towards higher density: the common, the typical.
    Higher,
    /// Towards lower density: the unique, the rare.
    Lower,
}

impl Direction {
    /// The other one.
    pub fn opposite(self) -> Direction {
        match self {
            Direction::Higher => Direction::Lower,
            Direction::Lower => Direction::Higher,
        }
    }

    /// 1 towards higher density, -1 towards lower.
    pub fn sign(self) -> f64 {
        match self {
            Direction::Higher => 1.0,
            Direction::Lower => -1.0,
        }
    }

    /// Whether `after` lies on the asked side of `before`.
    pub fn improves(self, before: f64, after: f64) -> bool {
        match self {
            Direction::Higher => after > before,
            Direction::Lower => after < before,
        }
    }
}

impl TryFrom<Preset> for Direction {
    type Error = Error;

    fn try_from(preset: Preset) -> Result<Self> {
        match preset.meaning().perturbation {
            Some(sign) if sign > 0.0 => Ok(Direction::Higher),
            Some(_) => Ok(Direction::Lower),
            None => Err(Error::usage(
                format!("perturbation has no direction `{}`", preset.name()),
                "known are fidelity and diversity",
            )),
        }
    }
}

impl From<Direction> for Preset {
    fn from(direction: Direction) -> Preset {
        match direction {
            Direction::Higher => Preset::Fidelity,
            Direction::Lower => Preset::Diversity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_is_written_as_its_preset_and_other_presets_have_none() {
        for (direction, name) in [(Direction::Higher, "fidelity"), (Direction::Lower, "diversity")] {
            assert_eq!(serde_json::to_value(direction).unwrap(), name);
            assert_eq!(serde_json::from_value::<Direction>(name.into()).unwrap(), direction);
            assert!(direction.improves(0.0, direction.sign()) && !direction.improves(0.0, 0.0));
        }
        assert!(serde_json::from_str::<Direction>("\"match\"").is_err());
        assert!(matches!(Direction::try_from(Preset::None).unwrap_err(), Error::Usage { .. }));
    }
}
