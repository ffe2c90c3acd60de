//! Files of some kilobytes that describe more than there is memory or time for.

use super::modules::{describe_module, module_names, read_module};
use super::tests::{Writer, w};
use crate::error::Result;
use crate::formats::read_state_dict;
use std::io::Write;
use std::path::Path;

/// A tensor of one number in storage `0`.
fn tensor() -> Writer {
    let storage =
        w().op(b"(").text("storage").class("torch", "FloatStorage").text("0").text("cpu").int(1).op(b"tQ");
    let w = w().class("torch._utils", "_rebuild_tensor_v2").op(b"(").op(&storage.0);
    w.int(0).ints(&[1]).ints(&[1]).op(b"\x89N").op(b"tR")
}

fn module(parameters: Writer, modules: Writer) -> Writer {
    let parts = [("_parameters", parameters), ("_buffers", w().op(b"}")), ("_modules", modules)];
    w().class("m", "M").op(b")R").dict(&parts).op(b"b")
}

/// The reason why a checkpoint in the zip format is refused.
fn refused(pickle: Writer) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bomb.pth");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let deflated = zip::write::SimpleFileOptions::default();
    for (name, content) in
        [("a/data.pkl", &[b"\x80\x02", &pickle.0[..], b"."].concat()[..]), ("a/data/0", &[0; 4])]
    {
        zip.start_file(name, deflated).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    assert!(path.metadata().unwrap().len() < 1 << 20);
    read_state_dict(&path).unwrap_err().to_string()
}

/// `count` pairs of memo 0 and memo 1.
fn pairs(count: usize) -> Vec<u8> {
    b"h\x00h\x01".repeat(count)
}

#[test]
fn long_names_that_are_shared_are_counted_for_each_tensor() {
    let shared = w().op(b"}(").text(&"x".repeat(1 << 20)).op(b"q\x00").op(&tensor().0).op(b"q\x01");
    assert!(refused(shared.op(&pairs(200_000)).op(b"u")).contains("more tensors, or longer names"));
}

#[test]
fn modules_that_are_shared_are_counted_wherever_they_are() {
    let parameters = |value: Writer| {
        w().op(b"}(").text("w").op(b"q\x00").op(&value.0).op(b"q\x01").op(&pairs(100_000)).op(b"u")
    };
    let tree = |leaf: Writer| {
        let mut pickle = leaf.op(b"q\x02");
        for level in 2..17u8 {
            let both = w().op(b"}(").text("a").op(&[b'h', level]).text("b").op(&[b'h', level]).op(b"u");
            pickle = pickle.op(b"0").op(&module(w().op(b"}"), both).0).op(&[b'q', level + 1]);
        }
        pickle
    };
    let bomb = tree(module(parameters(tensor()), w().op(b"}")));
    assert!(refused(bomb).contains("more tensors, or longer names"));
    // The same without a tensor: nothing is kept, but all is looked at.
    let nothing = tree(module(parameters(w().op(b"N")), w().op(b"}")));
    assert!(refused(nothing).contains("would take hours"));
}

/// A storage as a file of the legacy format, with this many values in its third pickle.
fn embedded(values: usize) -> Vec<u8> {
    let head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    let system = w().dict(&[("little_endian", w().op(b"\x88"))]).op(&b"N0".repeat(values)).op(b".");
    let root =
        w().op(b"(").text("storage").class("torch", "FloatStorage").text("7").text("cpu").int(1).op(b"NtQ.");
    [head, &system.0[..], &root.0, b"](X\x01\x00\x00\x007e.", &1u64.to_le_bytes(), &[0; 4]].concat()
}

fn tensor_in(bytes: &[u8]) -> Writer {
    let w =
        w().class("torch._utils", "_rebuild_tensor_v2").op(b"(").class("torch.storage", "_load_from_bytes");
    w.op(bytes).op(b"\x85R").int(0).ints(&[1]).ints(&[1]).op(b"\x89NtR")
}

#[test]
fn a_storage_is_read_once_however_many_tensors_name_it() {
    let held = embedded(1_000_000);
    let bytes = [b"B", &(held.len() as u32).to_le_bytes()[..], &held].concat();
    let shared =
        w().op(b"}(").text("w").op(b"q\x00").op(&tensor_in(&bytes).0).op(b"q\x01").op(&pairs(100_000));
    // A dict of one name: the last counts. Read for each it would take half an hour; outside the pickle there is no such storage.
    assert!(refused(shared.op(b"u")).contains("cannot be read"));
}

#[test]
fn texts_that_stand_for_bytes_are_not_turned_into_bytes_without_end() {
    let text: String = embedded(1_000_000).iter().map(|&byte| char::from(byte)).collect();
    let once =
        w().class("_codecs", "encode").op(b"q\x02").text(&text).op(b"q\x03").text("latin1").op(b"q\x04\x86R");
    let again = tensor_in(b"h\x02h\x03h\x04\x86R");
    let mut pickle = w().op(b"}(").text("w").op(b"q\x00").op(&tensor_in(&once.0).0);
    for _ in 0..2_000 {
        pickle = pickle.op(b"h\x00").op(&again.0);
    }
    let reason = refused(pickle.op(b"u"));
    assert!(reason.contains("something else than bytes") || reason.contains("would take hours"), "{reason}");
}

#[test]
fn prefixes_of_wrappers_are_taken_off_at_once() {
    let name = "module.".repeat(200_000);
    let mut pickle = w().op(b"}(");
    for end in 0..20 {
        pickle = pickle.text(&format!("{name}w{end}")).op(&tensor().0);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long.pth");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored = zip::write::SimpleFileOptions::default();
    for (part, content) in [("a/data.pkl", pickle.op(b"u.").0), ("a/data/0", vec![0; 4])] {
        zip.start_file(part, stored).unwrap();
        zip.write_all(&content).unwrap();
    }
    zip.finish().unwrap();
    let dict = read_state_dict(&path).unwrap();
    assert!(
        dict.names().eq((0..20).map(|end| format!("w{end}")).collect::<Vec<_>>().iter().map(String::as_str))
    );
}

/// What the three readers of pickled networks say of a file.
fn networks(root: Writer) -> [Result<()>; 3] {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("network.pkl");
    std::fs::write(&path, [b"\x80\x03", &root.0[..], b"."].concat()).unwrap();
    let path: &Path = &path;
    [
        module_names(path).map(drop),
        describe_module(path, &["G_ema"]).map(drop),
        read_module(path, &["G_ema"]).map(drop),
    ]
}

#[test]
fn networks_whose_parts_are_shared_without_end_are_refused() {
    // A dict of many names, each of a module with many attributes.
    let attributes =
        w().op(b"}(").text("_parameters").op(b"}").text("_buffers").op(b"}").text("_modules").op(b"}");
    let attributes = attributes.op(&b"N0NN".repeat(300_000)).op(b"u");
    let wide = w().class("m", "M").op(b")R").op(&attributes.0).op(b"b");
    let many = w().op(b"}(").text("n").op(b"q\x00").op(&wide.0).op(b"q\x01").op(&pairs(300_000)).op(b"u");
    let [names, described, read] = networks(many);
    assert!(names.unwrap_err().to_string().contains("would take hours"));
    // Looking for one name is quick, and there is none.
    assert!(described.is_ok() && read.is_err());
}
