//! PNG files whose pixel data have a wrong checksum.
//! Pillow reads them (it checks the checksum of the header only), so that published numbers include them.
//! Such a file is decoded a second time, with correct checksums.

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The file with every `IDAT` checksum computed anew; `None` if none was wrong or the file is no PNG.
pub(super) fn with_right_data_checksums(bytes: &[u8]) -> Option<Vec<u8>> {
    bytes.strip_prefix(SIGNATURE)?;
    let mut repaired = None;
    let mut at = SIGNATURE.len();
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let data_end = (at + 8).checked_add(u32::from_be_bytes(*length) as usize)?;
        let (Some(chunk), Some(stored)) = (bytes.get(at + 4..data_end), bytes.get(data_end..data_end + 4))
        else {
            break;
        };
        let mut crc = flate2::Crc::new();
        crc.update(chunk);
        let right = crc.sum().to_be_bytes();
        if chunk.starts_with(b"IDAT") && stored != right {
            repaired
                .get_or_insert_with(|| bytes.to_vec())
                .get_mut(data_end..data_end + 4)?
                .copy_from_slice(&right);
        }
        at = data_end + 4;
    }
    repaired
}
