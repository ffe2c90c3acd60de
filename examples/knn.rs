//! Times the all-pairs nearest neighbours of a float32 `.npy` file: `knn FILE.npy K exact|exact@DEVICE|graph|hnsw [THREADS [OUT.bin]]`.
//! `made:ROWSxWIDTH` instead of a file makes up clustered features. Prints seconds to build and to search as JSON; `OUT.bin` gets the neighbours' rows as little-endian u32 `[N, K]`.

use ndarray::Array2;
use pseudo_density::Silent;
use pseudo_density::internals::device::DeviceChoice;
use pseudo_density::internals::neighbors::{
    Builder, DescentParameters, ExactIndex, GraphIndex, HnswParameters, Measured, NeighborIndex, Search,
    check_finite,
};
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, k, kind, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: knn FILE.npy|made:ROWSxWIDTH K exact|exact@DEVICE|graph|hnsw [THREADS [OUT.bin]]".into(),
        );
    };
    if let Some(threads) = rest.first() {
        rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    }
    let features = match file.strip_prefix("made:") {
        Some(shape) => made(shape)?,
        None => read_npy(file)?,
    };
    check_finite(features.view())?;
    let features = features.into_shared();
    let (kind, device) = kind.split_once('@').unwrap_or((kind, "cpu"));
    let device = device.parse::<DeviceChoice>()?.open()?.device;
    let search = Search { k: k.parse()?, skip_zero: false };
    let start = Instant::now();
    let graphs = |builder| {
        let measured = Measured { k: search.k, seed: 0 };
        GraphIndex::build(features.clone(), builder, measured, &device, &Silent)
    };
    let index: Box<dyn NeighborIndex> = match kind {
        "exact" => Box::new(ExactIndex::new(features)?.on(&device)),
        "graph" => Box::new(graphs(Builder::Descent(DescentParameters::for_neighbors(search.k)))?),
        "hnsw" => Box::new(graphs(Builder::Hnsw(hnsw_parameters()?))?),
        other => return Err(format!("unknown index {other}").into()),
    };
    let build = start.elapsed().as_secs_f64();
    let neighbors = index.search_self(search, &Silent)?;
    let total = start.elapsed().as_secs_f64();
    println!("{{\"build\": {build:.3}, \"search\": {:.3}}}", total - build);
    if let Some(out) = rest.get(1) {
        std::fs::write(out, neighbors.rows.iter().flat_map(|row| row.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    Ok(())
}

/// A hundred clusters, as features of images have them.
fn made(shape: &str) -> Result<Array2<f32>, Box<dyn Error>> {
    const CLUSTERS: u64 = 100;
    let (rows, width) = shape.split_once('x').ok_or("made:ROWSxWIDTH")?;
    let uniform = |seed: u64| {
        let mixed =
            (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (seed >> 7)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    Ok(Array2::from_shape_fn((rows.parse()?, width.parse()?), |(row, column)| {
        let (row, column) = (row as u64, column as u64);
        uniform((row % CLUSTERS) << 32 | column) + 0.5 * uniform((row + 1) << 20 | column)
    }))
}

/// `M,EF_CONSTRUCTION,EF_SEARCH,PARTS` of the environment variable `HNSW`, else the defaults.
fn hnsw_parameters() -> Result<HnswParameters, Box<dyn Error>> {
    let Ok(text) = std::env::var("HNSW") else { return Ok(HnswParameters::default()) };
    let numbers: Vec<usize> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let &[m, ef_construction, ef_search, parts] = numbers.as_slice() else {
        return Err("HNSW holds four numbers: m, ef_construction, ef_search, parts".into());
    };
    Ok(HnswParameters { m, ef_construction, ef_search, parts })
}

/// A C-ordered little-endian float32 `.npy` of two dimensions, as `numpy.save` writes it.
fn read_npy(file: &str) -> Result<Array2<f32>, Box<dyn Error>> {
    let mut file = BufReader::new(File::open(file)?);
    let mut start = [0; 10];
    file.read_exact(&mut start)?;
    let mut header = vec![0; usize::from(u16::from_le_bytes([start[8], start[9]]))];
    file.read_exact(&mut header)?;
    let header = std::str::from_utf8(&header)?;
    let shape = header.split_once('(').and_then(|(_, rest)| rest.split_once(')')).ok_or("no shape")?.0;
    let shape: Vec<usize> = shape.split(',').map(str::trim).map(str::parse).collect::<Result<_, _>>()?;
    let (true, &[rows, width]) = (header.contains("<f4"), shape.as_slice()) else {
        return Err("not a float32 matrix".into());
    };
    // Value by value, so that no second copy of the file is ever held.
    let mut values = Vec::with_capacity(rows * width);
    for _ in 0..rows * width {
        let mut value = [0; 4];
        file.read_exact(&mut value)?;
        values.push(f32::from_le_bytes(value));
    }
    Ok(Array2::from_shape_vec((rows, width), values)?)
}
