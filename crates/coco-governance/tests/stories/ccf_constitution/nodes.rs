//! Nodes and their certificates.

use coco_crypto::{Certificate, NodeRequest, SigningKey};
use coco_governance::tables;
use serde_json::{Value, json};

use super::{Stage, new_node};

/// When certificates begin.
const FROM: &str = "231231000000Z";

struct Node {
    id: String,
    key: SigningKey,
    request: NodeRequest,
}

impl Node {
    fn row(&self, stage: &Stage) -> Option<Value> {
        stage.json(tables::NODES_INFO, self.id.as_bytes())
    }

    fn args(&self, days: u64) -> Value {
        json!({ "node_id": self.id, "valid_from": FROM, "validity_period_days": days })
    }

    /// Whether the certificate in its row is for it, and for so many days.
    fn check_certificate(&self, stage: &Stage, days: u64) {
        let pem = stage.text(tables::NODES_ENDORSED_CERTIFICATES, self.id.as_bytes()).unwrap();
        let made = Certificate::from_pem(&pem).unwrap();
        assert_eq!(made.key(), self.key.public());
        assert_eq!(made.node_names().as_deref(), Ok(self.request.names()));
        let validity = made.validity();
        assert_eq!(validity.not_after + 1 - validity.not_before, days * 86_400, "{}", self.id);
    }

    fn has_certificate(&self, stage: &Stage) -> bool {
        stage.c.row(tables::NODES_ENDORSED_CERTIFICATES, self.id.as_bytes()).is_some()
    }
}

/// A node that has signed a request for its certificate.
fn node(stage: &mut Stage, status: &str) -> Node {
    let (key, id) = new_node();
    let request = NodeRequest::new(&key, &[]).unwrap();
    let row = json!({ "status": status, "certificate_signing_request": request.pem() });
    let id = id.to_string();
    stage.put(tables::NODES_INFO, id.as_bytes(), row);
    Node { id, key, request }
}

/// One that has signed none.
fn old_node(stage: &mut Stage, status: &str) -> String {
    let id = new_node().1.to_string();
    stage.put(tables::NODES_INFO, id.as_bytes(), json!({ "status": status }));
    id
}

pub(super) fn set_node_data(stage: &mut Stage) {
    let (name, node) = ("set_node_data", node(stage, "Trusted"));
    let before = node.row(stage).unwrap();
    stage.accepts(name, &json!({ "node_id": node.id, "node_data": { "place": "north" } }));
    let mut after = before;
    after["node_data"] = json!({ "place": "north" });
    assert_eq!(node.row(stage), Some(after));
    stage.fails(name, &json!({ "node_id": "ab".repeat(32) }), "does not exist");
    stage.refuses(name, &json!({ "node_id": "ab" }), "64 characters");
}

pub(super) fn transition_node_to_trusted(stage: &mut Stage) {
    let (name, first) = ("transition_node_to_trusted", node(stage, "Pending"));
    stage.accepts(name, &first.args(7));
    first.check_certificate(stage, 7);
    let row = first.row(stage).unwrap();
    assert_eq!(row["status"], "Trusted");
    assert_eq!(row["ledger_secret_seqno"], 7, "the one of the situation");
    // It is trusted already: nothing happens.
    stage.accepts(name, &first.args(9));
    first.check_certificate(stage, 7);
    let second = node(stage, "Pending");
    stage.fails(name, &second.args(366), "max allowed is 365");
    stage.accepts(name, &json!({ "node_id": second.id, "valid_from": FROM }));
    second.check_certificate(stage, 365);
    // One that has signed no request gets no certificate from it.
    let old = old_node(stage, "Pending");
    stage.accepts(name, &json!({ "node_id": old, "valid_from": FROM }));
    assert_eq!(stage.json(tables::NODES_INFO, old.as_bytes()).unwrap()["status"], "Trusted");
    assert_eq!(stage.text(tables::NODES_ENDORSED_CERTIFICATES, old.as_bytes()), None);

    let unknown = json!({ "node_id": "ab".repeat(32), "valid_from": FROM });
    stage.fails(name, &unknown, "No such node");
    stage.refuses(name, &json!({ "node_id": "ab", "valid_from": FROM }), "64 characters");
    stage.refuses(name, &json!({ "node_id": second.id }), "must be of type string");
    stage.refuses(name, &second.args(0), "must be greater than 1");
}

pub(super) fn remove_node(stage: &mut Stage) {
    let name = "remove_node";
    let (waiting, trusted) = (node(stage, "Pending"), node(stage, "Trusted"));
    stage.accepts(name, &json!({ "node_id": waiting.id }));
    assert_eq!(waiting.row(stage), None);
    stage.accepts(name, &json!({ "node_id": waiting.id }));
    stage.accepts(name, &json!({ "node_id": trusted.id }));
    assert_eq!(trusted.row(stage).unwrap()["status"], "Retired");
    stage.refuses(name, &json!({ "node_id": "ab" }), "64 characters");
}

pub(super) fn set_node_certificate_validity(stage: &mut Stage) {
    let (name, node, waiting) =
        ("set_node_certificate_validity", node(stage, "Trusted"), node(stage, "Pending"));
    stage.accepts(name, &node.args(30));
    node.check_certificate(stage, 30);
    stage.accepts(name, &json!({ "node_id": node.id, "valid_from": FROM }));
    node.check_certificate(stage, 365);
    stage.fails(name, &node.args(366), "service max allowed is 365");
    stage.fails(name, &waiting.args(1), "is not trusted");
    let old = old_node(stage, "Trusted");
    let args = json!({ "node_id": old, "valid_from": FROM });
    stage.fails(name, &args, "has no certificate signing request");
    let unknown = json!({ "node_id": "ab".repeat(32), "valid_from": FROM });
    stage.fails(name, &unknown, "No such node");
    stage.refuses(name, &node.args(0), "must be greater than 1");
    stage.refuses(name, &json!({ "node_id": node.id }), "must be of type string");
}

pub(super) fn set_all_nodes_certificate_validity(stage: &mut Stage) {
    let name = "set_all_nodes_certificate_validity";
    let nodes = [node(stage, "Trusted"), node(stage, "Trusted")];
    let others = [node(stage, "Pending"), node(stage, "Retired")];
    let args = |days: Value| json!({ "valid_from": FROM, "validity_period_days": days });
    stage.accepts(name, &args(json!(9)));
    for node in &nodes {
        node.check_certificate(stage, 9);
    }
    assert!(others.iter().all(|node| !node.has_certificate(stage)), "they are not trusted");
    stage.put(
        tables::SERVICE_CONFIG,
        tables::singleton_key(),
        json!({ "maximum_node_certificate_validity_days": 20 }),
    );
    stage.accepts(name, &json!({ "valid_from": FROM }));
    nodes[1].check_certificate(stage, 20);
    stage.fails(name, &args(json!(21)), "service max allowed is 20");
    stage.refuses(name, &args(json!("x")), "must be an integer");
    stage.refuses(name, &json!({}), "must be of type string");
}
