//! Where networks and exact neighbours are computed: the processor, or a CUDA device where the program was built for one.
//! The one place that opens a device and says in a sentence why there is none; nothing else asks for drivers or libraries.

use crate::error::{Error, Result};
use crate::panics;
use crate::remedy::Remedy;
use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// Cargo features of this build that decide where it can compute.
pub(crate) const COMPILED_FEATURES: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "cudnn")]
    "cudnn",
    #[cfg(feature = "mpi")]
    "mpi",
    #[cfg(feature = "nccl")]
    "nccl",
];

/// Whether this build knows CUDA at all.
pub(crate) const HAS_CUDA: bool = cfg!(feature = "cuda");

/// What a user asks for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device where there is one, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => match text.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(number)) => Ok(DeviceChoice::Cuda(number)),
                _ => Err("must be auto, cpu, cuda, or cuda:N with the number of a device".into()),
            },
        }
    }
}

/// A device that can be used.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// Why it is not the one that was hoped for.
    pub remark: Option<String>,
}

impl DeviceChoice {
    /// The device of one of several processes on this machine, `local` being its number among them: `auto` deals out the CUDA devices
    /// that can be seen, in turn.
    pub fn of_process(self, local: usize) -> Self {
        match (self, names()) {
            (DeviceChoice::Auto, Ok(devices)) if devices.len() > 1 => {
                DeviceChoice::Cuda(local % devices.len())
            }
            _ => self,
        }
    }

    /// Opens the device. `auto` falls back to the processor, with a remark where the program was built for CUDA.
    ///
    /// # Errors
    /// For `cuda`: [`Error::Usage`] if the program was built without it, [`Error::Data`] if driver, libraries or the device are missing.
    pub fn open(self) -> Result<Opened> {
        let cpu = |remark| Ok(Opened { device: Device::Cpu, remark });
        match self {
            DeviceChoice::Cpu => cpu(None),
            DeviceChoice::Auto if !HAS_CUDA => cpu(None),
            DeviceChoice::Auto => match open_cuda(0) {
                Ok(device) => Ok(Opened { device, remark: None }),
                Err(reason) => cpu(Some(format!("CUDA cannot be used: {reason}; running on the CPU"))),
            },
            DeviceChoice::Cuda(_) if !HAS_CUDA => {
                Err(Error::usage("this program was built without CUDA", Remedy::BuildWithCuda))
            }
            DeviceChoice::Cuda(number) => match open_cuda(number) {
                Ok(device) => Ok(Opened { device, remark: None }),
                Err(reason) => Err(Error::data(
                    format!("CUDA device {number} cannot be used: {reason}"),
                    Remedy::UseProcessor,
                )),
            },
        }
    }
}

/// The numbers that networks compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32
    #[default]
    F32,
    /// bfloat16: about three digits; CUDA only
    Bf16,
}

impl Precision {
    /// Candle's name for it.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        }
    }
}

/// In one sentence, whether CUDA can be used here, and on what.
pub(crate) fn cuda_state() -> String {
    if !HAS_CUDA {
        return "not compiled in; everything runs on the processor".into();
    }
    match names().and_then(|names| open_cuda(0).map(|_| names)) {
        Ok(names) if names.len() == 1 => format!("1 device: {}", names[0]),
        Ok(names) => format!("{} devices: {}", names.len(), names.join(", ")),
        Err(reason) => {
            format!("compiled in, but it cannot be used: {reason}; everything runs on the processor")
        }
    }
}

/// For a person: `cpu`, or `cuda:0`.
pub(crate) fn describe(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        _ => "cpu".into(),
    }
}

/// The handles that were opened, for candle refuses operations on tensors of two handles of one device. They change no result: whoever
/// asks for a device gets the handle that it would have got from opening it first.
static OPEN: Mutex<Vec<(usize, Device)>> = Mutex::new(Vec::new());

fn open_cuda(number: usize) -> std::result::Result<Device, String> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = open.iter().find(|(known, _)| *known == number) {
        return Ok(device.clone());
    }
    let device = or_panic_as_reason(|| Device::new_cuda(number).map_err(|e| reason(&e.to_string())))?;
    open.push((number, device.clone()));
    Ok(device)
}

/// Runs what may panic because a library is not there; the message of the panic becomes the reason.
pub(crate) fn or_panic_as_reason<T>(
    run: impl FnOnce() -> std::result::Result<T, String>,
) -> std::result::Result<T, String> {
    panics::caught(run).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Err(reason(text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("unknown failure")))
    })
}

/// What the CUDA bindings say, as a reason that a person can act on.
fn reason(message: &str) -> String {
    const MISSING: &str = "Unable to dynamically load the \"";
    if let Some((_, rest)) = message.split_once(MISSING)
        && let Some((library, _)) = rest.split_once('"')
    {
        return match library {
            "cuda" | "nvcuda" => "the NVIDIA driver (libcuda.so.1) is not installed".into(),
            other => {
                format!("the CUDA library lib{other}.so is not found (LD_LIBRARY_PATH says where to look)")
            }
        };
    }
    if message.contains("CUDA_ERROR_NO_DEVICE") {
        return "the driver finds no NVIDIA GPU".into();
    }
    if message.contains("CUDA_ERROR_INVALID_DEVICE") {
        return "there is no GPU of this number".into();
    }
    if message.contains("CUDA_ERROR_STUB_LIBRARY") {
        return "libcuda.so.1 is a stub without a driver behind it".into();
    }
    if message.contains("CUDA_ERROR_UNSUPPORTED_PTX_VERSION") || message.contains("INSUFFICIENT_DRIVER") {
        return "the NVIDIA driver is older than the CUDA toolkit this program was built with".into();
    }
    message.lines().next().unwrap_or_default().to_string()
}

/// Names and memory of all devices.
#[cfg(feature = "cuda")]
fn names() -> std::result::Result<Vec<String>, String> {
    use candle_core::cuda_backend::cudarc::driver::result::{self, DriverError};
    const BYTES_PER_GIB: f64 = (1u64 << 30) as f64;
    let list = || -> std::result::Result<Vec<String>, DriverError> {
        result::init()?;
        let device = |number| {
            let device = result::device::get(number)?;
            // SAFETY: the handle was just given by the driver.
            let memory = unsafe { result::device::total_mem(device) }? as f64 / BYTES_PER_GIB;
            Ok(format!("{} ({memory:.0} GiB)", result::device::get_name(device)?))
        };
        (0..result::device::get_count()?).map(device).collect()
    };
    or_panic_as_reason(|| list().map_err(|e| reason(&format!("{e:?}"))))
}

#[cfg(not(feature = "cuda"))]
fn names() -> std::result::Result<Vec<String>, String> {
    Err("the program was built without CUDA".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_anything_else_is_refused() {
        let parsed: Vec<_> = ["auto", "cpu", "cuda", "cuda:3"].map(str::parse::<DeviceChoice>).into();
        let expected = [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(3)];
        assert_eq!(parsed, expected.map(Ok));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_library_is_one_sentence_and_only_that_panic_is_a_reason() {
        let panicking = |library: &str| {
            let text = format!(
                "Unable to dynamically load the \"{library}\" shared library - searched for library names: [\"a\"]. Ensure …"
            );
            or_panic_as_reason(|| -> std::result::Result<(), String> {
                assert!(panics::is_a_reason());
                panic!("{text}")
            })
            .unwrap_err()
        };
        assert_eq!(panicking("cuda"), "the NVIDIA driver (libcuda.so.1) is not installed");
        assert!(panicking("cublas").contains("libcublas.so is not found"));
        assert_eq!(reason("first\nsecond"), "first");
        assert_eq!(or_panic_as_reason(|| Ok(3)), Ok(3));
        assert!(!panics::is_a_reason());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_the_feature_auto_is_the_cpu_in_silence_and_cuda_an_error_with_a_remedy() {
        let opened = DeviceChoice::Auto.open().unwrap();
        assert!(opened.device.is_cpu() && opened.remark.is_none());
        let error = DeviceChoice::Cuda(0).open().unwrap_err();
        assert!(matches!(error, Error::Usage { .. }));
        assert!(
            error.to_string().contains("without CUDA") && error.hint().unwrap().contains("BuildWithCuda")
        );
    }
}
