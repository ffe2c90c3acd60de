//! The instruction sets of the processor, and those in use, for `pd doctor`.

use super::simd::{self, Isa};

/// The vector instruction sets of this processor that some kernel here or of a library can use, by their usual names.
pub(crate) fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let sets = [
        ("SSE4.1", is_x86_feature_detected!("sse4.1")),
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("AVX-512F", is_x86_feature_detected!("avx512f")),
        ("AVX-512VNNI", is_x86_feature_detected!("avx512vnni")),
    ];
    #[cfg(target_arch = "aarch64")]
    let sets = [("NEON", std::arch::is_aarch64_feature_detected!("neon"))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let sets: [(&str, bool); 0] = [];
    sets.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

/// The instructions of the kernel under convolutions, linear layers and exact neighbours, in words.
pub(crate) fn product_kernel() -> &'static str {
    match simd::isa() {
        Isa::Avx512 => "AVX-512F",
        Isa::Avx2 => "AVX2 with FMA",
        Isa::Neon => "NEON",
        Isa::Portable => "portable",
    }
}

/// The instructions of the element-wise kernels (activations, normalisation, softmax, depthwise convolution), in words.
pub(crate) fn elementwise_kernel() -> &'static str {
    match simd::isa() {
        // None of them is a [`simd::Kernel::WIDE`] one.
        Isa::Avx512 | Isa::Avx2 => "AVX2 with FMA",
        // The compiler makes NEON code of plain loops.
        Isa::Neon => "NEON",
        Isa::Portable => "portable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_after_instruction_sets_that_the_processor_has() {
        let sets = instruction_sets();
        simd::testing::with_each_isa(|isa| {
            for kernel in [product_kernel(), elementwise_kernel()] {
                let needed = kernel.split(' ').next().unwrap();
                assert!(
                    needed == "portable" || sets.iter().any(|set| set.starts_with(needed)),
                    "{isa:?}: {kernel} with {sets:?}"
                );
            }
        });
    }
}
