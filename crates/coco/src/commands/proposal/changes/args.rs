//! The arguments of an action, and which of them a line spoke of.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use coco_crypto::sha256;
use serde_json::{Map, Value};

/// Longest text that is shown whole, in characters.
const TEXT_CHARACTERS_MAX: usize = 400;

/// An object of JSON that remembers what was taken out of it.
pub(super) struct Args<'a> {
    all: &'a Value,
    said: RefCell<BTreeSet<&'static str>>,
    is_all_said: Cell<bool>,
}

impl<'a> Args<'a> {
    pub(super) const fn of(all: &'a Value) -> Self {
        Self { all, said: RefCell::new(BTreeSet::new()), is_all_said: Cell::new(false) }
    }

    /// One of them, which whoever takes it says whole.
    pub(super) fn get(&self, name: &'static str) -> Option<&'a Value> {
        let found = self.all.get(name)?;
        self.said.borrow_mut().insert(name);
        Some(found)
    }

    /// The same, unless it is null.
    pub(super) fn present(&self, name: &'static str) -> Option<&'a Value> {
        self.get(name).filter(|value| !value.is_null())
    }

    /// One that is a list. What is none is left to be said elsewhere.
    pub(super) fn array(&self, name: &'static str) -> Option<&'a [Value]> {
        self.all.get(name).filter(|value| value.is_array())?;
        self.get(name)?.as_array().map(Vec::as_slice)
    }

    /// One that is an object. What is none is left to be said elsewhere.
    pub(super) fn object(&self, name: &'static str) -> Option<&'a Map<String, Value>> {
        self.all.get(name).filter(|value| value.is_object())?;
        self.get(name)?.as_object()
    }

    /// One that should be a text.
    pub(super) fn text(&self, name: &'static str) -> String {
        self.get(name).map_or_else(|| "?".to_owned(), shown)
    }

    /// One as JSON; null where it is absent.
    pub(super) fn json(&self, name: &'static str) -> String {
        json(self.get(name).unwrap_or(&Value::Null))
    }

    /// All of them as JSON.
    pub(super) fn all(&self) -> String {
        self.is_all_said.set(true);
        json(self.all)
    }

    pub(super) fn is_absent(&self) -> bool {
        self.all.is_null()
    }

    /// What nobody has said.
    pub(super) fn rest(&self) -> Vec<String> {
        match self.all {
            _ if self.is_all_said.get() => Vec::new(),
            Value::Null => Vec::new(),
            Value::Object(all) => {
                let said = self.said.borrow();
                let rest = all.iter().filter(|(name, _)| !said.contains(name.as_str()));
                rest.map(|(name, value)| format!("{} = {}", word(name), json(value))).collect()
            }
            other => vec![json(other)],
        }
    }
}

/// The members of an object, one after the other.
pub(super) fn members(object: &Map<String, Value>) -> Vec<String> {
    object.iter().map(|(name, value)| format!("{} = {}", word(name), json(value))).collect()
}

/// A value where a text is expected: the text, or JSON.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| json(value), word)
}

/// A text as it is, unless it has marks that could be taken for those of the line.
pub(super) fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._:/-+@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) && fits(text) {
        text.to_owned()
    } else {
        json(&Value::from(text))
    }
}

/// JSON on one line. Of a text that is long, the beginning and the digest.
pub(super) fn json(value: &Value) -> String {
    match value {
        Value::String(text) if !fits(text) => {
            let begin: String = text.chars().take(TEXT_CHARACTERS_MAX).collect();
            let digest = sha256(text.as_bytes());
            format!("{}... ({} bytes, sha256:{digest})", Value::from(begin), text.len())
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(json).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(all) => {
            let members: Vec<String> = all
                .iter()
                .map(|(name, value)| {
                    format!("{}:{}", json(&Value::from(name.as_str())), json(value))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

fn fits(text: &str) -> bool {
    text.chars().nth(TEXT_CHARACTERS_MAX).is_none()
}
