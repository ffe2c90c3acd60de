//! The stack machine that runs pickles, without its two dangerous operations, importing and calling.

use super::error::PickleError;
use super::input::{Input, raw_unicode, unescape};
use super::value::{Object, Pickle, Ref, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// Most opcodes that are read; a checkpoint takes some sixty for each tensor.
pub(super) const MAX_STEPS: usize = 1 << 23;

/// Highest protocol.
const MAX_PROTOCOL: u8 = 5;

/// Reads the pickle at the start of `bytes`; also gives the number of bytes it takes. Nothing in it is executed.
///
/// # Errors
/// [`PickleError`] if it is damaged, needs something executed to make sense, or takes more than [`MAX_STEPS`] opcodes.
pub fn parse(bytes: &[u8]) -> Result<(Pickle<'_>, usize), PickleError> {
    let mut machine = Machine {
        input: Input::new(bytes),
        values: vec![Value::None, Value::Bool(false), Value::Bool(true)],
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    for _ in 0..MAX_STEPS {
        let start = machine.input.at();
        let done = machine.step().map_err(|e| PickleError { offset: start, ..e })?;
        if let Some(root) = done {
            let length = machine.input.at();
            return Ok((Pickle::new(machine.values, root, length), length));
        }
    }
    Err(machine.input.error(format!("has more than {MAX_STEPS} opcodes")))
}

const NONE: Ref = Ref(0);
const FALSE: Ref = Ref(1);
const TRUE: Ref = Ref(2);

struct Machine<'a> {
    input: Input<'a>,
    values: Vec<Value<'a>>,
    stack: Vec<Ref>,
    /// Heights of the stack at which a mark was set.
    marks: Vec<usize>,
    memo: HashMap<u32, Ref>,
}

type Step<T = ()> = Result<T, PickleError>;

impl<'a> Machine<'a> {
    /// One opcode; the root if it was the last.
    fn step(&mut self) -> Step<Option<Ref>> {
        let opcode = self.input.u8()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let protocol = self.input.u8()?;
                if protocol > MAX_PROTOCOL {
                    return Err(self.input.error(format!("protocol {protocol} is not known")));
                }
            }
            0x95 => {
                // A frame only says how much may be read at once.
                let frame = self.input.length(8)?;
                self.input.check(frame)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.discard()?,
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(NONE),
            0x88 => self.stack.push(TRUE),
            0x89 => self.stack.push(FALSE),
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'F' | b'G' => self.number(opcode)?,
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => {
                self.string(opcode)?;
            }
            b']' => self.push(Value::List(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x8f => self.push(Value::Set(Vec::new())),
            b'l' | b't' | 0x91 | b'd' => self.collect(opcode)?,
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Value::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let pair = self.pop_many(2)?;
                self.set_pairs(&pair)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_pairs(&items)?;
            }
            b'p' | b'q' | b'r' | 0x94 => self.memoize(opcode)?,
            b'g' | b'h' | b'j' => self.recall(opcode)?,
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'i' | b'o' | b'b' => self.record(opcode)?,
            b'P' => {
                let text = self.input.line()?;
                let id = self.store(Value::Str(text.into()));
                self.push(Value::Persistent(id));
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            0x82..=0x84 => {
                return Err(self
                    .input
                    .error("names a class by a number in a registry of the program that wrote it"));
            }
            0x97 | 0x98 => return Err(self.input.error("refers to a buffer outside the file")),
            _ => return Err(self.input.error(format!("unknown opcode 0x{opcode:02x}"))),
        }
        Ok(None)
    }

    fn number(&mut self, opcode: u8) -> Step {
        let value = match opcode {
            b'J' => Value::Int(i64::from(self.input.i32()?)),
            b'K' => Value::Int(i64::from(self.input.u8()?)),
            b'M' => Value::Int(i64::from(self.input.u16()?)),
            b'G' => Value::Float(self.input.f64_big_endian()?),
            0x8a => long(self.input.counted(1)?),
            0x8b => long(self.input.counted(4)?),
            b'F' => {
                let line = self.input.line()?;
                Value::Float(line.trim().parse().map_err(|_| self.input.error("a number is damaged"))?)
            }
            _ => match self.input.line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                line => {
                    let digits = line.trim().trim_end_matches('L');
                    Value::Int(
                        digits.parse().map_err(|_| self.input.error("a number is damaged or too large"))?,
                    )
                }
            },
        };
        self.push(value);
        Ok(())
    }

    fn string(&mut self, opcode: u8) -> Step {
        let value = match opcode {
            b'X' => Value::Str(self.input.text(4)?),
            0x8c => Value::Str(self.input.text(1)?),
            0x8d => Value::Str(self.input.text(8)?),
            b'B' => Value::Bytes(self.input.counted(4)?.into()),
            b'C' => Value::Bytes(self.input.counted(1)?.into()),
            0x8e | 0x96 => Value::Bytes(self.input.counted(8)?.into()),
            // Strings of Python 2: text where they can be.
            b'T' => text_or_bytes(self.input.counted(4)?.into()),
            b'U' => text_or_bytes(self.input.counted(1)?.into()),
            b'S' => {
                let line = self.input.line()?;
                text_or_bytes(unescape(line).ok_or_else(|| self.input.error("a string is damaged"))?.into())
            }
            _ => {
                let line = self.input.line()?;
                Value::Str(raw_unicode(line).ok_or_else(|| self.input.error("a text is damaged"))?)
            }
        };
        self.push(value);
        Ok(())
    }

    /// Makes a container of what lies above the mark.
    fn collect(&mut self, opcode: u8) -> Step {
        let items = self.pop_mark()?;
        let value = match opcode {
            b'l' => Value::List(items),
            b't' => Value::Tuple(items),
            b'd' => Value::Dict(self.pairs(&items)?),
            _ => Value::Set(items),
        };
        self.push(value);
        Ok(())
    }

    fn append(&mut self, items: Vec<Ref>) -> Step {
        let target = self.top()?;
        match &mut self.values[target.0 as usize] {
            Value::List(list) | Value::Set(list) => list.extend(items),
            Value::Object(object) => object.items.extend(items),
            _ => return Err(self.input.error("appends to what is no list")),
        }
        Ok(())
    }

    fn set_pairs(&mut self, items: &[Ref]) -> Step {
        let new = self.pairs(items)?;
        let target = self.top()?;
        match &mut self.values[target.0 as usize] {
            Value::Dict(pairs) => pairs.extend(new),
            Value::Object(object) => object.pairs.extend(new),
            _ => return Err(self.input.error("sets a key of what is no dict")),
        }
        Ok(())
    }

    fn pairs(&self, items: &[Ref]) -> Step<Vec<(Ref, Ref)>> {
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(self.input.error("a key has no value"));
        };
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }

    fn memoize(&mut self, opcode: u8) -> Step {
        let index = match opcode {
            b'p' => self.memo_line()?,
            b'q' => u32::from(self.input.u8()?),
            b'r' => self.input.u32()?,
            _ => self.memo.len() as u32,
        };
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Step {
        let index = match opcode {
            b'g' => self.memo_line()?,
            b'h' => u32::from(self.input.u8()?),
            _ => self.input.u32()?,
        };
        let found = self.memo.get(&index).copied();
        let value = found.ok_or_else(|| self.input.error(format!("memo {index} was never set")))?;
        self.stack.push(value);
        Ok(())
    }

    fn memo_line(&mut self) -> Step<u32> {
        let line = self.input.line()?;
        line.trim().parse().map_err(|_| self.input.error("the number of a memo is damaged"))
    }

    /// Classes, calls and states, which are recorded and not carried out.
    fn record(&mut self, opcode: u8) -> Step {
        match opcode {
            b'c' => {
                let class = self.class_lines()?;
                self.stack.push(class);
                Ok(())
            }
            0x93 => {
                let pair = self.pop_many(2)?;
                let is_text = |r: &Ref| matches!(self.values[r.0 as usize], Value::Str(_));
                if !pair.iter().all(is_text) {
                    return Err(self.input.error("the name of a class is no text"));
                }
                self.push(Value::Class { module: pair[0], name: pair[1] });
                Ok(())
            }
            b'R' | 0x81 => {
                let parts = self.pop_many(2)?;
                self.call(parts[0], parts[1], None)
            }
            0x92 => {
                let parts = self.pop_many(3)?;
                self.call(parts[0], parts[1], Some(parts[2]))
            }
            b'i' => {
                let class = self.class_lines()?;
                let items = self.pop_mark()?;
                let args = self.store(Value::Tuple(items));
                self.call(class, args, None)
            }
            b'o' => {
                let mut items = self.pop_mark()?;
                if items.is_empty() {
                    return Err(self.input.error("an object has no class"));
                }
                let class = items.remove(0);
                let args = self.store(Value::Tuple(items));
                self.call(class, args, None)
            }
            _ => {
                let state = self.pop()?;
                let target = self.top()?;
                match &mut self.values[target.0 as usize] {
                    Value::Object(object) => object.state = Some(state),
                    _ => return Err(self.input.error("sets the state of what is no object")),
                }
                Ok(())
            }
        }
    }

    fn class_lines(&mut self) -> Step<Ref> {
        let (module, name) = (self.input.line()?, self.input.line()?);
        let (module, name) = (self.store(Value::Str(module.into())), self.store(Value::Str(name.into())));
        Ok(self.store(Value::Class { module, name }))
    }

    fn call(&mut self, class: Ref, args: Ref, kwargs: Option<Ref>) -> Step {
        let object = Object { class, args, kwargs, state: None, items: Vec::new(), pairs: Vec::new() };
        self.push(Value::Object(Box::new(object)));
        Ok(())
    }

    fn store(&mut self, value: Value<'a>) -> Ref {
        // At most four values are stored per step, and steps are limited far below 32 bits.
        let place = Ref(self.values.len() as u32);
        self.values.push(value);
        place
    }

    fn push(&mut self, value: Value<'a>) {
        let place = self.store(value);
        self.stack.push(place);
    }

    /// How low the stack may be taken: not below the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Step<Ref> {
        let above = self.stack.get(self.floor()..).unwrap_or_default();
        above.last().copied().ok_or_else(|| self.input.error("the stack is empty"))
    }

    fn pop(&mut self) -> Step<Ref> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn discard(&mut self) -> Step {
        // Python's POP takes the mark itself where nothing lies above it.
        if self.stack.len() == self.floor() && self.marks.pop().is_some() {
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_many(&mut self, count: usize) -> Step<Vec<Ref>> {
        let height = self.stack.len().checked_sub(count).filter(|height| *height >= self.floor());
        let height = height.ok_or_else(|| self.input.error("the stack is too low"))?;
        Ok(self.stack.split_off(height))
    }

    fn pop_mark(&mut self) -> Step<Vec<Ref>> {
        let height = self.marks.pop().ok_or_else(|| self.input.error("there is no mark"))?;
        Ok(self.stack.split_off(height))
    }
}

/// A little-endian two's complement integer.
fn long<'a>(bytes: &'a [u8]) -> Value<'a> {
    if bytes.len() > size_of::<i64>() {
        return Value::Long(bytes.into());
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut word = [if negative { 0xff } else { 0 }; size_of::<i64>()];
    word[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(word))
}

fn text_or_bytes(bytes: Cow<'_, [u8]>) -> Value<'_> {
    match bytes {
        Cow::Borrowed(borrowed) => match std::str::from_utf8(borrowed) {
            Ok(text) => Value::Str(text.into()),
            Err(_) => Value::Bytes(bytes),
        },
        Cow::Owned(owned) => match String::from_utf8(owned) {
            Ok(text) => Value::Str(text.into()),
            Err(e) => Value::Bytes(e.into_bytes().into()),
        },
    }
}
