//! Tensor operations that candle lacks or runs slowly on the CPU. Each has a gradient, a kernel for float32 on the CPU, and a version
//! composed of candle's own operations for everything else, which the kernel is tested against.
//!
//! What a kernel computes for an image has the same bits whatever the batch, the number of threads and the instruction set
//! ([`simd`]); the statistics of batch normalisation are those of the batch. Candle's own operations promise none of this.

pub(crate) mod activation;
pub(crate) mod all_reduce;
pub(crate) mod attention;
pub(crate) mod batch_norm;
pub(crate) mod channels;
mod composed;
pub(crate) mod conv;
pub(crate) mod cpu;
mod elementary;
pub(crate) mod filtered_lrelu;
pub(crate) mod gelu;
pub(crate) mod gemm;
pub(crate) mod group_norm;
mod host;
pub(crate) mod layer_norm;
pub(crate) mod leaky_relu;
pub(crate) mod linear;
pub(crate) mod modulate;
pub(crate) mod pool;
mod product;
pub(crate) mod resize;
pub(crate) mod simd;
#[cfg(test)]
mod simd_tests;
pub(crate) mod spectral_norm;
mod taps;
#[cfg(test)]
mod test_support;
pub(crate) mod upfirdn;
