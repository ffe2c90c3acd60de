//! A graph in the dump format of `hnsw_rs` 0.3 (version 4): one file of links, one of stored points.
//! Reading is done here and not by `hnsw_rs`, which ends the process, or reads past a buffer, on a damaged file:
//! every number is checked before it is used, and nothing is allocated from a number in a file.

use super::graph::{Graph, LAYERS, entry};
use super::space::Space;
use std::io::{self, Read, Write};

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

/// Writes `graph`; the distances of links are those of `space`.
pub(super) fn write(
    graph: &Graph,
    m: usize,
    ef_construction: usize,
    space: &Space,
    links: &mut impl Write,
    data: &mut impl Write,
) -> io::Result<()> {
    let places = places(&graph.levels);
    links.write_all(&DESCRIPTION.to_le_bytes())?;
    links.write_all(&[FULL, m as u8])?;
    links.write_all(&(1.0 / (m as f64).ln()).to_le_bytes())?;
    links.write_all(&[LAYERS as u8])?;
    for number in [ef_construction as u64, graph.rows.len() as u64, STORED] {
        links.write_all(&number.to_le_bytes())?;
    }
    for name in [DISTANCE, SCALAR] {
        links.write_all(&(name.len() as u64).to_le_bytes())?;
        links.write_all(name.as_bytes())?;
    }
    data.write_all(&DATA.to_le_bytes())?;
    data.write_all(&STORED.to_le_bytes())?;
    links.write_all(&[LAYERS as u8])?;
    for layer in 0..LAYERS as u8 {
        let nodes = || (0..graph.rows.len() as u32).filter(|&node| graph.levels[node as usize] == layer);
        links.write_all(&LAYER.to_le_bytes())?;
        links.write_all(&(nodes().count() as u64).to_le_bytes())?;
        for node in nodes() {
            let row = graph.rows[node as usize];
            links.write_all(&POINT.to_le_bytes())?;
            write_name(graph, &places, node, links)?;
            for on in 0..LAYERS as u8 {
                let upper = graph.upper_of(node).iter().filter(|link| link.0 == on).map(|link| link.1);
                let linked: Vec<u32> = if on == 0 { graph.lowest_of(node).to_vec() } else { upper.collect() };
                links.write_all(&(linked.len() as u64).to_le_bytes())?;
                for to in linked {
                    write_name(graph, &places, to, links)?;
                    links.write_all(&space.squared(row, graph.rows[to as usize]).to_le_bytes())?;
                }
            }
            data.write_all(&DATA.to_le_bytes())?;
            data.write_all(&u64::from(row).to_le_bytes())?;
            data.write_all(&(4 * STORED).to_le_bytes())?;
            data.write_all(&row.to_le_bytes())?;
        }
    }
    write_name(graph, &places, graph.entry, links)
}

fn write_name(graph: &Graph, places: &[Place], node: u32, links: &mut impl Write) -> io::Result<()> {
    let (layer, rank) = places[node as usize];
    links.write_all(&u64::from(graph.rows[node as usize]).to_le_bytes())?;
    links.write_all(&[layer])?;
    links.write_all(&rank.to_le_bytes())
}

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
pub(super) fn read(
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
    let mut graph = Graph {
        rows,
        levels,
        entry: start as u32,
        lowest_ends: Vec::new(),
        lowest: Vec::new(),
        upper_ends: Vec::new(),
        upper: Vec::new(),
    };
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
    use crate::neighbors::exact::tests::cloud;
    use hnsw_rs::prelude::{Distance, HnswIo};
    use proptest::prelude::*;

    /// Stands in for the distance of the graph: any will do to load it and to follow its links.
    #[derive(Default, Clone)]
    struct RowDistance(Option<Space>);

    impl Distance<f32> for RowDistance {
        fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
            self.0.as_ref().map_or(0.0, |space| space.squared(a[0].to_bits(), b[0].to_bits()))
        }
    }

    fn written(rows: usize) -> (Graph, Space, Vec<u8>, Vec<u8>) {
        let space = Space { features: cloud(rows, 5, 21).into_shared(), first: 0, scale: 1.0 };
        let rows = (0..rows as u32).collect();
        let graph = Graph::build(rows, 4, 20, space.clone(), |_| Ok(())).unwrap();
        let (mut links, mut data) = (Vec::new(), Vec::new());
        write(&graph, 4, 20, &space, &mut links, &mut data).unwrap();
        (graph, space, links, data)
    }

    #[test]
    fn a_graph_comes_back_as_it_was() {
        for rows in [1, 2, 300] {
            let (graph, _, links, data) = written(rows);
            let read = read(graph.rows.clone(), 4, &mut links.as_slice(), &mut data.as_slice());
            assert_eq!(read.unwrap(), graph);
        }
    }

    #[test]
    fn hnsw_rs_reads_what_is_written_here() {
        let (graph, space, links, data) = written(300);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("index.hnsw.graph"), links).unwrap();
        std::fs::write(folder.path().join("index.hnsw.data"), data).unwrap();
        let mut reader = HnswIo::new(folder.path(), "index");
        let loaded = reader.load_hnsw::<f32, RowDistance>().unwrap();
        assert_eq!(loaded.get_nb_point(), 300);
        for layer in 0..LAYERS {
            for point in loaded.get_point_indexation().get_layer_iterator(layer) {
                let node = point.get_origin_id() as u32;
                let linked = &point.get_neighborhood_id()[0];
                assert_eq!(linked.iter().map(|to| to.d_id as u32).collect::<Vec<_>>(), graph.lowest_of(node));
                assert!(linked.iter().all(|to| to.distance == space.squared(node, to.d_id as u32)));
            }
        }
    }

    proptest! {
        #[test]
        fn a_damaged_dump_is_refused_or_harmless(
            cut in 0usize..40_000, flips in prop::collection::vec((0usize..40_000, any::<u8>()), 0..4), in_data: bool,
        ) {
            let (graph, space, mut links, mut data) = written(40);
            let file = if in_data { &mut data } else { &mut links };
            let whole = file.len();
            for (at, value) in flips {
                file[at % whole] ^= value;
            }
            file.truncate(whole - cut % whole);
            if let Ok(read) = read(graph.rows.clone(), 4, &mut links.as_slice(), &mut data.as_slice()) {
                let found = read.search(space.row(3), &space, None, 8, &mut super::super::graph::Walk::default()).to_vec();
                prop_assert!(found.iter().all(|&(_, row)| row < 40));
            }
        }
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let (graph, _, links, data) = written(60);
        let says = |links: &[u8], data: &[u8]| {
            read(graph.rows.clone(), 4, &mut { links }, &mut { data }).unwrap_err()
        };
        assert!(says(&[], &data).contains("fill"));
        assert!(says(&links[..links.len() - 1], &data).contains("fill"));
        assert!(says(&[&links[..], &[0]].concat(), &data).contains("follows the end"));
        assert!(says(&links, &data[..data.len() - 4]).contains("fill"));
        let other: Vec<u32> = (1..61).collect();
        assert!(
            read(other, 4, &mut links.as_slice(), &mut data.as_slice())
                .unwrap_err()
                .contains("not of this graph")
        );
        assert!(
            read(vec![0], 4, &mut links.as_slice(), &mut data.as_slice())
                .unwrap_err()
                .contains("other features")
        );
    }
}
