use super::machine::MAX_STEPS;
use super::*;
use proptest::prelude::*;

fn reason(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().to_string()
}

/// A value written out, as far as a test looks at it.
fn show(pickle: &Pickle, r: Ref) -> String {
    let many = |items: &[Ref]| items.iter().map(|&item| show(pickle, item)).collect::<Vec<_>>().join(" ");
    let pairs = |pairs: &[(Ref, Ref)]| {
        let shown = pairs.iter().map(|&(k, v)| format!("{}:{}", show(pickle, k), show(pickle, v)));
        shown.collect::<Vec<_>>().join(" ")
    };
    match pickle.get(r) {
        Value::None => "None".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(bytes) => format!("long{}", bytes.len()),
        Value::Float(value) => format!("{value:?}"),
        Value::Str(text) => format!("'{text}'"),
        Value::Bytes(bytes) => format!("b{bytes:?}"),
        Value::List(items) => format!("[{}]", many(items)),
        Value::Tuple(items) => format!("({})", many(items)),
        Value::Set(items) => format!("{{{}}}", many(items)),
        Value::Dict(items) => format!("{{{}}}", pairs(items)),
        Value::Class { .. } => pickle.describe(r),
        Value::Persistent(id) => format!("persistent {}", show(pickle, *id)),
        Value::Object(object) => {
            let mut shown = format!("<{} {}", show(pickle, object.class), show(pickle, object.args));
            for part in object.kwargs.iter().chain(&object.state) {
                shown += &format!(" {}", show(pickle, *part));
            }
            format!("{shown} [{}] {{{}}}>", many(&object.items), pairs(&object.pairs))
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    let (pickle, length) = parse(bytes).unwrap();
    assert_eq!(length, bytes.len());
    show(&pickle, pickle.root())
}

#[test]
fn every_protocol_writes_the_same_values_in_its_own_way() {
    // pickle.dumps({'a': [1, -2, 2.5, None, True], 'b': (3,)}, protocol), CPython 3.11.
    let expected = "{'a':[1 -2 2.5 None true] 'b':(3)}";
    let p0 = b"(dp0\nVa\np1\n(lp2\nI1\naI-2\naF2.5\naNaI01\nasVb\np3\n(I3\ntp4\ns.";
    let p1 = b"}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00NI01\neX\x01\x00\x00\x00bq\x03(K\x03tq\x04u.";
    let p2 = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bq\x03K\x03\x85q\x04u.";
    let p4 = b"\x80\x04\x95'\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88e\x8c\x01b\x94K\x03\x85\x94u.";
    for bytes in [&p0[..], p1, p2, p4] {
        assert_eq!(shown(bytes), expected);
    }
}

#[test]
fn numbers_and_strings_of_every_kind_are_read() {
    assert_eq!(shown(b"\x8a\x00."), "0");
    assert_eq!(shown(b"\x8a\x02\x00\x80."), "-32768");
    assert_eq!(shown(b"\x8b\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01."), "long9");
    assert_eq!(shown(b"L12L\n."), "12");
    assert_eq!(shown(b"M\x34\x12."), "4660");
    assert_eq!(shown(b"S'a\\'\\x41\\n'\n."), "'a'A\n'");
    assert_eq!(shown(b"S'\\xff'\n."), "b[255]");
    assert_eq!(shown(b"Va\\u00e9\\U0001F600\\q\n."), "'aé😀\\q'");
    assert_eq!(shown(b"U\x02hi."), "'hi'");
    assert_eq!(shown(b"C\x02\x00\xff."), "b[0, 255]");
    assert_eq!(shown(b"\x96\x01\x00\x00\x00\x00\x00\x00\x00\x07."), "b[7]");
    assert_eq!(shown(b"\x8f(K\x01K\x02\x90."), "{1 2}");
    assert_eq!(shown(b"(K\x01K\x02\x91."), "{1 2}");
    assert_eq!(shown(b"K\x01K\x020."), "1");
    assert_eq!(shown(b"K\x01(K\x02K\x031."), "1");
    assert_eq!(shown(b"K\x012\x86."), "(1 1)");
}

#[test]
fn calls_and_states_are_put_down_and_not_carried_out() {
    assert_eq!(
        shown(b"ccollections\nOrderedDict\n)R(K\x01K\x02u}b."),
        "<the class collections.OrderedDict () {} [] {1:2}>"
    );
    assert_eq!(shown(b"\x8c\x01m\x8c\x01C\x93)}\x92K\x07a."), "<the class m.C () {} [7] {}>");
    assert_eq!(shown(b"cm\nC\nK\x05\x85\x81."), "<the class m.C (5) [] {}>");
    assert_eq!(shown(b"(K\x01im\nC\n."), "<the class m.C (1) [] {}>");
    assert_eq!(shown(b"(cm\nC\nK\x01o."), "<the class m.C (1) [] {}>");
    assert_eq!(shown(b"Pkey\n."), "persistent 'key'");
    assert_eq!(shown(b"(K\x01tQ."), "persistent (1)");
    let system = b"cposix\nsystem\nX\x10\x00\x00\x00touch /tmp/ownedq\x00\x85R.";
    let (pickle, _) = parse(system).unwrap();
    assert_eq!(pickle.describe(pickle.root()), "an object of class posix.system");
}

#[test]
fn what_would_have_to_be_run_or_fetched_is_refused() {
    assert!(reason(b"\x82\x01.").contains("registry"));
    assert!(reason(b"\x97.").contains("outside the file"));
    assert_eq!(reason(b"K\x01\xff."), "pickle damaged or not supported at byte 2: unknown opcode 0xff");
    assert!(reason(b"\x80\x06.").contains("protocol 6"));
}

#[test]
fn declared_lengths_beyond_the_end_are_refused() {
    for opcode in [&b"\x8d"[..], b"\x8e", b"\x96", b"\x95"] {
        let bytes = [opcode, &[0xff; 8]].concat();
        assert!(reason(&bytes).contains("bytes are declared where 0 are left"), "{opcode:?}");
    }
    assert!(reason(b"X\xff\xff\xff\xffabc").contains("4294967295 bytes are declared where 3 are left"));
    assert!(reason(b"\x8b\xff\xff\xff\x7f").contains("are declared"));
}

#[test]
fn a_program_that_does_not_hold_together_is_refused() {
    for bytes in [
        &b""[..],
        b".",
        b"0.",
        b"(.",
        b"h\x00.",
        b"a.",
        b"K\x01K\x02a.",
        b"}K\x01(u.",
        b"}(K\x01u.",
        b"t.",
        b"R.",
        b"K\x01b.",
        b"N}b.",
        b"(o.",
        b"\x86.",
        b"K\x01(\x85.",
        b"\x93.",
        b"NN\x93.",
        b"q\x00.",
        b"g x\n.",
        b"Ix\n.",
        b"Fx\n.",
        b"S'\n.",
        b"V\\u12\n.",
        b"cm\n",
        b"2.",
        b"]}s.",
        b"X\x01\x00\x00\x00\xff.",
    ] {
        assert!(parse(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_billion_laughs_take_the_place_of_their_text() {
    let mut bytes = b"]K\x01aq\x00".to_vec();
    for level in 1..=200u8 {
        bytes.extend([b']', b'(']);
        bytes.extend([b'h', level - 1].repeat(10));
        bytes.extend([b'e', b'q', level]);
    }
    bytes.push(b'.');
    let (pickle, _) = parse(&bytes).unwrap();
    assert_eq!(pickle.sequence(pickle.root()).unwrap().len(), 10);
    let mut names = b"V".to_vec();
    names.extend(br"\u0041".repeat(1000));
    names.extend(b"\nq\x00");
    names.extend(b"h\x00h\x00\x93".repeat(1000));
    names.push(b'.');
    assert!(parse(&names).unwrap().0.class(Ref(4)).is_some());
}

#[test]
fn depth_and_cycles_cost_nothing() {
    let deep = [&b"N"[..], &b"\x85".repeat(1_000_000), b"."].concat();
    drop(parse(&deep).unwrap());
    let (cycle, _) = parse(b"]q\x00h\x00a.").unwrap();
    assert_eq!(cycle.sequence(cycle.root()).unwrap(), [cycle.root()]);
}

#[test]
fn the_number_of_steps_is_limited() {
    assert!(reason(&b"N".repeat(MAX_STEPS + 1)).contains("opcodes"));
}

proptest! {
    #[test]
    fn any_bytes_are_a_pickle_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes).map(|(pickle, _)| pickle.describe(pickle.root()));
    }

    #[test]
    fn any_opcodes_are_a_pickle_or_an_error(
        opcodes in proptest::collection::vec(
            proptest::sample::select(&b"(.012NRabcdeghijloqrstu]})\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94K\x01\n"[..]), 0..80),
    ) {
        let _ = parse(&opcodes).map(|(pickle, _)| pickle.describe(pickle.root()));
    }
}
