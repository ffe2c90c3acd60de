//! Which vector instructions the kernels of [`crate::ops`] and [`crate::neighbors`] are run with: chosen here and nowhere else.
//!
//! Most kernels are plain loops: a type that implements [`Kernel`], compiled for each instruction set by [`run`]. The few that the
//! compiler does not vectorise well have a version for each set, written with intrinsics, and choose it by [`isa`].
//! All versions of a kernel give the same bits.

use crate::error::{Error, Result};
use std::sync::atomic::{AtomicU8, Ordering};

/// The environment variable that forces an instruction set, by the name of [`Isa::name`].
pub(crate) const VARIABLE: &str = "PD_SIMD";

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Isa {
    /// AVX-512F on top of what [`Isa::Avx2`] has: products and distances in 512-bit registers.
    Avx512 = 1,
    /// AVX2 with fused multiply-add: 256-bit registers.
    Avx2,
    /// aarch64's 128-bit registers.
    Neon,
    /// What every processor of the target has.
    Portable,
}

impl Isa {
    /// All of them, the fastest first.
    pub(crate) const ALL: [Isa; 4] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable];

    /// The value of [`VARIABLE`] that forces it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }

    /// Whether this processor has it.
    pub(crate) fn supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f") && Isa::Avx2.supported(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                // What `x86::avx2` enables.
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
                    && is_x86_feature_detected!("lzcnt")
                    && is_x86_feature_detected!("popcnt")
            }
            Isa::Neon => cfg!(target_arch = "aarch64"),
            Isa::Portable => true,
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
        }
    }

    /// Those that this processor has, the fastest first.
    pub(crate) fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.supported())
    }

    fn best() -> Isa {
        Self::available().next().unwrap_or(Isa::Portable)
    }
}

/// The instruction set that [`VARIABLE`] asks for, `None` where it is not set or empty.
///
/// # Errors
/// [`Error::Usage`] if it names none, or one that this processor lacks. A library cannot report this from inside a kernel, which
/// then uses the fastest set: a program asks here once, at its start.
pub(crate) fn requested() -> Result<Option<Isa>> {
    match std::env::var_os(VARIABLE) {
        Some(value) => parse(&value.to_string_lossy()),
        None => Ok(None),
    }
}

fn parse(value: &str) -> Result<Option<Isa>> {
    if value.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = Isa::available().map(Isa::name).collect();
    let hint =
        format!("this processor has {}; without {VARIABLE} the first of them is used", names.join(", "));
    match Isa::ALL.into_iter().find(|isa| isa.name() == value) {
        Some(isa) if isa.supported() => Ok(Some(isa)),
        Some(_) => Err(Error::usage(format!("{VARIABLE}={value}: this processor cannot run that"), hint)),
        None => Err(Error::usage(format!("{VARIABLE}={value}: there is no such instruction set"), hint)),
    }
}

/// The [`Isa`] in use, 0 before the first kernel.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use: the one that [`VARIABLE`] names when this is first called, else the fastest.
#[inline]
pub(crate) fn isa() -> Isa {
    const AVX512: u8 = Isa::Avx512 as u8;
    const AVX2: u8 = Isa::Avx2 as u8;
    const NEON: u8 = Isa::Neon as u8;
    const PORTABLE: u8 = Isa::Portable as u8;
    match CHOSEN.load(Ordering::Relaxed) {
        AVX512 => Isa::Avx512,
        AVX2 => Isa::Avx2,
        NEON => Isa::Neon,
        PORTABLE => Isa::Portable,
        _ => choose(),
    }
}

#[cold]
fn choose() -> Isa {
    let isa = requested().ok().flatten().unwrap_or_else(Isa::best);
    // Another thread may have chosen in the meantime, and a test something else.
    match CHOSEN.compare_exchange(0, isa as u8, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => isa,
        Err(_) => self::isa(),
    }
}

/// A computation in plain loops that becomes vector code. (Not a closure: those are compiled where they are written, without the
/// instruction set of the function that calls them.)
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// Whether AVX-512 machines compile it for 512-bit registers instead of AVX2's.
    const WIDE: bool = false;

    /// The computation; it and what it calls have to be `#[inline(always)]` to be compiled for the instruction set.
    fn call(self) -> Self::Output;
}

/// Runs a kernel with the instruction set in use.
#[inline]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` gives only what the processor has.
        Isa::Avx512 if K::WIDE => unsafe { x86::avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; AVX-512 comes with AVX2.
        Isa::Avx512 | Isa::Avx2 => unsafe { x86::avx2(kernel) },
        _ => kernel.call(),
    }
}

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;
/// Lines asked for: the processor itself reads on where a run is longer.
#[cfg(target_arch = "x86_64")]
const MOST_LINES: usize = 16;

/// Asks for values that are soon read, so that they are in the cache by then. Does nothing where the processor is not known.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of_val(values)).step_by(LINE).take(MOST_LINES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies within `values`, and nothing is read there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().cast::<i8>().add(at)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Kernel;

    #[target_feature(enable = "avx512f,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.call()
    }

    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.call()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Running a test with each instruction set.

    use super::*;
    use std::sync::{Mutex, PoisonError};

    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// Puts the choice back, also when a check fails.
    struct Restore(u8);

    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.store(self.0, Ordering::Relaxed);
        }
    }

    /// Calls `check` once with each instruction set that this processor has. Other tests meanwhile run with that set too, which
    /// changes none of their results.
    pub(crate) fn with_each_isa(mut check: impl FnMut(Isa)) {
        let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let _restore = Restore(isa() as u8);
        for isa in Isa::available() {
            CHOSEN.store(isa as u8, Ordering::Relaxed);
            check(isa);
        }
    }

    /// Asserts that `compute` gives the same bits with each instruction set.
    pub(crate) fn assert_same_bits(compute: impl Fn() -> Vec<f32>) {
        let mut first: Option<(Isa, Vec<f32>)> = None;
        with_each_isa(|isa| {
            let values = compute();
            assert!(!values.is_empty(), "nothing was computed");
            let Some((other, expected)) = &first else {
                first = Some((isa, values));
                return;
            };
            assert_eq!(values.len(), expected.len());
            let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
            if let Some(at) = values.iter().zip(expected).position(differs) {
                panic!("{at}: {:e} with {isa:?}, {:e} with {other:?}", values[at], expected[at]);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{assert_same_bits, with_each_isa};
    use super::*;

    #[test]
    fn names_are_those_of_the_variable_and_others_are_refused() {
        for isa in Isa::ALL {
            let parsed = parse(isa.name());
            assert_eq!(parsed.ok(), isa.supported().then_some(Some(isa)), "{isa:?}");
        }
        assert_eq!(parse("").unwrap(), None);
        for wrong in ["AVX2", "sse", " avx2"] {
            let error = parse(wrong).unwrap_err();
            assert!(matches!(error, Error::Usage { .. }));
            assert!(error.hint().unwrap().contains("portable"));
        }
        assert!(Isa::Portable.supported());
        assert!(Isa::ALL.iter().any(|isa| !isa.supported()), "no processor has both AVX2 and NEON");
    }

    struct Sum<'a>(&'a [f32]);

    impl Kernel for Sum<'_> {
        type Output = f32;
        const WIDE: bool = true;

        #[inline(always)]
        fn call(self) -> f32 {
            self.0.iter().sum()
        }
    }

    #[test]
    fn a_kernel_runs_with_each_set_that_is_forced() {
        let mut seen = Vec::new();
        with_each_isa(|forced| {
            assert_eq!(isa(), forced);
            assert_eq!(run(Sum(&[1.0, 2.0, 4.0])), 7.0);
            seen.push(forced);
        });
        assert_eq!(seen, Isa::available().collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "with Portable")]
    fn a_difference_in_one_bit_is_found() {
        let value = || if isa() == Isa::Portable { 1.0f32.next_up() } else { 1.0 };
        // Where the portable set is the only one there is nothing to compare: fail as if there were.
        assert!(Isa::available().count() > 1, "with Portable alone");
        assert_same_bits(|| vec![0.0, value()]);
    }
}
