//! A network that `pd` knows, behind the protocol: whatever differs then is of the protocol.

use crate::support::{content, pd, run};
use candle_core::{Device, Tensor};
use pseudo_density::internals::formats::npy::{read_npy_array, write_npy};
use pseudo_density::internals::generate::{Snapshot, initialise};
use pseudo_density::{ForwardOptions, GeneratorRequest, load_generator};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use tempfile::TempDir;

/// What names the network of [`the_network`].
const NETWORK: &str = "PD_TEST_NETWORK";

/// A network that `pd` knows, behind the protocol: no test, but a program that tests start.
#[test]
#[ignore = "a program that the tests of this file start"]
fn the_network() {
    let Ok(path) = std::env::var(NETWORK) else { return };
    let network = load_generator(path, &GeneratorRequest::default()).unwrap();
    let shape = network.info().spaces[0].shape.clone();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let mut answer = json!({"name": "network", "latent": shape, "range": [-1, 1]});
        if let Some(id) = request.get("id") {
            let latent = read_npy_array(request["latent"].as_str().unwrap()).unwrap();
            let latent = latent.iter().copied().collect::<Vec<f32>>();
            let latent = Tensor::from_vec(latent, shape.as_slice(), &Device::Cpu).unwrap();
            // A matrix product of one row adds in another order than one of several.
            let latents = Tensor::stack(&[&latent, &latent], 0).unwrap();
            let images = network.generate(&latents, &ForwardOptions::default()).unwrap();
            let image = images.get(0).unwrap().to_vec3::<f32>().unwrap();
            let size = (image.len(), image[0].len(), image[0][0].len());
            let image = ndarray::Array3::from_shape_vec(size, image.concat().concat()).unwrap();
            let output = PathBuf::from(request["output"].as_str().unwrap()).with_extension("npy");
            write_npy(&output, &image).unwrap();
            answer = json!({"id": id, "output": output});
        }
        let mut out = std::io::stdout().lock();
        write!(out, "\n{answer}\n").and_then(|()| out.flush()).unwrap();
    }
}

#[test]
fn a_network_behind_the_protocol_keeps_what_it_keeps_without_to_the_byte() {
    let dir = TempDir::new().unwrap();
    let gan = r#"{"family": "mlp-gan", "generator": {"widths": [6, 24, 192], "image": [3, 8, 8]}}"#;
    fs::write(dir.path().join("gan.json"), gan).unwrap();
    let network = initialise(dir.path().join("gan.json"), 1, &GeneratorRequest::default()).unwrap();
    let snapshot = Snapshot { ema: Some(network.as_ref()), ..Snapshot::default() };
    snapshot.save(dir.path().join("g")).unwrap();
    let words = "--reference ref --bias diversity -n 30 --pilot 200 --novel --distinct";
    run(&dir, "sample --generator g --seeds 5000-5119 -o photos -q").success();
    run(&dir, "embed photos -o ref -q").success();
    run(&dir, "index ref --k 5 --no-predictor -q").success();
    run(&dir, &format!("sample --generator g {words} -o here")).success();
    let itself = std::env::current_exe().unwrap();
    let program =
        format!("'{}' --ignored --exact program_network::the_network --nocapture", itself.display());
    let mut behind = pd(&dir);
    behind.env(NETWORK, dir.path().join("g")).args(["sample", "--generator-command", &program]);
    behind.args(words.split_whitespace()).args(["-o", "behind", "--batch", "9"]).assert().success();
    let (mut here, mut behind) = (content(&dir.path().join("here")), content(&dir.path().join("behind")));
    // It says which generator it was.
    assert!(here.remove("summary.json") != behind.remove("summary.json"));
    assert_eq!(here.len(), 30 + 2);
    assert!(here == behind, "{:?}", here.keys().zip(behind.keys()).collect::<Vec<_>>());
}
