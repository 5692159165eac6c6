//! Frames between nodes, request lines and the configuration file.

use std::path::Path;

use bytes::Bytes;
use coco_api::join::JoinRequest;
use coco_attest::ReportData;
use coco_node::{
    NodeConfig,
    copy::{CopyAnswer, CopyQuestion},
    edge::{
        introduction,
        route::{QUERY_BYTES_MAX, Query, Route, route, waits_for_commit},
        table::Verb,
    },
    frame::{FORWARD_ITEMS_MAX, Frame, frame_length},
    govern,
    join::{Answer, Question},
};
use coco_types::{Digest, limits::PEER_MESSAGE_BYTES_MAX};
use hyper::{Method, Uri};

use crate::ledger::node;

pub(crate) fn peer_frame(data: &[u8]) {
    if let Some(prefix) = data.first_chunk::<4>()
        && let Ok(length) = frame_length(*prefix)
    {
        assert!(length <= PEER_MESSAGE_BYTES_MAX);
    }
    let bytes = Bytes::copy_from_slice(data);
    let Ok(frame) = Frame::decode(&bytes) else { return };
    let (first, rest) = frame.encode();
    assert_eq!([first.as_slice(), &rest].concat(), data, "a frame has one encoding");
    match frame {
        Frame::Forward(_, items) => assert!(items.len() <= FORWARD_ITEMS_MAX),
        Frame::Forwarded(_, replies) => assert!(replies.len() <= FORWARD_ITEMS_MAX),
        Frame::Consensus(_) | Frame::Behind(_) => {}
        Frame::Copy(bytes) => {
            if let Ok(question) = CopyQuestion::decode(&bytes) {
                assert_eq!(question.encode(), bytes, "a question has one encoding");
            }
        }
        Frame::Copied(bytes) => {
            if let Ok(answer) = CopyAnswer::decode(&bytes) {
                assert_eq!(answer.encode(), bytes, "an answer has one encoding");
            }
        }
        Frame::Govern(_, bytes) => {
            if let Ok(question) = govern::Question::decode(&bytes) {
                assert!(question.envelope.len() <= govern::ENVELOPE_BYTES_MAX);
                assert_eq!(question.encode(), bytes, "a request has one encoding");
            }
        }
        Frame::Governed(_, bytes) => {
            if let Ok(answer) = govern::Answer::decode(&bytes) {
                assert_eq!(answer.encode(), bytes, "an answer has one encoding");
            }
        }
        Frame::Join(bytes) => {
            if let Ok((question, shown)) = Question::decode(&bytes, Digest::ZERO) {
                assert_eq!(question.encode(&shown), bytes, "a question has one encoding");
            }
        }
        Frame::Joined(bytes) => {
            if let Ok(answer) = Answer::decode(&bytes) {
                assert_eq!(answer.encode(), bytes, "an answer has one encoding");
            }
        }
    }
}

fn on_no_channel() -> ReportData {
    ReportData::on_no_channel(node().key().node_id())
}

/// What the holder of the fixture's node key says of itself.
pub(crate) fn node_join(data: &[u8]) {
    let read = |body: &[u8]| introduction::read(node(), on_no_channel(), 0, body);
    let Ok(introduction) = read(data) else { return };
    let said = &introduction.node;
    assert_eq!(said.node_id, node().key().node_id());
    assert_eq!(introduction.public_key_pem, node().key().to_pem());
    for address in [&said.rpc_address, &said.peer_address] {
        assert!(address.len() <= introduction::ADDRESS_BYTES_MAX && address.contains(':'));
    }
    let request: JoinRequest = serde_json::from_slice(data).expect("it was read as one");
    let written = serde_json::to_vec(&request).expect("text has a JSON form");
    let again = read(&written).expect("what was written can be read");
    assert_eq!(format!("{again:?}"), format!("{introduction:?}"));
}

/// A method, a space, and a request target, as they stand in the first line of a request.
pub(crate) fn http_route(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b' ') else { return };
    let (Ok(method), Ok(target)) =
        (Method::from_bytes(&data[..at]), Uri::try_from(&data[at + 1..]))
    else {
        return;
    };
    let (path, query) = (target.path(), target.query().unwrap_or(""));
    match route(&method, path, query) {
        Route::Found(row, names) => {
            let is_verb = match row.verb {
                Verb::Get => method == Method::GET || method == Method::HEAD,
                Verb::Post => method == Method::POST,
                Verb::Delete => method == Method::DELETE,
                Verb::Options => method == Method::OPTIONS,
            };
            assert!(is_verb, "{method} {}", row.path);
            // Put back where they came from, the names give the path again.
            let part = |part: &'static str| {
                let Some((name, rest)) = part.strip_prefix('{').and_then(|it| it.split_once('}'))
                else {
                    return part.to_owned();
                };
                assert!(!names.get(name).is_empty(), "{path}: no {name}");
                format!("{}{rest}", names.get(name))
            };
            let again: Vec<String> = row.path.split('/').map(part).collect();
            assert_eq!(again.join("/"), path, "a path has one spelling");
        }
        Route::NotAllowed { allow } => {
            assert!(!allow.split(", ").any(|allowed| allowed == method.as_str()));
        }
        Route::Nothing => assert_ne!(path, "/"),
        Route::LongQuery => assert!(query.len() > QUERY_BYTES_MAX),
    }
    if let Ok(waits) = waits_for_commit(query) {
        assert!(!waits || query.contains("wait=committed"));
    }
    if let Ok(query) = Query::parse(query)
        && let Ok(id) = query.transaction_id()
    {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

pub(crate) fn config(data: &[u8]) {
    let (Ok(text), path) = (str::from_utf8(data), Path::new("node.toml")) else { return };
    if let Ok(config) = NodeConfig::parse(path, text) {
        let written = toml::to_string(&config).expect("what was read can be written");
        let again = NodeConfig::parse(path, &written).expect("what was written can be read");
        assert_eq!(toml::to_string(&again).as_ref(), Ok(&written));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn introductions_that_are_taken_are_among_the_inputs_made_by_hand() {
        let seeds = crate::hostile::node_join();
        let read = |seed: &&Vec<u8>| introduction::read(node(), on_no_channel(), 0, seed).is_ok();
        let taken = seeds.iter().filter(read).count();
        assert!((2..seeds.len()).contains(&taken), "{taken} of {}", seeds.len());
    }
}
