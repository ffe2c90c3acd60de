//! Writing a state dict as `torch.save` does, in the zip format: an `OrderedDict` of tensors, each with a storage of its own.

use crate::error::{Error, Result};
use crate::formats::atomic::AtomicFile;
use crate::formats::state_dict::{HostTensor, StateDict, TensorData};
use ::zip::result::ZipResult;
use ::zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};
use std::io::{Seek, Write};
use std::path::Path;

/// The folder in the archive; `torch.load` takes it whatever it is called.
const FOLDER: &str = "archive";
/// The version of the format that torch has written since 1.6.
const VERSION: &[u8] = b"3\n";

/// Writes every tensor, float32 and int64, under its name, for `torch.load(…, weights_only=True)`. The file appears when it is whole.
///
/// # Errors
/// [`Error::Io`].
pub fn write_torch(path: impl AsRef<Path>, dict: &StateDict) -> Result<()> {
    let path = path.as_ref();
    let mut file = AtomicFile::create(path)?;
    write_archive(file.writer(), dict).map_err(|e| Error::io("write", path)(e.into()))?;
    file.commit()
}

fn write_archive(writer: impl Write + Seek, dict: &StateDict) -> ZipResult<()> {
    let mut zip = ZipWriter::new(writer);
    let start = |zip: &mut ZipWriter<_>, name: &str| {
        // Stored as they are, as torch does, and dated alike whenever they are written.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(::zip::DateTime::default())
            .large_file(true);
        zip.start_file(format!("{FOLDER}/{name}"), options)
    };
    start(&mut zip, "data.pkl")?;
    zip.write_all(&pickle(dict))?;
    start(&mut zip, "byteorder")?;
    zip.write_all(b"little")?;
    for (key, (_, tensor)) in dict.iter().enumerate() {
        start(&mut zip, &format!("data/{key}"))?;
        match &tensor.data {
            TensorData::F32(values) => values.iter().try_for_each(|v| zip.write_all(&v.to_le_bytes()))?,
            TensorData::I64(values) => values.iter().try_for_each(|v| zip.write_all(&v.to_le_bytes()))?,
        }
    }
    start(&mut zip, "version")?;
    zip.write_all(VERSION)?;
    zip.finish()?.flush()?;
    Ok(())
}

/// `data.pkl` of protocol 2.
fn pickle(dict: &StateDict) -> Vec<u8> {
    let mut out = Opcodes(b"\x80\x02".to_vec());
    out.empty_ordered_dict();
    out.0.push(b'(');
    for (key, (name, tensor)) in dict.iter().enumerate() {
        out.text(name);
        out.tensor(key, tensor);
    }
    out.0.extend(b"u.");
    out.0
}

/// A pickle that grows.
struct Opcodes(Vec<u8>);

impl Opcodes {
    fn class(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
    }

    fn number(&mut self, value: usize) {
        match i32::try_from(value) {
            Ok(value) => {
                self.0.push(b'J');
                self.0.extend(value.to_le_bytes());
            }
            Err(_) => {
                self.0.extend([0x8a, 8]);
                self.0.extend((value as i64).to_le_bytes());
            }
        }
    }

    fn numbers(&mut self, values: impl IntoIterator<Item = usize>) {
        self.0.push(b'(');
        values.into_iter().for_each(|value| self.number(value));
        self.0.push(b't');
    }

    fn empty_ordered_dict(&mut self) {
        self.class("collections", "OrderedDict");
        self.0.extend(b")R");
    }

    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
    fn tensor(&mut self, key: usize, tensor: &HostTensor) {
        self.class("torch._utils", "_rebuild_tensor_v2");
        self.0.extend(b"((");
        self.text("storage");
        let class = match tensor.data {
            TensorData::F32(_) => "FloatStorage",
            TensorData::I64(_) => "LongStorage",
        };
        self.class("torch", class);
        self.text(&key.to_string());
        self.text("cpu");
        self.number(tensor.len());
        self.0.extend(b"tQ");
        self.number(0);
        self.numbers(tensor.shape.iter().copied());
        let mut stride = 1usize;
        let mut strides: Vec<usize> = tensor
            .shape
            .iter()
            .rev()
            .map(|&length| {
                let next = stride.saturating_mul(length);
                std::mem::replace(&mut stride, next)
            })
            .collect();
        strides.reverse();
        self.numbers(strides);
        self.0.push(0x89);
        self.empty_ordered_dict();
        self.0.extend(b"tR");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::read_state_dict;

    #[test]
    fn what_is_written_is_read_back_in_order_and_twice_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let (path, again) = (directory.path().join("a.pt"), directory.path().join("b.pt"));
        let mut dict = StateDict::new("x");
        let f32s = |n: usize| TensorData::F32((0..n).map(|i| i as f32 / 3.0 - 1.0).collect());
        dict.insert("b.weight", HostTensor { shape: vec![2, 3, 4], data: f32s(24) });
        dict.insert("b.steps", HostTensor { shape: vec![], data: TensorData::I64(vec![-7]) });
        dict.insert("a.ü", HostTensor { shape: vec![5], data: f32s(5) });
        write_torch(&path, &dict).unwrap();
        write_torch(&again, &dict).unwrap();
        let read = read_state_dict(&path).unwrap();
        assert!(read.iter().eq(dict.iter()));
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
        assert_eq!(&std::fs::read(&path).unwrap()[..4], b"PK\x03\x04");
    }

    #[test]
    fn numbers_beyond_31_bits_have_an_opcode_of_their_own() {
        let mut out = Opcodes(Vec::new());
        out.number(1 << 31);
        assert_eq!(out.0, [0x8a, 8, 0, 0, 0, 0x80, 0, 0, 0, 0]);
    }
}
