//! The matrix on a node: every call by everybody, while the service opens, when it is open, and, from its ledger, while it
//! is recovered and while it waits for shares.
//!
//! Whoever has a key shows its certificate in TLS, too; whoever has a token sends it along. A call that carries a request
//! is made as its caller signs it and, by those who have a key, once more with one bit of the signature changed, which makes
//! it nobody's. Whatever is refused leaves governance as it was.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use coco_client::{API_VERSION, Message, ProposalId};
use coco_crypto::{Certificate, Curve, DecryptionKey, SigningKey, sha256};
use coco_node::{
    config::OperatorFeature,
    edge::table::{Body, ROWS, Row},
};
use coco_types::Digest;
use serde_json::{Value, json};

use super::{
    super::{
        cluster::{Network, adjust_config},
        http::{Connection, Response},
        identities::{Authority, Card, ISSUER, P256, TokenIssuer, admit, now},
        ledger::is_read_by_ccf,
        members::{Desk, Member, YES, decide, proposal, send},
        newcomers::join_request,
        opening,
        program::{program, until},
        recovery::Phoenix,
        rpc::call_body,
    },
    Case, Expected, Identity, call, matrix,
};

/// Time for a recovered service to take up what members decided.
const TIME: Duration = Duration::from_secs(30);

/// Those who call.
struct People {
    /// Who has a key, shows its certificate in TLS, and signs requests with it.
    keys: BTreeMap<Identity, Member>,
    /// Who has a token.
    tokens: BTreeMap<Identity, String>,
    /// The other member who votes.
    bank: Member,
}

/// Who calls which node, and what they have open.
struct Callers {
    node: SocketAddr,
    service_cert_pem: String,
    people: People,
    connections: BTreeMap<Identity, Connection>,
    /// The certificate of the node that wants to join, and what it runs.
    joins: Option<(Certificate, Digest)>,
    /// Whom they name who are no members when they name one.
    active: String,
    /// A proposal of the active member.
    open: Option<ProposalId>,
    /// So that no two proposals are the same.
    proposals: u64,
}

impl Callers {
    fn new(people: People, node: SocketAddr, service_cert_pem: &str) -> anyhow::Result<Self> {
        let active = people.keys[&Identity::ActiveMember].id();
        let mut callers = Self {
            node,
            service_cert_pem: String::new(),
            people,
            connections: BTreeMap::new(),
            joins: None,
            active,
            open: None,
            proposals: 0,
        };
        callers.turn_to(node, service_cert_pem)?;
        Ok(callers)
    }

    /// From now on they call this node of a service.
    fn turn_to(&mut self, node: SocketAddr, service_cert_pem: &str) -> anyhow::Result<()> {
        (self.node, self.service_cert_pem) = (node, service_cert_pem.to_owned());
        self.open = None;
        // One that asked a service before it was recovered is retired: another one asks.
        let (newcomer, code) = (Member::new("node")?, sha256(&fs::read(program())?));
        self.joins = Some((Certificate::from_pem(&newcomer.key.certificate().pem())?, code));
        self.people.keys.insert(Identity::Node, newcomer);
        for identity in Identity::ALL {
            let connection = match self.people.keys.get(&identity) {
                Some(person) => person.connect(node, service_cert_pem)?,
                None => Connection::tls(node, service_cert_pem)?,
            };
            self.connections.insert(identity, connection);
        }
        Ok(())
    }

    /// What the node that wants to join says of itself, with its evidence for its connection.
    fn join_body(&mut self) -> anyhow::Result<Vec<u8>> {
        let (own, code) = self.joins.clone().context("a node joins")?;
        let service = Certificate::from_pem(&self.service_cert_pem)?;
        let connection = self.connection(Identity::Node);
        let data = connection.report_data(own.key().node_id(), &service)?;
        Ok(serde_json::to_vec(&join_request(data, |said| said.code = code))?)
    }

    fn connection(&mut self, identity: Identity) -> &mut Connection {
        self.connections.get_mut(&identity).expect("everybody has one")
    }

    /// Makes a call with these bytes, of this type if there are any, and the caller's token.
    fn ask(
        &mut self,
        identity: Identity,
        method: &str,
        path: &str,
        (kind, body): (&str, &[u8]),
    ) -> anyhow::Result<Response> {
        let token = self.people.tokens.get(&identity).map(|token| format!("Bearer {token}"));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(token.as_deref().map(|token| ("authorization", token)));
        headers.extend((!kind.is_empty()).then_some(("content-type", kind)));
        self.connection(identity).request(method, path, &headers, body)
    }

    /// Has both members who vote decide.
    fn decide(&self, action: &str, args: &Value) -> anyhow::Result<()> {
        let mut connection = Connection::tls(self.node, &self.service_cert_pem)?;
        let acme = &self.people.keys[&Identity::ActiveMember];
        decide(&mut connection, &[acme, &self.people.bank], action, args)
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
        let envelope =
            self.people.keys[&Identity::ActiveMember].sign(Message::Proposal, &content)?;
        let made = send(self.connection(Identity::ActiveMember), &envelope)?.json()?;
        let id = made["proposalId"].as_str().context("an id")?.parse()?;
        self.open = Some(id);
        Ok(id)
    }

    /// A path of the table with names of things that are there, as the caller would put them.
    fn path(&mut self, row: &Row, identity: Identity) -> anyhow::Result<String> {
        let member =
            self.people.keys.get(&identity).map_or_else(|| self.active.clone(), Member::id);
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
        const JSON: &str = "application/json";
        let path = self.path(row, identity)?;
        match row.body {
            Body::Signed(kind) if self.people.keys.contains_key(&identity) => {
                let (message, content) = self.message(kind)?;
                let envelope = self.people.keys[&identity].sign(message, &content)?;
                send(self.connection(identity), &envelope)
            }
            Body::Signed(_) => self.ask(identity, "POST", &path, ("application/cose", b"")),
            Body::Proposal => {
                let body = self.next_proposal().to_string();
                self.ask(identity, "POST", &path, (JSON, body.as_bytes()))
            }
            Body::JsonRpc => {
                let body = call_body(1, "eth_blockNumber", &json!([])).to_string();
                self.ask(identity, "POST", row.path, (JSON, body.as_bytes()))
            }
            // Everybody has seen what the node sends.
            Body::Node => {
                let body = self.join_body()?;
                self.ask(identity, "POST", &path, (JSON, &body))
            }
            Body::Nothing => {
                let name = call(row);
                let method = name.split(' ').next().context("a method")?;
                self.ask(identity, method, &path, ("", b""))
            }
        }
    }

    /// Makes a call with a request that was changed after it was signed.
    fn make_changed(&mut self, kind: &str, identity: Identity) -> anyhow::Result<Response> {
        let (message, content) = self.message(kind)?;
        let envelope = self.people.keys[&identity].sign(message, &content)?;
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
    // A snapshot that it is too early for is refused as if the node were broken.
    let is_early = message.starts_with("half a state makes no snapshot");
    let is_broken = [500, 501].contains(&response.status) && !is_early;
    ensure!(!is_broken && code != "AuthorizationFailed", "{}: {body}", response.status);
    Ok(Expected::Answered)
}

/// How many calls were made, and how many of them were refused.
#[derive(Default)]
struct Counts {
    made: usize,
    refused: usize,
}

impl Counts {
    fn check(
        &mut self,
        expected: Expected,
        callers: &mut Callers,
        make: impl FnOnce(&mut Callers) -> anyhow::Result<Response>,
    ) -> anyhow::Result<()> {
        // One is there before, so that none comes by looking for one.
        callers.open_proposal()?;
        let is_refused = expected != Expected::Answered;
        let before = is_refused.then(|| callers.governance()).transpose()?;
        let came_to = found(&make(callers)?)?;
        ensure!(came_to == expected, "{expected:?} was stated, and it is {came_to:?}");
        self.made += 1;
        if let Some(before) = before {
            self.refused += 1;
            ensure!(callers.governance()? == before, "it was refused, and did something");
        }
        Ok(())
    }
}

/// Makes every call of a state.
fn run(callers: &mut Callers, state: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut counts = Counts::default();
    for case in matrix().iter().filter(|case| case.state == state) {
        let Case { call: name, identity, expected, .. } = *case;
        let row = ROWS.iter().find(|row| call(row) == name).context("a row")?;
        let title = || format!("{name} by {identity:?} while {state}");
        counts
            .check(expected, callers, |callers| callers.make(row, identity))
            .with_context(title)?;
        if let Body::Signed(kind) = row.body
            && callers.people.keys.contains_key(&identity)
        {
            counts
                .check(Expected::Unauthenticated, callers, |callers| {
                    callers.make_changed(kind, identity)
                })
                .with_context(|| format!("{}, changed", title()))?;
        }
    }
    let Counts { made, refused } = counts;
    println!("{state}: {made} calls in {:?}, {refused} of them refused", started.elapsed());
    Ok(())
}

/// A service that opens, with two members who vote and hold shares, one who waits, and one who was removed.
fn found_service() -> anyhow::Result<(Network, People)> {
    let [acme, bank, corp, dock] = ["acme", "bank", "corp", "dock"].map(Member::new);
    let (acme, bank, corp, dock) = (acme?, bank?, corp?, dock?);
    let mut governance = opening::governance(&[&acme, &bank, &corp, &dock]);
    for member in &mut governance.members[..2] {
        member.encryption_key_pem = Some(DecryptionKey::generate().public().pem());
    }
    governance.recovery_threshold = Some(1);
    let network = opening::start_with(&governance)?;
    let node = network.addresses(0)?.client;
    let mut connection = Connection::tls(node, &network.service_cert_pem()?)?;
    for member in [&acme, &bank, &dock] {
        member.activate(&mut connection)?;
    }
    // One who waits has asked for what to acknowledge.
    corp.ask(&mut connection, Message::StateDigest, &Value::Null)?;
    let args = json!({ "member_id": dock.id() });
    decide(&mut connection, &[&acme, &bank], "remove_member", &args)?;

    let (alice, org) = (Card::self_signed(P256)?, Authority::new("bank users")?);
    let [issuer, other] = [(); 2].map(|()| TokenIssuer(SigningKey::generate(Curve::P256)));
    admit(&mut connection, &[&acme, &bank], &[&alice], &org, &issuer)?;
    let (now, later) = (now()?, now()? + 3600);
    let tokens = BTreeMap::from([
        (Identity::ValidToken, issuer.token(ISSUER, "coco", later)?),
        (Identity::ExpiredToken, issuer.token(ISSUER, "coco", now - 1)?),
        (Identity::TokenOfAnotherIssuer, other.token(ISSUER, "coco", later)?),
        (Identity::TokenForAnotherAudience, issuer.token(ISSUER, "else", later)?),
    ]);
    let keys = BTreeMap::from([
        (Identity::SelfSigned, Member::new("stranger")?),
        (Identity::PendingMember, corp),
        (Identity::ActiveMember, acme),
        (Identity::RemovedMember, dock),
        (Identity::Participant, alice.signer()?),
        (Identity::OrganisationUser, org.issue(1, 3600)?.signer()?),
        // Nothing that they have says which network they are members of.
        (Identity::MemberOfAnotherNetwork, Member::new("elsewhere")?),
    ]);
    Ok((network, People { keys, tokens, bank }))
}

#[test]
fn a_node_lets_in_whom_the_statement_says_in_every_state_of_its_service() -> anyhow::Result<()> {
    let (mut network, people) = found_service()?;
    let lost = network.service_cert_pem()?;
    let mut callers = Callers::new(people, network.addresses(0)?.client, &lost)?;
    run(&mut callers, "Opening")?;
    let opens = json!({ "next_service_identity": lost });
    callers.decide("transition_service_to_open", &opens)?;
    run(&mut callers, "Open")?;
    // A share of a member who is let in has nothing to open yet.
    let content = json!({ "share": "AAAA" });
    let acme = &callers.people.keys[&Identity::ActiveMember];
    let share = acme.sign(Message::RecoveryShare, &content)?;
    let refused = send(callers.connection(Identity::ActiveMember), &share)?;
    let code = "ServiceNotWaitingForRecoveryShares";
    assert_eq!((refused.status, &*refused.error_code()?), (403, code));

    network.kill(&[0])?;
    let (desk, ledger) = (Desk::in_folder(network.scratch()), network.ledger_folder(0));
    let phoenix =
        Phoenix::make(&desk, network.scratch(), "again", &ledger, &network.service_cert())?;
    adjust_config(&phoenix.config, |config| {
        config.client.enabled_operator_features = OperatorFeature::ALL.into();
    })?;
    let running = phoenix.start()?;
    callers.turn_to(phoenix.client, &phoenix.pem)?;
    ensure!(phoenix.status()? == "Recovering");
    run(&mut callers, "Recovering")?;
    let opens = json!({ "next_service_identity": phoenix.pem, "previous_service_identity": lost });
    callers.decide("transition_service_to_open", &opens)?;
    let waits = "WaitingForRecoveryShares";
    until("it waits for shares", TIME, || Ok(phoenix.status()? == waits))?;
    run(&mut callers, waits)?;
    ensure!(phoenix.status()? == waits, "nothing that was asked has opened it");
    drop(running);
    is_read_by_ccf(&phoenix.config.with_file_name("ledger"))?;
    network.finish()
}
