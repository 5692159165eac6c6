//! Somebody has the key of one member, and everything that it signs counts as that member's.

use coco_crypto::Curve;
use coco_governance::{DEFAULT_CONSTITUTION, ErrorCode, Message, Route, tables};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, YES, code, state};

/// One proposal of each kind that gives or takes something.
fn wishes(c: &Consortium) -> Vec<(&'static str, Value)> {
    let accomplice = Member::new(Curve::P256).certificate.pem();
    let honest = c.members[1].id().to_string();
    let pem = c.members[0].certificate.pem();
    let node = "cd".repeat(32);
    let ours = format!("{DEFAULT_CONSTITUTION}\n");
    let alone = json!({ "default": { "rule": "one" }, "actions": {} });
    vec![
        ("set_member", json!({ "cert": accomplice })),
        ("remove_member", json!({ "member_id": honest })),
        ("set_member_data", json!({ "member_id": honest, "member_data": {} })),
        ("set_user", json!({ "cert": accomplice })),
        ("transition_node_to_trusted", json!({ "node_id": node })),
        ("remove_node", json!({ "node_id": node })),
        ("add_virtual_measurement", json!({ "measurement": node })),
        ("transition_service_to_open", json!({ "next_service_identity": pem })),
        ("set_recovery_threshold", json!({ "recovery_threshold": 1 })),
        ("set_service_configuration", json!({ "recent_cose_proposals_window_size": 1 })),
        ("trigger_recovery_shares_refresh", json!({})),
        ("trigger_ledger_rekey", json!({})),
        ("set_voting_policy", alone),
        ("set_constitution", json!({ "constitution": ours })),
    ]
}

#[test]
fn one_key_decides_nothing_of_any_kind() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 3);
    for (name, args) in wishes(&c) {
        let view = c.propose(0, name, &args).unwrap();
        assert_eq!(state(&view), "Open", "{name}");
        assert_eq!(state(&c.vote(0, &view, YES).unwrap()), "Open", "{name}");
        assert_eq!(c.effects, [], "{name}");
    }
    for name in [tables::USERS_CERTS, tables::VIRTUAL_MEASUREMENTS, tables::VOTING_POLICY] {
        let head = c.store.reader().head();
        let map = head.map(&coco_kv::MapName::from_static(name)).unwrap();
        assert_eq!(head.range(map, &[], None, 1), [], "{name}");
    }
}

#[test]
fn the_others_take_the_key_out_and_its_ballots_with_it() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 3);
    let thief = c.members[2].id();
    let open = c.propose(0, "trigger_snapshot", &json!({})).unwrap();
    c.vote(2, &open, YES).unwrap();
    let args = json!({ "member_id": thief.to_string() });
    assert_eq!(state(&c.pass("remove_member", &args).unwrap()), "Accepted");
    for refused in [
        code(c.propose(2, "trigger_snapshot", &json!({}))),
        code(c.vote(2, &open, YES)),
        code(c.withdraw(2, &open)),
        code({
            let envelope = c.members[2].sign(Message::StateDigest, c.now, b"");
            c.send(Route::UpdateStateDigest(thief), &envelope)
        }),
    ] {
        assert_eq!(refused, ErrorCode::InvalidAuthenticationInfo);
    }
    // Of the two who are left both are a majority: the thief's ballot is not the second one.
    assert_eq!(state(&c.vote(0, &open, YES).unwrap()), "Open");
    assert_eq!(state(&c.vote(1, &open, YES).unwrap()), "Accepted");
}

#[test]
fn what_a_member_signed_for_something_else_is_no_request() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 1);
    let member = &c.members[0];
    let content = br#"{"actions":[{"name":"trigger_ledger_rekey"}]}"#;
    let envelope = member.sign(Message::Proposal, c.now, content);
    let cose = coco_crypto::cose::AttachedSign1::decode(&envelope).unwrap();
    let to_be_signed = cose.to_be_signed();
    let proof_in_tls = [&[0x20; 64][..], b"TLS 1.3, client CertificateVerify\0", &to_be_signed];
    let counter = {
        let signed = String::from_utf8_lossy(&to_be_signed[..12]).into_owned();
        assert!(signed.ends_with("Signature1"), "{signed:?}");
        [&to_be_signed[..1], b"\x70CounterSignature", &to_be_signed[12..]].concat()
    };
    for (what, signed) in [
        ("the content", content.to_vec()),
        ("headers and content", [cose.protected, content].concat()),
        ("a proof in TLS", proof_in_tls.concat()),
        ("a counter signature", counter),
    ] {
        let signature = member.key.sign_fixed(&signed);
        let forged = coco_crypto::cose::AttachedSign1 { signature: &signature, ..cose }.encode();
        let situation = c.situation();
        let reader = c.store.reader();
        let refused =
            c.governance.handle(reader.begin(), Route::CreateProposal, &forged, &situation);
        let refused = refused.map(|_| ()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidAuthenticationInfo, "{what}");
        assert!(refused.message.contains("does not verify"), "{what}: {refused}");
    }
    assert!(c.send(Route::CreateProposal, &envelope).is_ok(), "the genuine one is taken");
}
