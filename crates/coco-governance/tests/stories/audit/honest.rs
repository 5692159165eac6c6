//! Books that were kept by the rules hold.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{DecryptionKey, cose::AttachedSign1};
use coco_governance::{
    Audit, AuditFault, DEFAULT_CONSTITUTION, Message, PROPOSAL_AGE_DEFAULT_S, Route,
    tables::{self, AckRow},
};
use coco_kv::{Domain, MapName, StateImage, WriteSet};
use coco_types::Seqno;
use serde_json::json;

use super::books::{
    Books, CONFIGURATION, NEXT_CONSTITUTION, SNAPSHOT_ASKED, audit, configuration, hex, node, put,
    root,
};
use crate::consortium::{NO, ServiceKey, YES, engine};

/// One introduces itself and is trusted by vote, listens, votes; another takes its seat.
/// A newcomer listens, and takes the vote of the node that makes room for it; what was said of that one's seat stays with it when
/// its process starts again before.
fn replaced(b: &mut Books, leaves: &str) {
    let own = tables::singleton_key();
    let (comes, again) = (hex(4), hex(5));
    b.introduce(&comes);
    let args = json!({ "remove": [leaves], "add": [comes] });
    assert_eq!(b.pass("replace_nodes", &args).unwrap(), "Accepted");
    let row = |b: &Books, id: &str| b.c.json(tables::NODES_INFO, id.as_bytes()).unwrap();
    let mut set = WriteSet::new();
    put(&mut set, CONFIGURATION, own, &configuration(&[1, 3], &[4]));
    put(&mut set, tables::NODES_ENDORSED_CERTIFICATES, comes.as_bytes(), &json!("PEM"));
    b.write(set);
    let seated = |status: &str| node(status, 9, &json!({ "seat": hex(2) }));
    let mut set = WriteSet::new();
    put(&mut set, tables::NODES_INFO, again.as_bytes(), &seated("Pending"));
    put(&mut set, tables::NODES_ENDORSED_CERTIFICATES, again.as_bytes(), &json!("PEM"));
    put(&mut set, CONFIGURATION, own, &configuration(&[1, 3], &[4, 5]));
    b.write(set);
    let mut gone = row(b, leaves);
    let mut kept = seated("Trusted");
    kept["successors"] = gone["successors"].clone();
    gone["status"] = json!("Retired");
    let mut set = WriteSet::new();
    put(&mut set, tables::NODES_INFO, again.as_bytes(), &kept);
    put(&mut set, tables::NODES_INFO, leaves.as_bytes(), &gone);
    put(&mut set, CONFIGURATION, own, &configuration(&[1, 5], &[4]));
    b.write(set);
    let mut gone = row(b, &again);
    gone["status"] = json!("Retired");
    let mut set = WriteSet::new();
    put(&mut set, tables::NODES_INFO, again.as_bytes(), &gone);
    put(&mut set, CONFIGURATION, own, &configuration(&[1, 4], &[]));
    b.write(set);
}

fn nodes_come_and_go(b: &mut Books) {
    let (own, new, newer) = (tables::singleton_key(), hex(2), hex(3));
    b.introduce(&new);
    assert_eq!(
        b.pass("transition_node_to_trusted", &json!({ "node_id": new })).unwrap(),
        "Accepted"
    );
    for row in [configuration(&[1], &[2]), configuration(&[1, 2], &[])] {
        let mut set = WriteSet::new();
        put(&mut set, CONFIGURATION, own, &row);
        put(&mut set, tables::NODES_ENDORSED_CERTIFICATES, new.as_bytes(), &json!("PEM"));
        b.write(set);
    }
    let seated = |status: &str| node(status, 9, &json!({ "seat": hex(2) }));
    let mut set = WriteSet::new();
    put(&mut set, tables::NODES_INFO, newer.as_bytes(), &seated("Pending"));
    put(&mut set, tables::NODES_ENDORSED_CERTIFICATES, newer.as_bytes(), &json!("PEM"));
    put(&mut set, CONFIGURATION, own, &configuration(&[1, 2], &[3]));
    b.write(set);
    let mut gone = b.c.json(tables::NODES_INFO, new.as_bytes()).unwrap();
    gone["status"] = json!("Retired");
    let mut set = WriteSet::new();
    put(&mut set, tables::NODES_INFO, newer.as_bytes(), &seated("Trusted"));
    put(&mut set, tables::NODES_INFO, new.as_bytes(), &gone);
    put(&mut set, CONFIGURATION, own, &configuration(&[1, 3], &[]));
    b.write(set);
    // An operator asks for a snapshot.
    let mut set = WriteSet::new();
    set.insert(&MapName::from_static(SNAPSHOT_ASKED), own, Vec::new());
    b.write(set);
    gone["retired_committed"] = json!(true);
    let mut set = WriteSet::new();
    put(&mut set, tables::NODES_INFO, new.as_bytes(), &gone);
    b.write(set);
    replaced(b, &newer);
}

#[test]
fn a_history_of_every_kind_of_act_holds() {
    let mut b = Books::new(3);
    nodes_come_and_go(&mut b);
    // Proposals that end in each way.
    let (withdrawn, _) = b.propose(1, "trigger_snapshot", &json!({})).unwrap();
    let envelope = b.c.members[1].sign(Message::Withdrawal(withdrawn), b.c.now, b"");
    b.send(Route::WithdrawProposal(withdrawn), &envelope).unwrap();
    let (refused, _) = b.propose(1, "trigger_snapshot", &json!({})).unwrap();
    b.vote(0, refused, NO).unwrap();
    b.vote(1, refused, "export function vote() { throw new Error('undecided') }").unwrap();
    assert_eq!(b.vote(2, refused, NO).unwrap(), "Rejected");
    assert_eq!(b.pass("trigger_snapshot", &json!({})).unwrap(), "Accepted");
    // The service's certificate.
    b.c.certificates = ServiceKey::of(&b.c.members[0]);
    let from = json!({ "valid_from": "20310101000000Z", "validity_period_days": 90 });
    assert_eq!(b.pass("set_service_certificate_validity", &from).unwrap(), "Accepted");
    // Members and secrets.
    let fourth = b.admit(Some(&DecryptionKey::generate().public().pem()));
    b.become_active(fourth).unwrap();
    assert_eq!(b.pass("trigger_ledger_rekey", &json!({})).unwrap(), "Accepted");
    assert_eq!(
        b.pass("set_recovery_threshold", &json!({ "recovery_threshold": 3 })).unwrap(),
        "Accepted"
    );
    assert_eq!(
        b.pass("set_recovery_threshold", &json!({ "recovery_threshold": 2 })).unwrap(),
        "Accepted"
    );
    let fourth = b.c.members[fourth].id().to_string();
    assert_eq!(b.pass("remove_member", &json!({ "member_id": fourth })).unwrap(), "Accepted");
    b.c.members.pop();
    // Rules.
    let policy = json!({ "default": { "rule": "one" }, "actions": {} });
    assert_eq!(b.pass("set_voting_policy", &policy).unwrap(), "Accepted");
    let (open, _) = b.propose(2, "trigger_ledger_chunk", &json!({})).unwrap();
    let next = format!("{NEXT_CONSTITUTION}{DEFAULT_CONSTITUTION}");
    assert_eq!(b.pass("set_constitution", &json!({ "constitution": next })).unwrap(), "Accepted");
    assert!(b.vote(2, open, YES).is_err(), "it was dropped");
    assert_eq!(b.pass("trigger_ledger_chunk", &json!({})).unwrap(), "Accepted");

    let report = b.audit().unwrap();
    assert_eq!((report.members, report.active), (3, 3));
    let acts = report.acts;
    assert_eq!((acts.proposals, acts.accepted, acts.own), (16, 13, 12));
    let others = 8 + 1;
    assert_eq!(acts.requests, acts.proposals + acts.ballots + others);
}

#[test]
fn an_act_may_lie_behind_the_entry_that_records_it() {
    let mut b = Books::new(2);
    b.admit(None);
    let act = b.entries.pop().unwrap();
    let (made, at) = (b.last().0, b.last().0 + 3);
    b.entries.extend([WriteSet::new(), WriteSet::new(), act]);
    // The root is that of the entry after which it was carried out.
    let moved = |upto: Seqno| if upto.0 <= made { root(upto) } else { root(Seqno(upto.0 + 100)) };
    audit(&b.entries, &moved).unwrap();
    // Not one that the ledger never had, nor one of before the last act.
    let never = |upto: Seqno| if upto.0 < made { root(upto) } else { root(Seqno(upto.0 + 100)) };
    let error = audit(&b.entries, &never).unwrap_err();
    assert_eq!(error.seqno, Seqno(at));
    assert_eq!(*error.fault, AuditFault::Root);
}

#[test]
fn an_audit_may_begin_with_a_snapshot() {
    let mut b = Books::new(2);
    assert_eq!(b.pass("trigger_ledger_rekey", &json!({})).unwrap(), "Accepted");
    b.propose(0, "trigger_snapshot", &json!({})).unwrap();
    let at = b.last();
    let image = b.c.store.reader().head().encode(Domain::Public, &WriteSet::new());
    let image = StateImage::parse(&image, Domain::Public, at).unwrap();
    let fourth = b.admit(Some(&DecryptionKey::generate().public().pem()));
    b.become_active(fourth).unwrap();
    assert_eq!(b.pass("trigger_ledger_rekey", &json!({})).unwrap(), "Accepted");
    let begin = || Audit::from_state(engine(), at, &image).unwrap();
    let report = b.go_on(begin(), at).unwrap();
    assert_eq!((report.members, report.acts.proposals), (3, 2));
    // The rules are those in the snapshot, and the entry after it comes next.
    let mut removal = WriteSet::new();
    let member = MapName::from_static(tables::MEMBERS_INFO);
    removal.remove(&member, &b.c.members[0].id().key());
    b.entries[usize::try_from(at.0).unwrap()] = removal;
    assert_eq!(b.go_on(begin(), at).unwrap_err().seqno, at.next());
    let late = b.go_on(begin(), at.next()).unwrap_err();
    assert_eq!(*late.fault, AuditFault::Order { expected: at.next() });
}

#[test]
fn a_proposal_is_over_at_its_deadline() {
    let mut b = Books::new(3);
    let (voted_on, _) = b.propose(0, "trigger_ledger_chunk", &json!({})).unwrap();
    b.propose(1, "trigger_ledger_chunk", &json!({})).unwrap();
    b.wait(PROPOSAL_AGE_DEFAULT_S + 10);
    assert_eq!(b.vote(1, voted_on, YES).unwrap(), "Dropped");
    assert_eq!(b.pass("trigger_ledger_chunk", &json!({})).unwrap(), "Accepted");
    b.audit().unwrap();
}

/// As services wrote that kept unprotected headers, an acknowledgement that came again, and digests without the time of the
/// request, which could come again as well.
#[test]
fn requests_as_earlier_versions_recorded_them_hold() {
    let mut b = Books::new(2);
    let by = b.admit(None);
    b.become_active(by).unwrap();
    let key = b.c.members[by].id().key();
    let sent = b.c.json(tables::COSE_HISTORY, &key).unwrap();
    let sent = STANDARD.decode(sent.as_str().unwrap()).unwrap();
    let cose = AttachedSign1::decode(&sent).unwrap();
    let kept = AttachedSign1 { unprotected: &[0xa1, 0x18, 0x63, 0x01], ..cose }.encode();
    let mut row: AckRow =
        serde_json::from_slice(&b.c.row(tables::MEMBERS_ACKS, &key).unwrap()).unwrap();
    row.cose_sign1_req = Some(STANDARD.encode(&kept));
    let write = |b: &mut Books, envelope: &[u8], row: &AckRow| {
        let recorded = json!(STANDARD.encode(envelope)).to_string();
        let row = json!(serde_json::to_string(row).unwrap());
        let mut set = WriteSet::new();
        put(&mut set, tables::COSE_HISTORY, &key, &json!(recorded));
        put(&mut set, tables::MEMBERS_ACKS, &key, &row);
        b.write(set);
    };
    for _ in 0..2 {
        write(&mut b, &kept, &row);
    }
    let asked = b.c.members[by].sign(Message::StateDigest, b.c.now, b"");
    row.created_at = None;
    for _ in 0..2 {
        row.state_digest = root(b.last()).to_string();
        write(&mut b, &asked, &row);
    }
    b.audit().unwrap();
    // That of a digest which it did not get is none.
    row.state_digest = hex(5);
    write(&mut b, &kept, &row);
    assert!(b.audit().is_err());
}

#[test]
fn a_ballot_that_came_again_when_members_had_left_holds() {
    let mut b = Books::new(4);
    let (open, _) = b.propose(0, "trigger_snapshot", &json!({})).unwrap();
    for by in 0..2 {
        assert_eq!(b.vote(by, open, YES).unwrap(), "Open");
    }
    for by in [3, 2] {
        let gone = b.c.members[by].id().to_string();
        assert_eq!(b.pass("remove_member", &json!({ "member_id": gone })).unwrap(), "Accepted");
        b.c.members.pop();
    }
    assert_eq!(b.vote(0, open, YES).unwrap(), "Accepted");
    b.audit().unwrap();
}
