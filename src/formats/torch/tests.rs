use super::*;
use crate::error::Result;
use crate::formats::state_dict::{HostTensor, StateDict, TensorData, Wanted};
use crate::formats::weights_file::read_state_dict;
use ::zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};
use proptest::prelude::*;
use std::io::{Cursor, Write};

const FIXTURES: [&str; 3] = ["weights.pth", "weights_legacy.pth", "weights.safetensors"];

fn read_zip(source: impl Read + Seek, path: &Path) -> Result<StateDict> {
    super::zip::read(source, path, Wanted::Generator)
}

fn read_legacy(source: impl Read + Seek, path: &Path) -> Result<StateDict> {
    super::legacy::read(source, path, Wanted::Generator)
}

pub(super) fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name)
}

/// Writes opcodes: just enough of a pickler to make checkpoints from.
#[derive(Default, Clone)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    pub(super) fn int(self, value: i64) -> Self {
        self.op(b"\x8a\x08").op(&value.to_le_bytes())
    }

    pub(super) fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op(b"("), |w, &v| w.int(v)).op(b"t")
    }

    pub(super) fn class(self, module: &str, name: &str) -> Self {
        self.op(b"c").op(module.as_bytes()).op(b"\n").op(name.as_bytes()).op(b"\n")
    }

    fn storage(self, class: &str, key: &str, length: i64) -> Self {
        self.op(b"(").text("storage").class("torch", class).text(key).text("cuda:0").int(length).op(b"tQ")
    }

    pub(super) fn tensor(
        self,
        class: &str,
        length: i64,
        offset: i64,
        shape: &[i64],
        strides: &[i64],
    ) -> Self {
        let w = self.class("torch._utils", "_rebuild_tensor_v2").op(b"(").storage(class, "0", length);
        w.int(offset).ints(shape).ints(strides).op(b"\x89").class("collections", "OrderedDict").op(b")RtR")
    }

    pub(super) fn floats(self, shape: &[i64], strides: &[i64]) -> Self {
        self.tensor("FloatStorage", 6, 0, shape, strides)
    }

    pub(super) fn dict(self, entries: &[(&str, Writer)]) -> Self {
        entries.iter().fold(self.op(b"}("), |w, (key, value)| w.text(key).op(&value.0)).op(b"u")
    }
}

pub(super) fn w() -> Writer {
    Writer::default()
}

/// The zip checkpoint of a pickle and its storage `0`.
pub(super) fn zipped(pickle: Writer, storage: &[u8], order: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in
        [("a/data.pkl", &pickle.op(b".").0[..]), ("a/byteorder", order), ("a/data/0", storage)]
    {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn read(pickle: Writer, storage: &[u8]) -> Result<StateDict> {
    read_zip(Cursor::new(zipped(pickle, storage, b"little")), Path::new("a.pth"))
}

pub(super) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(super) const SIX: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

pub(super) fn read_six(pickle: Writer) -> Result<StateDict> {
    read(pickle, &bytes(&SIX))
}

pub(super) fn reason(pickle: Writer) -> String {
    read_six(pickle).unwrap_err().to_string()
}

pub(super) fn names(dict: &StateDict) -> Vec<&str> {
    dict.names().collect()
}

#[test]
fn zip_legacy_and_safetensors_of_one_network_are_equal() {
    let [zip, legacy, safetensors] = FIXTURES.map(|name| read_state_dict(fixture(name)).unwrap());
    assert_eq!(names(&zip), names(&legacy));
    assert_eq!((zip.len(), safetensors.len()), (19, 19));
    assert!(zip.get("main.1.num_batches_tracked").is_some_and(|t| matches!(t.data, TensorData::I64(_))));
    for (name, tensor) in zip.iter() {
        assert_eq!(legacy.get(name), Some(tensor), "{name}");
        assert_eq!(safetensors.get(name), Some(tensor), "{name}");
    }
}

#[test]
fn strides_offsets_and_expansion_are_followed() {
    let entries = [
        ("plain", w().floats(&[2, 3], &[3, 1])),
        ("permuted", w().floats(&[3, 2], &[1, 3])),
        ("offset", w().tensor("FloatStorage", 6, 4, &[2], &[1])),
        ("expanded", w().tensor("FloatStorage", 6, 5, &[3], &[0])),
        ("scalar", w().tensor("FloatStorage", 6, 1, &[], &[])),
        ("empty", w().tensor("FloatStorage", 6, 6, &[0, 3], &[3, 1])),
        ("cube", w().floats(&[1, 3, 2], &[17, 1, 3])),
    ];
    let dict = read_six(w().dict(&entries)).unwrap();
    assert_eq!(names(&dict), entries.each_ref().map(|(name, _)| *name));
    assert_eq!(dict.f32_shaped("plain", &[2, 3]).unwrap(), SIX);
    assert_eq!(dict.f32_shaped("permuted", &[3, 2]).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(dict.f32("offset").unwrap(), [5.0, 6.0]);
    assert_eq!(dict.f32("expanded").unwrap(), [6.0; 3]);
    assert_eq!(dict.f32_shaped("scalar", &[]).unwrap(), [2.0]);
    assert!(dict.f32_shaped("empty", &[0, 3]).unwrap().is_empty());
    assert_eq!(dict.f32_shaped("cube", &[1, 3, 2]).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
}

#[test]
fn storages_of_every_type_are_read() {
    let cases: [(&str, &[u8], TensorData); 9] = [
        ("HalfStorage", &[0x00, 0x3e], TensorData::F32(vec![1.5])),
        ("BFloat16Storage", &[0xc0, 0x3f], TensorData::F32(vec![1.5])),
        ("DoubleStorage", &1.5f64.to_le_bytes(), TensorData::F32(vec![1.5])),
        ("LongStorage", &(-3i64).to_le_bytes(), TensorData::I64(vec![-3])),
        ("IntStorage", &(-3i32).to_le_bytes(), TensorData::I64(vec![-3])),
        ("ShortStorage", &(-3i16).to_le_bytes(), TensorData::I64(vec![-3])),
        ("CharStorage", &[0xfd], TensorData::I64(vec![-3])),
        ("ByteStorage", &[0xfd], TensorData::I64(vec![253])),
        ("BoolStorage", &[1], TensorData::I64(vec![1])),
    ];
    for (class, storage, expected) in cases {
        let dict = read(w().dict(&[("x", w().tensor(class, 1, 0, &[1], &[1]))]), storage).unwrap();
        assert_eq!(dict.get("x"), Some(&HostTensor { shape: vec![1], data: expected }), "{class}");
    }
    let untyped = w().class("torch._utils", "_rebuild_tensor_v3").op(b"(").op(&w()
        .op(b"(")
        .text("storage")
        .class("torch.storage", "UntypedStorage")
        .text("0")
        .text("cpu")
        .int(4)
        .op(b"tQ")
        .0);
    let untyped = untyped.int(1).ints(&[1]).ints(&[1]).op(b"\x89N").class("torch", "uint16").op(b"tR");
    let dict = read(w().dict(&[("x", untyped)]), &[1, 0, 2, 0]).unwrap();
    assert_eq!(dict.get("x").unwrap().data, TensorData::I64(vec![2]));
    let big: Vec<u8> = SIX.iter().flat_map(|v| v.to_be_bytes()).collect();
    let pickle = w().dict(&[("x", w().floats(&[6], &[1]))]);
    let dict = read_zip(Cursor::new(zipped(pickle, &big, b"big")), Path::new("a.pth")).unwrap();
    assert_eq!(dict.f32("x").unwrap(), SIX);
}

#[test]
fn the_state_dict_is_found_where_training_programs_put_it() {
    let weights = |name: &str| w().dict(&[(name, w().floats(&[6], &[1]))]);
    let parameter =
        w().class("torch._utils", "_rebuild_parameter").op(b"(").floats(&[6], &[1]).op(b"\x88").op(b"NtR");
    let module = |inner: &[(&str, Writer)]| {
        w().class("my.net", "Net")
            .op(b")\x81")
            .dict(&[
                ("training", w().op(b"\x89")),
                ("_parameters", w().dict(&[("weight", parameter.clone()), ("bias", w().op(b"N"))])),
                ("_buffers", w().dict(&[("mean", w().floats(&[2], &[1]))])),
                ("_modules", w().dict(inner)),
            ])
            .op(b"b")
    };
    let optimizer = w().dict(&[("state", weights("exp_avg"))]);
    let cases = [
        (weights("w"), vec!["w"]),
        (
            w().class("collections", "OrderedDict")
                .op(b")R(")
                .text("w")
                .floats(&[6], &[1])
                .op(b"u")
                .dict(&[])
                .op(b"b"),
            vec!["w"],
        ),
        (
            w().dict(&[
                ("epoch", w().int(3)),
                ("ema", weights("e")),
                ("state_dict", weights("s")),
                ("model", weights("m")),
            ]),
            vec!["e"],
        ),
        (w().dict(&[("optimizer", optimizer), ("unknown", w().dict(&[("inner", weights("u"))]))]), vec!["u"]),
        (w().dict(&[("params", weights("p")), ("params_ema", weights("e"))]), vec!["e"]),
        (w().class("my", "State").op(b")\x81").dict(&[("model", weights("w"))]).op(b"b"), vec!["w"]),
        (
            w().dict(&[
                ("module.model.a", w().floats(&[6], &[1])),
                ("module.model.b", w().floats(&[6], &[1])),
            ]),
            vec!["a", "b"],
        ),
        (
            w().dict(&[("module.a", w().floats(&[6], &[1])), ("b", w().floats(&[6], &[1]))]),
            vec!["module.a", "b"],
        ),
        (
            module(&[("0", module(&[])), ("1", module(&[]))]),
            vec!["weight", "mean", "0.weight", "0.mean", "1.weight", "1.mean"],
        ),
        (w().dict(&[("w", parameter.clone()), ("version", w().int(2)), ("note", w().text("x"))]), vec!["w"]),
        // torch.optim.swa_utils.AveragedModel, and ema-pytorch's wrapper.
        (
            w().dict(&[
                ("n_averaged", w().tensor("FloatStorage", 6, 0, &[], &[])),
                ("module.w", w().floats(&[6], &[1])),
            ]),
            vec!["w"],
        ),
        (
            w().dict(&[
                ("initted", w().tensor("FloatStorage", 6, 0, &[], &[])),
                ("step", w().tensor("FloatStorage", 6, 0, &[], &[])),
                ("online_model.o", w().floats(&[6], &[1])),
                ("ema_model.e", w().floats(&[6], &[1])),
            ]),
            vec!["e"],
        ),
    ];
    for (pickle, expected) in cases {
        assert_eq!(names(&read_six(pickle).unwrap()), expected);
    }
    let two = reason(w().dict(&[("first", weights("a")), ("second", weights("b"))]));
    assert!(two.contains("several state dicts: `first`, `second`"), "{two}");
}

#[test]
fn what_is_not_known_is_named_and_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("owned");
    let system = w().class("posix", "system").text(&format!("touch {}", mark.display())).op(b"\x85R");
    assert!(reason(system.clone()).contains("posix.system"));
    assert!(
        reason(w().dict(&[("x", w().floats(&[6], &[1])), ("y", system.clone())]))
            .contains("`y` is an object of class posix.system")
    );
    assert!(
        reason(w().dict(&[("x", w().class("torch._utils", "_rebuild_qtensor").op(b")R"))]))
            .contains("_rebuild_qtensor")
    );
    assert!(
        reason(w().dict(&[("x", w().tensor("ComplexFloatStorage", 1, 0, &[1], &[1]))]))
            .contains("ComplexFloatStorage")
    );
    assert!(reason(w().dict(&[("lr", w().int(1))])).contains("no state dict"));
    let plain = directory.path().join("plain.pth");
    std::fs::write(&plain, system.op(b".").0).unwrap();
    assert!(read_state_dict(&plain).is_err());
    assert!(!mark.exists());
}

#[test]
fn views_outside_their_storage_are_refused() {
    let one = |offset, shape: &[i64], strides: &[i64]| {
        reason(w().dict(&[("x", w().tensor("FloatStorage", 6, offset, shape, strides))]))
    };
    assert!(one(1, &[6], &[1]).contains("reaches to element 7 of a storage that holds 6"));
    assert!(one(0, &[2, 2], &[5, 1]).contains("element 7"));
    assert!(one(i64::MAX, &[2], &[i64::MAX]).contains("reaches"));
    assert!(one(0, &[i64::MAX, i64::MAX], &[1, 1]).contains("beyond any memory"));
    assert!(one(-1, &[1], &[1]).contains("negative offset"));
    assert!(one(0, &[-1], &[1]).contains("negative shape"));
    assert!(one(5, &[2], &[-1]).contains("negative strides"));
    assert!(one(0, &[2, 3], &[1]).contains("2 dimensions and 1 strides"));
    let huge = w().dict(&[("x", w().tensor("FloatStorage", i64::MAX, 0, &[1 << 40], &[1]))]);
    assert!(reason(huge).contains("bytes out of a file of"));
    let long = w().dict(&[("x", w().tensor("FloatStorage", 1000, 0, &[1000], &[1]))]);
    assert!(reason(long).contains("cut short"));
    let expanded = w().dict(&[("x", w().floats(&[1 << 20, 1 << 20], &[0, 0]))]);
    assert!(reason(expanded).contains("bytes out of a file of"));
}

#[test]
fn billion_laughs_of_modules_and_dicts_end() {
    let mut dicts = w().op(b"}q\x00");
    for level in 1..=100u8 {
        dicts = dicts.op(b"}(");
        for name in ["a", "b", "c"] {
            dicts = dicts.text(name).op(&[b'h', level - 1]);
        }
        dicts = dicts.op(&[b'u', b'q', level]);
    }
    assert!(reason(dicts).contains("no state dict"));
    let module = |inner: Writer| {
        let parts = [("_parameters", w().dict(&[])), ("_buffers", w().dict(&[])), ("_modules", inner)];
        w().class("m", "M").op(b")\x81").dict(&parts).op(b"b")
    };
    let mut modules = module(w().dict(&[])).op(b"q\x00");
    for level in 1..=25u8 {
        let shared = w().op(&[b'h', level - 1]);
        let inner = w().dict(&[("a", shared.clone()), ("b", shared.clone()), ("c", shared)]);
        modules = modules.op(b"0").op(&module(inner).0).op(&[b'q', level]);
    }
    assert!(reason(modules).contains("too many modules"));
}

#[test]
fn a_checkpoint_cut_anywhere_is_an_error() {
    let zip = zipped(w().dict(&[("x", w().floats(&[6], &[1]))]), &bytes(&SIX), b"little");
    for cut in 0..zip.len() {
        assert!(read_zip(Cursor::new(&zip[..cut]), Path::new("a.pth")).is_err(), "cut at {cut}");
    }
    let legacy = std::fs::read(fixture("weights_legacy.pth")).unwrap();
    for cut in (0..legacy.len()).step_by(97).chain(legacy.len() - 9..legacy.len()) {
        assert!(read_legacy(Cursor::new(&legacy[..cut]), Path::new("a.pth")).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_wheel_and_a_renamed_file_give_the_same_tensors() {
    let directory = tempfile::tempdir().unwrap();
    let expected = read_state_dict(fixture("weights.pth")).unwrap();
    for name in FIXTURES {
        let renamed = directory.path().join("no-extension");
        std::fs::copy(fixture(name), &renamed).unwrap();
        assert_eq!(read_state_dict(&renamed).unwrap().len(), expected.len());
        let wheel = directory.path().join("a.whl");
        let mut zip = ZipWriter::new(std::fs::File::create(&wheel).unwrap());
        for (member, content) in
            [("pkg/__init__.py", Vec::new()), (name, std::fs::read(fixture(name)).unwrap())]
        {
            zip.start_file(member, SimpleFileOptions::default()).unwrap();
            zip.write_all(&content).unwrap();
        }
        zip.finish().unwrap();
        let dict = read_state_dict(&wheel).unwrap();
        assert_eq!(dict.path(), wheel.join(name));
        for (name, tensor) in expected.iter() {
            assert_eq!(dict.get(name), Some(tensor));
        }
    }
    assert!(read_state_dict(directory.path()).unwrap_err().to_string().contains("is a directory"));
    let text = directory.path().join("a.txt");
    std::fs::write(&text, "hello").unwrap();
    assert!(read_state_dict(&text).unwrap_err().hint().unwrap().contains(".safetensors"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn damage_is_an_error_or_other_numbers_and_never_a_panic(
        places in proptest::collection::vec((0usize..6000, any::<u8>()), 1..4),
        legacy: bool,
    ) {
        let mut bytes = match legacy {
            true => std::fs::read(fixture("weights_legacy.pth")).unwrap(),
            false => zipped(w().dict(&[("x", w().floats(&[3, 2], &[1, 3]))]), &bytes(&SIX), b"little"),
        };
        for (place, value) in places {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        let source = Cursor::new(bytes);
        let _ = if legacy { read_legacy(source, Path::new("a")) } else { read_zip(source, Path::new("a")) };
    }
}
