//! What was signed for one call is not taken by another.

use coco_governance::{ErrorCode, Message, ProposalId, Route};
use coco_types::Digest;
use serde_json::json;

use crate::consortium::{Consortium, YES, code, id};

#[test]
fn a_message_is_taken_by_its_own_call_only() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "x" })).unwrap();
    let (proposal, member) = (id(&made), c.members[0].id());
    let routes = [
        Route::CreateProposal,
        Route::WithdrawProposal(proposal),
        Route::SubmitBallot { proposal, member },
        Route::UpdateStateDigest(member),
        Route::Acknowledge(member),
    ];
    let messages = [
        Message::Proposal,
        Message::Withdrawal(proposal),
        Message::Ballot(proposal),
        Message::StateDigest,
        Message::Ack,
        Message::RecoveryShare,
    ];
    for (at, message) in messages.into_iter().enumerate() {
        for (own, route) in routes.into_iter().enumerate() {
            if at == own {
                continue;
            }
            // The content would do for any of them.
            let content = json!({ "actions": [], "ballot": YES, "stateDigest": "" }).to_string();
            let envelope = c.members[0].sign(message, c.now, content.as_bytes());
            let before = c.store.reader().version();
            let refused = code(c.send(route, &envelope));
            assert_eq!(refused, ErrorCode::InvalidAuthenticationInfo, "{message:?} as {route:?}");
            assert_eq!(c.store.reader().version(), before);
        }
    }
}

#[test]
fn a_ballot_is_for_one_proposal_and_by_one_member() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "x" })).unwrap();
    let other = c.propose(0, "set_note", &json!({ "text": "y" })).unwrap();
    let content = json!({ "ballot": YES }).to_string();
    let envelope = c.members[1].sign(Message::Ballot(id(&made)), c.now, content.as_bytes());
    for (proposal, member, ok) in [
        (id(&other), 1, false),
        (ProposalId(Digest([1; 32])), 1, false),
        (id(&made), 0, false),
        (id(&made), 1, true),
    ] {
        let route = Route::SubmitBallot { proposal, member: c.members[member].id() };
        let sent = c.send(route, &envelope);
        assert_eq!(sent.is_ok(), ok, "{route:?}");
        assert!(ok || code(sent) == ErrorCode::InvalidResourceName);
    }
    let envelope = c.members[0].sign(Message::Withdrawal(id(&made)), c.now, b"");
    let sent = c.send(Route::WithdrawProposal(id(&other)), &envelope);
    assert_eq!(code(sent), ErrorCode::InvalidResourceName);
}

#[test]
fn a_digest_is_for_its_own_member() {
    let mut c = Consortium::new(2);
    let other = c.members[1].id();
    for (message, route) in [
        (Message::StateDigest, Route::UpdateStateDigest(other)),
        (Message::Ack, Route::Acknowledge(other)),
    ] {
        let envelope = c.members[0].sign(message, c.now, b"{}");
        assert_eq!(code(c.send(route, &envelope)), ErrorCode::InvalidAuthenticationInfo);
    }
}

#[test]
fn a_proposal_is_one_unambiguous_document() {
    let mut c = Consortium::new(1);
    for content in [
        &b""[..],
        b"[]",
        b"{\"actions\":[]",
        br#"{"actions":[],"actions":[{"name":"set_note","args":{"text":"x"}}]}"#,
        b"{\"actions\":[],\"a\":\"\xff\"}",
    ] {
        let envelope = c.members[0].sign(Message::Proposal, c.now, content);
        assert_eq!(code(c.send(Route::CreateProposal, &envelope)), ErrorCode::InvalidInput);
    }
}
