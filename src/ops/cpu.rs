//! What the processor offers and what is made of it.

use super::gemm::{Kernel, kernel};

/// The vector instruction sets of this processor that some kernel here can use, by their usual names.
pub fn instruction_sets() -> Vec<&'static str> {
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

/// The kernel under convolutions, linear layers and exact neighbours, in words.
pub fn product_kernel() -> &'static str {
    match kernel() {
        Kernel::Avx512 => "AVX-512F",
        Kernel::Avx2 => "AVX2 with FMA",
        Kernel::Portable if cfg!(target_arch = "aarch64") => "NEON",
        Kernel::Portable => "portable",
    }
}

/// The kernels of element-wise operations (activations, normalisation, softmax, depthwise convolution), in words.
pub fn elementwise_kernel() -> &'static str {
    // The enumeration differs with the target and is not exhaustive: its names are what all targets share.
    match format!("{:?}", pulp::Arch::new()) {
        name if name.starts_with("V4") => "AVX-512",
        name if name.starts_with("V3") => "AVX2 with FMA",
        name if name.starts_with("Neon") => "NEON",
        _ => "portable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_only_chosen_where_its_instruction_set_is() {
        let sets = instruction_sets();
        for kernel in [product_kernel(), elementwise_kernel()] {
            let needed = kernel.split(' ').next().unwrap();
            assert!(
                needed == "portable" || sets.iter().any(|set| set.starts_with(needed)),
                "{kernel} with {sets:?}"
            );
        }
    }
}
