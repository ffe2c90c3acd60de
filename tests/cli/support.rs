//! What the tests share: the program in a directory of its own, images for it, and what it has written there.

pub use crate::paths::{generator_fixture, project};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use ndarray::Array4;
use pseudo_density::internals::formats::StateDict;
use pseudo_density::internals::formats::npy::write_npy;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

/// Variables by which schedulers and launchers tell a process which of several it is.
const OF_SCHEDULERS: [&str; 5] =
    ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "SLURM_STEP_ID", "RANK", "WORLD_SIZE"];

/// `pd` in `dir`, with a cache of its own: nothing of the user's is seen or changed.
pub fn pd(dir: &TempDir) -> Command {
    pd_in(dir.path())
}

fn pd_in(dir: &Path) -> Command {
    // The gate gives the demonstration's test the `pd` of the wheel.
    let mut command = match std::env::var_os("PD_UNDER_TEST") {
        Some(program) => Command::new(program),
        None => Command::cargo_bin("pd").unwrap(),
    };
    command.env("PD_CACHE", dir.join("cache")).current_dir(dir);
    for name in OF_SCHEDULERS {
        command.env_remove(name);
    }
    command
}

/// An indexed reference of `images`, in a directory of this name beside the tests' own, in `target`: what many tests need is made once.
pub fn shared_reference(name: &str, images: &Path, index: &[&str]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    pd_in(&dir).arg("embed").arg(images).args(["-o", "ref", "--quiet"]).assert().success();
    pd_in(&dir).args(["index", "ref", "--quiet"]).args(index).assert().success();
    dir.join("ref")
}

/// `pd` with these words.
pub fn run(dir: &TempDir, words: &str) -> Assert {
    pd(dir).args(words.split_whitespace()).assert()
}

/// The bundled digits, an archive of 1 797 images of 8 by 8 pixels in ten folders.
pub fn digits_zip() -> PathBuf {
    project("examples/digits.zip")
}

/// The first `per_class` digits of each of the ten, unpacked into `digits`.
pub fn digits(dir: &TempDir, per_class: usize) -> PathBuf {
    let out = dir.path().join("digits");
    let mut archive = zip::ZipArchive::new(fs::File::open(digits_zip()).unwrap()).unwrap();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let name = entry.name().unwrap().to_string();
        let Some((class, _)) = name.split_once('/') else { continue };
        let count = seen.entry(class.to_string()).or_default();
        *count += 1;
        if *count <= per_class {
            let to = out.join(&name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::io::copy(&mut entry, &mut fs::File::create(to).unwrap()).unwrap();
        }
    }
    out
}

/// `count` made-up images of `side` x `side` pixels: a folder `NAME` of PNM files, and `NAME.npz` with the same pixels as numbers.
pub fn made_up_images(dir: &TempDir, name: &str, count: usize, side: usize) {
    let mut state = name.bytes().fold(1u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let array = Array4::from_shape_fn((count, side, side, 3), |(image, y, x, _)| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((image * 40 + (y / 3) * 30 + (x / 3) * 20) as u32 % 200 + state % 50) as u8
    });
    let folder = dir.path().join(name);
    fs::create_dir_all(&folder).unwrap();
    for (i, image) in array.outer_iter().enumerate() {
        let mut file = format!("P6\n{side} {side}\n255\n").into_bytes();
        file.extend(image);
        fs::write(folder.join(format!("{i:06}.ppm")), file).unwrap();
    }
    let npy = folder.join("arr_0.npy");
    write_npy(&npy, &array).unwrap();
    let mut zip = zip::ZipWriter::new(fs::File::create(dir.path().join(format!("{name}.npz"))).unwrap());
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("arr_0.npy", stored).unwrap();
    zip.write_all(&fs::read(&npy).unwrap()).unwrap();
    zip.finish().unwrap();
    fs::remove_file(npy).unwrap();
}

/// Every file below a directory with its bytes, by its path from there.
pub fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = content(&entry.path()).into_iter();
            files.extend(below.map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        } else {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// Rows of a CSV table, cells by column.
pub fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(|row| row.unwrap()).collect()
}

/// A column of a CSV table.
pub fn column(path: &Path, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let at = reader.headers().unwrap().iter().position(|header| header == name).unwrap();
    reader.records().map(|row| row.unwrap()[at].to_string()).collect()
}

/// Pixels of the images of a directory, in the order of their names.
pub fn pixels(directory: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "png"));
    paths.sort();
    paths.iter().map(|path| image::open(path).unwrap().to_rgb8().into_raw()).collect()
}

/// Images `[n, 3, side, side]` as bytes, channels last, each number by `byte`.
pub fn bytes_of(images: &[f32], side: usize, byte: impl Fn(f32) -> u8) -> Vec<Vec<u8>> {
    let area = side * side;
    let of = |image: &[f32]| (0..area).flat_map(|p| [0, 1, 2].map(|c| byte(image[c * area + p]))).collect();
    images.chunks(3 * area).map(of).collect()
}

/// A tensor of a state dict as a file of latents.
pub fn write_latents(path: PathBuf, dict: &StateDict, name: &str) {
    let shape = dict.get(name).unwrap().shape.clone();
    let array = ndarray::ArrayD::from_shape_vec(shape, dict.f32(name).unwrap().to_vec()).unwrap();
    write_npy(path, &array).unwrap();
}

/// A picture with 40 coloured rectangles, in which every seed gives others.
pub fn picture(seed: u32) -> image::RgbImage {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut below = |limit: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % limit
    };
    let mut picture = image::RgbImage::new(160, 140);
    for rectangle in 0..40 {
        let largest = if rectangle < 8 { 80 } else { 24 };
        let (left, top, wide, high) = (below(160), below(140), 3 + below(largest), 3 + below(largest));
        let colour = image::Rgb([below(256) as u8, below(256) as u8, below(256) as u8]);
        for y in top..(top + high).min(140) {
            for x in left..(left + wide).min(160) {
                picture.put_pixel(x, y, colour);
            }
        }
    }
    picture
}
