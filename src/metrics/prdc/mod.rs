//! Metrics that count samples inside spheres around other samples: improved precision and recall (Kynkäänniemi et al. 2019), density and
//! coverage (Naeem et al. 2020), their clipped forms (Salvy et al. 2025) and the probabilistic ones (Park and Kim 2023).
//! The spheres of a set and what lies in them are computed once: see [`super::manifold::Manifold`].

pub(crate) mod clipped;
mod counts;
pub(crate) mod coverage;
pub(crate) mod density;
mod halves;
pub(crate) mod precision;
pub(crate) mod probabilistic;
pub(crate) mod recall;
