//! Certificates of nodes on the requests that they have signed, under a constitution that calls for them as CCF's does.

use coco_crypto::{
    AltName, Certificate, Curve, EndorseNode, NodeRequest, SigningKey, Validity, endorse_node,
    node_names, service_certificate,
};
use coco_governance::{DEFAULT_CONSTITUTION, tables};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, ServiceKey, passes};

const CCF_LIKE: &str = include_str!("ccf_like.js");

const VALIDITY: Validity = Validity { not_before: 0, not_after: 1_000 };
const MIDNIGHT: u64 = 1_703_980_800;

/// A service with two nodes whose requests stand in their rows.
struct Service {
    c: Consortium,
    key: SigningKey,
    nodes: Vec<SigningKey>,
}

fn names() -> [AltName; 2] {
    [AltName::Dns("node.example".to_owned()), AltName::Ip("10.1.2.3".parse().unwrap())]
}

fn request(of: &SigningKey) -> String {
    NodeRequest::new(of, &names()).unwrap().pem()
}

fn id(node: &SigningKey) -> String {
    node.public().node_id().to_string()
}

fn period(days: u64) -> Validity {
    Validity { not_before: MIDNIGHT, not_after: MIDNIGHT + days * 86_400 - 1 }
}

fn for_days(days: u64, more: &Value) -> Value {
    let mut args = json!({ "valid_from": "20231231000000Z", "validity_period_days": days });
    args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    args
}

impl Service {
    fn under(constitution: &str) -> Self {
        let mut c = Consortium::under(constitution, 1);
        let service = Member::new(Curve::P384);
        c.certificates = ServiceKey::of(&service);
        let row = json!({ "cert": service.certificate.pem(), "status": "Open" });
        c.set(&[(tables::SERVICE_INFO, tables::singleton_key(), row)]);
        let mut made = Self { c, key: service.key, nodes: Vec::new() };
        for _ in 0..2 {
            let node = SigningKey::generate(Curve::P384);
            made.put(&node, "Trusted", Some(&request(&node)));
            made.nodes.push(node);
        }
        made
    }

    /// Writes the row of a node, and the certificate that it came with.
    fn put(&mut self, node: &SigningKey, status: &str, request: Option<&str>) {
        let mut row = json!({ "status": status, "node_data": { "site": "B" } });
        if let Some(request) = request {
            row["certificate_signing_request"] = json!(request);
        }
        let names = node_names(node.public(), &names());
        let endorsement = EndorseNode { key: node.public(), names: &names, validity: VALIDITY };
        let issuer = service_certificate(&self.key, VALIDITY).unwrap();
        let certificate = json!(endorse_node(&self.key, &issuer, &endorsement).unwrap().pem());
        let id = id(node);
        self.c.set(&[(tables::NODES_INFO, id.as_bytes(), row)]);
        if status == "Trusted" {
            self.c.set(&[(tables::NODES_ENDORSED_CERTIFICATES, id.as_bytes(), certificate)]);
        }
    }

    fn passes(&mut self, name: &str, args: &Value) {
        passes(&mut self.c, name, args);
    }

    fn fails(&mut self, name: &str, args: &Value, expected: &str) {
        let before = self.nodes.iter().map(|node| self.row(node)).collect::<Vec<_>>();
        let error = self.c.pass(name, args).unwrap_err();
        assert!(error.message.contains(expected), "{error} and not: {expected}");
        let after = self.nodes.iter().map(|node| self.row(node)).collect::<Vec<_>>();
        assert_eq!(before, after, "{name}");
    }

    fn row(&self, node: &SigningKey) -> Option<Vec<u8>> {
        self.c.row(tables::NODES_ENDORSED_CERTIFICATES, id(node).as_bytes())
    }

    /// Checks that a node has a certificate for its key and names and so many days.
    fn has(&self, node: &SigningKey, days: u64) {
        let row = self.row(node).expect("it has one");
        let certificate = Certificate::from_pem(str::from_utf8(&row).unwrap()).unwrap();
        assert_eq!((certificate.key(), certificate.validity()), (node.public(), period(days)));
        let expected = node_names(node.public(), &names());
        assert_eq!(certificate.node_names(), Ok(expected));
        assert_eq!(certificate.verify_signed_by(self.key.public()), Ok(()));
        assert_eq!(certificate.check_node(), Ok(()));
    }
}

#[test]
fn a_constitution_that_calls_as_ccfs_does_renews_the_certificates_of_nodes() {
    let mut s = Service::under(CCF_LIKE);
    let [one, other] = [0, 1].map(|at: usize| s.nodes[at].clone());
    s.passes("set_node_certificate_validity", &for_days(30, &json!({ "node_id": id(&one) })));
    s.has(&one, 30);
    s.passes("set_all_nodes_certificate_validity", &for_days(9, &json!({})));
    s.has(&one, 9);
    s.has(&other, 9);
    s.passes("set_all_nodes_certificate_validity", &json!({ "valid_from": "20231231000000Z" }));
    s.has(&other, 365);

    // One that comes is certified when it is trusted.
    let comes = SigningKey::generate(Curve::P384);
    s.put(&comes, "Pending", Some(&request(&comes)));
    let args = for_days(7, &json!({ "node_id": id(&comes) }));
    s.fails("set_node_certificate_validity", &args, "is not trusted");
    assert_eq!(s.row(&comes), None);
    s.passes("transition_node_to_trusted", &args);
    s.has(&comes, 7);
    let row = s.c.json(tables::NODES_INFO, id(&comes).as_bytes()).unwrap();
    assert_eq!((&row["status"], row["ledger_secret_seqno"].is_u64()), (&json!("Trusted"), true));
}

fn request_in(s: &Service, node: &SigningKey) -> String {
    let row = s.c.json(tables::NODES_INFO, id(node).as_bytes()).unwrap();
    row["certificate_signing_request"].as_str().unwrap().to_owned()
}

#[test]
fn forged_requests_fail_the_proposal_and_nothing_else() {
    let mut s = Service::under(CCF_LIKE);
    let node = s.nodes[0].clone();
    let (stranger, leaves) = (SigningKey::generate(Curve::P384), SigningKey::generate(Curve::P384));
    s.put(&leaves, "Retired", Some(&request(&leaves)));
    let good = request_in(&s, &node);
    let own = good.replace("\nMI", "\nMA");
    let retired = request_in(&s, &leaves);
    let huge = format!("{good}{}", "A".repeat(100 << 10));
    let service = s.c.json(tables::SERVICE_INFO, tables::singleton_key()).unwrap();
    for (request, expected) in [
        (request(&stranger), "is no trusted node of this service"),
        (retired, "is no trusted node of this service"),
        (request(&node), "is not the one in the row"),
        (own, "not PKCS #10 in DER"),
        (signed_by_another(&node, &stranger), "is not signed with its own key"),
        (huge, "bytes, at most"),
        (good.replace("-----END", ""), "is not PEM"),
        ("garbage".to_owned(), "neither a node's request in PEM nor"),
        (service["cert"].as_str().unwrap().to_owned(), "neither a node's request in PEM nor"),
    ] {
        let args = for_days(9, &json!({ "node_id": id(&node), "request": request }));
        s.fails("certify_anything", &args, expected);
    }
    // The row of a node says another's request.
    s.put(&node, "Trusted", Some(&request(&stranger)));
    let args = for_days(9, &json!({ "node_id": id(&node) }));
    s.fails("set_node_certificate_validity", &args, "is no trusted node of this service");
    // One key gets one certificate.
    s.put(&node, "Trusted", Some(&good));
    s.fails("certify_once_more", &args, "again: one proposal has one certificate made for a key");
    // The service goes on.
    s.passes("set_node_certificate_validity", &args);
    s.has(&node, 9);
}

/// The request of a node with another's signature.
fn signed_by_another(node: &SigningKey, other: &SigningKey) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let der = |of: &SigningKey| {
        let pem = request(of);
        let lines = pem.lines().filter(|line| !line.starts_with('-'));
        STANDARD.decode(lines.collect::<String>()).unwrap()
    };
    // Whatever length the signature has, the key stands where it stood.
    let mut forged = der(other);
    let point = |of: &SigningKey| of.public().spki_der().to_vec();
    let (from, to) = (point(other), point(node));
    let at = forged.windows(from.len()).position(|bytes| *bytes == *from).unwrap();
    forged[at..at + to.len()].copy_from_slice(&to);
    let text = STANDARD.encode(forged);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}

#[test]
fn the_default_constitution_renews_with_a_request_and_without() {
    let mut s = Service::under(DEFAULT_CONSTITUTION);
    let [one, old] = [0, 1].map(|at: usize| s.nodes[at].clone());
    s.put(&old, "Trusted", None);
    s.passes("set_all_nodes_certificate_validity", &for_days(30, &json!({})));
    s.has(&one, 30);
    s.has(&old, 30);
    s.passes("set_node_certificate_validity", &for_days(9, &json!({ "node_id": id(&old) })));
    s.has(&old, 9);
    // It is the request that counts where there is one.
    let stranger = SigningKey::generate(Curve::P384);
    s.put(&one, "Trusted", Some(&request(&stranger)));
    let args = for_days(9, &json!({ "node_id": id(&one) }));
    s.fails("set_node_certificate_validity", &args, "is no trusted node of this service");
}

#[test]
fn nodes_of_before_have_no_request_that_ccfs_calls_could_use() {
    let mut s = Service::under(CCF_LIKE);
    let old = s.nodes[0].clone();
    s.put(&old, "Trusted", None);
    s.fails("set_all_nodes_certificate_validity", &for_days(9, &json!({})), "signed no request");
}
