//! A service comes back from disaster, and what it does by itself then.

use coco_crypto::Curve;
use coco_governance::tables;
use coco_kv::WriteSet;
use coco_types::Seqno;
use serde_json::{Value, json};

use super::{
    books::{
        Books, CONFIGURATION, NODE_SECRETS, PAST_SECRETS, SECRET_SINCE, configuration, hex, node,
        put, root,
    },
    forged::{check_all, check_last},
};
use crate::consortium::Member;

const LAST_ROOT: &str = "public:ccf.gov.service.previous_service_last_signed_root";

type Change<'a> = &'a dyn Fn(&mut WriteSet);

fn one(set: &mut WriteSet, table: &'static str, row: &Value) {
    put(set, table, tables::singleton_key(), row);
}

/// The entry with which a node begins anew, whose certificate this is; `change` alters it.
fn beginning(b: &Books, service: &str, change: Change<'_>) -> WriteSet {
    let mut set = WriteSet::new();
    let before = b.c.json(tables::SERVICE_INFO, tables::singleton_key()).unwrap();
    let at = b.last().next();
    let row = json!({ "cert": service, "status": "Recovering", "recovery_count": 1 });
    one(&mut set, tables::SERVICE_INFO, &row);
    one(&mut set, tables::PREVIOUS_SERVICE_IDENTITY, &json!(before["cert"].to_string()));
    let signed = root(Seqno(at.0 - 2)).to_string();
    one(&mut set, LAST_ROOT, &json!(json!(signed).to_string()));
    one(&mut set, tables::PREVIOUS_SERVICE_ENDORSEMENT, &json!("{}"));
    let gone = json!({ "retired_committed": true });
    put(&mut set, tables::NODES_INFO, hex(1).as_bytes(), &node("Retired", 9, &gone));
    put(&mut set, tables::NODES_INFO, hex(5).as_bytes(), &node("Trusted", 9, &json!({})));
    put(&mut set, tables::NODES_ENDORSED_CERTIFICATES, hex(5).as_bytes(), &json!("PEM"));
    one(&mut set, CONFIGURATION, &configuration(&[5], &[]));
    one(&mut set, NODE_SECRETS, &json!({ "from": at.0, "secrets": { hex(5): "AA==" } }));
    change(&mut set);
    set
}

/// The end of a recovery says since when its secret is used.
fn refuse_other_times(b: &mut Books, begun: Seqno) {
    for since in [json!(0), json!(u64::MAX)] {
        let mut ended = b.end_of_recovery(begun);
        put(&mut ended, SECRET_SINCE, tables::singleton_key(), &since);
        b.entries.push(ended);
        check_all(b, "is not used since it says");
        b.entries.pop();
    }
}

#[test]
fn a_recovery_by_the_rules_holds_and_others_are_named() {
    let mut b = Books::new(3);
    let old = b.c.members[0].certificate.pem();
    let service = Member::new(Curve::P384).certificate.pem();
    let trusted = |id: u8| {
        move |set: &mut WriteSet| {
            put(set, tables::NODES_INFO, hex(id).as_bytes(), &node("Trusted", 9, &json!({})));
        }
    };
    let policy = json!({ "default": { "rule": "one" }, "actions": {} });
    let again = |set: &mut WriteSet| {
        let row = json!({ "cert": old, "status": "Recovering", "recovery_count": 1 });
        one(set, tables::SERVICE_INFO, &row);
    };
    let wrong: [(Change<'_>, &str); 9] = [
        (&again, "does not begin another service"),
        (&trusted(1), "are not retired"),
        (&trusted(6), "with one new node"),
        (
            &|set| one(set, tables::PREVIOUS_SERVICE_IDENTITY, &json!("\"PEM\"")),
            "the service before it",
        ),
        (&|set| one(set, LAST_ROOT, &json!(json!(hex(1)).to_string())), "root that the service"),
        (&|set| one(set, CONFIGURATION, &configuration(&[5, 1], &[])), "others than its node take"),
        (
            &|set| one(set, NODE_SECRETS, &json!({ "secrets": { hex(5): "AA==" } })),
            "from its first",
        ),
        (
            &|set| one(set, NODE_SECRETS, &json!({ "from": 99, "secrets": { hex(1): "AA==" } })),
            "from its first",
        ),
        (&|set| one(set, tables::VOTING_POLICY, &policy), "nobody signed a request"),
    ];
    for (change, expected) in wrong {
        b.entries.push(beginning(&b, &service, change));
        check_last(&b, expected);
        b.entries.pop();
    }
    let begun = b.last().next();
    b.write(beginning(&b, &service, &|_| {}));
    let open = json!({ "next_service_identity": service, "previous_service_identity": old });
    assert_eq!(b.pass("transition_service_to_open", &open).unwrap(), "Accepted");
    // Shares come in, and the service opens once they are enough.
    for by in 0..2 {
        b.entries.push(b.end_of_recovery(begun));
        check_last(&b, "before enough members");
        b.entries.pop();
        let mut set = WriteSet::new();
        let id = b.c.members[by].id().key();
        put(&mut set, tables::ENCRYPTED_SUBMITTED_SHARES, &id, &json!("\"AA==\""));
        b.write(set);
    }
    let mut stranger = WriteSet::new();
    let id = b.c.members[2].id().key();
    put(&mut stranger, tables::ENCRYPTED_SUBMITTED_SHARES, &id, &json!("\"AA==\""));
    b.entries.push(stranger);
    check_last(&b, "nobody signed a request");
    b.entries.pop();
    let mut unkept = b.end_of_recovery(begun);
    put(&mut unkept, PAST_SECRETS, &9_u64.to_be_bytes(), &json!("x"));
    b.entries.push(unkept);
    check_all(&b, "is not kept");
    b.entries.pop();
    refuse_other_times(&mut b, begun);
    b.write(b.end_of_recovery(begun));
    b.secret = (begun, 9);
    assert_eq!(b.pass("trigger_ledger_rekey", &json!({})).unwrap(), "Accepted");
    b.audit().unwrap();
}
