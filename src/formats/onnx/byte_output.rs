//! Networks that end with a cast to bytes, as image generators do (`(x * 127.5 + 128).clamp(0, 255).to(torch.uint8)`). The runtime has no
//! such cast. Where nothing but the order of the numbers changes behind it, one to whole numbers gives the same, as long as they are 0 to 255.
//! The numbers are those of `onnx.proto3`.

use super::outline::varint;
use std::collections::HashSet;

/// Fields of a model, a graph, a node, an attribute and an output.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_OUTPUT: u64 = 12;
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_OPERATOR: u64 = 4;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_NAME: u64 = 1;
const ATTRIBUTE_NUMBER: u64 = 3;
const OUTPUT_NAME: u64 = 1;

/// Types of numbers.
const UINT8: u8 = 2;
const INT32: u8 = 6;

/// Operators that leave the numbers of their first input as they are.
const ORDER_ONLY: [&[u8]; 6] = [b"Identity", b"Transpose", b"Reshape", b"Squeeze", b"Unsqueeze", b"Flatten"];

/// A field of a message.
enum Content<'a> {
    /// The number, and where its bytes begin.
    Number(u64, usize),
    Bytes(Slice<'a>),
}

/// A part of a file, which knows where it is.
#[derive(Clone, Copy)]
struct Slice<'a> {
    start: usize,
    bytes: &'a [u8],
}

impl<'a> Slice<'a> {
    /// The fields of a message, up to damage.
    fn fields(self) -> impl Iterator<Item = (u64, Content<'a>)> {
        let mut rest = self.bytes;
        let end = self.start + self.bytes.len();
        std::iter::from_fn(move || {
            loop {
                let tag = varint(&mut rest)?;
                let at = end - rest.len();
                let length = match tag & 7 {
                    0 => return Some((tag >> 3, Content::Number(varint(&mut rest)?, at))),
                    1 => 8,
                    2 => usize::try_from(varint(&mut rest)?).ok()?,
                    5 => 4,
                    _ => return None,
                };
                let start = end - rest.len();
                let (bytes, behind) = rest.split_at_checked(length)?;
                rest = behind;
                if tag & 7 == 2 {
                    return Some((tag >> 3, Content::Bytes(Slice { start, bytes })));
                }
            }
        })
    }

    /// The fields of this number that are bytes.
    fn all(self, number: u64) -> impl Iterator<Item = Slice<'a>> {
        self.fields().filter_map(move |field| match field {
            (found, Content::Bytes(bytes)) if found == number => Some(bytes),
            _ => None,
        })
    }

    fn first(self, number: u64) -> &'a [u8] {
        self.all(number).next().map_or(&[], |found| found.bytes)
    }
}

/// Makes casts to bytes, behind which only the order of the numbers changes up to an output, casts to whole numbers. The names of those
/// outputs.
pub(crate) fn widen(file: &mut [u8]) -> HashSet<String> {
    let (places, outputs) = {
        let model = Slice { start: 0, bytes: file };
        let graphs: Vec<Slice> = model.all(MODEL_GRAPH).collect();
        // Two graphs would be joined when they are read.
        let [graph] = graphs[..] else { return HashSet::new() };
        let outputs = graph.all(GRAPH_OUTPUT).map(|output| output.first(OUTPUT_NAME));
        let nodes: Vec<Slice> = graph.all(GRAPH_NODE).collect();
        outputs
            .filter_map(|output| Some((cast_behind(output, &nodes)?, output.to_vec())))
            .unzip::<_, _, Vec<_>, Vec<_>>()
    };
    for place in places {
        if let Some(kind) = file.get_mut(place) {
            *kind = INT32;
        }
    }
    outputs.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect()
}

/// Where the type of the cast to bytes is that an output comes from; `None` if it comes from anything else.
fn cast_behind(output: &[u8], nodes: &[Slice]) -> Option<usize> {
    let (mut name, mut users) = (output, 0);
    // A damaged graph may run in a circle.
    for _ in 0..=nodes.len() {
        // Another user might do arithmetic with it.
        if nodes.iter().filter(|node| node.all(NODE_INPUT).any(|used| used.bytes == name)).count() > users {
            return None;
        }
        let node = nodes.iter().find(|node| node.all(NODE_OUTPUT).any(|made| made.bytes == name))?;
        match node.first(NODE_OPERATOR) {
            b"Cast" => return node.all(NODE_ATTRIBUTE).find_map(to_bytes),
            operator if ORDER_ONLY.contains(&operator) => (name, users) = (node.first(NODE_INPUT), 1),
            _ => return None,
        }
    }
    None
}

/// Where the type of a cast is, if the attribute says bytes.
fn to_bytes(attribute: Slice) -> Option<usize> {
    if attribute.first(ATTRIBUTE_NAME) != b"to" {
        return None;
    }
    attribute.fields().find_map(|field| match field {
        (ATTRIBUTE_NUMBER, Content::Number(kind, at)) if kind == u64::from(UINT8) => {
            // Written in one byte, as all do.
            (attribute.bytes.get(at - attribute.start) == Some(&UINT8)).then_some(at)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A field that holds fewer than 128 bytes.
    fn field(number: u64, content: &[u8]) -> Vec<u8> {
        [&[(number << 3 | 2) as u8, content.len() as u8], content].concat()
    }

    fn node(operator: &[u8], input: &[u8], output: &[u8], attribute: &[u8]) -> Vec<u8> {
        let parts = [
            field(NODE_INPUT, input),
            field(NODE_OUTPUT, output),
            field(NODE_OPERATOR, operator),
            field(NODE_ATTRIBUTE, attribute),
        ];
        field(GRAPH_NODE, &parts.concat())
    }

    fn to(kind: u8) -> Vec<u8> {
        [field(ATTRIBUTE_NAME, b"to"), vec![(ATTRIBUTE_NUMBER << 3) as u8, kind]].concat()
    }

    fn model(nodes: &[Vec<u8>]) -> Vec<u8> {
        field(MODEL_GRAPH, &[nodes.concat(), field(GRAPH_OUTPUT, &field(OUTPUT_NAME, b"y"))].concat())
    }

    #[test]
    fn the_last_cast_to_bytes_is_one_to_whole_numbers_and_no_other() {
        let changed = |nodes: &[Vec<u8>]| {
            let before = model(nodes);
            let mut after = before.clone();
            let outputs = widen(&mut after);
            let at: Vec<(u8, u8)> =
                before.iter().zip(&after).filter(|(a, b)| a != b).map(|(a, b)| (*a, *b)).collect();
            (outputs.into_iter().collect::<Vec<_>>(), at)
        };
        let widened = (vec!["y".to_owned()], vec![(UINT8, INT32)]);
        assert_eq!(changed(&[node(b"Cast", b"x", b"y", &to(UINT8))]), widened);
        let turned = [node(b"Cast", b"x", b"c", &to(UINT8)), node(b"Transpose", b"c", b"y", b"")];
        assert_eq!(changed(&turned), widened);
        // The same numbers, but arithmetic of bytes behind the cast.
        let added = [node(b"Cast", b"x", b"c", &to(UINT8)), node(b"Add", b"c", b"y", b"")];
        assert_eq!(changed(&added).1, []);
        let both = [turned.to_vec(), vec![node(b"Add", b"c", b"sum", b"")]].concat();
        assert_eq!(changed(&both).1, []);
        assert_eq!(changed(&[node(b"Cast", b"x", b"y", &to(1))]).1, []);
        assert_eq!(changed(&[node(b"Identity", b"y", b"y", b"")]).1, []);
        assert_eq!(changed(&[]).1, []);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..60) {
            widen(&mut bytes);
            let mut damaged = model(&[node(b"Cast", b"x", b"y", &to(UINT8))]);
            let at = at % damaged.len();
            damaged[at] ^= bytes.first().copied().unwrap_or(1);
            widen(&mut damaged);
        }
    }
}
