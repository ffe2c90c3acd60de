//! A look at an ONNX file before the runtime reads it: every declared length lies inside the file, nothing is nested
//! deeper than the stack allows, no loop runs for as long as the file likes.
//! The numbers are those of `onnx.proto3`.

use std::collections::HashSet;

/// Messages inside messages. A graph inside a graph takes three; real models stay under 16.
const MAX_DEPTH: usize = 32;

/// Operators that repeat a graph as often as the file says.
const ENDLESS: [&[u8]; 2] = [b"Loop", b"Scan"];

/// What is known of a file after the look.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outline {
    /// Names of the constants of the outermost graph; older files list them among the inputs too.
    pub constants: HashSet<String>,
    /// Numbers that all constants together have, as they declare.
    numbers: u64,
    /// Whether there are constants whose numbers are in another file.
    external: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TypeOfTensor,
    TypeOfSequence,
    Shape,
    /// One without messages inside.
    Leaf,
}

impl Message {
    /// The message in a field.
    fn field(self, number: u64) -> Option<Message> {
        use Message::*;
        Some(match (self, number) {
            (Model, 7) => Graph,
            (Model, 14) => Leaf,
            (Graph, 1) => Node,
            (Graph, 5) => Tensor,
            (Graph, 11..=13) => ValueInfo,
            (Node, 5) => Attribute,
            (Attribute, 5 | 10) => Tensor,
            (Attribute, 6 | 11) => Graph,
            (Tensor, 13) => Leaf,
            (ValueInfo, 2) => Type,
            (Type, 1) => TypeOfTensor,
            (Type, 4) => TypeOfSequence,
            (TypeOfSequence, 1) => Type,
            (TypeOfTensor, 2) => Shape,
            (Shape, 1) => Leaf,
            _ => return None,
        })
    }
}

/// Field numbers of what is looked at.
const OP_TYPE: u64 = 4;
const TENSOR_LENGTH: u64 = 1;
const TENSOR_NAME: u64 = 8;
const DATA_LOCATION: u64 = 14;
/// The location of data that is in another file.
const EXTERNAL: u64 = 1;

/// Numbers of four bits are the smallest.
const NUMBERS_PER_BYTE: u64 = 2;

/// # Errors
/// Why the file is not one that is handed on to the runtime.
pub(crate) fn check(bytes: &[u8]) -> Result<Outline, String> {
    if bytes.is_empty() {
        return Err("it is empty".into());
    }
    let mut outline = Outline::default();
    look(bytes, Message::Model, 0, &mut outline)?;
    if outline.external {
        return Err("its weights are in another file, as PyTorch's exporter does unless it is told `external_data=False`".into());
    }
    if outline.numbers > (bytes.len() as u64).saturating_mul(NUMBERS_PER_BYTE) {
        return Err(format!(
            "its constants declare {} numbers, more than its {} bytes can hold",
            outline.numbers,
            bytes.len()
        ));
    }
    Ok(outline)
}

fn look(mut bytes: &[u8], message: Message, depth: usize, outline: &mut Outline) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("graphs are nested more than {} deep", MAX_DEPTH / 3));
    }
    let damaged = || "it is damaged, or no ONNX file".to_string();
    let is_length = |number| message == Message::Tensor && number == TENSOR_LENGTH;
    let mut numbers = 1u64;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes).ok_or_else(damaged)?;
        let number = tag >> 3;
        let length = match tag & 7 {
            0 => {
                let value = varint(&mut bytes).ok_or_else(damaged)?;
                if is_length(number) {
                    numbers = numbers.saturating_mul(value);
                }
                outline.external |=
                    message == Message::Tensor && number == DATA_LOCATION && value == EXTERNAL;
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes).ok_or_else(damaged)?,
            5 => 4,
            _ => return Err(damaged()),
        };
        let length = usize::try_from(length).map_err(|_| damaged())?;
        let (content, rest) = bytes.split_at_checked(length).ok_or_else(damaged)?;
        bytes = rest;
        if tag & 7 != 2 {
            continue;
        }
        match (message, number) {
            (Message::Node, OP_TYPE) if ENDLESS.contains(&content) => {
                return Err(format!("the operator {} is not run here", String::from_utf8_lossy(content)));
            }
            // The outermost graph is at depth 1, its constants at 2.
            (Message::Tensor, TENSOR_NAME) if depth == 2 => {
                outline.constants.insert(String::from_utf8_lossy(content).into_owned());
            }
            _ => {}
        }
        let mut lengths = content;
        while is_length(number) && !lengths.is_empty() {
            numbers = numbers.saturating_mul(varint(&mut lengths).ok_or_else(damaged)?);
        }
        if let Some(inner) = message.field(number) {
            look(content, inner, depth + 1, outline)?;
        }
    }
    if message == Message::Tensor {
        outline.numbers = outline.numbers.saturating_add(numbers);
    }
    Ok(())
}

/// A number from the front: seven bits a byte, the lowest first.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A field that holds bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(content);
        bytes
    }

    /// Graphs inside graphs.
    fn nested(depth: usize) -> Vec<u8> {
        let graph = (0..depth).fold(Vec::new(), |inner, _| field(1, &field(5, &field(6, &inner))));
        field(7, &graph)
    }

    #[test]
    fn graphs_may_be_nested_but_not_without_end() {
        assert!(check(&nested(5)).is_ok());
        assert!(check(&nested(11)).unwrap_err().contains("nested"));
        assert!(check(&nested(20_000)).unwrap_err().contains("nested"));
    }

    #[test]
    fn constants_are_those_of_the_outermost_graph() {
        let inner = field(1, &field(5, &field(6, &field(5, &field(8, b"inner")))));
        let outline = check(&field(7, &[field(5, &field(8, b"outer")), inner].concat())).unwrap();
        assert_eq!(outline.constants, HashSet::from(["outer".to_string()]));
    }

    #[test]
    fn constants_hold_no_more_numbers_than_the_file_has_bytes() {
        // A tensor with these lengths, each a field of its own or all in one, and four bytes of data.
        let apart = |lengths: &[u8]| lengths.iter().flat_map(|&length| [1 << 3, length]).collect::<Vec<u8>>();
        let model = |tensor: &[u8]| check(&field(7, &field(5, &[tensor, &field(9, &[0; 4])].concat())));
        for lengths in [apart(&[2, 2]), field(1, &[2, 2]), apart(&[0, 100, 100]), Vec::new()] {
            assert!(model(&lengths).is_ok());
        }
        for lengths in [apart(&[100, 100]), field(1, &[100, 100]), field(1, &[0xff, 0xff, 0xff, 0xff, 0x7f])]
        {
            assert!(model(&lengths).unwrap_err().contains("more than its"));
        }
        let shared = [field(5, &apart(&[9, 9])), field(5, &apart(&[9, 9]))].concat();
        assert!(check(&field(7, &shared)).unwrap_err().contains("declare 162 numbers"));
    }

    #[test]
    fn weights_in_another_file_are_told_from_damage() {
        let tensor = |location: u8| field(7, &field(5, &[1 << 3, 100, DATA_LOCATION as u8 * 8, location]));
        assert!(check(&tensor(1)).unwrap_err().contains("external_data=False"));
        assert!(check(&tensor(0)).unwrap_err().contains("more than its"));
    }

    #[test]
    fn loops_and_lengths_beyond_the_file_are_refused() {
        assert!(check(&field(7, &field(1, &field(4, b"Loop")))).unwrap_err().contains("Loop"));
        assert!(check(&field(7, &field(1, &field(4, b"Conv")))).is_ok());
        let mut long = vec![7 << 3 | 2];
        long.extend([0xff; 8]);
        long.push(0x7f);
        assert!(check(&long).unwrap_err().contains("damaged"));
        // A tensor of the graph that claims more bytes than the graph has.
        assert!(check(&field(7, &[5 << 3 | 2, 100, 1])).unwrap_err().contains("damaged"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_look_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = check(&bytes);
        }
    }
}
