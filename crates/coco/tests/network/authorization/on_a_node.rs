//! The matrix on a node: every call by nobody, a stranger and members of all kinds, while the service opens and when it is
//! open. Participants, tokens, nodes and members of other networks do not call here: this version gives them no rights, and
//! the one call that tells them apart is made in `callers.rs`.
//!
//! Whoever has a key shows it in TLS, too. A call that carries a request is made twice: as it was signed, and with one bit
//! of the signature changed, which makes it nobody's. Whatever is refused leaves governance as it was.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, ensure};
use coco_client::{API_VERSION, Message, ProposalId};
use coco_node::edge::table::{Body, ROWS, Row};
use serde_json::{Value, json};

use super::{
    super::{
        cluster::Network,
        http::{Connection, Response},
        members::{Member, YES, decide, proposal, send},
        opening,
        rpc::call_body,
    },
    Case, Expected, Identity, call, matrix,
};

/// Those who call.
const CALLERS: [Identity; 5] = [
    Identity::Nobody,
    Identity::SelfSigned,
    Identity::PendingMember,
    Identity::ActiveMember,
    Identity::RemovedMember,
];

/// Who calls, and what they have open.
struct Callers {
    node: SocketAddr,
    service_cert_pem: String,
    people: BTreeMap<Identity, Member>,
    connections: BTreeMap<Identity, Connection>,
    /// Whom nobody names when it names a member.
    active: String,
    /// A proposal of the active member.
    open: Option<ProposalId>,
    /// So that no two proposals are the same.
    proposals: u64,
}

impl Callers {
    fn new(network: &Network, people: BTreeMap<Identity, Member>) -> anyhow::Result<Self> {
        let active = people[&Identity::ActiveMember].id();
        let (node, pem) = (network.addresses(0)?.client, network.service_cert_pem()?);
        let mut callers = Self {
            node,
            service_cert_pem: pem,
            people,
            connections: BTreeMap::new(),
            active,
            open: None,
            proposals: 0,
        };
        for identity in CALLERS {
            let connection = callers.connect(identity)?;
            callers.connections.insert(identity, connection);
        }
        Ok(callers)
    }

    fn connect(&self, identity: Identity) -> anyhow::Result<Connection> {
        match self.people.get(&identity) {
            Some(person) => person.connect(self.node, &self.service_cert_pem),
            None => Connection::tls(self.node, &self.service_cert_pem),
        }
    }

    fn connection(&mut self, identity: Identity) -> &mut Connection {
        self.connections.get_mut(&identity).expect("everybody has one")
    }

    fn next_proposal(&mut self) -> Value {
        self.proposals += 1;
        let data = json!({ "name": "acme", "i": self.proposals });
        let args = json!({ "member_id": self.active, "member_data": data });
        proposal("set_member_data", &args)
    }

    /// An open proposal of the active member: the one that is there, or a new one.
    fn open_proposal(&mut self) -> anyhow::Result<ProposalId> {
        if let Some(id) = self.open {
            let path = format!("/gov/members/proposals/{id}?api-version={API_VERSION}");
            let shown = self.connection(Identity::Nobody).get(&path)?;
            if shown.status == 200 && shown.json()?["proposalState"] == "Open" {
                return Ok(id);
            }
        }
        let content = self.next_proposal();
        let envelope = self.people[&Identity::ActiveMember].sign(Message::Proposal, &content)?;
        let made = send(self.connection(Identity::ActiveMember), &envelope)?.json()?;
        let id = made["proposalId"].as_str().context("an id")?.parse()?;
        self.open = Some(id);
        Ok(id)
    }

    /// A path of the table with names of things that are there, as the caller would put them.
    fn path(&mut self, row: &Row, identity: Identity) -> anyhow::Result<String> {
        let member = self.people.get(&identity).map_or_else(|| self.active.clone(), Member::id);
        let mut path = row.path.to_owned();
        if path.contains("{proposalId}") {
            path = path.replace("{proposalId}", &self.open_proposal()?.to_string());
        }
        for (name, value) in [
            ("{memberId}", member.as_str()),
            ("{userId}", &member),
            ("{nodeId}", "self"),
            ("{moduleName}", "a.js"),
            ("{transactionId}", "1.1"),
            ("{chunkName}", "ledger_1-2.committed"),
            ("{snapshotName}", "snapshot_1_2.committed"),
        ] {
            path = path.replace(name, value);
        }
        ensure!(!path.contains('{'), "nobody knows what to put into {path}");
        let separator = if path.contains('?') { '&' } else { '?' };
        Ok(format!("{path}{separator}api-version={API_VERSION}"))
    }

    /// What is signed in a call, and for whom.
    fn message(&mut self, kind: &str) -> anyhow::Result<(Message, Value)> {
        Ok(match kind {
            "proposal" => (Message::Proposal, self.next_proposal()),
            "withdrawal" => (Message::Withdrawal(self.open_proposal()?), Value::Null),
            "ballot" => (Message::Ballot(self.open_proposal()?), json!({ "ballot": YES })),
            "state_digest" => (Message::StateDigest, Value::Null),
            // Another than the one that waits, so that the member who waits goes on waiting.
            "ack" => (Message::Ack, json!({ "stateDigest": "00".repeat(32) })),
            "recovery_share" => (Message::RecoveryShare, json!({ "share": "AAAA" })),
            kind => anyhow::bail!("nobody knows how to sign {kind}"),
        })
    }

    /// Makes a call as it is meant.
    fn make(&mut self, row: &Row, identity: Identity) -> anyhow::Result<Response> {
        let path = self.path(row, identity)?;
        match row.body {
            Body::Signed(kind) if identity != Identity::Nobody => {
                let (message, content) = self.message(kind)?;
                let envelope = self.people[&identity].sign(message, &content)?;
                send(self.connection(identity), &envelope)
            }
            Body::Signed(_) => {
                let headers = [("content-type", "application/cose")];
                self.connection(identity).request("POST", &path, &headers, b"")
            }
            Body::Proposal => {
                let body = self.next_proposal().to_string();
                self.connection(identity).post_json(&path, body.as_bytes())
            }
            Body::JsonRpc => {
                let body = call_body(1, "eth_blockNumber", &json!([])).to_string();
                self.connection(identity).post_json(row.path, body.as_bytes())
            }
            // Nobody here has evidence.
            Body::Node => {
                let interface = json!({ "published_address": "127.0.0.1:1" });
                let body = json!({
                    "node_info_network": {
                        "node_to_node_interface": interface,
                        "rpc_interfaces": { "primary_rpc_interface": interface },
                    },
                    "quote_info": { "format": "Insecure_Virtual", "quote": "" },
                    "public_encryption_key": "",
                });
                self.connection(identity).post_json(&path, body.to_string().as_bytes())
            }
            Body::Nothing => {
                let name = call(row);
                let method = name.split(' ').next().context("a method")?;
                self.connection(identity).request(method, &path, &[], b"")
            }
        }
    }

    /// Makes a call with a request that was changed after it was signed.
    fn make_changed(&mut self, kind: &str, identity: Identity) -> anyhow::Result<Response> {
        let (message, content) = self.message(kind)?;
        let envelope = self.people[&identity].sign(message, &content)?;
        let mut bytes = envelope.bytes().to_vec();
        *bytes.last_mut().context("a signature")? ^= 1;
        let path = format!("{}?api-version={API_VERSION}", envelope.path());
        let headers = [("content-type", "application/cose")];
        self.connection(identity).request("POST", &path, &headers, &bytes)
    }

    /// Everything that members' requests change.
    fn governance(&mut self) -> anyhow::Result<[Value; 3]> {
        let connection = self.connection(Identity::Nobody);
        let mut read = |path: &str| -> anyhow::Result<Value> {
            connection.get(&format!("/gov{path}?api-version={API_VERSION}"))?.json()
        };
        Ok([read("/members/proposals")?, read("/service/members")?, read("/service/info")?])
    }
}

/// What a call came to.
fn found(response: &Response) -> anyhow::Result<Expected> {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    let code = body["error"]["code"].as_str().unwrap_or_default();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    if message.starts_with("FrontendNotOpen") || code == "FrontendNotOpen" {
        return Ok(Expected::Closed);
    }
    if response.status == 401 {
        let codes = ["InvalidAuthenticationInfo", "InvalidQuote"];
        ensure!(codes.contains(&code), "401 with {body}");
        return Ok(Expected::Unauthenticated);
    }
    ensure!(response.status != 500 && response.status != 501, "{}: {body}", response.status);
    Ok(Expected::Answered)
}

/// Makes every call of a state; how many calls were made, and how many of them were refused.
fn run(callers: &mut Callers, state: &str) -> anyhow::Result<[usize; 2]> {
    let mut counts = [0, 0];
    let cases = matrix();
    let cases = cases.iter().filter(|case| case.state == state);
    for case in cases.filter(|case| CALLERS.contains(&case.identity)) {
        let Case { call: name, identity, expected, .. } = *case;
        let row = ROWS.iter().find(|row| call(row) == name).context("a row")?;
        let mut check = |callers: &mut Callers, is_changed: bool| -> anyhow::Result<()> {
            callers.open_proposal()?;
            let expected = if is_changed { Expected::Unauthenticated } else { expected };
            let before = callers.governance()?;
            let response = match row.body {
                Body::Signed(kind) if is_changed => callers.make_changed(kind, identity)?,
                _ => callers.make(row, identity)?,
            };
            let came_to = found(&response)?;
            ensure!(came_to == expected, "{expected:?} was stated, and it is {came_to:?}");
            if expected != Expected::Answered {
                counts[1] += 1;
                ensure!(callers.governance()? == before, "it was refused, and did something");
            }
            counts[0] += 1;
            Ok(())
        };
        let title = || format!("{name} by {identity:?} while {state}");
        check(callers, false).with_context(title)?;
        if matches!(row.body, Body::Signed(_)) && identity != Identity::Nobody {
            check(callers, true).with_context(|| format!("{}, changed", title()))?;
        }
    }
    Ok(counts)
}

#[test]
fn a_node_lets_in_whom_the_statement_says_while_it_opens_and_when_it_is_open() -> anyhow::Result<()>
{
    let [acme, bank, corp, dock] = ["acme", "bank", "corp", "dock"].map(Member::new);
    let (acme, bank, corp, dock) = (acme?, bank?, corp?, dock?);
    let network = opening::start(&[&acme, &bank, &corp, &dock])?;
    let node = network.addresses(0)?.client;
    let mut connection = Connection::tls(node, &network.service_cert_pem()?)?;
    for member in [&acme, &bank, &dock] {
        member.activate(&mut connection)?;
    }
    // One who waits has asked for what to acknowledge.
    corp.ask(&mut connection, Message::StateDigest, &Value::Null)?;
    let args = json!({ "member_id": dock.id() });
    decide(&mut connection, &[&acme, &bank], "remove_member", &args)?;

    let opens = json!({ "next_service_identity": network.service_cert_pem()? });
    let people = BTreeMap::from([
        (Identity::SelfSigned, Member::new("stranger")?),
        (Identity::PendingMember, corp),
        (Identity::ActiveMember, acme),
        (Identity::RemovedMember, dock),
    ]);
    let mut callers = Callers::new(&network, people)?;
    let report = |state: &str, [made, refused]: [usize; 2]| {
        println!("{state}: {made} calls, {refused} of them refused, as stated");
    };
    report("Opening", run(&mut callers, "Opening")?);
    let acme = &callers.people[&Identity::ActiveMember];
    decide(&mut connection, &[acme, &bank], "transition_service_to_open", &opens)?;
    report("Open", run(&mut callers, "Open")?);

    // A share of a member who is let in has nothing to open yet.
    let content = json!({ "share": "AAAA" });
    let share = callers.people[&Identity::ActiveMember].sign(Message::RecoveryShare, &content)?;
    let refused = send(&mut connection, &share)?;
    let code = "ServiceNotWaitingForRecoveryShares";
    assert_eq!((refused.status, &*refused.error_code()?), (403, code));
    network.finish()
}
