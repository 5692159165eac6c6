//! A new member is admitted, and becomes active when it acknowledges the state.

use coco_crypto::Curve;
use coco_governance::{Effect, ErrorCode, Message, Reply, Route, tables};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, Sent, YES, code, state};

/// Admits a fourth member.
fn admit(c: &mut Consortium, with_key: bool) -> usize {
    let member = Member::new(Curve::P256);
    let key = with_key.then_some("PEM");
    let args = json!({
        "cert": member.certificate.pem(), "member_data": { "name": "new" }, "encryption_pub_key": key,
    });
    assert_eq!(state(&c.pass("set_member", &args).unwrap()), "Accepted");
    c.members.push(member);
    c.members.len() - 1
}

fn acknowledge(c: &mut Consortium, by: usize, digest: &Value) -> Sent<Reply> {
    let content = json!({ "stateDigest": digest }).to_string();
    let envelope = c.members[by].sign(Message::Ack, c.now, content.as_bytes());
    c.send(Route::Acknowledge(c.members[by].id()), &envelope)
}

fn update(c: &mut Consortium, by: usize) -> Value {
    let envelope = c.members[by].sign(Message::StateDigest, c.now, b"");
    let member = c.members[by].id();
    match c.send(Route::UpdateStateDigest(member), &envelope).unwrap() {
        Reply::StateDigest { member: named, state_digest } => {
            assert_eq!(named, member);
            json!(state_digest)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_acts_once_it_acknowledged_the_state() {
    let mut c = Consortium::new(3);
    let new = admit(&mut c, false);
    let refused = code(c.propose(new, "set_note", &json!({ "text": "x" })));
    assert_eq!(refused, ErrorCode::InvalidAuthenticationInfo);
    let made = c.propose(0, "set_note", &json!({ "text": "x" })).unwrap();
    assert_eq!(code(c.vote(new, &made, YES)), ErrorCode::InvalidAuthenticationInfo);
    let root = c.situation().root.to_string();
    let digest = update(&mut c, new);
    assert_eq!(digest, json!(root));
    assert_eq!(code(acknowledge(&mut c, new, &json!("00"))), ErrorCode::StateDigestMismatch);
    assert_eq!(code(acknowledge(&mut c, new, &json!(1))), ErrorCode::InvalidInput);
    assert_eq!(acknowledge(&mut c, new, &digest), Ok(Reply::Done));
    assert_eq!(c.effects, [], "it holds no share");
    let row = c.json(tables::MEMBERS_INFO, &c.members[new].id().key()).unwrap();
    assert_eq!(row, json!({ "status": "Active", "member_data": { "name": "new" } }));
    let ack = c.json(tables::MEMBERS_ACKS, &c.members[new].id().key()).unwrap();
    assert_eq!(ack["state_digest"], digest);
    assert!(ack["cose_sign1_req"].is_string());
    assert!(c.propose(new, "set_note", &json!({ "text": "x" })).is_ok());
}

#[test]
fn the_digest_of_the_admission_can_be_acknowledged() {
    let mut c = Consortium::new(1);
    let new = admit(&mut c, false);
    let ack = c.json(tables::MEMBERS_ACKS, &c.members[new].id().key()).unwrap();
    assert_eq!(acknowledge(&mut c, new, &ack["state_digest"]), Ok(Reply::Done));
}

#[test]
fn a_new_recovery_member_needs_a_share() {
    let mut c = Consortium::new(1);
    let new = admit(&mut c, true);
    let digest = update(&mut c, new);
    acknowledge(&mut c, new, &digest).unwrap();
    assert_eq!(c.effects, [Effect::RefreshRecoveryShares]);
    let digest = update(&mut c, new);
    acknowledge(&mut c, new, &digest).unwrap();
    assert_eq!(c.effects, [], "it was active already");
}

#[test]
fn a_recovery_member_does_not_become_active_during_a_recovery() {
    for (status, with_key, ok) in [
        ("Recovering", true, false),
        ("WaitingForRecoveryShares", true, false),
        ("Recovering", false, true),
        ("Opening", true, true),
    ] {
        let mut c = Consortium::new(1);
        let new = admit(&mut c, with_key);
        let mut set = coco_kv::WriteSet::new();
        let row = json!({ "cert": "PEM", "status": status }).to_string().into_bytes();
        let name = coco_kv::MapName::from_static(tables::SERVICE_INFO);
        set.insert(&name, tables::singleton_key(), row);
        c.store.apply(c.store.reader().version().next(), &set).unwrap();
        let digest = update(&mut c, new);
        let done = acknowledge(&mut c, new, &digest);
        assert_eq!(done.is_ok(), ok, "{status} {with_key}");
        assert!(ok || code(done) == ErrorCode::InvalidInput);
        assert_eq!(c.effects, [], "no share before the service is open");
    }
}

#[test]
fn without_a_digest_there_is_nothing_to_acknowledge() {
    let mut c = Consortium::new(1);
    let refused = code(acknowledge(&mut c, 0, &json!("00")));
    assert_eq!(refused, ErrorCode::AuthorizationFailed);
}
