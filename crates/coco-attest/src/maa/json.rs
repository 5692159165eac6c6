//! JSON in which nothing stands twice and every member is known: what two readers could understand in two ways is read by none.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::error::VerifyError;

/// Most characters of the name of a member that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// The members of an object that were not read yet.
pub(super) struct Members {
    left: Map<String, Value>,
    /// Where the object's text stands in the evidence.
    at: usize,
}

impl Members {
    /// Reads an object, which stands at this place of the evidence.
    pub(super) fn read(text: &[u8], at: usize) -> Result<Self, VerifyError> {
        match serde_json::from_slice(text) {
            Ok(Once(Value::Object(left))) => Ok(Self { left, at }),
            _ => Err(VerifyError::Malformed { what: "not an object of JSON without doubles", at }),
        }
    }

    /// A member that has to be there.
    pub(super) fn text(&mut self, name: &'static str) -> Result<String, VerifyError> {
        match self.left.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(VerifyError::Claim { name }),
        }
    }

    /// A text, if it is there.
    pub(super) fn find(&mut self, name: &'static str) -> Result<Option<String>, VerifyError> {
        match self.left.remove(name) {
            Some(Value::String(text)) => Ok(Some(text)),
            None => Ok(None),
            Some(_) => Err(VerifyError::Claim { name }),
        }
    }

    /// A member that has to be there.
    pub(super) fn number(&mut self, name: &'static str) -> Result<u64, VerifyError> {
        let number = self.left.remove(name).as_ref().and_then(Value::as_u64);
        number.ok_or(VerifyError::Claim { name })
    }

    /// A number of one byte that has to be there.
    pub(super) fn byte(&mut self, name: &'static str) -> Result<u8, VerifyError> {
        u8::try_from(self.number(name)?).map_err(|_| VerifyError::Claim { name })
    }

    /// So many bytes in hexadecimal, that have to be there.
    pub(super) fn hex<const N: usize>(
        &mut self,
        name: &'static str,
    ) -> Result<[u8; N], VerifyError> {
        let mut bytes = [0; N];
        hex::decode_to_slice(self.text(name)?, &mut bytes)
            .map_err(|_| VerifyError::Claim { name })?;
        Ok(bytes)
    }

    /// Whether a member is there and is this: who leaves it out does not say so.
    pub(super) fn is(&mut self, name: &'static str, value: bool) -> Result<bool, VerifyError> {
        match self.left.remove(name) {
            Some(Value::Bool(found)) => Ok(found == value),
            None => Ok(false),
            Some(_) => Err(VerifyError::Claim { name }),
        }
    }

    /// A list of numbers of one byte that has to be there.
    pub(super) fn bytes(&mut self, name: &'static str) -> Result<Vec<u8>, VerifyError> {
        let Some(Value::Array(items)) = self.left.remove(name) else {
            return Err(VerifyError::Claim { name });
        };
        let bytes = items.iter().map(|item| u8::try_from(item.as_u64()?).ok());
        bytes.collect::<Option<_>>().ok_or(VerifyError::Claim { name })
    }

    /// An object, if it is there.
    pub(super) fn object(&mut self, name: &'static str) -> Result<Option<Self>, VerifyError> {
        match self.left.remove(name) {
            Some(Value::Object(left)) => Ok(Some(Self { left, at: self.at })),
            None => Ok(None),
            Some(_) => Err(VerifyError::Claim { name }),
        }
    }

    /// Passes over these members, whatever they are.
    pub(super) fn pass(&mut self, names: &[&str]) {
        for name in names {
            drop(self.left.remove(*name));
        }
    }

    /// Checks that no other member is left.
    pub(super) fn end(self) -> Result<(), VerifyError> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        Err(VerifyError::UnknownClaim { name: name.chars().take(SHOWN_CHARS_MAX).collect() })
    }
}

/// Any value without doubles in it.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Once(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let Once(value) = map.next_value()?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member that stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stands_twice_at_any_depth() {
        for (text, is_read) in [
            (r#"{"a":1,"b":[{"c":-1,"d":1.5}],"e":null}"#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":1,"\u0061":1}"#, false),
            (r#"{"a":{"b":[{"c":1,"c":2}]}}"#, false),
            (r#"[1]"#, false),
            (r#"{"a":1}{}"#, false),
            (r#"{"a":1"#, false),
            ("", false),
        ] {
            assert_eq!(Members::read(text.as_bytes(), 0).is_ok(), is_read, "{text}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(Members::read(deep.as_bytes(), 0).is_err());
    }

    #[test]
    fn every_member_is_read_or_refused() {
        let text = br#"{"a":"x","b":300,"c":true,"d":"0a0b","e":[1,2],"f":{"g":1},"h":1}"#;
        let mut members = Members::read(text, 0).expect("it is an object");
        assert_eq!(members.text("a").as_deref(), Ok("x"));
        assert_eq!(members.text("a"), Err(VerifyError::Claim { name: "a" }));
        assert_eq!(members.find("a"), Ok(None));
        assert_eq!(members.byte("b"), Err(VerifyError::Claim { name: "b" }));
        assert_eq!(members.is("c", true), Ok(true));
        assert_eq!(members.is("c", false), Ok(false));
        assert_eq!(members.hex("d"), Ok([10, 11]));
        assert_eq!(members.bytes("e"), Ok(vec![1, 2]));
        let inner = members.object("f").expect("an object").expect("it is there");
        assert_eq!(inner.end(), Err(VerifyError::UnknownClaim { name: "g".to_owned() }));
        members.pass(&["h", "i"]);
        assert_eq!(members.end(), Ok(()));
        let long = format!("{{\"{}\":1}}", "n".repeat(100));
        let members = Members::read(long.as_bytes(), 0).expect("it is an object");
        assert_eq!(members.end(), Err(VerifyError::UnknownClaim { name: "n".repeat(80) }));
    }
}
