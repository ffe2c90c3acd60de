//! Pickled networks: module objects instead of a state dict. NVIDIA's programs pickle each module as a *persistent object*, a call
//! with one dict: class name, module source, state (<https://github.com/NVlabs/stylegan3/blob/main/torch_utils/persistence.py>). The source
//! is never looked at. Plain pickles of modules are read too; storages lie in the pickle as bytes of torch's legacy format.

use super::find::{MAX_DEPTH, MAX_VISITED, Search, check_work, module_state};
use super::pickle_error;
use super::storage::{embedded, is_legacy};
use super::tensor::materialize;
use crate::error::{Error, Result};
use crate::formats::element::ByteOrder;
use crate::formats::pickle::{self, Pickle, Ref, Value};
use crate::formats::regular::open_regular;
use crate::formats::state_dict::StateDict;
use serde_json::{Map, Value as Json};
use std::io::Read;
use std::path::Path;

/// A pickled module without its tensors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModuleDescription {
    /// Its class, without the Python module.
    pub class_name: String,
    /// Its attributes that are numbers, texts, or lists and dicts of such.
    pub attributes: Map<String, Json>,
    /// The modules in it, by name.
    pub modules: Vec<(String, ModuleDescription)>,
}

impl ModuleDescription {
    /// The module at a path such as `synthesis.b4.conv1`.
    pub fn module(&self, path: &str) -> Option<&ModuleDescription> {
        path.split('.').try_fold(self, |module, name| {
            module.modules.iter().find(|(key, _)| key == name).map(|(_, module)| module)
        })
    }

    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&Json> {
        self.attributes.get(name)
    }

    /// A keyword argument of its constructor.
    pub fn argument(&self, name: &str) -> Option<&Json> {
        self.attribute("_init_kwargs")?.get(name)
    }
}

/// Most values of one file that become a description, bytes of their texts included, and how deep they may lie.
const MAX_VALUES: usize = 1 << 20;
const MAX_VALUE_DEPTH: usize = 8;

const HINT: &str = "name a .pkl of StyleGAN2-ada's or StyleGAN3's PyTorch program";

/// Whether these first bytes of a file are those of a pickle that is no legacy checkpoint.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    /// Protocols that write their number first.
    const PROTOCOLS: std::ops::RangeInclusive<u8> = 2..=5;
    matches!(start, [0x80, protocol, ..] if PROTOCOLS.contains(protocol)) && !is_legacy(start)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = open_regular(path)?;
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// The names under which a pickled dict holds modules.
///
/// # Errors
/// As [`read_module`], but for a module that is missing.
pub fn module_names(path: &Path) -> Result<Vec<String>> {
    let bytes = read_file(path)?;
    let (pickle, _) = pickle::parse(&bytes).map_err(pickle_error(path))?;
    let pairs = networks(&pickle, path)?;
    let mut names = Vec::new();
    for (key, _) in pairs.iter().filter(|(_, value)| module_state(&pickle, *value).is_some()) {
        // A name may be shared by many.
        let Some(name) = pickle.str(*key).filter(|name| pickle.spend(name.len()).is_some()) else { continue };
        names.push(name.to_owned());
    }
    check_work(&pickle, path)?;
    Ok(names)
}

/// The pairs of the dict that a file of networks is.
fn networks<'p>(pickle: &'p Pickle, path: &Path) -> Result<&'p [(Ref, Ref)]> {
    pickle.pairs(pickle.root()).ok_or_else(|| {
        let reason = match pickle.sequence(pickle.root()) {
            Some([_, _, _]) => "holds three networks of the TensorFlow program".into(),
            _ => format!("holds {}, where a dict of networks is wanted", pickle.describe(pickle.root())),
        };
        Error::malformed(path, reason, format!("convert it with NVIDIA's legacy.py, or {HINT}"))
    })
}

/// What the module under the first of `names` that there is says of itself, without its tensors; `None` if there is none.
///
/// # Errors
/// As [`read_module`], but for a module that is missing.
pub fn describe_module(path: &Path, names: &[&str]) -> Result<Option<ModuleDescription>> {
    let bytes = read_file(path)?;
    let (pickle, _) = pickle::parse(&bytes).map_err(pickle_error(path))?;
    let module = find_module(&pickle, names);
    let described = module
        .map(|module| Describer { pickle: &pickle, path, left: MAX_VALUES }.module(module, 0))
        .transpose();
    check_work(&pickle, path)?;
    described
}

fn find_module(pickle: &Pickle, names: &[&str]) -> Option<Ref> {
    let is_module = |r: Ref| module_state(pickle, r).is_some();
    names.iter().find_map(|name| pickle.lookup(pickle.root(), name).filter(|&r| is_module(r)))
}

/// The module under the first of `names` that a pickled dict holds one under: its tensors by the names of its `state_dict()`, and what
/// it says of itself. Nothing in the file is run.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] if the file is damaged or holds no such module.
pub fn read_module(path: &Path, names: &[&str]) -> Result<(StateDict, ModuleDescription)> {
    let bytes = read_file(path)?;
    let (pickle, _) = pickle::parse(&bytes).map_err(pickle_error(path))?;
    let pairs = networks(&pickle, path)?;
    let Some(module) = find_module(&pickle, names) else {
        let held: Vec<&str> = pairs.iter().filter_map(|(key, _)| pickle.str(*key)).take(16).collect();
        let reason = format!("holds no network `{}` (it has {})", names.join("` or `"), held.join(", "));
        return Err(Error::malformed(path, reason, HINT));
    };
    let tensors = Search::new(&pickle, path).module(module);
    check_work(&pickle, path)?;
    let tensors = tensors?.ok_or_else(|| Error::malformed(path, "holds a network without tensors", HINT))?;
    let description = Describer { pickle: &pickle, path, left: MAX_VALUES }.module(module, 0);
    check_work(&pickle, path)?;
    let description = description?;
    let dict = materialize(tensors, ByteOrder::Little, bytes.len() as u64, path, |storage| {
        let cut = |reason: String| Error::malformed(path, reason, "copy or download it again");
        let held = storage.embedded.and_then(|r| pickle.bytes(r));
        let held = held.ok_or_else(|| cut(format!("storage {} lies outside the file", storage.key)))?;
        let (_, data) = embedded(&held).map_err(|reason| cut(format!("a storage {reason}")))?;
        Ok(data.to_vec())
    })?;
    Ok((dict, description))
}

struct Describer<'p> {
    pickle: &'p Pickle<'p>,
    path: &'p Path,
    /// Values and bytes of text that may still be written down: they may be shared without bound.
    left: usize,
}

impl Describer<'_> {
    fn spend(&mut self, text: &str) -> Result<()> {
        self.left = self
            .left
            .checked_sub(1 + text.len())
            .ok_or_else(|| Error::malformed(self.path, "has too many values in its modules", HINT))?;
        Ok(())
    }

    fn module(&mut self, value: Ref, depth: usize) -> Result<ModuleDescription> {
        let class_name = self.class_name(value);
        self.spend(&class_name)?;
        let mut description = ModuleDescription { class_name, ..Default::default() };
        let Some(state) = module_state(self.pickle, value).filter(|_| depth < MAX_DEPTH) else {
            return Ok(description);
        };
        let pickle = self.pickle;
        for &(key, value) in pickle.pairs(state).unwrap_or_default() {
            self.spend("")?;
            let Some(name) = pickle.str(key) else { continue };
            match name {
                "_parameters" | "_buffers" => {}
                "_modules" => {
                    for &(key, module) in pickle.pairs(value).unwrap_or_default().iter().take(MAX_VISITED) {
                        self.spend(pickle.str(key).unwrap_or_default())?;
                        if let Some(name) = pickle.str(key) {
                            description.modules.push((name.to_owned(), self.module(module, depth + 1)?));
                        }
                    }
                }
                _ => {
                    self.spend(name)?;
                    if let Some(json) = self.json(value, 0)? {
                        description.attributes.insert(name.to_owned(), json);
                    }
                }
            }
        }
        Ok(description)
    }

    fn class_name(&self, value: Ref) -> String {
        let Some(object) = self.pickle.object(value) else { return String::new() };
        let meta = self.pickle.sequence(object.args).and_then(|args| args.first());
        let named = meta.and_then(|&meta| self.pickle.str(self.pickle.lookup(meta, "class_name")?));
        let plain = || self.pickle.class(object.class).map(|(_, name)| name);
        named.or_else(plain).unwrap_or_default().to_owned()
    }

    /// A value as JSON; `None` for what has no such form.
    fn json(&mut self, value: Ref, depth: usize) -> Result<Option<Json>> {
        let pickle = self.pickle;
        self.spend(pickle.str(value).unwrap_or_default())?;
        if depth > MAX_VALUE_DEPTH {
            return Ok(None);
        }
        if let Some(pairs) = pickle.pairs(value) {
            let mut map = Map::new();
            for &(key, value) in pairs {
                if let (Some(name), Some(json)) = (pickle.str(key), self.json(value, depth + 1)?) {
                    self.spend(name)?;
                    map.insert(name.to_owned(), json);
                }
            }
            return Ok(Some(map.into()));
        }
        if let Some(items) = pickle.sequence(value) {
            let mut list = Vec::new();
            for &item in items {
                list.extend(self.json(item, depth + 1)?);
            }
            return Ok(Some(list.into()));
        }
        Ok(match pickle.get(value) {
            Value::None => Some(Json::Null),
            Value::Bool(value) => Some((*value).into()),
            Value::Int(value) => Some((*value).into()),
            Value::Float(value) => Some((*value).into()),
            Value::Str(text) => Some(text.as_ref().into()),
            Value::Object(_) => numpy_scalar(pickle, value),
            _ => None,
        })
    }
}

/// A number that numpy pickled.
fn numpy_scalar(pickle: &Pickle, value: Ref) -> Option<Json> {
    let object = pickle.object(value)?;
    let ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") = pickle.class(object.class)? else {
        return None;
    };
    let &[dtype, bytes] = pickle.sequence(object.args)? else { return None };
    let bytes = pickle.bytes(bytes)?;
    let dtype = pickle.object(dtype)?;
    let code = pickle.str(*pickle.sequence(dtype.args)?.first()?)?;
    let order = dtype.state.and_then(|state| pickle.str(*pickle.sequence(state)?.get(1)?));
    if order == Some(">") {
        return None;
    }
    Some(match (code, bytes.as_ref()) {
        ("f8", b) => f64::from_le_bytes(b.try_into().ok()?).into(),
        ("f4", b) => f64::from(f32::from_le_bytes(b.try_into().ok()?)).into(),
        ("i8", b) => i64::from_le_bytes(b.try_into().ok()?).into(),
        ("i4", b) => i32::from_le_bytes(b.try_into().ok()?).into(),
        ("b1", [b]) => (*b != 0).into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Writer, w};
    use super::*;
    use proptest::prelude::*;

    /// A persistent object of this state.
    fn persistent(class: &str, state: Writer) -> Writer {
        let meta = [
            ("type", w().text("class")),
            ("version", w().int(6)),
            ("module_src", w().text("import os; os.system('touch owned')")),
            ("class_name", w().text(class)),
            ("state", state),
        ];
        w().class("torch_utils.persistence", "_reconstruct_persistent_obj").dict(&meta).op(b"\x85R")
    }

    fn module(
        class: &str,
        parameters: &[(&str, Writer)],
        modules: &[(&str, Writer)],
        rest: &[(&str, Writer)],
    ) -> Writer {
        let parts = [
            ("_parameters", w().dict(parameters)),
            ("_buffers", w().dict(&[])),
            ("_modules", w().dict(modules)),
        ];
        persistent(class, w().dict(&[&parts[..], rest].concat()))
    }

    /// A storage in bytes, as `torch.storage` writes it.
    fn storage(class: &str, declared: u64, data: &[u8]) -> Vec<u8> {
        let head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
        let system = w().dict(&[("little_endian", w().op(b"\x88"))]).op(b".");
        let root = w().op(b"(").text("storage").class("torch", class).text("7").text("cuda:0");
        let root = root.int(declared as i64).op(b"NtQ.");
        let keys = w().op(b"]").text("7").op(b"a.");
        [head, &system.0[..], &root.0, &keys.0, &declared.to_le_bytes(), data].concat()
    }

    fn tensor_of(bytes: Writer, shape: &[i64]) -> Writer {
        let stride = [2, 1];
        let w = w().class("torch._utils", "_rebuild_tensor_v2").op(b"(");
        let w = w.class("torch.storage", "_load_from_bytes").op(&bytes.0).op(b"\x85R").int(0);
        w.ints(shape)
            .ints(&stride[2 - shape.len()..])
            .op(b"\x89")
            .class("collections", "OrderedDict")
            .op(b")RtR")
    }

    fn four() -> Vec<u8> {
        [1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn bytes(content: &[u8]) -> Writer {
        w().op(b"B").op(&(content.len() as u32).to_le_bytes()).op(content)
    }

    fn read(root: Writer) -> Result<(StateDict, ModuleDescription)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("network.pkl");
        std::fs::write(&path, [b"\x80\x03", &root.0[..], b"."].concat()).unwrap();
        read_module(&path, &["G_ema"])
    }

    fn reason(root: Writer) -> String {
        let error = read(root).err().unwrap();
        format!("{error} ({})", error.hint().unwrap_or_default())
    }

    #[test]
    fn a_module_gives_its_tensors_and_what_it_says_of_itself_by_both_spellings_of_bytes() {
        let content = storage("FloatStorage", 4, &four());
        // Protocol 2 has no bytes: text in Latin-1 and a call.
        let latin: String = content.iter().map(|&byte| char::from(byte)).collect();
        let encoded = w().class("_codecs", "encode").text(&latin).text("latin1").op(b"\x86R");
        for stored in [bytes(&content), encoded] {
            let inner =
                module("Inner", &[("weight", tensor_of(stored, &[2, 2]))], &[], &[("size", w().int(5))]);
            let numbers = w().op(b"N");
            let outer =
                module("Outer", &[], &[("a", inner)], &[("clamp", numbers), ("names", w().ints(&[3, 4]))]);
            let (dict, description) = read(w().dict(&[("G_ema", outer)])).unwrap();
            assert_eq!(dict.f32_shaped("a.weight", &[2, 2]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
            assert_eq!(description.class_name, "Outer");
            assert_eq!(description.attribute("names"), Some(&serde_json::json!([3, 4])));
            assert_eq!(description.attribute("clamp"), Some(&Json::Null));
            assert_eq!(description.module("a").unwrap().attribute("size"), Some(&serde_json::json!(5)));
            assert!(description.module("b").is_none());
        }
        assert!(!Path::new("owned").exists());
    }

    #[test]
    fn hostile_and_damaged_networks_are_refused_in_words() {
        let with =
            |parameter: Writer| reason(w().dict(&[("G_ema", module("G", &[("x", parameter)], &[], &[]))]));
        let system = w().class("os", "system").text("touch owned").op(b"\x85R");
        assert!(with(system.clone()).contains("`x` is an object of class os.system"));
        assert!(with(tensor_of(system.clone(), &[4])).contains("something else than bytes"));
        assert!(with(tensor_of(bytes(b"PK\x03\x04"), &[4])).contains("legacy format"));
        let content = storage("FloatStorage", 4, &four());
        for cut in (0..content.len()).step_by(7) {
            read(w().dict(&[(
                "G_ema",
                module("G", &[("x", tensor_of(bytes(&content[..cut]), &[4]))], &[], &[]),
            )]))
            .unwrap_err();
        }
        let declared = storage("FloatStorage", 1 << 60, &four());
        assert!(with(tensor_of(bytes(&declared), &[4])).contains("cut short"));
        assert!(with(tensor_of(bytes(&content), &[5])).contains("reaches to element 5"));
        let inner = storage("Unheard", 4, &four());
        assert!(with(tensor_of(bytes(&inner), &[4])).contains("torch.Unheard"));
        assert!(
            reason(w().dict(&[("G", module("G", &[], &[], &[])), ("n", w().int(1))])).contains("it has G, n")
        );
        assert!(reason(w().dict(&[("G_ema", system)])).contains("no network `G_ema`"));
        assert!(reason(w().ints(&[1, 2, 3])).contains("TensorFlow"));
        assert!(reason(w().int(3)).contains("a number"));
        assert!(reason(w().dict(&[("G_ema", module("G", &[], &[], &[]))])).contains("without tensors"));
        assert!(!Path::new("owned").exists());
    }

    #[test]
    fn shared_and_endless_values_end() {
        let content = storage("FloatStorage", 4, &four());
        // A list that holds ten of the list before it, a hundred deep.
        let mut laughs = w().op(b"]q\x00");
        for level in 1..=100u8 {
            laughs = laughs.op(b"0](");
            laughs = laughs.op(&[b'h', level - 1].repeat(10)).op(&[b'e', b'q', level]);
        }
        let parameter = [("x", tensor_of(bytes(&content), &[4]))];
        assert!(
            reason(w().dict(&[("G_ema", module("G", &parameter, &[], &[("lists", laughs)]))]))
                .contains("too many")
        );
        let long = w().op(b"](").text(&"x".repeat(1 << 16)).op(b"q\x00").op(&b"h\x00".repeat(1000)).op(b"e");
        assert!(
            reason(w().dict(&[("G_ema", module("G", &parameter, &[], &[("texts", long)]))]))
                .contains("too many")
        );
        let itself = w().op(b"]q\x00h\x00a");
        let (dict, _) =
            read(w().dict(&[("G_ema", module("G", &parameter, &[], &[("list", itself)]))])).unwrap();
        assert_eq!(dict.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn damage_is_an_error_or_other_numbers_and_never_a_panic(
            places in proptest::collection::vec((0usize..4000, any::<u8>()), 1..4),
        ) {
            let content = bytes(&storage("FloatStorage", 4, &four()));
            let inner = module("Inner", &[("weight", tensor_of(content, &[2, 2]))], &[], &[("size", w().int(5))]);
            let mut root = w().dict(&[("G_ema", module("G", &[], &[("a", inner)], &[]))]);
            for (place, value) in places {
                let place = place % root.0.len();
                root.0[place] = value;
            }
            let _ = read(root);
        }
    }
}
