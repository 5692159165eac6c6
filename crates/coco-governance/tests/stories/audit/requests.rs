//! Certificates on nodes' signed requests, gone through again.

use coco_crypto::{
    AltName, Certificate, Curve, EndorseNode, NodeRequest, SigningKey, Validity, endorse_node,
    service_certificate,
};
use coco_governance::tables;
use coco_kv::WriteSet;
use serde_json::{Value, json};

use super::{
    books::{Books, node, put},
    forged::{check_all, check_last},
};
use crate::consortium::ServiceKey;

fn written(table: &'static str, id: &str, row: &Value) -> WriteSet {
    let mut set = WriteSet::new();
    put(&mut set, table, id.as_bytes(), row);
    set
}

#[test]
fn a_certificate_is_held_against_the_request_that_it_answers() {
    let mut b = Books::new(2);
    let service = b.c.members[0].key.clone();
    b.c.certificates = ServiceKey::of(&b.c.members[0]);
    let [key, other] = [(); 2].map(|()| SigningKey::generate(Curve::P384));
    let id = key.public().node_id().to_string();
    let names = [AltName::Dns("node.example".to_owned())];
    let request = NodeRequest::new(&key, &names).unwrap();

    // Nobody comes with a request that is not its own.
    let others = NodeRequest::new(&other, &names).unwrap().pem();
    for request in [json!(others), json!("PEM"), json!(7)] {
        let said = json!({ "public_key": "PEM", "certificate_signing_request": request });
        b.entries.push(written(tables::NODES_INFO, &id, &node("Pending", 9, &said)));
        check_last(&b, "its request for certificates is not signed by it");
        b.entries.pop();
    }

    let said = json!({ "public_key": "PEM", "certificate_signing_request": request.pem() });
    b.write(written(tables::NODES_INFO, &id, &node("Pending", 9, &said)));
    let constitution = json!({ "constitution": include_str!("../ccf_like.js") });
    assert_eq!(b.pass("set_constitution", &constitution).unwrap(), "Accepted");
    let args = json!({ "node_id": id, "valid_from": "20310101000000Z", "validity_period_days": 9 });
    assert_eq!(b.pass("transition_node_to_trusted", &args).unwrap(), "Accepted");
    assert_eq!(b.pass("set_node_certificate_validity", &args).unwrap(), "Accepted");
    b.audit().unwrap();

    let honest = b.entries.pop().unwrap();
    let row = b.c.row(tables::NODES_ENDORSED_CERTIFICATES, id.as_bytes()).unwrap();
    let certificate = Certificate::from_pem(str::from_utf8(&row).unwrap()).unwrap();
    assert_eq!(certificate.node_names().as_deref(), Ok(request.names()));
    let validity = certificate.validity();
    let longer = Validity { not_after: validity.not_after + 1, ..validity };
    let issuer = service_certificate(&service, validity).unwrap();
    let made = |key: &SigningKey, names: &[AltName], validity| {
        let endorsement = EndorseNode { key: key.public(), names, validity };
        endorse_node(&service, &issuer, &endorsement).unwrap().pem()
    };
    for cert in [
        made(&key, request.names(), longer),
        made(&key, &names, validity),
        made(&other, request.names(), validity),
        request.pem(),
    ] {
        let mut forged = honest.clone();
        put(&mut forged, tables::NODES_ENDORSED_CERTIFICATES, id.as_bytes(), &json!(cert));
        b.entries.push(forged);
        check_all(&b, "");
        b.entries.pop();
    }
    b.entries.push(honest);
    b.audit().unwrap();
}
