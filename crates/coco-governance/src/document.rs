//! JSON that means the same to everyone who reads it.
//!
//! A parser takes the first of two members with one name, another the last: whoever signs a document must not have to ask
//! which. So such documents are refused, and what is no UTF-8, and what nests without end.

use std::{collections::BTreeSet, fmt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::{ErrorCode, GovernanceError};

/// The text of a document that is an object of JSON in which no name occurs twice beside itself.
pub(crate) fn text(content: &[u8]) -> Result<&str, GovernanceError> {
    let wrong = |message: String| GovernanceError::new(ErrorCode::InvalidInput, message);
    let text = str::from_utf8(content)
        .map_err(|error| wrong(format!("the signed content is not UTF-8: {error}")))?;
    let Unambiguous(is_object) = serde_json::from_str(text).map_err(|error| {
        wrong(format!("the signed content is not JSON of one meaning: {error}"))
    })?;
    if is_object {
        Ok(text)
    } else {
        Err(wrong("the signed content is no object of JSON".to_owned()))
    }
}

/// The text of one member of such a document.
pub(crate) fn member(content: &[u8], name: &str) -> Result<String, GovernanceError> {
    let text = text(content)?;
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    match value.get(name) {
        Some(serde_json::Value::String(found)) => Ok(found.clone()),
        _ => {
            let message = format!("the signed content has no text under the name {name:?}");
            Err(GovernanceError::new(ErrorCode::InvalidInput, message))
        }
    }
}

/// Reads anything, and keeps whether it was an object. Nesting is bounded by the parser, at 128.
struct Unambiguous(bool);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value::<Unambiguous>()?;
            if let Some(name) = names.replace(name) {
                let shown: String = name.chars().take(80).collect();
                return Err(A::Error::custom(format!("the name {shown:?} occurs twice")));
            }
        }
        Ok(Unambiguous(true))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unambiguous, A::Error> {
        while items.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous(false))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous(false))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous(false))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous(false))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous(false))
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous(false))
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_two_meanings_are_refused() {
        for (content, ok) in [
            (&br#"{"actions":[{"name":"a","args":{"a":[1,-2,0.5,null,true,"x"]}}]}"#[..], true),
            (br#"{"a":{"x":1},"b":{"x":1}}"#, true),
            (br#"{"a":1,"a":1}"#, false),
            (br#"{"a":1,"\u0061":1}"#, false),
            (br#"{"b":[{"a":{"x":1,"x":2}}]}"#, false),
            (b"[]", false),
            (b"1", false),
            (b"", false),
            (b"{} {}", false),
            (b"{\"a\":\"\xff\"}", false),
        ] {
            assert_eq!(text(content).is_ok(), ok, "{:?}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(text(deep(126).as_bytes()).is_ok());
        assert!(text(deep(128).as_bytes()).is_err());
        assert!(text(deep(1 << 19).as_bytes()).is_err());
    }

    #[test]
    fn a_member_is_text() {
        assert_eq!(member(br#"{"ballot":"b"}"#, "ballot"), Ok("b".to_owned()));
        for content in [&b"{}"[..], br#"{"ballot":1}"#, br#"["ballot"]"#] {
            assert!(member(content, "ballot").is_err());
        }
    }
}
