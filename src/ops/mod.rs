//! Tensor operations that candle lacks or runs slowly on the CPU. Each has a gradient, a kernel for float32 on the CPU, and a version
//! composed of candle's own operations for everything else, which the kernel is tested against.
//!
//! What a kernel computes for an image has the same bits whatever the batch, the number of threads and the instruction set
//! ([`simd`]); the statistics of batch normalisation are those of the batch. Candle's own operations promise none of this.

pub mod activation;
pub mod all_reduce;
pub mod attention;
pub mod batch_norm;
pub mod channels;
mod composed;
pub mod conv;
pub mod cpu;
mod elementary;
pub mod filtered_lrelu;
pub mod gelu;
pub mod gemm;
pub mod group_norm;
mod host;
pub mod layer_norm;
pub mod leaky_relu;
pub mod linear;
pub mod modulate;
pub mod pool;
pub mod resize;
pub mod simd;
#[cfg(test)]
mod simd_tests;
pub mod spectral_norm;
mod taps;
#[cfg(test)]
mod test_support;
pub mod upfirdn;
