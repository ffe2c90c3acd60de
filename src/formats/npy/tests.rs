use super::*;
use ndarray::{Array, Array1, Array3, ArrayView2, arr2};
use proptest::prelude::*;

fn file(descr: &str, fortran: &str, shape: &str, data: &[u8], version: u8) -> Vec<u8> {
    let text = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((text.len() as u16).to_le_bytes()),
        _ => bytes.extend((text.len() as u32).to_le_bytes()),
    }
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    bytes
}

fn read(bytes: &[u8]) -> Result<ArrayD<f32>> {
    read_array(&mut &bytes[..], bytes.len() as u64, Path::new("a.npy"))
}

fn reason(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn numbers_of_every_order_and_version_are_read() {
    let values = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let little: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let big: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_be_bytes()).collect();
    let rows = arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).into_dyn();
    for version in [1, 2, 3] {
        assert_eq!(read(&file("'<f4'", "False", "(2, 3)", &little, version)).unwrap(), rows);
    }
    assert_eq!(read(&file("'>f8'", "False", "(2L, 3L)", &big, 1)).unwrap(), rows);
    let columns = arr2(&[[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]).into_dyn();
    let fortran = read(&file("\"<f4\"", "True", "(2, 3)", &little, 1)).unwrap();
    assert_eq!(fortran, columns);
    assert!(fortran.is_standard_layout());
    assert_eq!(
        read(&file("'|i1'", "False", "(2,)", &[255, 7], 1)).unwrap().into_raw_vec_and_offset().0,
        [-1.0, 7.0]
    );
    assert_eq!(read(&file("'<f4'", "False", "()", &little, 1)).unwrap().ndim(), 0);
}

#[test]
fn what_is_written_is_read_again_and_aligned_as_numpy_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.npy");
    let array = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (i * 100 + j * 10 + k) as f64);
    write_npy(&path, &array).unwrap();
    assert_eq!(read_npy_array(&path).unwrap(), array.mapv(|v| v as f32).into_dyn());
    write_npy(&path, &Array1::from_vec(vec![1.0f32])).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 128 + 4);
    assert!(
        bytes.starts_with(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }")
    );
}

#[test]
fn rows_streamed_give_the_bytes_of_the_whole_matrix() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, streamed) = (directory.path().join("whole.npy"), directory.path().join("streamed.npy"));
    let matrix = Array::from_shape_fn((1500, 3), |(i, j)| i as f32 + j as f32 / 10.0);
    write_npy(&whole, &matrix).unwrap();
    let mut writer = NpyWriter::create(&streamed, 3).unwrap();
    for rows in matrix.axis_chunks_iter(ndarray::Axis(0), 400) {
        assert!(!streamed.exists());
        writer.write_rows(rows).unwrap();
    }
    assert_eq!(writer.rows(), 1500);
    assert!(writer.write_rows(ArrayView2::from(&[[1.0f32]])).is_err());
    writer.finish().unwrap();
    assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&streamed).unwrap());
    assert_eq!(read_npy(&streamed).unwrap(), matrix);
    let joined = directory.path().join("joined.npy");
    let mut writer = NpyWriter::<f32>::create(&joined, 3).unwrap();
    writer.write_rows_of(&streamed).unwrap();
    writer.write_rows_of(&whole).unwrap();
    assert_eq!(writer.rows(), 3000);
    writer.finish().unwrap();
    let twice = ndarray::concatenate![ndarray::Axis(0), matrix, matrix];
    assert_eq!(read_npy(&joined).unwrap(), twice);
}

#[test]
fn only_whole_matrices_of_the_same_width_are_joined() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    write_npy(path("wide.npy"), &Array2::<f32>::zeros((2, 4))).unwrap();
    write_npy(path("double.npy"), &Array2::<f64>::zeros((2, 3))).unwrap();
    write_npy(path("cut.npy"), &Array2::<f32>::zeros((2, 3))).unwrap();
    let bytes = std::fs::read(path("cut.npy")).unwrap();
    std::fs::write(path("cut.npy"), &bytes[..bytes.len() - 1]).unwrap();
    let mut writer = NpyWriter::<f32>::create(path("out.npy"), 3).unwrap();
    for name in ["wide.npy", "double.npy", "cut.npy"] {
        assert!(matches!(writer.write_rows_of(path(name)), Err(Error::Malformed { .. })), "{name}");
    }
}

#[test]
fn features_have_two_dimensions() {
    let path = Path::new("a.npy");
    let shaped = |shape: &[usize]| into_matrix(ArrayD::zeros(shape), path);
    assert_eq!(shaped(&[4, 3, 1, 1]).unwrap().dim(), (4, 3));
    assert_eq!(shaped(&[4, 1]).unwrap().dim(), (4, 1));
    let error = shaped(&[4]).unwrap_err();
    assert!(error.to_string().contains("[4]") && error.hint().unwrap().contains("reshape"), "{error}");
    for shape in [&[][..], &[0, 3], &[3, 0], &[2, 2, 2], &[1, 2, 3, 4]] {
        assert!(shaped(shape).is_err(), "{shape:?}");
    }
}

#[test]
fn hostile_headers_are_refused_before_memory_is_taken() {
    let huge = "(4611686018427387904, 4)";
    assert!(reason(&file("'<f4'", "False", huge, &[], 1)).contains("beyond any file"));
    assert!(
        reason(&file("'<f4'", "False", "(99999999999999999999999, 4)", &[], 1)).contains("beyond any file")
    );
    assert!(reason(&file("'<f4'", "False", "(1000000000, 1000)", &[0; 16], 1)).contains("cut short"));
    assert!(reason(&file("'|O'", "False", "(2, 2)", &[0; 16], 1)).contains("Python objects"));
    assert!(reason(&file("'<c8'", "False", "(2, 2)", &[0; 32], 1)).contains("<c8"));
    assert!(reason(&file("[('a', '<f4')]", "False", "(2, 2)", &[0; 32], 1)).contains("several fields"));
    assert!(reason(&file("'<f4'", "Maybe", "(2, 2)", &[0; 32], 1)).contains("damaged"));
    assert!(
        reason(&file("'<f4'", "False", &format!("({})", "1,".repeat(100)), &[0; 4], 1))
            .contains("dimensions")
    );
    assert!(reason(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("declares a header"));
    assert!(reason(b"\x93NUMPY\x09\x00\x00\x00").contains("version 9"));
    assert!(reason(b"PK\x03\x04....").contains("not a .npy"));
    assert!(reason(b"").contains("ends in the middle"));
}

proptest! {
    #[test]
    fn damage_is_an_error_and_never_a_panic(at in 0usize..100, byte: u8, cut in 0usize..200) {
        let mut bytes = file("'<f4'", "True", "(2, 3)", &[1; 24], 1);
        let position = at % bytes.len();
        bytes[position] = byte;
        bytes.truncate(cut);
        let _ = read(&bytes).map(|array| into_matrix(array, Path::new("a.npy")));
    }
}
