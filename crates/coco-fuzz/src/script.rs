//! Values of scripts: of JSON that the node reads for them, and as they leave.

use coco_script::Value;
use serde_json::Value as Json;

/// Above what any text of a target's length is encoded in.
const BYTES_MAX: usize = 1 << 20;
/// Up to which JSON is read outside of the engine.
const NESTING_MAX: usize = 60;

pub(crate) fn value(data: &[u8]) {
    if let Ok(value) = Value::decode(data) {
        let mut encoded = Vec::new();
        value.encode(&mut encoded);
        let again = Value::decode(&encoded).expect("what was encoded is a value");
        assert!(is_same(&again, &value), "{value:?} came back as {again:?}");
    }
    let Ok(text) = str::from_utf8(data) else { return };
    let read = Value::from_json(text, BYTES_MAX);
    match (read, serde_json::from_str::<Json>(text)) {
        (Some(read), Ok(json)) => assert!(means(&read, &json), "{json} was read as {read:?}"),
        // JavaScript takes it for infinite.
        (Some(_), Err(error)) => assert!(error.to_string().contains("number out of range")),
        (None, Ok(json)) => assert!(nesting(&json) > NESTING_MAX, "{json} was not read"),
        (None, Err(_)) => {}
    }
}

/// Whether they are equal, numbers bit by bit.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.to_bits() == other.to_bits(),
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Record(one), Value::Record(other)) => {
            let same = |((name, one), (known, other)): (&(String, Value), &(String, Value))| {
                name == known && is_same(one, other)
            };
            one.len() == other.len() && one.iter().zip(other).all(same)
        }
        (one, other) => one == other,
    }
}

/// Whether a script finds what the other parser found.
fn means(read: &Value, json: &Json) -> bool {
    match (read, json) {
        (Value::Null, Json::Null) => true,
        (Value::Bool(read), Json::Bool(json)) => read == json,
        (Value::Number(read), Json::Number(json)) => {
            json.as_f64().is_some_and(|json| is_near(*read, json))
        }
        (Value::Text(read), Json::String(json)) => read == json,
        (Value::List(read), Json::Array(json)) => {
            read.len() == json.len() && read.iter().zip(json).all(|(read, json)| means(read, json))
        }
        (Value::Record(members), Json::Object(json)) => {
            members.iter().all(|(name, _)| json.contains_key(name))
                && json
                    .iter()
                    .all(|(name, json)| read.member(name).is_some_and(|read| means(read, json)))
        }
        _ => false,
    }
}

/// The other parser does not always round to the nearest number.
fn is_near(read: f64, json: f64) -> bool {
    let is_largest = read.is_infinite() && json.abs() > f64::MAX * (1.0 - f64::EPSILON);
    is_largest || (read - json).abs() <= json.abs() * (2.0 * f64::EPSILON) + f64::MIN_POSITIVE
}

fn nesting(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Json::Object(members) => 1 + members.values().map(nesting).max().unwrap_or(0),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 0,
    }
}
