//! Pickles of networks as the official programs lay them out: a dict of module objects, storages inside as bytes of torch's legacy format.

use pseudo_density::internals::formats::{HostTensor, StateDict, TensorData};
use serde_json::Value;

/// A network to be pickled.
pub struct Module<'a> {
    /// Its tensors, by the names of its `state_dict()`.
    pub weights: &'a StateDict,
    /// What its modules say of themselves, such as `mapping.num_layers`.
    pub attributes: &'a [(&'a str, Value)],
    /// Whether modules are NVIDIA's persistent objects, else plain ones.
    pub persistent: bool,
}

/// A whole file.
pub fn file(networks: &[(&str, &Module)]) -> Vec<u8> {
    let networks: Vec<(&str, Vec<u8>)> =
        networks.iter().map(|(name, network)| (*name, module(network, ""))).collect();
    [b"\x80\x03", &dict(&networks)[..], b"."].concat()
}

/// Text as an opcode.
pub fn text(value: &str) -> Vec<u8> {
    [b"X", &(value.len() as u32).to_le_bytes()[..], value.as_bytes()].concat()
}

/// A dict as opcodes.
pub fn dict<S: AsRef<str>>(pairs: &[(S, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<u8> =
        pairs.iter().flat_map(|(name, value)| [text(name.as_ref()), value.clone()].concat()).collect();
    [b"}(", &pairs[..], b"u"].concat()
}

fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", &value.to_le_bytes()[..]].concat()
}

fn tuple(items: impl Iterator<Item = i64>) -> Vec<u8> {
    [b"(", &items.flat_map(int).collect::<Vec<u8>>()[..], b"t"].concat()
}

fn value(of: &Value) -> Vec<u8> {
    match of {
        Value::Null => b"N".to_vec(),
        Value::Bool(true) => b"\x88".to_vec(),
        Value::Bool(false) => b"\x89".to_vec(),
        Value::String(of) => text(of),
        Value::Number(of) => match of.as_i64() {
            Some(of) => int(of),
            None => [b"G", &of.as_f64().unwrap().to_be_bytes()[..]].concat(),
        },
        Value::Object(of) => dict(&of.iter().map(|(name, of)| (name, value(of))).collect::<Vec<_>>()),
        Value::Array(_) => panic!("no network of these tests says a list"),
    }
}

fn tensor(of: &HostTensor) -> Vec<u8> {
    let (class, count, bytes): (_, _, Vec<u8>) = match &of.data {
        TensorData::F32(v) => ("FloatStorage", v.len(), v.iter().flat_map(|v| v.to_le_bytes()).collect()),
        TensorData::I64(v) => ("LongStorage", v.len(), v.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    let head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02";
    let system = dict(&[("little_endian", b"\x88".to_vec())]);
    let of_storage = [b"(", &text("storage")[..], format!("ctorch\n{class}\n").as_bytes()].concat();
    let root = [&of_storage[..], &text("7"), &text("cuda:0"), &int(count as i64), b"NtQ."].concat();
    let keys = [b"\x80\x02](", &text("7")[..], b"e."].concat();
    let count = (count as u64).to_le_bytes();
    let storage = [head, &system[..], b".\x80\x02", &root, &keys, &count, &bytes].concat();
    let strides = (1..=of.shape.len()).map(|from| of.shape[from..].iter().product::<usize>() as i64);
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\nB".as_slice(),
        &(storage.len() as u32).to_le_bytes(),
        &storage,
        b"\x85RK\x00",
        &tuple(of.shape.iter().map(|&length| length as i64)),
        &tuple(strides),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

/// The module whose names begin with `prefix`, and those in it.
fn module(network: &Module, prefix: &str) -> Vec<u8> {
    let tensors =
        network.weights.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
    let (own, deeper): (Vec<_>, Vec<_>) = tensors.partition(|(name, _)| !name.contains('.'));
    let attributes =
        network.attributes.iter().filter_map(|(name, of)| Some((name.strip_prefix(prefix)?, of)));
    let (said, said_deeper): (Vec<_>, Vec<_>) = attributes.partition(|(name, _)| !name.contains('.'));
    let inner = deeper.iter().map(|(name, _)| *name).chain(said_deeper.iter().map(|(name, _)| *name));
    let mut children: Vec<&str> = inner.filter_map(|name| Some(name.split_once('.')?.0)).collect();
    children.sort_unstable();
    children.dedup();
    let children: Vec<_> =
        children.iter().map(|name| (*name, module(network, &format!("{prefix}{name}.")))).collect();
    let own: Vec<_> = own.iter().map(|(name, of)| (*name, tensor(of))).collect();
    let mut state =
        vec![("_parameters", dict(&own)), ("_buffers", b"}".to_vec()), ("_modules", dict(&children))];
    state.extend(said.iter().map(|(name, of)| (*name, value(of))));
    let state = dict(&state);
    if !network.persistent {
        return [b"cpg_modules.networks\nModule\n)\x81", &state[..], b"b"].concat();
    }
    let meta = dict(&[("type", text("class")), ("class_name", text("Module")), ("state", state)]);
    [b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n", &meta[..], b"\x85R"].concat()
}
