//! Members and participants.

use coco_crypto::Curve;
use coco_governance::{Effect, tables};
use serde_json::{Value, json};

use super::{ENCRYPTION_KEY, Stage, WEAK_KEY};
use crate::consortium::Member;

/// Tables with a row for each member.
const OF_MEMBERS: [&str; 4] = [
    tables::MEMBERS_CERTS,
    tables::MEMBERS_INFO,
    tables::MEMBERS_ENCRYPTION_KEYS,
    tables::MEMBERS_ACKS,
];
/// No id.
const SHORT: &str = "ab";

fn with(member: &Member, rest: &Value) -> Value {
    let mut args = rest.clone();
    args["cert"] = json!(member.certificate.pem());
    args
}

pub(super) fn set_member(stage: &mut Stage) {
    let (name, new) = ("set_member", Member::new(Curve::P521));
    let key = new.id().key();
    let data = json!({ "name": "new" });
    let rest = json!({ "member_data": data, "encryption_pub_key": ENCRYPTION_KEY, "recovery_role": "Owner" });
    stage.accepts(name, &with(&new, &rest));
    assert_eq!(stage.text(tables::MEMBERS_CERTS, &key), Some(new.certificate.pem()));
    assert_eq!(stage.text(tables::MEMBERS_ENCRYPTION_KEYS, &key).as_deref(), Some(ENCRYPTION_KEY));
    let info = json!({ "member_data": data, "recovery_role": "Owner", "status": "Accepted" });
    assert_eq!(stage.json(tables::MEMBERS_INFO, &key), Some(info));
    let ack = stage.json(tables::MEMBERS_ACKS, &key).unwrap();
    assert_eq!(ack["state_digest"].as_str().map(str::len), Some(64), "{ack}");
    // Once more, without a key: it holds no share any more.
    stage.accepts(name, &with(&new, &json!({})));
    assert_eq!(stage.text(tables::MEMBERS_ENCRYPTION_KEYS, &key), None);
    assert_eq!(stage.json(tables::MEMBERS_INFO, &key), Some(json!({ "status": "Accepted" })));

    stage.refuses(name, &json!({ "cert": "x" }), "must be a valid X509 certificate");
    stage.refuses(name, &with(&new, &json!({ "member_data": 5 })), "must be of type object");
    let role = |role: &str, key: Option<&str>| {
        with(&new, &json!({ "recovery_role": role, "encryption_pub_key": key }))
    };
    stage.refuses(name, &role("King", Some(ENCRYPTION_KEY)), "must be one of");
    stage.refuses(name, &role("Owner", None), "encryption_pub_key is not specified");
    if stage.is_strict {
        stage.refuses(name, &role("Owner", Some("x")), "must be one of RSA");
        stage.refuses(name, &role("Owner", Some(WEAK_KEY)), "must be one of RSA");
        stage.is("Recovering");
        stage.refuses(name, &role("Owner", Some(ENCRYPTION_KEY)), "during recovery");
        stage.accepts(name, &with(&new, &json!({})));
    }
}

pub(super) fn remove_member(stage: &mut Stage) {
    let (name, new) = ("remove_member", Member::new(Curve::P256));
    let key = new.id().key();
    stage.accepts("set_member", &with(&new, &json!({ "encryption_pub_key": ENCRYPTION_KEY })));
    for table in OF_MEMBERS {
        assert!(stage.c.row(table, &key).is_some(), "{table}");
    }
    let args = json!({ "member_id": new.id().to_string() });
    stage.accepts(name, &args);
    for table in OF_MEMBERS {
        assert_eq!(stage.c.row(table, &key), None, "{table}");
    }
    assert_eq!(stage.effects(), [], "it was never active");
    stage.accepts(name, &args);

    // The service could not recover without the one who holds a share, and gets another secret when one of two goes.
    let active = stage.c.members[2].id();
    stage.put(tables::MEMBERS_ENCRYPTION_KEYS, &active.key(), json!(ENCRYPTION_KEY));
    let args = json!({ "member_id": active.to_string() });
    stage.fails(name, &args, "would be less than recovery threshold");
    stage.give_shares(1);
    stage.accepts(name, &args);
    assert_eq!(stage.effects(), [Effect::RekeyLedger]);
    assert_eq!(stage.json(tables::MEMBERS_INFO, &active.key()), None);

    stage.refuses(name, &json!({ "member_id": SHORT }), "64 characters");
    stage.refuses(name, &json!({ "member_id": "g".repeat(64) }), "non-hexadecimal");
    stage.refuses(name, &json!({ "member_id": 5 }), "must be of type string");
}

pub(super) fn set_member_data(stage: &mut Stage) {
    let (name, member) = ("set_member_data", stage.c.members[1].id());
    let args = |id: &str| json!({ "member_id": id, "member_data": { "a": 1 } });
    stage.accepts(name, &args(&member.to_string()));
    let info = json!({ "status": "Active", "member_data": { "a": 1 } });
    assert_eq!(stage.json(tables::MEMBERS_INFO, &member.key()), Some(info));
    stage.fails(name, &args(&"ab".repeat(32)), "does not exist");
    stage.refuses(name, &args(SHORT), "64 characters");
    stage.refuses(name, &json!({ "member_id": member.to_string() }), "must be of type object");
}

pub(super) fn set_user(stage: &mut Stage) {
    let (name, user) = ("set_user", Member::new(Curve::P256));
    let key = user.id().key();
    stage.accepts(name, &with(&user, &json!({ "user_data": { "b": 2 } })));
    assert_eq!(stage.text(tables::USERS_CERTS, &key), Some(user.certificate.pem()));
    assert_eq!(stage.json(tables::USERS_INFO, &key), Some(json!({ "user_data": { "b": 2 } })));
    stage.accepts(name, &with(&user, &json!({})));
    assert_eq!(stage.json(tables::USERS_INFO, &key), None);
    stage.refuses(name, &json!({ "cert": "x" }), "must be a valid X509 certificate");
    stage.refuses(name, &with(&user, &json!({ "user_data": "x" })), "must be of type object");
}

pub(super) fn remove_user(stage: &mut Stage) {
    let (name, user) = ("remove_user", Member::new(Curve::P384));
    stage.accepts("set_user", &with(&user, &json!({ "user_data": {} })));
    for _ in 0..2 {
        stage.accepts(name, &json!({ "user_id": user.id().to_string() }));
        assert_eq!(stage.text(tables::USERS_CERTS, &user.id().key()), None);
        assert_eq!(stage.json(tables::USERS_INFO, &user.id().key()), None);
    }
    stage.refuses(name, &json!({ "user_id": SHORT }), "64 characters");
}

pub(super) fn set_user_data(stage: &mut Stage) {
    let (name, user) = ("set_user_data", Member::new(Curve::P384));
    let args = |data: &Value| json!({ "user_id": user.id().to_string(), "user_data": data });
    let row = |stage: &Stage| stage.json(tables::USERS_INFO, &user.id().key());
    stage.accepts(name, &args(&json!({ "c": [1] })));
    assert_eq!(row(stage), Some(json!({ "user_data": { "c": [1] } })));
    stage.accepts(name, &args(&Value::Null));
    assert_eq!(row(stage), None);
    stage.refuses(name, &args(&json!(1)), "must be of type object");
    stage.refuses(name, &json!({ "user_id": SHORT }), "64 characters");
}
