//! The safetensors format: tensors are read one at a time, and written one at a time behind their header.

use super::atomic::AtomicFile;
use super::element::{ByteOrder, Element, allocate, element_count, read_exact};
use super::integers::Integer;
use super::state_dict::{HostTensor, StateDict, TensorData};
use crate::error::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Longest header in bytes; the limit of the reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes of the header's length.
const LENGTH_BYTES: u64 = 8;

/// Bytes of integers decoded at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// An open safetensors file whose header has been checked.
#[derive(Debug)]
pub(crate) struct SafetensorsReader<'p, R> {
    source: R,
    path: &'p Path,
    metadata: Metadata,
    start: u64,
}

impl<'p, R: Read + Seek> SafetensorsReader<'p, R> {
    /// Reads the header of `source`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] if this is no safetensors file, or if its header does not account for exactly its bytes.
    pub(crate) fn new(mut source: R, path: &'p Path) -> Result<Self> {
        let malformed = |reason: String| Error::malformed(path, reason, "copy or download it again");
        let length = source.seek(SeekFrom::End(0)).map_err(Error::io("read", path))?;
        source.rewind().map_err(Error::io("read", path))?;
        let mut word = [0; LENGTH_BYTES as usize];
        read_exact(&mut source, &mut word, path)?;
        let header_bytes = u64::from_le_bytes(word);
        if header_bytes > MAX_HEADER_BYTES || header_bytes > length - LENGTH_BYTES {
            return Err(malformed(format!(
                "declares a header of {header_bytes} bytes in a file of {length}: not safetensors, or cut short"
            )));
        }
        let mut header = vec![0; header_bytes as usize];
        read_exact(&mut source, &mut header, path)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|e| malformed(format!("its safetensors header is damaged: {e}")))?;
        let start = LENGTH_BYTES + header_bytes;
        let end = start.checked_add(metadata.data_len() as u64);
        if end != Some(length) {
            return Err(malformed(format!(
                "holds {} bytes of tensors where its header declares {}",
                length - start,
                metadata.data_len()
            )));
        }
        Ok(SafetensorsReader { source, path, metadata, start })
    }

    /// Names and shapes, in the order of the file.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let names = self.metadata.offset_keys().into_iter();
        names
            .filter_map(|name| self.metadata.info(&name).map(|i| i.shape.clone()).map(|s| (name, s)))
            .collect()
    }

    fn seek_to(&mut self, name: &str) -> Result<(Element, usize, Vec<usize>)> {
        let info = self
            .metadata
            .info(name)
            .ok_or_else(|| Error::malformed(self.path, format!("holds no tensor `{name}`"), ""))?;
        let element = element_of(info.dtype).ok_or_else(|| {
            let reason = format!("tensor `{name}` has elements of type {:?}, which are not read", info.dtype);
            Error::malformed(self.path, reason, "convert it to float32")
        })?;
        // Metadata was validated: shape, element size and offsets agree, inside the file.
        let count = element_count(&info.shape).unwrap_or(0);
        let shape = info.shape.clone();
        let position = self.start + info.data_offsets.0 as u64;
        self.source.seek(SeekFrom::Start(position)).map_err(Error::io("read", self.path))?;
        Ok((element, count, shape))
    }

    /// One tensor of a floating-point or integer type, converted to float32.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is none of this name, or of a type that is not read.
    pub(crate) fn array(&mut self, name: &str) -> Result<ArrayD<f32>> {
        let (element, count, shape) = self.seek_to(name)?;
        let data = element.read_f32(&mut self.source, ByteOrder::Little, count, self.path)?;
        ArrayD::from_shape_vec(IxDyn(&shape), data)
            .map_err(|e| Error::malformed(self.path, format!("tensor `{name}`: {e}"), ""))
    }

    /// One tensor of one dimension whose elements are unsigned integers of this type.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is none of this name, type and number of dimensions.
    pub(crate) fn integers<T: Integer>(&mut self, name: &str) -> Result<Vec<T>> {
        let (element, count, shape) = self.seek_to(name)?;
        if element_of(T::DTYPE) != Some(element) || shape.len() != 1 {
            let reason = format!("tensor `{name}` of shape {shape:?} is no list of {:?} numbers", T::DTYPE);
            return Err(Error::malformed(self.path, reason, ""));
        }
        let mut values = allocate(count, self.path)?;
        let mut bytes = vec![0; CHUNK_BYTES.min(count * element.size())];
        let mut left = count * element.size();
        while left > 0 {
            let piece = &mut bytes[..left.min(CHUNK_BYTES)];
            read_exact(&mut self.source, piece, self.path)?;
            T::decode(piece, &mut values);
            left -= piece.len();
        }
        Ok(values)
    }

    /// One tensor, floating-point numbers as float32 and integers as int64.
    ///
    /// # Errors
    /// As [`SafetensorsReader::array`].
    pub(crate) fn tensor(&mut self, name: &str) -> Result<HostTensor> {
        let (element, count, shape) = self.seek_to(name)?;
        let data = match element.is_float() {
            true => {
                TensorData::F32(element.read_f32(&mut self.source, ByteOrder::Little, count, self.path)?)
            }
            false => {
                TensorData::I64(element.read_i64(&mut self.source, ByteOrder::Little, count, self.path)?)
            }
        };
        Ok(HostTensor { shape, data })
    }
}

/// The bytes before the data of a file with these tensors, as (name, type, shape), whose data follow in this order.
///
/// # Errors
/// [`Error::Data`] if there is no such file.
pub(crate) fn header<N: Into<String>>(
    tensors: impl IntoIterator<Item = (N, Dtype, Vec<usize>)>,
) -> Result<Vec<u8>> {
    let unfit = |e: String| Error::data(format!("these tensors cannot be written: {e}"), "");
    let mut offset = 0usize;
    let mut infos = Vec::new();
    for (name, dtype, shape) in tensors {
        let start = offset;
        let bytes = element_count(&shape).and_then(|count| count.checked_mul(dtype.bitsize() / 8));
        offset = bytes
            .and_then(|bytes| start.checked_add(bytes))
            .ok_or_else(|| unfit(format!("{shape:?} cannot be counted")))?;
        infos.push((name.into(), TensorInfo { dtype, shape, data_offsets: (start, offset) }));
    }
    let metadata = Metadata::new(None, infos).map_err(|e| unfit(e.to_string()))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| unfit(e.to_string()))?;
    header.resize(header.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header].concat())
}

/// Every tensor of a safetensors file; `path` is for messages.
///
/// # Errors
/// As [`SafetensorsReader::new`] and [`SafetensorsReader::tensor`].
pub(crate) fn read(source: impl Read + Seek, path: &Path) -> Result<StateDict> {
    let mut reader = SafetensorsReader::new(source, path)?;
    let mut dict = StateDict::new(path);
    for (name, _) in reader.tensors() {
        let tensor = reader.tensor(&name)?;
        dict.insert(name, tensor);
    }
    Ok(dict)
}

/// Writes every tensor, float32 and int64, in the order that the format's library gives: by type, then by name.
/// The file appears when it is whole.
///
/// # Errors
/// [`Error::Io`].
pub fn write_safetensors(path: impl AsRef<Path>, dict: &StateDict) -> Result<()> {
    let path = path.as_ref();
    let mut tensors: Vec<(&str, &HostTensor)> = dict.iter().collect();
    tensors.sort_by(|(a, left), (b, right)| dtype(right).cmp(&dtype(left)).then(a.cmp(b)));
    let header = header(tensors.iter().map(|(name, tensor)| (*name, dtype(tensor), tensor.shape.clone())))?;
    let mut file = AtomicFile::create(path)?;
    let writer = file.writer();
    let mut write = || {
        writer.write_all(&header)?;
        for (_, tensor) in &tensors {
            match &tensor.data {
                TensorData::F32(values) => {
                    values.iter().try_for_each(|v| writer.write_all(&v.to_le_bytes()))?
                }
                TensorData::I64(values) => {
                    values.iter().try_for_each(|v| writer.write_all(&v.to_le_bytes()))?
                }
            }
        }
        Ok(())
    };
    write().map_err(Error::io("write", path))?;
    file.commit()
}

fn dtype(tensor: &HostTensor) -> Dtype {
    match tensor.data {
        TensorData::F32(_) => Dtype::F32,
        TensorData::I64(_) => Dtype::I64,
    }
}

fn element_of(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::I8 => Element::I8,
        Dtype::I16 => Element::I16,
        Dtype::I32 => Element::I32,
        Dtype::I64 => Element::I64,
        Dtype::U8 => Element::U8,
        Dtype::U16 => Element::U16,
        Dtype::U32 => Element::U32,
        Dtype::U64 => Element::U64,
        Dtype::BOOL => Element::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn reason(bytes: &[u8]) -> String {
        read(Cursor::new(bytes), Path::new("a.safetensors")).unwrap_err().to_string()
    }

    #[test]
    fn every_float_type_becomes_float32_and_integers_stay() {
        let mut data = half::f16::from_f32(1.5).to_le_bytes().to_vec();
        data.extend(half::bf16::from_f32(-2.0).to_le_bytes());
        data.extend(0.25f64.to_le_bytes());
        data.extend([7]);
        let header = r#"{"h":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]},"d":{"dtype":"F64","shape":[1,1],"data_offsets":[4,12]},"u":{"dtype":"U8","shape":[1],"data_offsets":[12,13]}}"#;
        let dict = read(Cursor::new(file(header, &data)), Path::new("a")).unwrap();
        assert_eq!(dict.f32("h").unwrap(), [1.5]);
        assert_eq!(dict.f32("b").unwrap(), [-2.0]);
        assert_eq!(dict.f32("d").unwrap(), [0.25]);
        assert_eq!(dict.get("d").unwrap().shape, [1, 1]);
        assert_eq!(dict.get("u").unwrap().data, TensorData::I64(vec![7]));
        assert_eq!(dict.names().collect::<Vec<_>>(), ["h", "b", "d", "u"]);
    }

    #[test]
    fn what_is_written_is_read_by_the_formats_own_library() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.safetensors");
        let mut dict = StateDict::new(&path);
        dict.insert("z", HostTensor { shape: vec![2, 1], data: TensorData::F32(vec![1.0, -3.5]) });
        dict.insert("a", HostTensor { shape: vec![], data: TensorData::I64(vec![42]) });
        dict.insert("b", HostTensor { shape: vec![0], data: TensorData::F32(vec![]) });
        write_safetensors(&path, &dict).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(
            theirs.tensor("z").unwrap().data(),
            [1.0f32.to_le_bytes(), (-3.5f32).to_le_bytes()].concat()
        );
        assert_eq!(theirs.tensor("a").unwrap().shape(), [0usize; 0]);
        let ours = read(Cursor::new(&bytes), &path).unwrap();
        for name in ["z", "a", "b"] {
            assert_eq!(ours.get(name), dict.get(name));
        }
    }

    #[test]
    fn lengths_that_the_file_does_not_hold_are_refused() {
        assert!(reason(&u64::MAX.to_le_bytes()).contains("declares a header"));
        assert!(
            reason(&file(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, &[0; 12]))
                .contains("12 bytes")
        );
        assert!(
            reason(&file(r#"{"a":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}}"#, &[0; 16]))
                .contains("damaged")
        );
        let huge = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#;
        assert!(reason(&file(huge, &[0; 16])).contains("damaged"));
        assert!(reason(&file("{", &[])).contains("damaged"));
        assert!(reason(b"abc").contains("ends in the middle"));
        let eight = r#"{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
        assert!(reason(&file(eight, &[0; 2])).contains("F8_E4M3"));
    }
}
