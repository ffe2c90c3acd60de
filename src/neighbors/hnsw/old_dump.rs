//! Reads graphs that earlier versions of this program wrote in the dump format of `hnsw_rs` 0.3 (version 4): one file of links, one
//! of stored points. `hnsw_rs` itself ends the process, or reads past a buffer, on a damaged file. Here every number is checked
//! before it is used, and no memory is taken for a number in a file.

use crate::neighbors::walk::{Graph, LAYERS, Links, entry};
use std::io::Read;

const DESCRIPTION: u32 = 0x002a_6779;
const LAYER: u32 = 0x000a_676f;
const POINT: u32 = 0x000a_678f;
const DATA: u32 = 0xa67f_0000;
/// Points are written with their place in the layers.
const FULL: u8 = 1;
/// The name under which `hnsw_rs` looks for the distance of a dump. Its points are row numbers, in the bits of a float32.
const DISTANCE: &str = "pseudo_density::neighbors::RowDistance";
const SCALAR: &str = "f32";
/// Values stored for a point.
const STORED: u64 = 1;

/// A node as a dump names it: its layer and its rank there.
type Place = (u8, i32);

/// Nodes are inserted in order, so the rank in a layer counts the nodes of that layer before.
fn places(levels: &[u8]) -> Vec<Place> {
    let mut ranks = [0i32; LAYERS];
    levels
        .iter()
        .map(|&level| {
            let rank = &mut ranks[usize::from(level)];
            *rank += 1;
            (level, *rank - 1)
        })
        .collect()
}

/// Reads the graph of `rows` (ascending), or says what is wrong with the files.
pub(in crate::neighbors) fn read(
    rows: Vec<u32>,
    m: usize,
    links: &mut impl Read,
    data: &mut impl Read,
) -> Result<Graph, String> {
    let mut links = Input(links);
    let mut data = Input(data);
    links.expect(&DESCRIPTION.to_le_bytes(), "the mark of a dump")?;
    links.expect(&[FULL, m as u8], "the connections of the index")?;
    links.bytes::<8>()?;
    links.expect(&[LAYERS as u8], "the number of layers")?;
    links.u64()?;
    let stored = links.u64()?;
    if stored != rows.len() as u64 {
        return Err(format!("was built from other features: {stored} rows there, {} here", rows.len()));
    }
    links.expect(&STORED.to_le_bytes(), "the width of a point")?;
    for name in [DISTANCE, SCALAR] {
        links.expect(&(name.len() as u64).to_le_bytes(), "the length of a name")?;
        links.expect(name.as_bytes(), name)?;
    }
    data.expect(&DATA.to_le_bytes(), "the mark of stored points")?;
    data.expect(&STORED.to_le_bytes(), "the width of a point")?;
    links.expect(&[LAYERS as u8], "the number of layers")?;

    let mut levels: Vec<Option<u8>> = vec![None; rows.len()];
    let mut linked: Vec<Vec<(u8, u32)>> = vec![Vec::new(); rows.len()];
    // Links name nodes of layers that come later: their places are checked when all are known.
    let mut named: Vec<Vec<Place>> = vec![Vec::new(); rows.len()];
    for layer in 0..LAYERS as u8 {
        links.expect(&LAYER.to_le_bytes(), "the mark of a layer")?;
        for rank in 0..links.u64()? {
            links.expect(&POINT.to_le_bytes(), "the mark of a point")?;
            let (node, place) = links.name(&rows)?;
            if i64::from(place.1) != rank as i64 || place.0 != layer {
                return Err(format!("row {} is out of its place", rows[node]));
            }
            if levels[node].replace(layer).is_some() {
                return Err(format!("row {} comes twice", rows[node]));
            }
            for on in 0..LAYERS as u8 {
                for _ in 0..links.u64()? {
                    let (to, place) = links.name(&rows)?;
                    let distance = f32::from_le_bytes(links.bytes()?);
                    if distance.is_nan() || distance < 0.0 {
                        return Err(format!("a link of row {} has no distance", rows[node]));
                    }
                    linked[node].push((on, to as u32));
                    named[node].push(place);
                }
            }
            data.expect(&DATA.to_le_bytes(), "the mark of a stored point")?;
            data.expect(&u64::from(rows[node]).to_le_bytes(), "the same row in both files")?;
            data.expect(&(4 * STORED).to_le_bytes(), "the size of a stored point")?;
            data.expect(&rows[node].to_le_bytes(), "a row number as the stored point")?;
        }
    }
    let (start, start_place) = links.name(&rows)?;
    links.end()?;
    data.end()?;
    let levels: Vec<u8> = levels.into_iter().collect::<Option<_>>().ok_or("a row is missing")?;
    let places = places(&levels);
    for (linked, named) in linked.iter().zip(&named) {
        if linked.iter().zip(named).any(|(&(_, to), &place)| places[to as usize] != place) {
            return Err("a link names a row in a wrong place".to_owned());
        }
    }
    if start as u32 != entry(&levels) || places[start] != start_place {
        return Err("the entry is not the first row of the highest layer".to_owned());
    }
    let mut graph =
        Graph { rows, levels, entry: start as u32, lowest: Links::empty(), upper: Links::empty() };
    linked.iter().for_each(|links| graph.push_links(links));
    Ok(graph)
}

struct Input<'a, R>(&'a mut R);

impl<R: Read> Input<'_, R> {
    fn bytes<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], String> {
        let mut bytes = [0; COUNT];
        self.0.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn expect(&mut self, expected: &[u8], what: &str) -> Result<(), String> {
        for &byte in expected {
            if self.bytes::<1>()? != [byte] {
                return Err(format!("{what} is not where it has to be"));
            }
        }
        Ok(())
    }

    /// A row and its place, as the node of the row.
    fn name(&mut self, rows: &[u32]) -> Result<(usize, Place), String> {
        let row = self.u64()?;
        let place = (self.bytes::<1>()?[0], i32::from_le_bytes(self.bytes()?));
        let node = u32::try_from(row).ok().and_then(|row| rows.binary_search(&row).ok());
        node.map(|node| (node, place))
            .ok_or_else(|| format!("was built from other features: row {row} is not of this graph"))
    }

    fn end(&mut self) -> Result<(), String> {
        match self.0.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err("something follows the end".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::index_files::name;
    use crate::neighbors::walk::{Walk, prepared};
    use crate::neighbors::{GraphIndex, IndexKind, IndexRecord, Measured, NeighborIndex, Search, open};
    use crate::progress::Silent;
    use candle_core::Device;
    use ndarray::{ArcArray2, Array2};
    use proptest::prelude::*;
    use std::path::{Path, PathBuf};

    // What `pd index --index hnsw` of commit 646dd2a wrote for `features()`: two files, and the record of the manifest.
    const LINKS: &[u8] = include_bytes!("../../../tests/fixtures/neighbors/index.0.hnsw.graph");
    const POINTS: &[u8] = include_bytes!("../../../tests/fixtures/neighbors/index.0.hnsw.data");
    const RECORD: &str = include_str!("../../../tests/fixtures/neighbors/record.json");
    /// Distinct rows: those that the graph holds.
    const NODES: u32 = 43;
    const M: usize = 16;

    fn features() -> ArcArray2<f32> {
        Array2::from_shape_fn((48, 3), |(i, j)| ((i * (7 + j * 5)) % NODES as usize) as f32).into_shared()
    }

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/neighbors")
    }

    fn read_bytes(rows: u32, mut links: &[u8], mut points: &[u8]) -> Result<Graph, String> {
        read((0..rows).collect(), M, &mut links, &mut points)
    }

    #[test]
    fn an_index_of_an_earlier_version_is_opened_answers_and_is_saved_as_plain_arrays() {
        let mut record: IndexRecord = serde_json::from_str(RECORD).unwrap();
        assert_eq!((record.kind, record.recall), (IndexKind::Hnsw, Some(1.0)));
        let opened = open(&fixtures(), &record, features(), &Device::Cpu, &Silent).unwrap();
        let measured = Measured { k: 4, seed: 0 };
        let builder = record.parameters.unwrap();
        let built = GraphIndex::build(features(), builder, measured, &Device::Cpu, &Silent).unwrap();
        let search = Search { k: 4, skip_zero: false };
        assert_eq!(opened.search_self(search, &Silent).unwrap(), built.search_self(search, &Silent).unwrap());

        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in record.files.clone().unwrap().into_keys() {
            std::fs::copy(fixtures().join(&name), old.path().join(&name)).unwrap();
        }
        opened.save(old.path(), &mut record).unwrap();
        assert_eq!(record.files, Some(built.save(new.path()).unwrap()));
        let names: Vec<_> = std::fs::read_dir(old.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["index.0.safetensors"]);
    }

    #[test]
    fn a_dump_whose_digest_is_not_the_recorded_one_is_refused() {
        let record: IndexRecord = serde_json::from_str(RECORD).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let says = || {
            let error = open(dir.path(), &record, features(), &Device::Cpu, &Silent).err().unwrap();
            assert!(error.hint().unwrap().contains("IndexReference"));
            error.to_string()
        };
        std::fs::write(dir.path().join(name(0, "hnsw.data")), POINTS).unwrap();
        assert!(says().contains("missing"));
        std::fs::write(dir.path().join(name(0, "hnsw.graph")), &LINKS[1..]).unwrap();
        assert!(says().contains("SHA-256"));
    }

    proptest! {
        #[test]
        fn a_damaged_dump_is_refused_or_harmless(
            cut in 0usize..40_000, flips in prop::collection::vec((0usize..40_000, any::<u8>()), 0..4), in_points: bool,
        ) {
            let (mut links, mut points) = (LINKS.to_vec(), POINTS.to_vec());
            let file = if in_points { &mut points } else { &mut links };
            let whole = file.len();
            for (at, value) in flips {
                file[at % whole] ^= value;
            }
            // Two of three files keep their length, so that they are read to the end.
            file.truncate(whole - if cut % 3 == 0 { cut % whole } else { 0 });
            if let Ok(read) = read_bytes(NODES, &links, &points) {
                let space = prepared(features()).unwrap().0;
                let found = read.search(space.row(3), &space, None, 8, &mut Walk::default()).to_vec();
                prop_assert!(found.iter().all(|&(_, row)| row < NODES));
            }
        }
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let says = |links: &[u8], points: &[u8]| read_bytes(NODES, links, points).unwrap_err();
        assert!(says(&[], POINTS).contains("fill"));
        assert!(says(&LINKS[..LINKS.len() - 1], POINTS).contains("fill"));
        assert!(says(&[LINKS, &[0]].concat(), POINTS).contains("follows the end"));
        assert!(says(LINKS, &POINTS[..POINTS.len() - 4]).contains("fill"));
        let other = (1..=NODES).collect();
        let error = read(other, M, &mut { LINKS }, &mut { POINTS }).unwrap_err();
        assert!(error.contains("not of this graph"), "{error}");
        assert!(read_bytes(1, LINKS, POINTS).unwrap_err().contains("other features"));
        assert!(read((0..NODES).collect(), M + 1, &mut { LINKS }, &mut { POINTS }).is_err());
    }
}
