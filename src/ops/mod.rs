//! Tensor operations that candle lacks or runs slowly on the CPU.
//! Each has a gradient and one fast path; candle's own operations are the plain version it is tested against.
//! Results never depend on the batch, the thread count or the instruction set.

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
pub mod spectral_norm;
mod taps;
#[cfg(test)]
mod test_support;
pub mod upfirdn;
