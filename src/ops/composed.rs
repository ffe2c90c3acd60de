//! Operations composed of candle's own, for devices and types without a kernel here. They bring their own gradient, because candle's
//! is slower (convolutions) or missing (overlapping pools). Nothing here depends on the device, so the tests run it on the CPU.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor, bail,
};
use std::sync::{Mutex, PoisonError};

/// The type in which sums over many values of `dtype` are taken: float32 for the 16-bit types, else `dtype` itself.
pub(super) fn wide(dtype: DType) -> DType {
    match dtype {
        DType::BF16 | DType::F16 => DType::F32,
        other => other,
    }
}

/// `value`, computed from `x` without tracking, as a function of `x`: `gradient(x, y, dy)` is `dx`.
///
/// # Errors
/// If the value cannot be copied.
pub(super) fn with_gradient<F>(x: &Tensor, value: Tensor, gradient: F) -> Result<Tensor>
where
    F: Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
{
    x.apply_op1(Composed { value: Mutex::new(Some(value)), gradient })
}

/// `value` as a function of `a` and `b`: `gradient(a, b, y, dy)` is `(da, db)`.
///
/// # Errors
/// If the value cannot be copied.
pub(super) fn with_gradients<F>(a: &Tensor, b: &Tensor, value: Tensor, gradient: F) -> Result<Tensor>
where
    F: Fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Result<(Tensor, Tensor)> + Send + Sync + 'static,
{
    a.apply_op2(b, Composed { value: Mutex::new(Some(value)), gradient })
}

struct Composed<F> {
    /// Until the graph has its copy.
    value: Mutex<Option<Tensor>>,
    gradient: F,
}

impl<F> Composed<F> {
    /// The value from the start of its storage.
    fn take(&self) -> Result<Tensor> {
        let Some(value) = self.value.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("a composed operation is run once")
        };
        let value = value.contiguous()?;
        if value.layout().start_offset() == 0 { Ok(value) } else { value.force_contiguous() }
    }

    fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        let value = self.take()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("a composed operation was given operands of two devices"),
        }
    }

    fn on_cuda(&self) -> Result<(CudaStorage, Shape)> {
        let value = self.take()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("a composed operation was given operands of two devices"),
        }
    }
}

const NAME: &str = "composed";

impl<F> CustomOp1 for Composed<F>
where
    F: Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some((self.gradient)(x, y, dy)?))
    }
}

impl<F> CustomOp2 for Composed<F>
where
    F: Fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Result<(Tensor, Tensor)> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (da, db) = (self.gradient)(a, b, y, dy)?;
        Ok((Some(da), Some(db)))
    }
}
