//! The Python face of the library: numpy arrays in, numpy arrays out, and the command line as a function.
//!
//! [`call`] runs the work on a thread of its own while Python stays responsive; [`errors`] turns errors into exceptions with the same
//! words and hints as the command line. Everything else is a file for each subject, and no mathematics.

mod arguments;
mod arrays;
mod call;
mod command;
mod duplicates;
mod embed;
mod errors;
mod evaluate;
mod evaluate_images;
mod features;
mod given;
mod images;
mod latents;
mod opened;
mod reference;
mod score;
mod select;
mod table;
mod weights;

use pyo3::prelude::*;

/// As in the binary: large blocks come and go with every layer of a network.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pseudo density of images: how typical each image of a collection is, and what to do with that number.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::command::run_command;
    #[pymodule_export]
    use crate::duplicates::duplicates;
    #[pymodule_export]
    use crate::embed::embed;
    #[pymodule_export]
    use crate::evaluate::{Evaluation, evaluate};
    #[pymodule_export]
    use crate::evaluate_images::{SpaceEvaluation, evaluate_images};
    #[pymodule_export]
    use crate::features::Features;
    #[pymodule_export]
    use crate::latents::latents;
    #[pymodule_export]
    use crate::opened::Reference;
    #[pymodule_export]
    use crate::score::{Scores, score};
    #[pymodule_export]
    use crate::select::{Selection, select};
    #[pymodule_export]
    use crate::table::Table;
    #[pymodule_export]
    use crate::weights::{Weights, weights};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        pseudo_density::cli::keep_freed_memory();
        pseudo_density::cli::hide_panics_that_are_reasons();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
