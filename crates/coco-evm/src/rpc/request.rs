//! Reads request bodies: one request or a batch, without copying and without believing any length.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Call, Parsed, RpcConfig,
    error::{CODE_INVALID_REQUEST, CODE_PARSE, RpcError},
    method, respond,
};

/// The `id` of a request: JSON text, given back as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(Box<str>);

impl Id {
    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    pub(super) fn null() -> Self {
        Self("null".into())
    }
}

/// Reads a request body, without any chain at hand. Never fails: what is wrong becomes a response.
#[must_use]
pub fn parse(body: &[u8], config: &RpcConfig) -> Parsed {
    let Ok(text) = str::from_utf8(body) else { return single_error(CODE_PARSE, "parse error") };
    if !text.trim_start_matches(JSON_SPACE).starts_with('[') {
        return match serde_json::from_str::<&RawValue>(text) {
            Ok(frame) => Parsed { calls: vec![call(frame, config)], is_batch: false },
            Err(_) => single_error(CODE_PARSE, "parse error"),
        };
    }
    match capped_list(text, config.batch_calls_max) {
        Err(_) => single_error(CODE_PARSE, "parse error"),
        Ok(List { total: 0, .. }) => single_error(CODE_INVALID_REQUEST, "empty batch"),
        Ok(List { items, total }) if total > items.len() => {
            let error = RpcError::new(CODE_INVALID_REQUEST, "batch too large");
            let id =
                items.first().and_then(|frame| Frame::read(frame)).and_then(|frame| frame.id());
            let response = respond::error(&id.unwrap_or_else(Id::null), &error);
            Parsed { calls: vec![Call::Done(response)], is_batch: true }
        }
        Ok(List { items, .. }) => Parsed {
            calls: items.into_iter().map(|frame| call(frame, config)).collect(),
            is_batch: true,
        },
    }
}

fn single_error(code: i64, message: &str) -> Parsed {
    let response = respond::error(&Id::null(), &RpcError::new(code, message));
    Parsed { calls: vec![Call::Done(response)], is_batch: false }
}

fn call(frame: &RawValue, config: &RpcConfig) -> Call {
    let invalid = |id: Option<Id>| {
        let error = RpcError::new(CODE_INVALID_REQUEST, "invalid request");
        Call::Done(respond::error(&id.unwrap_or_else(Id::null), &error))
    };
    let Some(frame) = Frame::read(frame) else { return invalid(None) };
    let id = frame.id();
    let (Some("2.0"), Some(name)) = (frame.jsonrpc.as_deref(), frame.method.as_deref()) else {
        return invalid(id);
    };
    match (id, frame.id) {
        (None, None) => Call::Notification,
        (None, Some(_)) => invalid(None),
        (Some(id), _) => match method::parse(name, frame.params, config) {
            Ok(request) => request.call(id),
            Err(error) => Call::Done(respond::error(&id, &error)),
        },
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

impl<'a> Frame<'a> {
    fn read(frame: &'a RawValue) -> Option<Self> {
        // A list would be read as the fields in their order.
        frame.get().starts_with('{').then(|| serde_json::from_str(frame.get()).ok())?
    }

    /// The id, if it is one: neither a list nor an object.
    fn id(&self) -> Option<Id> {
        let text = self.id?.get();
        (!text.starts_with(['{', '['])).then(|| Id(text.into()))
    }
}

/// Tells `"id": null`, which wants an answer, from no id, which does not.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// A list of which only the first items were kept.
pub(super) struct List<'a> {
    /// The first items.
    pub(super) items: Vec<&'a RawValue>,
    /// How many there were.
    pub(super) total: usize,
}

/// Reads a JSON list, and keeps at most `most` items.
pub(super) fn capped_list(text: &str, most: usize) -> Result<List<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let list = ListSeed { most }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(list)
}

struct ListSeed {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = List<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<List<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = List<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<'de>, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.most {
            let Some(item) = list.next_element()? else { break };
            items.push(item);
        }
        let mut total = items.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            total += 1;
        }
        Ok(List { items, total })
    }
}

const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
