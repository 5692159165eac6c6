//! Values as scripts and hosts exchange them.
//!
//! A value is a tag and what it holds. Lengths are 32 bits and numbers 64 bits, little-endian. Text is UTF-8, or what the engine
//! keeps: characters of 8 bits, or of 16. The same form is written and read by `guest/value.c`.

use thiserror::Error;

use crate::json;

/// The deepest nesting of values. As in `guest/guest.h`.
pub const DEPTH_MAX: usize = 64;

/// A value of JavaScript outside of JavaScript.
///
/// `ArrayBuffer` and `Uint8Array` leave as [`Bytes`](Self::Bytes), which enter as `ArrayBuffer`. Other objects leave as
/// records of their own enumerable members with textual names, in JavaScript's order. Functions, proxies, symbols, big integers,
/// other typed arrays and text with half of a surrogate pair do not leave.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `undefined`.
    Undefined,
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A buffer.
    Bytes(Vec<u8>),
    /// An array.
    List(Vec<Self>),
    /// An object. Of two members with one name, the later counts.
    Record(Vec<(String, Self)>),
}

/// Bytes that are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bytes are no value of a script")]
pub struct NoValue;

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// The member of a record. Nothing for other values, and for records without it.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Record(members) = self else { return None };
        members.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of a JSON text, as scripts get it of long texts. Nothing, if it is left to the engine: it is no JSON, nests more
    /// than 60 deep, or encoded takes more than so many bytes.
    #[must_use]
    pub fn from_json(text: &str, bytes_max: usize) -> Option<Self> {
        let units: Vec<u16> = text.encode_utf16().collect();
        Self::decode(&json::encode(&units, bytes_max)?).ok()
    }

    pub(crate) fn encode_list(values: &[Self]) -> Vec<u8> {
        let mut to = Vec::new();
        head(&mut to, LIST, values.len());
        values.iter().for_each(|value| value.encode(&mut to));
        to
    }

    /// Appends the value as the guest reads it.
    ///
    /// # Panics
    /// With a text, a buffer, an array or an object of 4 GiB or more.
    pub fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Undefined => to.push(UNDEFINED),
            Self::Null => to.push(NULL),
            Self::Bool(false) => to.push(FALSE),
            Self::Bool(true) => to.push(TRUE),
            Self::Number(number) => {
                to.push(NUMBER);
                to.extend(number.to_le_bytes());
            }
            Self::Text(text) => encode_text(to, text),
            Self::Bytes(bytes) => {
                head(to, BYTES, bytes.len());
                to.extend(bytes);
            }
            Self::List(values) => {
                head(to, LIST, values.len());
                values.iter().for_each(|value| value.encode(to));
            }
            Self::Record(members) => {
                head(to, RECORD, members.len());
                for (name, value) in members {
                    let units: Vec<u16> = name.encode_utf16().collect();
                    encode_name(to, &units);
                    value.encode(to);
                }
            }
        }
    }

    /// Whether the value nests at most `depth` deep.
    pub(crate) fn nests_within(&self, depth: usize) -> bool {
        let within = |value: &Self| depth > 0 && value.nests_within(depth - 1);
        match self {
            Self::List(values) => values.iter().all(within),
            Self::Record(members) => members.iter().all(|(_, value)| within(value)),
            Self::Undefined
            | Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Bytes(_) => true,
        }
    }

    /// The one value that the bytes are.
    ///
    /// # Errors
    /// [`NoValue`], also when it nests deeper than [`DEPTH_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Self, NoValue> {
        let mut rest = bytes;
        let value = decode(&mut rest, 0)?;
        if rest.is_empty() { Ok(value) } else { Err(NoValue) }
    }
}

fn head(to: &mut Vec<u8>, tag: u8, length: usize) {
    let length = u32::try_from(length).expect("no value is larger than the memory of the guest");
    to.push(tag);
    to.extend(length.to_le_bytes());
}

fn encode_text(to: &mut Vec<u8>, text: &str) {
    if text.is_ascii() {
        head(to, NARROW, text.len());
        to.extend(text.as_bytes());
    } else {
        let units: Vec<u16> = text.encode_utf16().collect();
        encode_units(to, &units);
    }
}

/// Writes a text as the engine keeps it.
pub(crate) fn encode_units(to: &mut Vec<u8>, units: &[u16]) {
    if units.iter().all(|unit| *unit <= 0xFF) {
        head(to, NARROW, units.len());
        to.extend(units.iter().map(|unit| unit.to_le_bytes()[0]));
    } else {
        head(to, WIDE, 2 * units.len());
        to.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    }
}

/// Writes the name of a member. Those of ASCII have a tag of their own: the guest looks for them as they are.
pub(crate) fn encode_name(to: &mut Vec<u8>, units: &[u16]) {
    let at = to.len();
    encode_units(to, units);
    if units.iter().all(|unit| *unit < 0x80) {
        to[at] = TEXT;
    }
}

fn decode(rest: &mut &[u8], depth: usize) -> Result<Value, NoValue> {
    if depth > DEPTH_MAX + 1 {
        return Err(NoValue);
    }
    let tag = take::<1>(rest)?[0];
    Ok(match tag {
        UNDEFINED => Value::Undefined,
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        NUMBER => Value::Number(f64::from_le_bytes(take(rest)?)),
        TEXT | NARROW | WIDE => Value::Text(decode_text(tag, rest)?),
        BYTES => Value::Bytes(take_counted(rest)?.to_vec()),
        LIST => {
            let count = u32::from_le_bytes(take(rest)?);
            // Not reserved at once: the count is the guest's word, and what follows is counted by the byte.
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(decode(rest, depth + 1)?);
            }
            Value::List(values)
        }
        RECORD => {
            let count = u32::from_le_bytes(take(rest)?);
            let mut members = Vec::new();
            for _ in 0..count {
                let [tag] = take::<1>(rest)?;
                let name = decode_text(tag, rest)?;
                members.push((name, decode(rest, depth + 1)?));
            }
            Value::Record(members)
        }
        _ => return Err(NoValue),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NoValue> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(NoValue)?;
    *rest = after;
    Ok(*taken)
}

fn take_counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], NoValue> {
    let length = u32::from_le_bytes(take(rest)?);
    let length = usize::try_from(length).map_err(|_| NoValue)?;
    let (taken, after) = rest.split_at_checked(length).ok_or(NoValue)?;
    *rest = after;
    Ok(taken)
}

fn decode_text(tag: u8, rest: &mut &[u8]) -> Result<String, NoValue> {
    match tag {
        NARROW => {
            let text = take_counted(rest)?;
            Ok(match str::from_utf8(text) {
                Ok(ascii) if text.is_ascii() => ascii.to_owned(),
                _ => text.iter().copied().map(char::from).collect(),
            })
        }
        WIDE => {
            let (units, []) = take_counted(rest)?.as_chunks::<2>() else { return Err(NoValue) };
            let units: Vec<u16> = units.iter().copied().map(u16::from_le_bytes).collect();
            String::from_utf16(&units).map_err(|_| NoValue)
        }
        TEXT => String::from_utf8(take_counted(rest)?.to_vec()).map_err(|_| NoValue),
        _ => Err(NoValue),
    }
}

const UNDEFINED: u8 = 0;
pub(crate) const NULL: u8 = 1;
pub(crate) const FALSE: u8 = 2;
pub(crate) const TRUE: u8 = 3;
pub(crate) const NUMBER: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;
pub(crate) const LIST: u8 = 7;
pub(crate) const RECORD: u8 = 8;
/// A text of characters of 8 bits.
const NARROW: u8 = 9;
/// A text of characters of 16 bits.
const WIDE: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Value {
        Value::List(vec![
            Value::Undefined,
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            Value::Number(-0.5),
            Value::text("é"),
            Value::text("€😀"),
            Value::Bytes(vec![0, 255]),
            Value::Record(vec![
                ("a".into(), Value::List(Vec::new())),
                ("é".into(), Value::Null),
                ("€".into(), Value::Null),
            ]),
        ])
    }

    #[test]
    fn a_value_comes_back() {
        let mut bytes = Vec::new();
        all().encode(&mut bytes);
        assert_eq!(Value::decode(&bytes), Ok(all()));
    }

    #[test]
    fn what_is_cut_or_too_long_is_no_value() {
        let mut bytes = Vec::new();
        all().encode(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(Value::decode(&bytes[..end]), Err(NoValue), "{end}");
        }
        bytes.push(NULL);
        assert_eq!(Value::decode(&bytes), Err(NoValue));
    }

    #[test]
    fn a_member_is_found_by_name() {
        let record =
            Value::Record(vec![("a".into(), Value::Null), ("a".into(), Value::Bool(true))]);
        assert_eq!(record.member("a"), Some(&Value::Bool(true)));
        assert_eq!(record.member("b"), None);
        assert_eq!(Value::Null.member("a"), None);
    }

    #[test]
    fn nesting_is_measured() {
        let deep = |n: usize| (0..n).fold(Value::Null, |value, _| Value::List(vec![value]));
        for (n, expected) in [(DEPTH_MAX - 1, true), (DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
            assert_eq!(deep(n).nests_within(DEPTH_MAX), expected, "{n}");
        }
    }
}
