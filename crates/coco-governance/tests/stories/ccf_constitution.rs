//! CCF's sample constitution, unmodified, where it can be obtained.
//!
//! `COCO_CCF_CONSTITUTION` names its files, separated by colons, in the order in which they are joined: for 7.0
//! `actions.js:validate.js:resolve.js:apply.js`. None of its text is kept here; without the variable, nothing is tested.

use coco_crypto::{Certificate, Curve, NodeRequest, SigningKey};
use coco_governance::{Effect, ErrorCode, tables};
use serde_json::json;

use crate::consortium::{CONSTITUTION, Consortium, Member, ServiceKey, YES, code, state};

fn sample() -> Option<String> {
    let names = std::env::var("COCO_CCF_CONSTITUTION").ok()?;
    let read = |name: &str| {
        std::fs::read_to_string(name).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    Some(names.split(':').map(read).collect::<Vec<_>>().join("\n"))
}

fn accepted(c: &mut Consortium, name: &str, args: &serde_json::Value) {
    let end = c.pass(name, args);
    assert_eq!(end.as_ref().map(state), Ok("Accepted".to_owned()), "{name}: {end:?}");
}

#[test]
fn the_sample_certifies_nodes_on_their_requests() {
    let Some(sample) = sample() else { return };
    let mut c = Consortium::under(&sample, 3);
    let (service, node) = (Member::new(Curve::P384), SigningKey::generate(Curve::P384));
    let id = node.public().node_id().to_string();
    let request = NodeRequest::new(&node, &[]).unwrap();
    let row = json!({ "status": "Pending", "certificate_signing_request": request.pem() });
    let of_service = json!({ "cert": service.certificate.pem(), "status": "Open" });
    c.set(&[
        (tables::SERVICE_INFO, tables::singleton_key(), of_service),
        (tables::NODES_INFO, id.as_bytes(), row),
    ]);
    c.certificates = ServiceKey::of(&service);
    for (name, days) in [
        ("transition_node_to_trusted", 7),
        ("set_node_certificate_validity", 30),
        ("set_all_nodes_certificate_validity", 9),
    ] {
        let from = "231231000000Z";
        let args = json!({ "node_id": id, "valid_from": from, "validity_period_days": days });
        accepted(&mut c, name, &args);
        let pem = c.row(tables::NODES_ENDORSED_CERTIFICATES, id.as_bytes()).unwrap();
        let made = Certificate::from_pem(str::from_utf8(&pem).unwrap()).unwrap();
        assert_eq!(made.key(), node.public());
        assert_eq!(made.node_names().as_deref(), Ok(request.names()));
        let validity = made.validity();
        assert_eq!(validity.not_after + 1 - validity.not_before, days * 86_400, "{name}");
    }
}

#[test]
fn the_sample_runs_unmodified() {
    let Some(sample) = sample() else { return };
    let mut c = Consortium::under(&sample, 3);
    let new = Member::new(Curve::P521);
    let pem = new.certificate.pem();
    let user = Member::new(Curve::P256);
    let id = |member: &Member| member.id().to_string();

    accepted(&mut c, "set_member", &json!({ "cert": pem, "member_data": { "name": "new" } }));
    let row = c.json(tables::MEMBERS_INFO, &new.id().key()).unwrap();
    assert_eq!(row["status"], json!("Accepted"));
    assert!(c.json(tables::MEMBERS_ACKS, &new.id().key()).unwrap()["state_digest"].is_string());
    accepted(
        &mut c,
        "set_member_data",
        &json!({ "member_id": id(&new), "member_data": { "a": 1 } }),
    );
    let data = json!({ "cert": user.certificate.pem(), "user_data": { "b": 2 } });
    accepted(&mut c, "set_user", &data);
    assert_eq!(
        c.json(tables::USERS_INFO, &user.id().key()),
        Some(json!({ "user_data": { "b": 2 } }))
    );
    accepted(&mut c, "remove_user", &json!({ "user_id": id(&user) }));
    assert_eq!(c.row(tables::USERS_CERTS, &user.id().key()), None);
    accepted(&mut c, "remove_member", &json!({ "member_id": id(&new) }));
    assert_eq!(c.row(tables::MEMBERS_INFO, &new.id().key()), None);
    accepted(
        &mut c,
        "set_service_configuration",
        &json!({ "recent_cose_proposals_window_size": 50 }),
    );
    let config = c.json(tables::SERVICE_CONFIG, tables::singleton_key()).unwrap();
    assert_eq!(config["recent_cose_proposals_window_size"], json!(50));
    accepted(&mut c, "trigger_ledger_rekey", &json!(null));
    assert_eq!(c.effects, [Effect::RekeyLedger]);
    accepted(&mut c, "trigger_snapshot", &json!({}));
    assert_eq!(c.effects, [Effect::Snapshot]);
    accepted(&mut c, "transition_service_to_open", &json!({ "next_service_identity": pem }));
    assert_eq!(c.effects, [Effect::OpenService { previous: None, next: pem.into_bytes() }]);
    let bundle = json!({ "name": "root", "cert_bundle": user.certificate.pem() });
    accepted(&mut c, "set_ca_cert_bundle", &bundle);

    assert_eq!(
        code(c.propose(0, "set_user", &json!({ "cert": "x" }))),
        ErrorCode::ProposalFailedToValidate
    );
    assert_eq!(code(c.propose(0, "no_such", &json!({}))), ErrorCode::ProposalFailedToValidate);
    let refused = c.propose(
        0,
        "assert_service_identity",
        &json!({ "service_identity": user.certificate.pem() }),
    );
    assert_eq!(code(refused), ErrorCode::ProposalFailedToValidate);

    let open = c.propose(1, "trigger_ledger_chunk", &json!({})).unwrap();
    assert_eq!(state(&c.vote(1, &open, YES).unwrap()), "Open");
    accepted(&mut c, "set_constitution", &json!({ "constitution": CONSTITUTION }));
    assert_eq!(c.kept_state(&open).as_deref(), Some("Dropped"));
}
