//! CCF's sample constitution, unmodified, where it can be obtained: everything that it offers is proposed, decided and looked at.
//!
//! `COCO_CCF_CONSTITUTION` names its files, separated by colons, in the order in which they are joined: for 7.0
//! `actions.js:validate.js:resolve.js:apply.js`. None of its text is kept here; without the variable, nothing is tested.

mod code;
mod issuers;
mod nodes;
mod people;
mod service;

use coco_crypto::{Curve, SigningKey};
use coco_governance::{Effect, ErrorCode, GovernanceError, tables};
use coco_types::NodeId;
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, ServiceKey, YES, code as code_of, passes, state};

/// A key that recovery shares are sent to. Nobody decrypts here.
const ENCRYPTION_KEY: &str = include_str!("../../../coco-crypto/tests/vectors/rsa2048.public.pem");
/// Another, which no recovery takes.
const WEAK_KEY: &str = include_str!("../../../coco-crypto/tests/vectors/rsa1024.public.pem");
/// An authority, and somebody whom it certified.
const AUTHORITY: &str = include_str!("../../../coco-crypto/tests/vectors/chain/rsa_root.pem");
const CERTIFIED: &str = include_str!("../../../coco-crypto/tests/vectors/chain/rsa_leaf.pem");

fn sample() -> Option<String> {
    let names = std::env::var("COCO_CCF_CONSTITUTION").ok()?;
    let read = |name: &str| {
        std::fs::read_to_string(name).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    Some(names.split(':').map(read).collect::<Vec<_>>().join("\n"))
}

/// What a constitution of CCF's form offers, by its text alone: the name before each `new Action(`.
fn names(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split("new Action(").collect();
    parts.pop();
    parts
        .into_iter()
        .map(|before| {
            let quoted = before.trim_end().strip_suffix(',').map(str::trim_end);
            let quoted = quoted.and_then(|quoted| quoted.strip_suffix('"'));
            quoted.and_then(|quoted| quoted.rsplit('"').next()).expect("an action has a name")
        })
        .collect()
}

/// A service under the sample, with three members.
struct Stage {
    c: Consortium,
    sample: String,
    /// Whose certificate is the service's.
    service: Member,
    /// Whether the sample checks as much beforehand as that of CCF 7 does.
    is_strict: bool,
}

impl Stage {
    fn under(sample: &str) -> Self {
        let mut c = Consortium::under(sample, 3);
        let service = Member::new(Curve::P384);
        c.certificates = ServiceKey::of(&service);
        let is_strict = sample.contains("validateConstitution");
        let mut stage = Self { c, sample: sample.to_owned(), service, is_strict };
        stage.is("Open");
        stage
    }

    /// What the row of the service says from now on.
    fn is(&mut self, status: &str) {
        let row = json!({ "cert": self.service.certificate.pem(), "status": status });
        self.c.set(&[(tables::SERVICE_INFO, tables::singleton_key(), row)]);
    }

    /// Has members decide on an action, and it is carried out.
    fn accepts(&mut self, name: &str, args: &Value) {
        passes(&mut self.c, name, args);
    }

    /// The same, and what was open before is no more.
    fn accepts_and_drops(&mut self, name: &str, args: &Value) {
        let open = self.c.propose(1, "trigger_snapshot", &json!({})).unwrap();
        assert_eq!(state(&self.c.vote(1, &open, YES).unwrap()), "Open");
        self.accepts(name, args);
        assert_eq!(self.c.kept_state(&open).as_deref(), Some("Dropped"), "{name}");
    }

    /// Nobody can propose it, and the reason is said.
    fn refuses(&mut self, name: &str, args: &Value, why: &str) {
        let error = self.c.propose(0, name, args).expect_err(name);
        check(&error, ErrorCode::ProposalFailedToValidate, name, why);
    }

    /// It is proposed and cannot be carried out.
    fn fails(&mut self, name: &str, args: &Value, why: &str) {
        let error = self.c.pass(name, args).expect_err(name);
        check(&error, ErrorCode::InternalError, name, why);
    }

    fn json(&self, table: &'static str, key: &[u8]) -> Option<Value> {
        self.c.json(table, key)
    }

    fn text(&self, table: &'static str, key: &[u8]) -> Option<String> {
        self.c.row(table, key).map(|row| String::from_utf8(row).unwrap())
    }

    fn put(&mut self, table: &'static str, key: &[u8], value: Value) {
        self.c.set(&[(table, key, value)]);
    }

    /// What the last request asked the node to do.
    fn effects(&self) -> &[Effect] {
        &self.c.effects
    }

    /// Makes the first members ones who hold shares.
    fn give_shares(&mut self, count: usize) {
        let ids: Vec<_> = self.c.members.iter().take(count).map(|m| m.id().key()).collect();
        for id in ids {
            self.put(tables::MEMBERS_ENCRYPTION_KEYS, &id, json!(ENCRYPTION_KEY));
        }
    }
}

fn check(error: &GovernanceError, code: ErrorCode, name: &str, why: &str) {
    assert_eq!(error.code, code, "{name}: {error}");
    assert!(error.message.contains(why), "{name} says {error}, and not {why}");
}

fn new_node() -> (SigningKey, NodeId) {
    let key = SigningKey::generate(Curve::P384);
    let id = key.public().node_id();
    (key, id)
}

type Case = fn(&mut Stage);

#[rustfmt::skip]
const CASES: [(&str, Case); 51] = [
    ("set_constitution", service::set_constitution),
    ("set_member", people::set_member),
    ("remove_member", people::remove_member),
    ("set_member_data", people::set_member_data),
    ("set_user", people::set_user),
    ("remove_user", people::remove_user),
    ("set_user_data", people::set_user_data),
    ("set_recovery_threshold", service::set_recovery_threshold),
    ("trigger_recovery_shares_refresh", service::trigger_recovery_shares_refresh),
    ("trigger_ledger_rekey", service::trigger_ledger_rekey),
    ("transition_service_to_open", service::transition_service_to_open),
    ("set_js_app", code::set_js_app),
    ("remove_js_app", code::remove_js_app),
    ("set_js_runtime_options", code::set_js_runtime_options),
    ("refresh_js_app_bytecode_cache", code::refresh_js_app_bytecode_cache),
    ("set_ca_cert_bundle", issuers::set_ca_cert_bundle),
    ("remove_ca_cert_bundle", issuers::remove_ca_cert_bundle),
    ("set_jwt_issuer", issuers::set_jwt_issuer),
    ("set_jwt_public_signing_keys", issuers::set_jwt_public_signing_keys),
    ("remove_jwt_issuer", issuers::remove_jwt_issuer),
    ("cleanup_legacy_jwt_records", issuers::cleanup_legacy_jwt_records),
    ("add_node_code", code::add_node_code),
    ("remove_node_code", code::remove_node_code),
    ("add_snp_measurement", code::add_snp_measurement),
    ("remove_snp_measurement", code::remove_snp_measurement),
    ("add_snp_uvm_endorsement", code::add_snp_uvm_endorsement),
    ("remove_snp_uvm_endorsement", code::remove_snp_uvm_endorsement),
    ("add_snp_host_data", code::add_snp_host_data),
    ("remove_snp_host_data", code::remove_snp_host_data),
    ("add_snp_tcb_version", code::add_snp_tcb_version),
    ("remove_snp_tcb_version", code::remove_snp_tcb_version),
    ("set_snp_minimum_tcb_version", code::set_snp_minimum_tcb_version),
    ("set_snp_minimum_tcb_version_hex", code::set_snp_minimum_tcb_version_hex),
    ("remove_snp_minimum_tcb_version", code::remove_snp_minimum_tcb_version),
    ("add_virtual_measurement", code::add_virtual_measurement),
    ("remove_virtual_measurement", code::remove_virtual_measurement),
    ("add_virtual_host_data", code::add_virtual_host_data),
    ("remove_virtual_host_data", code::remove_virtual_host_data),
    ("set_node_join_policy", code::set_node_join_policy),
    ("remove_node_join_policy", code::remove_node_join_policy),
    ("set_node_data", nodes::set_node_data),
    ("transition_node_to_trusted", nodes::transition_node_to_trusted),
    ("remove_node", nodes::remove_node),
    ("set_node_certificate_validity", nodes::set_node_certificate_validity),
    ("set_all_nodes_certificate_validity", nodes::set_all_nodes_certificate_validity),
    ("set_service_certificate_validity", service::set_service_certificate_validity),
    ("set_service_configuration", service::set_service_configuration),
    ("trigger_ledger_chunk", service::trigger_ledger_chunk),
    ("trigger_snapshot", service::trigger_snapshot),
    ("trigger_acme_refresh", service::trigger_acme_refresh),
    ("assert_service_identity", service::assert_service_identity),
];

#[test]
fn every_action_of_the_sample_is_carried_out() {
    let Some(sample) = sample() else { return };
    let names = names(&sample);
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let case = CASES.iter().find(|(known, _)| *known == name);
        let (_, case) = case.unwrap_or_else(|| panic!("{name}: nothing here says what it does"));
        case(&mut Stage::under(&sample));
    }
}

#[test]
fn actions_are_found_by_their_names() {
    let text = "[ [\n  \"one\",\n new Action(x, \"z\"),\n],[\"two\", new Action()]]; set(\n \"three\",\n  new Action(";
    assert_eq!(names(text), ["one", "two", "three"]);
}

#[test]
fn the_sample_takes_no_other_actions() {
    let Some(sample) = sample() else { return };
    let mut stage = Stage::under(&sample);
    stage.refuses("no_such", &json!({}), "no such action");
    let good = json!({});
    let several: [(&str, &Value); 2] = [("trigger_snapshot", &good), ("no_such", &good)];
    let refused = stage.c.pass_all(&several);
    assert_eq!(code_of(refused), ErrorCode::ProposalFailedToValidate);
    let several: [(&str, &Value); 2] =
        [("trigger_snapshot", &good), ("trigger_ledger_chunk", &good)];
    assert_eq!(state(&stage.c.pass_all(&several).unwrap()), "Accepted");
    assert_eq!(stage.effects(), [Effect::Snapshot, Effect::ChunkLedger]);
    // One of three is no majority, nor is one who votes twice.
    let open = stage.c.propose(0, "trigger_snapshot", &good).unwrap();
    assert_eq!(state(&stage.c.vote(0, &open, YES).unwrap()), "Open");
    assert_eq!(state(&stage.c.vote(0, &open, YES).unwrap()), "Open");
    assert_eq!(state(&stage.c.vote(2, &open, YES).unwrap()), "Accepted");
}
