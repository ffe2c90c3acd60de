//! Ranks whose GPUs exchange what is added up without the memory of the host. MPI starts and ends them, and sums what lies there.

use super::blocks::sum_in_blocks;
use super::{Collective, Mpi};
use crate::device::or_panic_as_reason;
use crate::ops::all_reduce::AllReduce;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, NcclType, group_end, group_start};
use candle_core::cuda_backend::{CudaDType, CudaDevice};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Device, Error, Layout, Result, Shape, Tensor};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The ranks of `MPI_COMM_WORLD`, each with a GPU of its own.
pub(crate) struct Nccl {
    /// Given up before MPI is. Opened at the first sum, which all ranks come to together.
    comm: Mutex<Option<Handle>>,
    mpi: Mpi,
}

struct Handle(Comm);

// SAFETY: NCCL lets any thread use a communicator, one at a time, which the mutex sees to.
unsafe impl Send for Handle {}

impl Nccl {
    /// On ranks that MPI has started.
    pub(crate) fn new(mpi: Mpi) -> Self {
        Self { comm: Mutex::new(None), mpi }
    }

    fn open(&self, device: &CudaDevice) -> Result<Handle> {
        let opened = or_panic_as_reason(|| {
            let mut bytes = match self.is_root() {
                true => Id::new().map_err(said)?.internal().map(|byte| byte as u8),
                false => [0; 128],
            };
            self.mpi.broadcast(&mut bytes);
            let id = Id::uninit(bytes.map(|byte| byte as std::ffi::c_char));
            Comm::from_rank(device.cuda_stream(), self.rank(), self.size(), id).map_err(said)
        });
        opened.map(Handle).map_err(|reason| Error::msg(format!("NCCL cannot be used: {reason}")))
    }
}

fn said(error: NcclError) -> String {
    format!("{error:?} (NCCL_DEBUG=INFO says more; each rank needs a GPU of its own)")
}

fn failed(error: NcclError) -> Error {
    Error::msg(format!("NCCL: {}", said(error)))
}

impl AllReduce for Nccl {
    fn size(&self) -> usize {
        self.mpi.size()
    }

    fn all_reduce_sum(&self, values: &mut [f32]) {
        self.mpi.all_reduce_sum(values);
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) {
        self.mpi.all_reduce_sum_f64(values);
    }

    fn all_reduce_sum_on_device(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let Device::Cuda(device) = x.device() else { return Ok(None) };
        let mut comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        let Handle(comm) = match comm.take() {
            Some(opened) => comm.insert(opened),
            None => comm.insert(self.open(device)?),
        };
        let comm = &*comm;
        let exchange = |what| move |x: &Tensor| x.apply_op1_no_bwd(&Exchange { comm, what });
        sum_in_blocks(x, self.size(), exchange(What::AllToAll), exchange(What::AllGather)).map(Some)
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.mpi.rank()
    }

    fn local_rank(&self) -> usize {
        self.mpi.local_rank()
    }

    fn abort(&self, code: u8) {
        self.mpi.abort(code);
    }
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, GPUs by NCCL", self.mpi)
    }
}

#[derive(Clone, Copy)]
enum What {
    /// `[size, block]` to `[size, block]`: row r to rank r.
    AllToAll,
    /// `[block]` to `[size, block]`: to every rank.
    AllGather,
}

/// One exchange between all ranks, on the stream that candle computes on: what comes before has ended, what comes after waits.
struct Exchange<'a> {
    comm: &'a Comm,
    what: What,
}

impl Exchange<'_> {
    fn of<T>(&self, own: &CudaStorage, layout: &Layout) -> Result<CudaStorage>
    where
        T: CudaDType + NcclType + DeviceRepr,
    {
        let (start, end) =
            layout.contiguous_offsets().ok_or_else(|| Error::msg("values that do not lie side by side"))?;
        let size = self.comm.world_size();
        let block = match self.what {
            What::AllToAll => (end - start) / size,
            What::AllGather => end - start,
        };
        let device = own.device.clone();
        let own = own.as_cuda_slice::<T>()?.slice(start..end);
        // SAFETY: every value is received before any is read.
        let mut all = unsafe { device.alloc::<T>(block * size) }?;
        match self.what {
            What::AllGather => {
                self.comm.all_gather(&own, &mut all).map_err(failed)?;
            }
            What::AllToAll => {
                group_start().map_err(failed)?;
                for peer in 0..size {
                    let place = peer * block..(peer + 1) * block;
                    self.comm.send(&own.slice(place.clone()), peer as i32).map_err(failed)?;
                    self.comm.recv(&mut all.slice_mut(place), peer as i32).map_err(failed)?;
                }
                group_end().map_err(failed)?;
            }
        }
        Ok(CudaStorage::wrap_cuda_slice(all, device))
    }
}

impl CustomOp1 for Exchange<'_> {
    fn name(&self) -> &'static str {
        "exchange between ranks"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Err(Error::msg("NCCL exchanges what lies on GPUs"))
    }

    fn cuda_fwd(&self, own: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let shape = match self.what {
            What::AllToAll => layout.shape().clone(),
            What::AllGather => (self.comm.world_size(), layout.shape().elem_count()).into(),
        };
        let all = match own.dtype() {
            DType::F64 => self.of::<f64>(own, layout)?,
            _ => self.of::<f32>(own, layout)?,
        };
        Ok((all, shape))
    }
}
