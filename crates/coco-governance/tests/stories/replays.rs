//! A proposal that was sent before is not taken again.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{Curve, cose::AttachedSign1};
use coco_governance::{
    AHEAD_MAX_S, DEFAULT_CONSTITUTION, ErrorCode, Message, Reply, Route, WINDOW_DEFAULT, tables,
};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, NO, START, YES, code, id, state};

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
    // What is of the last minutes stays whatever the size, and one before it.
    c.propose(0, "set_note", &json!({ "text": "one before" })).unwrap();
    c.now += AHEAD_MAX_S + 1;
    for i in 0..2 {
        assert_eq!(
            state(&c.pass("set_note", &json!({ "text": format!("{i}") })).unwrap()),
            "Accepted"
        );
    }
    let key = |at: u64| format!("{at:010}:");
    let rows = c.store.reader().head();
    let map = rows.map(&coco_kv::MapName::from_static(tables::COSE_RECENT_PROPOSALS));
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

/// Somebody has recorded all that members ever sent, and sends all of it again after each request.
#[test]
fn what_was_recorded_decides_nothing_a_second_time() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 3);
    let mut recorded: Vec<(Route, Vec<u8>)> = Vec::new();
    let mut replay_all = |c: &mut Consortium, new: Option<(Route, Vec<u8>)>| {
        recorded.extend(new);
        for (route, envelope) in &recorded {
            let before = decisions(c);
            // Some are answered as they were, the others are refused.
            let _again = c.send(*route, envelope);
            assert_eq!(decisions(c), before, "{route:?}");
        }
    };
    let propose = |c: &mut Consortium, by: usize, action: &Value| {
        let content = json!({ "actions": [action] }).to_string();
        let envelope = c.members[by].sign(Message::Proposal, c.now, content.as_bytes());
        let Ok(Reply::Proposal(view)) = c.send(Route::CreateProposal, &envelope) else { panic!() };
        (id(&view), (Route::CreateProposal, envelope))
    };
    let vote = |c: &mut Consortium, by: usize, on, ballot: &str| {
        let content = json!({ "ballot": ballot }).to_string();
        let envelope = c.members[by].sign(Message::Ballot(on), c.now, content.as_bytes());
        let route = Route::SubmitBallot { proposal: on, member: c.members[by].id() };
        c.send(route, &envelope).unwrap();
        (route, envelope)
    };
    let snapshot = json!({ "name": "trigger_snapshot" });
    // Accepted, refused, taken back, and one that stays open.
    let (accepted, sent) = propose(&mut c, 0, &snapshot);
    replay_all(&mut c, Some(sent));
    for by in 0..2 {
        let sent = vote(&mut c, by, accepted, YES);
        replay_all(&mut c, Some(sent));
    }
    let (rejected, sent) = propose(&mut c, 1, &snapshot);
    replay_all(&mut c, Some(sent));
    for by in 0..2 {
        let sent = vote(&mut c, by, rejected, NO);
        replay_all(&mut c, Some(sent));
    }
    let (taken_back, sent) = propose(&mut c, 2, &snapshot);
    replay_all(&mut c, Some(sent));
    let route = Route::WithdrawProposal(taken_back);
    let envelope = c.members[2].sign(Message::Withdrawal(taken_back), c.now, b"");
    c.send(route, &envelope).unwrap();
    replay_all(&mut c, Some((route, envelope)));
    let (open, sent) = propose(&mut c, 0, &snapshot);
    replay_all(&mut c, Some(sent));
    let sent = vote(&mut c, 2, open, YES);
    replay_all(&mut c, Some(sent));
    // Whose words they are is gone, and comes back.
    let gone = c.members[2].id().to_string();
    c.pass("remove_member", &json!({ "member_id": gone })).unwrap();
    replay_all(&mut c, None);
    let cert = c.members[2].certificate.pem();
    c.pass("set_member", &json!({ "cert": cert })).unwrap();
    replay_all(&mut c, None);
    // In another year.
    c.now += 366 * 24 * 3600;
    replay_all(&mut c, None);
}

/// What members decide by: states and ballots of proposals, and who is an active member.
fn decisions(c: &Consortium) -> Vec<(Vec<u8>, Value)> {
    let head = c.store.reader().head();
    [tables::PROPOSALS_INFO, tables::MEMBERS_INFO]
        .into_iter()
        .flat_map(|name| {
            let map = head.map(&coco_kv::MapName::from_static(name)).unwrap();
            head.range(map, &[], None, usize::MAX)
        })
        .map(|(key, row)| (key.to_vec(), serde_json::from_slice(&row).unwrap()))
        .collect()
}

#[test]
fn an_old_acknowledgement_does_not_bring_a_member_back() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 2);
    let new = Member::new(Curve::P384);
    let (member, cert) = (new.id(), new.certificate.pem());
    c.members.push(new);
    let admit = json!({ "cert": cert });
    c.pass("set_member", &admit).unwrap();
    let ask = c.members[2].sign(Message::StateDigest, c.now, b"");
    let Ok(Reply::StateDigest { state_digest, .. }) =
        c.send(Route::UpdateStateDigest(member), &ask)
    else {
        panic!()
    };
    let content = json!({ "stateDigest": state_digest }).to_string();
    let ack = c.members[2].sign(Message::Ack, c.now, content.as_bytes());
    c.send(Route::Acknowledge(member), &ack).unwrap();
    let status = |c: &Consortium| {
        c.json(tables::MEMBERS_INFO, &member.key()).unwrap()["status"].as_str().map(str::to_owned)
    };
    assert_eq!(status(&c).as_deref(), Some("Active"));
    let expelled = c.members.pop().unwrap();
    c.pass("remove_member", &json!({ "member_id": member.to_string() })).unwrap();
    c.pass("set_member", &admit).unwrap();
    for (route, envelope) in
        [(Route::Acknowledge(member), &ack), (Route::UpdateStateDigest(member), &ask)]
    {
        let _again = c.send(route, envelope);
        assert_eq!(code(c.send(Route::Acknowledge(member), &ack)), ErrorCode::StateDigestMismatch);
        assert_eq!(status(&c).as_deref(), Some("Accepted"), "{route:?}");
    }
    drop(expelled);
}

/// What members sent is for all to read, and what no signature covers is whoever's who sends it again.
#[test]
fn an_acknowledgement_that_comes_again_writes_nothing() {
    let mut c = Consortium::new(1);
    let member = c.members[0].id();
    let digest = updated(&mut c, 0, START);
    let content = json!({ "stateDigest": digest }).to_string();
    let ack = c.members[0].sign(Message::Ack, c.now, content.as_bytes());
    let stuffed = stuffed(&ack);
    c.send(Route::Acknowledge(member), &stuffed).unwrap();
    let kept = c.json(tables::MEMBERS_ACKS, &member.key()).unwrap();
    let history = c.json(tables::COSE_HISTORY, &member.key()).unwrap();
    for row in [&kept["cose_sign1_req"], &history] {
        assert_eq!(STANDARD.decode(row.as_str().unwrap()).unwrap(), ack, "without what was put in");
    }
    for again in [&ack, &stuffed] {
        assert_eq!(c.send(Route::Acknowledge(member), again), Ok(Reply::Done));
        assert!(c.written.is_empty(), "{:?}", c.written);
    }
}

/// A host sends a member's recorded question again whenever the state has moved.
#[test]
fn a_digest_that_waits_to_be_acknowledged_stays_when_an_old_request_comes_again() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 1);
    let new = Member::new(Curve::P384);
    let member = new.id();
    c.pass("set_member", &json!({ "cert": new.certificate.pem() })).unwrap();
    c.members.push(new);
    let at = c.now;
    let ask = c.members[1].sign(Message::StateDigest, at, b"");
    let digest = updated(&mut c, 1, at);
    c.pass("trigger_snapshot", &json!({})).unwrap();
    for again in [&ask, &stuffed(&ask)] {
        let Ok(Reply::StateDigest { state_digest, .. }) =
            c.send(Route::UpdateStateDigest(member), again)
        else {
            panic!()
        };
        assert_eq!(state_digest, digest);
        assert!(c.written.is_empty(), "{:?}", c.written);
    }
    // What is older is answered in the same way, and what is newer is taken.
    assert_eq!(updated(&mut c, 1, at - 1), digest);
    let content = json!({ "stateDigest": digest }).to_string();
    let ack = c.members[1].sign(Message::Ack, at, content.as_bytes());
    c.send(Route::Acknowledge(member), &ack).unwrap();
    let row = c.json(tables::MEMBERS_INFO, &member.key()).unwrap();
    assert_eq!(row["status"], "Active");
    assert_ne!(updated(&mut c, 1, at + 1), digest);
}

/// Tools date requests in whole seconds.
#[test]
fn a_member_may_ask_and_acknowledge_twice_in_a_second() {
    let mut c = Consortium::new(1);
    let (member, at) = (c.members[0].id(), c.now);
    for _ in 0..2 {
        let digest = updated(&mut c, 0, at);
        let content = json!({ "stateDigest": digest }).to_string();
        let ack = c.members[0].sign(Message::Ack, at, content.as_bytes());
        assert_eq!(c.send(Route::Acknowledge(member), &ack), Ok(Reply::Done));
    }
}

/// A request with a megabyte that nobody signed.
fn stuffed(envelope: &[u8]) -> Vec<u8> {
    let mut unprotected = vec![0xa1, 0x18, 0x63, 0x5a];
    let bytes = vec![0; 1_000_000];
    unprotected.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    unprotected.extend(bytes);
    let cose = AttachedSign1::decode(envelope).unwrap();
    AttachedSign1 { unprotected: &unprotected, ..cose }.encode()
}

/// Asks for the digest to acknowledge.
fn updated(c: &mut Consortium, by: usize, created_at: u64) -> String {
    let envelope = c.members[by].sign(Message::StateDigest, created_at, b"");
    match c.send(Route::UpdateStateDigest(c.members[by].id()), &envelope).unwrap() {
        Reply::StateDigest { state_digest, .. } => state_digest,
        other => panic!("{other:?}"),
    }
}

/// The same members govern two services. What one is asked for can be shown to the other.
#[test]
fn a_proposal_that_names_its_service_is_taken_by_no_other() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 1);
    let pem = [(); 2].map(|()| Member::new(Curve::P384).certificate.pem());
    let [ours, other] = &pem;
    let service = |c: &mut Consortium, pem: &str| {
        let row = json!({ "cert": pem, "status": "Open" });
        c.set(&[(tables::SERVICE_INFO, tables::singleton_key(), row)]);
    };
    let content = json!({ "actions": [
        { "name": "assert_service_identity", "args": { "service_identity": ours } },
        { "name": "trigger_snapshot" },
    ]});
    let envelope = c.members[0].sign(Message::Proposal, c.now, content.to_string().as_bytes());
    service(&mut c, other);
    let refused = code(c.send(Route::CreateProposal, &envelope));
    assert_eq!(refused, ErrorCode::ProposalFailedToValidate);
    service(&mut c, ours);
    assert!(c.send(Route::CreateProposal, &envelope).is_ok());
}

/// A member floods the window from as far ahead as is taken.
#[test]
fn proposals_from_ahead_shut_nobody_out() {
    let mut c = Consortium::new(2);
    let first = c.propose(1, "set_note", &json!({ "text": "first" })).unwrap();
    c.withdraw(1, &first).unwrap();
    c.now += 2 * AHEAD_MAX_S;
    for _ in 0..WINDOW_DEFAULT {
        let at = c.now + AHEAD_MAX_S;
        let envelope = c.members[0].sign(Message::Proposal, at, br#"{"actions":[]}"#);
        let Ok(Reply::Proposal(view)) = c.send(Route::CreateProposal, &envelope) else { panic!() };
        c.withdraw(0, &view).unwrap();
    }
    let content = br#"{"actions":[{"name":"set_note","args":{"text":"heard"}}]}"#;
    let envelope = c.members[1].sign(Message::Proposal, c.now, content);
    assert!(c.send(Route::CreateProposal, &envelope).is_ok());
    assert_eq!(code(c.send(Route::CreateProposal, &envelope)), ErrorCode::ProposalReplay);
}
