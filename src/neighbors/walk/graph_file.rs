//! A graph as plain arrays in a safetensors file, which any program can read. Nodes are numbered in the order of their rows.
//!
//! | tensor | type | length | holds |
//! |---|---|---|---|
//! | `rows` | U32 | n | the row of each node, ascending |
//! | `levels` | U8 | n | the highest layer of each node; a walk starts at the first node of the highest layer |
//! | `lowest.indptr` | U64 | n + 1 | where the links of each node on layer 0 begin and end |
//! | `lowest.indices` | U32 | links | the nodes that they lead to |
//! | `upper.indptr` | U64 | n + 1 | the same of the links on higher layers |
//! | `upper.indices` | U32 | links | the nodes that they lead to |
//! | `upper.layers` | U8 | links | the layer of each, ascending for each node |
//! | `contents` | U64 | 2 n, or absent | 128 bits of the SHA-256 of each row: a graph of other rows can begin with the links between those that it shares |
//!
//! The links are compressed sparse rows, as in `scipy.sparse.csr_array`.

use super::graph::{Graph, LAYERS, Links, entry};
use crate::error::{Error, Result};
use crate::formats::integers::{Integer, write_integers};
use crate::formats::safetensors::{SafetensorsReader, header};
use crate::neighbors::exact::groups::Content;
use crate::neighbors::index_files::{HashedFile, unusable};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

const ROWS: &str = "rows";
const LEVELS: &str = "levels";
const LOWEST: [&str; 2] = ["lowest.indptr", "lowest.indices"];
const UPPER: [&str; 2] = ["upper.indptr", "upper.indices"];
const UPPER_LAYERS: &str = "upper.layers";
const CONTENTS: &str = "contents";

/// Writes `graph`, with the contents of its rows where there are any.
///
/// # Errors
/// [`Error::Io`].
pub(in crate::neighbors) fn write(graph: &Graph, contents: &[Content], file: &mut HashedFile) -> Result<()> {
    let path = file.path.clone();
    let header = header_of(graph, contents)?;
    write_to(graph, contents, &header, file).map_err(Error::io("write", path))
}

/// Tensors of wide types come first, so that each begins at a multiple of its type's size.
fn header_of(graph: &Graph, contents: &[Content]) -> Result<Vec<u8>> {
    let (rows, lowest, upper) = (graph.rows.len(), graph.lowest.all.len(), graph.upper.all.len());
    let contents = (!contents.is_empty()).then_some((CONTENTS, u64::DTYPE, vec![2 * contents.len()]));
    header(contents.into_iter().chain([
        (LOWEST[0], u64::DTYPE, vec![rows + 1]),
        (UPPER[0], u64::DTYPE, vec![rows + 1]),
        (ROWS, u32::DTYPE, vec![rows]),
        (LOWEST[1], u32::DTYPE, vec![lowest]),
        (UPPER[1], u32::DTYPE, vec![upper]),
        (LEVELS, u8::DTYPE, vec![rows]),
        (UPPER_LAYERS, u8::DTYPE, vec![upper]),
    ]))
}

fn write_to(graph: &Graph, contents: &[Content], header: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(header)?;
    write_integers(out, contents.as_flattened().iter().copied())?;
    write_integers(out, graph.lowest.starts.iter().copied())?;
    write_integers(out, graph.upper.starts.iter().copied())?;
    write_integers(out, graph.rows.iter().copied())?;
    write_integers(out, graph.lowest.all.iter().copied())?;
    write_integers(out, graph.upper.all.iter().map(|link| link.1))?;
    write_integers(out, graph.levels.iter().copied())?;
    write_integers(out, graph.upper.all.iter().map(|link| link.0))
}

/// Reads the graph of `rows` (ascending); `path` is for messages. Memory is taken for what the file holds only.
///
/// # Errors
/// [`Error::Malformed`] if the file is damaged or holds the graph of other rows; [`Error::Io`].
pub(crate) fn read(rows: Vec<u32>, source: impl Read + Seek, path: &Path) -> Result<Graph> {
    let graph = SafetensorsReader::new(source, path).and_then(|mut file| arrays(rows, &mut file));
    graph.and_then(|graph| graph.map_err(|reason| unusable(path, reason))).map_err(|error| match error {
        // The remedy is that of an index, and not that of any file.
        Error::Malformed { path, reason, .. } => unusable(&path, reason),
        other => other,
    })
}

/// Reads a graph of whatever rows, and their contents.
///
/// # Errors
/// As [`read`]; [`Error::Malformed`] where the file holds no contents.
pub(in crate::neighbors) fn read_any(source: impl Read + Seek, path: &Path) -> Result<(Graph, Vec<Content>)> {
    let mut file = SafetensorsReader::new(source, path)?;
    let contents: Vec<u64> = file.integers(CONTENTS)?;
    let rows: Vec<u32> = file.integers(ROWS)?;
    let contents = contents.as_chunks().0.to_vec();
    if contents.len() != rows.len() {
        return Err(unusable(path, "holds rows without a content"));
    }
    let graph = arrays(rows, &mut file)?.map_err(|reason| unusable(path, reason))?;
    Ok((graph, contents))
}

fn arrays<R: Read + Seek>(
    rows: Vec<u32>,
    file: &mut SafetensorsReader<'_, R>,
) -> Result<std::result::Result<Graph, String>> {
    let rows_there: Vec<u32> = file.integers(ROWS)?;
    let levels: Vec<u8> = file.integers(LEVELS)?;
    let lowest = (file.integers(LOWEST[0])?, file.integers(LOWEST[1])?);
    let upper = (file.integers(UPPER[0])?, file.integers(UPPER[1])?);
    let layers: Vec<u8> = file.integers(UPPER_LAYERS)?;
    Ok(checked(rows, rows_there, levels, lowest, upper, layers))
}

/// The graph of these arrays, or what is wrong with them.
fn checked(
    rows: Vec<u32>,
    rows_there: Vec<u32>,
    levels: Vec<u8>,
    lowest: (Vec<u64>, Vec<u32>),
    upper: (Vec<u64>, Vec<u32>),
    layers: Vec<u8>,
) -> std::result::Result<Graph, String> {
    if rows_there.len() != rows.len() {
        let (there, here) = (rows_there.len(), rows.len());
        return Err(format!("was built from other features: {there} rows there, {here} here"));
    }
    if rows_there != rows {
        return Err("was built from other features: it holds other rows".to_owned());
    }
    if levels.len() != rows.len() || levels.iter().any(|&level| usize::from(level) >= LAYERS) {
        return Err("holds nodes without a layer".to_owned());
    }
    if layers.len() != upper.1.len() {
        return Err("holds links without a layer".to_owned());
    }
    let nodes = rows.len();
    if lowest.1.iter().chain(&upper.1).any(|&node| node as usize >= nodes) {
        return Err("a link leads to a node that is not there".to_owned());
    }
    let lowest = Links::new(lowest.0, lowest.1, nodes)?;
    let upper = Links::new(upper.0, layers.into_iter().zip(upper.1).collect(), nodes)?;
    let ordered = |links: &[(u8, u32)]| links.is_sorted_by_key(|link| link.0);
    let above = |link: &(u8, u32)| (1..LAYERS).contains(&usize::from(link.0));
    if !upper.all.iter().all(above) || !(0..nodes as u32).all(|node| ordered(upper.of(node))) {
        return Err("links are out of the order of layers".to_owned());
    }
    Ok(Graph { entry: entry(&levels), rows, levels, lowest, upper })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::exact::tests::cloud;
    use crate::neighbors::hnsw::insert;
    use crate::neighbors::walk::{Space, Walk};
    use proptest::prelude::*;
    use safetensors::SafeTensors;
    use std::io::Cursor;

    const CONNECTIONS: usize = 4;

    fn written(rows: usize) -> (Graph, Space, Vec<u8>) {
        let space = Space { features: cloud(rows, 5, 21).into_shared(), first: 0, scale: 1.0 };
        let rows = (0..rows as u32).collect();
        let graph = insert::build(rows, CONNECTIONS, 20, space.clone(), |_| Ok(())).unwrap();
        let mut bytes = Vec::new();
        write_to(&graph, &[], &header_of(&graph, &[]).unwrap(), &mut bytes).unwrap();
        (graph, space, bytes)
    }

    fn read_bytes(rows: &[u32], bytes: &[u8]) -> Result<Graph> {
        read(rows.to_vec(), Cursor::new(bytes), Path::new("index.0.safetensors"))
    }

    #[test]
    fn a_graph_comes_back_as_it_was() {
        for rows in [1, 2, 300] {
            let (graph, _, bytes) = written(rows);
            assert_eq!(read_bytes(&graph.rows, &bytes).unwrap(), graph);
        }
    }

    #[test]
    fn the_contents_of_rows_come_back_where_they_were_written() {
        let (graph, _, plain) = written(60);
        let contents: Vec<Content> = (0..60).map(|row| [row, row << 40]).collect();
        let mut bytes = Vec::new();
        write_to(&graph, &contents, &header_of(&graph, &contents).unwrap(), &mut bytes).unwrap();
        assert_eq!(read_bytes(&graph.rows, &bytes).unwrap(), graph);
        let any = |bytes: &[u8]| read_any(Cursor::new(bytes), Path::new("earlier.safetensors"));
        assert_eq!(any(&bytes).unwrap(), (graph, contents));
        assert!(any(&plain).unwrap_err().to_string().contains("contents"));
        for cut in 0..bytes.len() {
            assert!(any(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn the_arrays_are_those_of_the_documentation_for_another_reader() {
        let (graph, space, bytes) = written(300);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        fn list<const SIZE: usize>(file: &SafeTensors, name: &str) -> Vec<u64> {
            let tensor = file.tensor(name).unwrap();
            assert_eq!(tensor.shape().len(), 1);
            let wide =
                |bytes: &[u8; SIZE]| bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            tensor.data().as_chunks().0.iter().map(wide).collect()
        }
        assert_eq!(list::<4>(&file, "rows"), (0..300).collect::<Vec<u64>>());
        let levels = list::<1>(&file, "levels");
        assert!(levels.iter().filter(|&&level| level > 0).count() > 10);
        let (starts, links) = (list::<8>(&file, "lowest.indptr"), list::<4>(&file, "lowest.indices"));
        assert_eq!((starts.len(), starts[0], starts[300]), (301, 0, links.len() as u64));
        let mut near = 0;
        for (node, ends) in starts.windows(2).enumerate() {
            let links = &links[ends[0] as usize..ends[1] as usize];
            assert!(!links.is_empty() && links.len() <= 2 * CONNECTIONS);
            // The nearest other row is nearly always linked: these are links between neighbours.
            let distance = |to: u32| space.squared(node as u32, to);
            let nearest =
                (0..300).filter(|&to| to != node as u32).min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            near += usize::from(links.contains(&u64::from(nearest.unwrap())));
        }
        assert!(near > 250, "{near}");
        let (starts, layers) = (list::<8>(&file, "upper.indptr"), list::<1>(&file, "upper.layers"));
        let upper = list::<4>(&file, "upper.indices");
        let highest = *levels.iter().max().unwrap();
        for ends in starts.windows(2) {
            let links = ends[0] as usize..ends[1] as usize;
            // A link may lead to a node of a lower level: `hnsw_rs` links a new highest node to the entry below it.
            assert!(layers[links.clone()].iter().all(|layer| (1..=highest).contains(layer)));
            assert!(layers[links].is_sorted());
        }
        assert!(upper.iter().all(|&node| node < 300));
        assert_eq!(levels[graph.entry as usize], highest);
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_refused_or_harmless(
            cut in 0usize..8_000, flips in prop::collection::vec((0usize..8_000, any::<u8>()), 0..4),
        ) {
            let (graph, space, mut bytes) = written(40);
            let whole = bytes.len();
            for (at, value) in flips {
                bytes[at % whole] ^= value;
            }
            // Two of three files keep their length, so that their arrays are read.
            bytes.truncate(whole - if cut % 3 == 0 { cut % whole } else { 0 });
            match read_bytes(&graph.rows, &bytes) {
                Ok(read) => {
                    let found = read.search(space.row(3), &space, None, 8, &mut Walk::default()).to_vec();
                    prop_assert!(found.iter().all(|&(_, row)| row < 40));
                }
                Err(error) => prop_assert!(matches!(error, Error::Malformed { .. }), "{error:?}"),
            }
        }
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        type Damage = fn(&mut Graph);
        let says = |damage: Damage| {
            let (mut graph, _, _) = written(60);
            let rows = graph.rows.clone();
            damage(&mut graph);
            let mut bytes = Vec::new();
            write_to(&graph, &[], &header_of(&graph, &[]).unwrap(), &mut bytes).unwrap();
            let error = read_bytes(&rows, &bytes).unwrap_err();
            assert!(error.hint().unwrap().contains("IndexReference"));
            error.to_string()
        };
        assert!(says(|graph| graph.rows[3] += 100).contains("other rows"));
        assert!(says(|graph| graph.levels[5] = LAYERS as u8).contains("without a layer"));
        assert!(says(|graph| graph.lowest.all[7] = 60).contains("not there"));
        assert!(says(|graph| graph.upper.all[0].1 = u32::MAX).contains("not there"));
        assert!(says(|graph| graph.upper.all[0].0 = 0).contains("order of layers"));
        assert!(says(|graph| graph.upper.all[0].0 = LAYERS as u8).contains("order of layers"));
        assert!(says(|graph| graph.lowest.starts[0] = 1).contains("begin and end"));
        assert!(says(|graph| graph.lowest.starts[9] = u64::MAX).contains("begin and end"));
        assert!(says(|graph| *graph.upper.starts.last_mut().unwrap() += 1).contains("begin and end"));
        assert!(says(|graph| graph.lowest.starts.swap(4, 5)).contains("begin and end"));
    }

    #[test]
    fn sizes_that_the_file_does_not_hold_are_refused() {
        let (graph, _, bytes) = written(60);
        let says = |bytes: &[u8]| read_bytes(&graph.rows, bytes).unwrap_err().to_string();
        assert!(says(&[]).contains("ends in the middle"));
        assert!(says(&u64::MAX.to_le_bytes()).contains("declares a header"));
        assert!(says(&bytes[..bytes.len() - 1]).contains("bytes of tensors"));
        assert!(says(&[&bytes[..], &[0]].concat()).contains("bytes of tensors"));
        let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let with = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
            assert!(header.contains(from), "{header}");
            [&bytes[..8], header.replacen(from, to, 1).as_bytes(), &bytes[8 + length..]].concat()
        };
        assert!(says(&with("[61]", "[99]")).contains("header is damaged"));
        assert!(says(&with("\"rows\"", "\"cows\"")).contains("no tensor `rows`"));
        assert!(says(&with("\"U32\",\"shape\":[60]", "\"F32\",\"shape\":[60]")).contains("`rows`"));
        let (other, _, _) = written(61);
        assert!(read_bytes(&other.rows, &bytes).unwrap_err().to_string().contains("60 rows there, 61 here"));
    }
}
