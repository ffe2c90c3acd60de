//! Whatever a file says, reading it ends, in an error or in values, without a panic and without memory that its size does not explain:
//! the inputs that fuzzing has kept (`tests/fuzz/`), opcodes at random, and damaged pickles of the kinds that checkpoints hold.

#[path = "support/memory.rs"]
mod memory;
#[path = "support/pickle.rs"]
mod pickle;
#[path = "support/read.rs"]
mod read;

use memory::{Counting, peak};
use pickle::{dict, text};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use pseudo_density::internals::formats::pickle::parse;
use pseudo_density::internals::formats::torch::{read_module, write_torch};
use pseudo_density::internals::formats::{HostTensor, StateDict, TensorData};
use pseudo_density::internals::readers::{READERS, Reader};
use read::{BOUND, memory_to_read};
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory that a pickle of a few kilobytes may take, whatever it says.
const PICKLE_BOUND: usize = 32 << 20;

fn reader(kind: &str) -> &'static Reader {
    READERS.iter().find(|reader| reader.kind == kind).unwrap()
}

#[test]
fn every_input_that_fuzzing_kept_is_read_or_refused() {
    for reader in READERS {
        let kept = Path::new("tests/fuzz/corpus").join(format!("{}.zip", reader.kind));
        let mut kept = zip::ZipArchive::new(File::open(&kept).unwrap()).unwrap();
        assert!(!kept.is_empty(), "{}", reader.kind);
        for i in 0..kept.len() {
            let mut bytes = Vec::new();
            kept.by_index(i).unwrap().read_to_end(&mut bytes).unwrap();
            let taken = memory_to_read(reader, &bytes);
            assert!(taken < BOUND, "{} {i}: {taken} bytes for a file of {}", reader.kind, bytes.len());
        }
    }
}

/// A PNG of one pixel with a colour profile of 256 MB, and GIFs of a small canvas with a frame of 256 MB, the first or the second one.
#[test]
fn what_stands_in_a_picture_beside_its_pixels_takes_no_memory() {
    let chunk = |name: &[u8], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(name);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes(), name, data, &crc.sum().to_be_bytes()].concat()
    };
    let packed = |write: &dyn Fn(&mut flate2::write::ZlibEncoder<Vec<u8>>)| {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        write(&mut out);
        out.finish().unwrap()
    };
    let profile = packed(&|out| (0..256).for_each(|_| out.write_all(&[0; 1 << 20]).unwrap()));
    let png = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", b"\0\0\0\x01\0\0\0\x01\x08\0\0\0\0"),
        chunk(b"iCCP", &[&b"x\0\0"[..], &profile].concat()),
        chunk(b"IDAT", &packed(&|out| out.write_all(&[0, 7]).unwrap())),
        chunk(b"IEND", b""),
    ];
    let gif = |sides: &[u16]| {
        let mut bytes = b"GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
        for side in sides {
            let side = side.to_le_bytes();
            bytes.extend([&b",\0\0\0\0"[..], &side, &side, b"\0\x02\x02\x44\x01\0"].concat());
        }
        [&bytes[..], b";"].concat()
    };
    for (kind, bytes) in [("png", png.concat()), ("gif", gif(&[8000])), ("gif", gif(&[1, 8000]))] {
        let taken = memory_to_read(reader(kind), &bytes);
        assert!(taken < BOUND, "{kind}: {taken} bytes for a file of {}", bytes.len());
    }
}

/// The most memory that reading this pickle takes, as a file and as the pickle of a checkpoint.
fn memory_to_read_pickle(bytes: &[u8]) -> usize {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in
        [("archive/data.pkl", bytes), ("archive/data/0", &[0; 64]), ("archive/data/1", &[1; 64])]
    {
        zip.start_file(name, stored).unwrap();
        zip.write_all(content).unwrap();
    }
    let zipped = zip.finish().unwrap().into_inner();
    memory_to_read(reader("pickle"), bytes).max(memory_to_read(reader("torch-zip"), &zipped))
}

/// A state dict as torch pickles it.
fn of_state_dict() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.pt");
    let mut dict = StateDict::new(&path);
    dict.insert("w", HostTensor { shape: vec![2, 3], data: TensorData::F32(vec![1.0; 6]) });
    dict.insert("n", HostTensor { shape: vec![], data: TensorData::I64(vec![3]) });
    write_torch(&path, &dict).unwrap();
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    zip.by_name("archive/data.pkl").unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A persistent module with a parameter whose storage lies in the pickle, as NVIDIA's programs write them.
fn of_network() -> Vec<u8> {
    let mut weights = StateDict::new("");
    weights.insert("w", HostTensor { shape: vec![2], data: TensorData::F32(vec![0.0; 2]) });
    let attributes = [("size", 5.into())];
    pickle::file(&[(
        "G_ema",
        &pickle::Module { weights: &weights, attributes: &attributes, persistent: true },
    )])
}

/// A plain module object with state, memos and an item of each protocol.
fn of_object() -> Vec<u8> {
    let state = dict(&[
        ("_parameters", b"}".to_vec()),
        ("_buffers", b"}q\x01".to_vec()),
        ("_modules", b"h\x01".to_vec()),
    ]);
    let object = [b"\x80\x04\x8c\x02pg\x94\x8c\x01G\x94\x93)\x81", &state[..], b"b\x94"].concat();
    [&object[..], b"](K\x01J\xff\xff\xff\xffG\x40\x08\x00\x00\x00\x00\x00\x00\x8a\x02\xff\x7fe\x86\x94."]
        .concat()
}

fn seeds() -> Vec<Vec<u8>> {
    vec![of_state_dict(), of_network(), of_object()]
}

/// A change of a pickle; places are taken modulo its length.
#[derive(Debug, Clone)]
enum Damage {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize, usize),
    Cut(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = 0usize..4096;
    prop_oneof![
        4 => (place.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        3 => (place.clone(), prop_oneof![vec(any::<u8>(), 1..5), opcode()]).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => (place.clone(), 1usize..40).prop_map(|(at, length)| Damage::Remove(at, length)),
        2 => (place.clone(), 1usize..200, 1usize..30).prop_map(|(at, length, times)| Damage::Repeat(at, length, times)),
        1 => place.prop_map(Damage::Cut),
    ]
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>) {
        let length = bytes.len().max(1);
        match self {
            Damage::Set(at, byte) => bytes.iter_mut().skip(at % length).take(1).for_each(|b| *b = byte),
            Damage::Insert(at, new) => drop(bytes.splice(at % length..at % length, new)),
            Damage::Remove(at, count) => {
                let at = at % length;
                drop(bytes.drain(at..(at + count).min(bytes.len())));
            }
            Damage::Repeat(at, count, times) => {
                let at = at % length;
                let part = bytes[at..(at + count).min(bytes.len())].repeat(times);
                drop(bytes.splice(at..at, part));
            }
            Damage::Cut(at) => bytes.truncate(at % length),
        }
    }
}

/// An opcode with arguments that make sense, or make too much of themselves.
fn opcode() -> impl Strategy<Value = Vec<u8>> {
    const BARE: &[u8] = b"(.012NabdehlopqrstuQR}])\x81\x85\x86\x87\x88\x89\x90\x91\x92\x93\x94\x97\x98";
    let sizes = prop_oneof![
        Just(0u64),
        0u64..300,
        Just(1 << 31),
        Just(u64::from(u32::MAX)),
        Just(u64::MAX),
        any::<u64>()
    ];
    prop_oneof![
        5 => (0..BARE.len()).prop_map(|i| vec![BARE[i]]),
        2 => (prop_oneof![Just(b'K'), Just(b'q'), Just(b'h'), Just(0x80), Just(0x8a), Just(0x8c), Just(b'U'), Just(b'C')], any::<u8>())
            .prop_map(|(op, size)| vec![op, size]),
        2 => (prop_oneof![Just(b'J'), Just(b'X'), Just(b'B'), Just(b'T'), Just(b'r'), Just(b'j'), Just(0x8b)], sizes.clone())
            .prop_map(|(op, size)| [&[op][..], &(size as u32).to_le_bytes()].concat()),
        2 => (prop_oneof![Just(0x8d), Just(0x8e), Just(0x95), Just(0x96)], sizes)
            .prop_map(|(op, size)| [&[op][..], &size.to_le_bytes()].concat()),
        1 => prop_oneof![Just("cos\nsystem\n"), Just("ctorch._utils\n_rebuild_tensor_v2\n"), Just("ccollections\nOrderedDict\n"),
            Just("I99999999999999999999\n"), Just("L5L\n"), Just("S'x'\n"), Just("Vx\n"), Just("F1e400\n"), Just("p7\n"), Just("g7\n")]
            .prop_map(|line| line.as_bytes().to_vec()),
        1 => "[a-z_]{0,12}".prop_map(|word| text(&word)),
    ]
}

/// Counterexamples; cargo runs tests in the project's root.
const KEPT: FileFailurePersistence = FileFailurePersistence::Direct("proptest-regressions/damaged_files.txt");

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: Some(Box::new(KEPT)), ..ProptestConfig::with_cases(600) })]

    #[test]
    fn damaged_pickles_are_read_or_refused(seed in 0usize..3, changes in vec(damage(), 1..6)) {
        let mut bytes = seeds().swap_remove(seed);
        changes.into_iter().for_each(|change| change.apply(&mut bytes));
        let taken = memory_to_read_pickle(&bytes);
        prop_assert!(taken < PICKLE_BOUND, "{taken} bytes for a pickle of {}", bytes.len());
    }

    #[test]
    fn opcodes_at_random_are_read_or_refused(opcodes in vec(opcode(), 0..120), protocol in 0u8..7) {
        let mut bytes = vec![0x80, protocol];
        bytes.extend(opcodes.concat());
        bytes.push(b'.');
        let taken = memory_to_read_pickle(&bytes);
        prop_assert!(taken < PICKLE_BOUND, "{taken} bytes for a pickle of {}", bytes.len());
    }
}

#[test]
fn the_undamaged_pickles_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (dict, description) = read_module(&place("n.pkl", &of_network()), &["G_ema"]).unwrap();
    assert_eq!(dict.f32("w").unwrap(), [0.0, 0.0]);
    assert_eq!(description.attribute("size").and_then(|v| v.as_u64()), Some(5));
    assert!(parse(&of_object()).is_ok() && parse(&of_state_dict()).is_ok());
    // The measure itself: what is held is counted.
    let taken = peak(|| drop(std::hint::black_box(vec![1u8; BOUND])));
    assert!(taken >= BOUND);
}
