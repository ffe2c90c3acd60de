//! What `pd --version` says: the version, and what tells two builds of it apart.

use crate::device::COMPILED_FEATURES;
use crate::ops::simd;
use std::sync::LazyLock;

/// The commit that a release was built from; builds from a checkout do not know theirs.
const COMMIT: Option<&str> = option_env!("PD_COMMIT");

static LONG: LazyLock<String> = LazyLock::new(|| {
    let features = match COMPILED_FEATURES {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    format!(
        "{}\ncommit: {}\noptional features: {features}\ninstruction set: {}",
        env!("CARGO_PKG_VERSION"),
        COMMIT.unwrap_or("unknown"),
        simd::isa().name()
    )
});

/// Version, commit, the optional features of the build, and the instruction set that the kernels take on this machine.
pub(super) fn long() -> &'static str {
    &LONG
}
