//! A proposal that was sent before is not taken again.

use coco_governance::{AHEAD_MAX_S, ErrorCode, Message, Route};
use serde_json::json;

use crate::consortium::{Consortium, START, code, state};

#[test]
fn the_same_request_is_taken_once() {
    let mut c = Consortium::new(2);
    let envelope = c.members[0].sign(Message::Proposal, c.now, br#"{"actions":[]}"#);
    c.send(Route::CreateProposal, &envelope).unwrap();
    assert_eq!(code(c.send(Route::CreateProposal, &envelope)), ErrorCode::ProposalReplay);
}

#[test]
fn another_signature_of_the_same_is_the_same() {
    let mut c = Consortium::new(2);
    let [first, second] =
        [(); 2].map(|()| c.members[0].sign(Message::Proposal, START, br#"{"actions":[]}"#));
    assert_ne!(first, second, "signatures differ each time");
    c.send(Route::CreateProposal, &first).unwrap();
    assert_eq!(code(c.send(Route::CreateProposal, &second)), ErrorCode::ProposalReplay);
    let other = c.members[0].sign(Message::Proposal, START + 1, br#"{"actions":[]}"#);
    assert!(c.send(Route::CreateProposal, &other).is_ok());
}

#[test]
fn what_left_the_window_does_not_come_back() {
    let mut c = Consortium::new(1);
    c.pass("set_window", &json!({ "size": 3 })).unwrap();
    let old = c.members[0].sign(Message::Proposal, c.now, br#"{"actions":[]}"#);
    let at = c.now;
    c.send(Route::CreateProposal, &old).unwrap();
    for i in 0..3 {
        assert_eq!(
            state(&c.pass("set_note", &json!({ "text": format!("{i}") })).unwrap()),
            "Accepted"
        );
    }
    let key = |at: u64| format!("{at:010}:");
    let rows = c.store.reader().head();
    let map =
        rows.map(&coco_kv::MapName::from_static(coco_governance::tables::COSE_RECENT_PROPOSALS));
    let rows = rows.range(map.unwrap(), &[], None, usize::MAX);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|(row, _)| !row.starts_with(key(at).as_bytes())), "it left");
    assert_eq!(code(c.send(Route::CreateProposal, &old)), ErrorCode::ProposalCreatedTooLongAgo);
}

#[test]
fn a_proposal_from_the_future_is_refused() {
    let mut c = Consortium::new(2);
    let ahead = c.now + AHEAD_MAX_S + 1;
    let envelope = c.members[0].sign(Message::Proposal, ahead, br#"{"actions":[]}"#);
    assert_eq!(code(c.send(Route::CreateProposal, &envelope)), ErrorCode::InvalidCreatedAt);
    assert!(c.propose(1, "set_note", &json!({ "text": "x" })).is_ok());
}
