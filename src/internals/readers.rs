//! Every reader of a file that a user hands over, by name. Fuzzing and the tests of damaged files reach all of them through one table.

use crate::density::Grouping;
use crate::formats::onnx::{byte_output, outline};
use crate::formats::table::Columns;
use crate::formats::torch::{describe_module, module_names, read_module};
use crate::formats::{pickle, read_features, read_state_dict, safetensors};
use crate::generate::{GeneratorRequest, load, load_discriminator};
use crate::images::{Alpha, ImageSet, decode_noted, prompt_of};
use crate::neighbors::walk::graph_file;
use crate::progress::Silent;
use crate::reference::Reference;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// A reader of one kind of file.
pub struct Reader {
    /// What it reads.
    pub kind: &'static str,
    /// The name that the file must have: readers go by the extension, or by the whole name.
    pub file: &'static str,
    /// Reads the file at this path, in all ways that `pd` reads such files, and drops what it read.
    pub read: fn(&Path),
}

/// All of them.
pub const READERS: &[Reader] = &[
    reader("pickle", "network.pkl", modules),
    reader("torch-zip", "model.pt", checkpoint),
    reader("torch-legacy", "model.pth", checkpoint),
    reader("safetensors", "model.safetensors", checkpoint),
    reader("npy", "features.npy", features),
    reader("npz", "features.npz", features),
    reader("tar", "images.tar", images),
    reader("tar-gz", "images.tar.gz", images),
    reader("zip", "images.zip", images),
    reader("jpeg", "image.jpg", image),
    reader("png", "image.png", image),
    reader("webp", "image.webp", image),
    reader("gif", "image.gif", image),
    reader("bmp", "image.bmp", image),
    reader("pnm", "image.ppm", image),
    reader("tiff", "image.tif", image),
    reader("onnx", "network.onnx", onnx),
    reader("configuration", "config.json", configuration),
    reader("manifest", "manifest.json", reference),
    reader("graph", "graph.safetensors", graph),
    reader("csv", "table.csv", table),
];

const fn reader(kind: &'static str, file: &'static str, read: fn(&Path)) -> Reader {
    Reader { kind, file, read }
}

fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

fn modules(path: &Path) {
    let bytes = bytes_of(path);
    if let Ok((pickle, read)) = pickle::parse(&bytes) {
        assert!(read <= bytes.len());
        pickle.describe(pickle.root());
    }
    checkpoint(path);
}

fn checkpoint(path: &Path) {
    let _ = module_names(path);
    let _ = describe_module(path, &["G_ema", "G"]);
    let _ = read_module(path, &["G_ema", "D"]);
    let _ = read_state_dict(path);
}

fn features(path: &Path) {
    let _ = read_features(path, None);
    let _ = read_features(path, Some("features"));
    // A `.npz` file may hold pixels.
    images(path);
}

fn images(path: &Path) {
    let Ok(set) = ImageSet::open(path, &Silent) else { return };
    for i in 0..set.len() {
        let _ = set.read(i);
    }
}

fn image(path: &Path) {
    let _ = decode_noted(&bytes_of(path), Alpha::default());
    if let Ok(set) = ImageSet::open(path, &Silent) {
        let _ = prompt_of(&set, 0, path);
    }
}

fn onnx(path: &Path) {
    let mut bytes = bytes_of(path);
    let _ = outline::check(&bytes);
    byte_output::widen(&mut bytes);
}

/// The weights beside it hold no tensor: what is read is the configuration alone.
fn configuration(path: &Path) {
    let Some(directory) = path.parent() else { return };
    for name in ["g.safetensors", "d.safetensors"] {
        if let Ok(empty) = safetensors::header::<&str>([]) {
            let _ = std::fs::write(directory.join(name), empty);
        }
    }
    let _ = load(directory, &GeneratorRequest::default());
    let _ = load_discriminator(directory, &GeneratorRequest::default());
}

fn reference(path: &Path) {
    let Some(Ok(reference)) = path.parent().map(Reference::open) else { return };
    let _ = reference.features();
    let _ = reference.paths();
    let _ = reference.descriptors();
    let _ = reference.density();
}

/// The rows of the graph that is read.
const GRAPH_ROWS: u32 = 24;

fn graph(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = graph_file::read((0..GRAPH_ROWS).collect(), BufReader::new(file), path);
    }
}

fn table(path: &Path) {
    let _ = Columns::read(path);
    let _ = crate::candidates::read_candidate_table(path, true, &mut |_| 0);
    let _ = crate::candidates::PromptFile::read(path);
    let _ = Grouping::Table(path.to_path_buf()).labels(&["a/b.png"]);
}
