//! Documents that are proposed, as files.

use std::path::Path;

use coco_client::reply::{Action, Actions};
use serde_json::{Map, Value};

use crate::{codes::Code, fault::Fault, files};

/// Reads a document from a file, or standard input for `-`: its bytes, and what they say.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Actions), Fault> {
    let bytes = files::read(path)?;
    let document = parse(&bytes).map_err(|fault| fault.with("file", path.display().to_string()))?;
    Ok((bytes, document))
}

/// What the bytes of a document say.
pub(super) fn parse(bytes: &[u8]) -> Result<Actions, Fault> {
    let document: Actions = serde_json::from_slice(bytes)
        .map_err(|error| Fault::new(Code::DocumentInvalid, error.to_string()).because(&error))?;
    if document.actions.is_empty() {
        return Err(Fault::new(Code::DocumentInvalid, "it has no actions"));
    }
    Ok(document)
}

/// A document that is made here.
pub(super) fn of(actions: Vec<Action>) -> Actions {
    Actions { actions, more: Map::new() }
}

/// An action of it.
pub(super) fn action(name: &str, args: Value) -> Action {
    Action { name: name.to_owned(), args, more: Map::new() }
}

/// The bytes of a document that is made here: members of objects in the order of their names.
pub(super) fn write(document: &Actions) -> Result<Vec<u8>, Fault> {
    serde_json::to_value(document)
        .and_then(|value| serde_json::to_vec(&value))
        .map_err(|error| Fault::new(Code::DocumentInvalid, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_a_list_of_actions() {
        for (text, ok) in [
            (r#"{"actions":[{"name":"a","args":{"x":1}}]}"#, true),
            (r#"{"actions":[{"name":"a"}]}"#, true),
            (r#"{"actions":[]}"#, false),
            (r#"{"actions":[{"args":{}}]}"#, false),
            (r#"{}"#, false),
            ("", false),
        ] {
            assert_eq!(parse(text.as_bytes()).is_ok(), ok, "{text}");
        }
        let document = parse(br#"{"actions":[{"name":"a","args":{"b":1,"a":2}}]}"#).unwrap();
        let written = write(&document).unwrap();
        assert_eq!(written, br#"{"actions":[{"args":{"a":2,"b":1},"name":"a"}]}"#);
    }
}
