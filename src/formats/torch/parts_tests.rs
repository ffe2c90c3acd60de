//! Which of a file's networks is read, and what stands for one or is put together from several files.

use super::tests::{SIX, Writer, bytes, fixture, names, read_six, reason, w, zipped};
use crate::formats::state_dict::{PartOf, StateDict, Wanted};
use crate::formats::weights_file::read_state_dict;
use ::zip::{ZipWriter, write::SimpleFileOptions};
use std::io::Cursor;
use std::path::Path;

#[test]
fn what_was_saved_beside_a_network_is_not_the_network() {
    let weights = w().dict(&[("a", w().floats(&[6], &[1])), ("b", w().floats(&[6], &[1]))]);
    let loss = w().tensor("FloatStorage", 6, 0, &[], &[]);
    let optimizer = w().dict(&[("state", w().dict(&[("0", weights.clone())]))]);
    let dict = read_six(w().dict(&[
        ("epoch", w().int(5)),
        ("model_state_dict", weights.clone()),
        ("optimizer_state_dict", optimizer.clone()),
        ("loss", loss),
    ]))
    .unwrap();
    assert_eq!(names(&dict), ["a", "b"]);
    let said: Vec<String> = dict.parts().iter().map(PartOf::to_string).collect();
    assert_eq!(said, ["`model_state_dict` of {model_state_dict, optimizer_state_dict}"]);
    let alone = w().dict(&[("state", w().dict(&[("0", weights)])), ("param_groups", w().op(b"]"))]);
    assert!(reason(alone).contains("optimizer"));
}

#[test]
fn of_several_networks_the_wanted_one_is_read_and_said() {
    let weights = |name: &str| w().dict(&[(name, w().floats(&[6], &[1]))]);
    let read = |pickle: &Writer, wanted| {
        let file = zipped(pickle.clone(), &bytes(&SIX), b"little");
        let dict = super::zip::read(Cursor::new(file), Path::new("a.pth"), wanted).unwrap();
        let name = names(&dict).join(" ");
        (name, dict.parts().iter().map(PartOf::to_string).collect::<Vec<_>>())
    };
    for (live, average) in [
        ("model", "ema"),
        ("generator", "generator_ema"),
        ("net", "net_ema"),
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("params", "params_ema"),
        ("g", "g_ema"),
        ("netG", "netG_EMA"),
        ("model", "averaged_model"),
    ] {
        let pickle = w().dict(&[(live, weights("live")), ("d", weights("d")), (average, weights("average"))]);
        assert_eq!(read(&pickle, Wanted::Generator).0, "average", "{average}");
        assert_eq!(read(&pickle, Wanted::TrainedGenerator).0, "live", "{live}");
        assert_eq!(read(&pickle, Wanted::Discriminator).0, "d");
    }
    let pickle = w().dict(&[("model", weights("m")), ("ema", weights("e")), ("step", w().int(1))]);
    assert_eq!(read(&pickle, Wanted::Generator).1, ["`ema` of {ema, model}"]);
    // One flat state dict, as Lightning writes it.
    let tensor = || w().floats(&[6], &[1]);
    let flat = w().dict(&[
        ("generator.main.0", tensor()),
        ("discriminator.main.0", tensor()),
        ("discriminator.main.2", tensor()),
    ]);
    let file = w().dict(&[("state_dict", flat), ("pytorch-lightning_version", w().text("2.2.0"))]);
    assert_eq!(
        read(&file, Wanted::Generator),
        ("main.0".into(), vec!["`generator` of {discriminator, generator}".to_owned()])
    );
    assert_eq!(read(&file, Wanted::Discriminator).0, "main.0 main.2");
    // Layers of one network are no networks.
    let layers = w().dict(&[("g.0", tensor()), ("encoder.0", tensor()), ("head.0", tensor())]);
    assert_eq!(read(&layers, Wanted::Generator).0, "g.0 encoder.0 head.0");
}

#[test]
fn programs_and_files_that_stand_for_others_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |name: &str, members: &[&str]| {
        let path = directory.path().join(name);
        let mut zip = ZipWriter::new(std::fs::File::create(&path).unwrap());
        for member in members {
            zip.start_file(*member, SimpleFileOptions::default()).unwrap();
        }
        zip.finish().unwrap();
        read_state_dict(&path).unwrap_err().to_string()
    };
    let script = ["g/data.pkl", "g/code/__torch__.py", "g/constants.pkl", "g/version"];
    assert!(refused("scripted.pt", &script).contains("TorchScript"));
    let export = ["e/data/weights/weight_0", "e/models/model.json", "e/archive_format"];
    assert!(refused("exported.pt2", &export).contains("torch.export"));
    for (content, said) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"[..], "Git LFS"),
        (b"<!doctype html><html>", "web page"),
        (b"", "empty"),
        (b"\0\0\0\0", "empty"),
    ] {
        let path = directory.path().join("other.pth");
        std::fs::write(&path, content).unwrap();
        let error = read_state_dict(&path).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn parts_of_weights_are_put_together_by_their_index() {
    let directory = tempfile::tempdir().unwrap();
    let whole = read_state_dict(fixture("weights.safetensors")).unwrap();
    let mut parts = [StateDict::new("one"), StateDict::new("two")];
    let mut map = serde_json::Map::new();
    for (place, (name, tensor)) in whole.iter().enumerate() {
        parts[place % 2].insert(name, tensor.clone());
        map.insert(name.into(), format!("w-0000{}-of-00002.safetensors", place % 2 + 1).into());
    }
    for (part, number) in parts.iter().zip(1..) {
        let file = directory.path().join(format!("w-0000{number}-of-00002.safetensors"));
        crate::formats::safetensors::write_safetensors(file, part).unwrap();
    }
    let index = directory.path().join("w.safetensors.index.json");
    let write = |map: &serde_json::Map<String, serde_json::Value>| {
        std::fs::write(&index, serde_json::json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    };
    write(&map);
    let read = read_state_dict(&index).unwrap();
    assert_eq!(read.len(), whole.len());
    assert!(whole.iter().all(|(name, tensor)| read.get(name) == Some(tensor)));
    for (name, file, said) in [
        ("missing", "w-00001-of-00002.safetensors", "`missing`"),
        ("x", "../w.safetensors", "beside it"),
        ("x", "/etc/passwd", "beside it"),
        ("x", "..", "beside it"),
        ("x", "a\\b", "beside it"),
        ("x", "w.safetensors.index.json", "beside it"),
        ("x", "gone.safetensors", "gone.safetensors"),
    ] {
        let mut damaged = map.clone();
        damaged.insert(name.into(), file.into());
        write(&damaged);
        let error = read_state_dict(&index).unwrap_err().to_string();
        assert!(error.contains(said), "{file}: {error}");
    }
    std::fs::write(&index, "{}").unwrap();
    assert!(read_state_dict(&index).unwrap_err().to_string().contains("no index"));
}
