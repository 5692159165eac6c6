//! Members with keys, a store, and what they send.

use std::sync::{Arc, OnceLock};

use coco_crypto::{
    Certificate, CertificateError, Curve, EndorseNode, SecretBytes, SigningKey, Validity,
    cose::{AttachedSign1, EMPTY_MAP, to_be_signed},
    endorse_node, service_certificate, sha256,
};
use coco_governance::{
    Certificates, Certify, Effect, ErrorCode, Governance, GovernanceError, MemberId, Message,
    ProposalId, ProposalView, Reply, Route, Situation, sign_request, tables,
};
use coco_kv::{MapName, Store, WriteSet};
use coco_script::Engine;
use coco_types::Seqno;
use serde_json::{Value, json};

pub(crate) const CONSTITUTION: &str = include_str!("constitution.js");

pub(crate) const YES: &str = "export function vote (rawProposal, proposerId) { return true; }";
pub(crate) const NO: &str = "export function vote (rawProposal, proposerId) { return false; }";

/// When the stories begin, in seconds since 1970.
pub(crate) const START: u64 = 1_700_000_000;

pub(crate) struct Member {
    pub(crate) key: SigningKey,
    pub(crate) certificate: Certificate,
}

impl Member {
    pub(crate) fn new(curve: Curve) -> Self {
        let key = SigningKey::generate(curve);
        let validity = Validity { not_before: START, not_after: START + 1000 };
        let certificate = service_certificate(&key, validity).unwrap();
        Self { key, certificate }
    }

    pub(crate) fn id(&self) -> MemberId {
        MemberId(self.certificate.digest())
    }

    /// A request as CCF's tool makes it.
    pub(crate) fn sign(&self, message: Message, created_at: u64, content: &[u8]) -> Vec<u8> {
        sign_request(&self.key, self.id(), message, created_at, content)
    }

    /// A message with any protected headers.
    pub(crate) fn seal(&self, protected: &[u8], payload: &[u8]) -> Vec<u8> {
        let signature = self.key.sign_fixed(&to_be_signed(protected, payload));
        AttachedSign1 { protected, unprotected: EMPTY_MAP, payload, signature: &signature }.encode()
    }
}

/// The service's key, where a story has it.
pub(crate) struct ServiceKey(SigningKey);

impl ServiceKey {
    /// That of somebody whose certificate does for the service's.
    pub(crate) fn of(member: &Member) -> Certificates {
        let curve = member.key.public().curve();
        let key = SigningKey::from_pkcs8_der(curve, &member.key.pkcs8_der()).unwrap();
        Certificates::Made(Arc::new(Self(key)))
    }
}

impl Certify for ServiceKey {
    fn service_certificate(&self, validity: Validity) -> Result<Certificate, CertificateError> {
        service_certificate(&self.0, validity)
    }

    fn node_certificate(&self, node: &EndorseNode<'_>) -> Result<Certificate, CertificateError> {
        endorse_node(&self.0, &self.service_certificate(node.validity)?, node)
    }
}

pub(crate) struct Consortium {
    pub(crate) members: Vec<Member>,
    pub(crate) store: Store,
    pub(crate) governance: Governance,
    /// What shares that are sent in are kept under.
    pub(crate) submitted_under: Option<SecretBytes>,
    /// Where new certificates of the service come from.
    pub(crate) certificates: Certificates,
    /// Goes on by a second with each request.
    pub(crate) now: u64,
    /// What the last request asked the node to do.
    pub(crate) effects: Vec<Effect>,
    /// What the last request wrote.
    pub(crate) written: WriteSet,
}

pub(crate) type Sent<T> = Result<T, GovernanceError>;

impl Consortium {
    /// With so many active members, under the constitution of the stories.
    pub(crate) fn new(members: usize) -> Self {
        Self::under(CONSTITUTION, members)
    }

    pub(crate) fn under(constitution: &str, members: usize) -> Self {
        let curves = [Curve::P384, Curve::P256, Curve::P521];
        let members: Vec<Member> =
            (0..members).map(|i| Member::new(curves[i % curves.len()])).collect();
        let mut set = WriteSet::new();
        for member in &members {
            let key = member.id().key();
            let mut put = |name: &'static str, value: Vec<u8>| {
                set.insert(&MapName::from_static(name), &key, value);
            };
            put(tables::MEMBERS_CERTS, member.certificate.pem().into_bytes());
            put(tables::MEMBERS_INFO, br#"{"status":"Active"}"#.to_vec());
        }
        let mut one = |name: &'static str, value: Value| {
            let value = value.to_string().into_bytes();
            set.insert(&MapName::from_static(name), tables::singleton_key(), value);
        };
        one(tables::CONSTITUTION, json!(constitution));
        one(tables::SERVICE_CONFIG, json!({ "recovery_threshold": 1 }));
        one(tables::SERVICE_INFO, json!({ "cert": "PEM", "status": "Open" }));
        let mut store = Store::new(tables::maps(), [1, 2]);
        store.apply(Seqno(1), &set).unwrap();
        let governance = Governance::new(engine());
        let (effects, written) = (Vec::new(), WriteSet::new());
        let certificates = Certificates::None;
        let (submitted_under, now) = (None, START);
        Self { members, store, governance, submitted_under, certificates, now, effects, written }
    }

    pub(crate) fn situation(&self) -> Situation {
        let version = self.store.reader().version();
        let root = sha256(&version.0.to_le_bytes());
        let submitted_under = self.submitted_under.clone();
        Situation {
            root,
            now: self.now,
            ledger_secret: Seqno(7),
            submitted_under,
            certificates: self.certificates.clone(),
        }
    }

    /// Sends a request, and commits what it changes.
    pub(crate) fn send(&mut self, route: Route, envelope: &[u8]) -> Sent<Reply> {
        let reader = self.store.reader();
        let situation = self.situation();
        self.now += 1;
        let handled = self.governance.handle(reader.begin(), route, envelope, &situation)?;
        self.effects = handled.effects;
        let next = reader.version().next();
        self.written = self.store.commit(next, handled.transaction.finish()).unwrap();
        Ok(handled.reply)
    }

    fn send_for_view(&mut self, route: Route, envelope: &[u8]) -> Sent<ProposalView> {
        match self.send(route, envelope)? {
            Reply::Proposal(view) => Ok(*view),
            other => panic!("{other:?}"),
        }
    }

    /// Writes rows that nobody asked for.
    pub(crate) fn set(&mut self, rows: &[(&'static str, &[u8], Value)]) {
        let mut set = WriteSet::new();
        for (name, key, value) in rows {
            // Texts are bytes as they are; everything else is JSON.
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            set.insert(&MapName::from_static(name), key, value.into_bytes());
        }
        self.store.apply(self.store.reader().version().next(), &set).unwrap();
    }

    /// One member proposes one action.
    pub(crate) fn propose(&mut self, by: usize, name: &str, args: &Value) -> Sent<ProposalView> {
        let content = json!({ "actions": [{ "name": name, "args": args }] }).to_string();
        let envelope = self.members[by].sign(Message::Proposal, self.now, content.as_bytes());
        self.send_for_view(Route::CreateProposal, &envelope)
    }

    pub(crate) fn vote(
        &mut self,
        by: usize,
        on: &ProposalView,
        ballot: &str,
    ) -> Sent<ProposalView> {
        let (id, content) = (id(on), json!({ "ballot": ballot }).to_string());
        let member = &self.members[by];
        let envelope = member.sign(Message::Ballot(id), self.now, content.as_bytes());
        let route = Route::SubmitBallot { proposal: id, member: member.id() };
        self.send_for_view(route, &envelope)
    }

    pub(crate) fn withdraw(&mut self, by: usize, what: &ProposalView) -> Sent<Reply> {
        let id = id(what);
        let envelope = self.members[by].sign(Message::Withdrawal(id), self.now, b"");
        self.send(Route::WithdrawProposal(id), &envelope)
    }

    /// Proposes, and all members vote for it until it is decided.
    pub(crate) fn pass(&mut self, name: &str, args: &Value) -> Sent<ProposalView> {
        self.pass_all(&[(name, args)])
    }

    /// The same for several actions at once.
    pub(crate) fn pass_all(&mut self, actions: &[(&str, &Value)]) -> Sent<ProposalView> {
        let actions = actions.iter().map(|(name, args)| json!({ "name": name, "args": args }));
        let content = json!({ "actions": actions.collect::<Vec<_>>() }).to_string();
        let envelope = self.members[0].sign(Message::Proposal, self.now, content.as_bytes());
        let mut view = self.send_for_view(Route::CreateProposal, &envelope)?;
        for by in 0..self.members.len() {
            if state(&view) == "Open" {
                view = self.vote(by, &view, YES)?;
            }
        }
        Ok(view)
    }

    pub(crate) fn row(&self, name: &'static str, key: &[u8]) -> Option<Vec<u8>> {
        let snapshot = self.store.reader().head();
        let map = snapshot.map(&MapName::from_static(name)).unwrap();
        snapshot.get(map, key).map(|row| row.to_vec())
    }

    pub(crate) fn json(&self, name: &'static str, key: &[u8]) -> Option<Value> {
        self.row(name, key).map(|row| serde_json::from_slice(&row).unwrap())
    }

    /// What `set_note` wrote last.
    pub(crate) fn note(&self) -> Option<String> {
        self.row("public:ccf.gov.roles", b"note").map(|note| String::from_utf8(note).unwrap())
    }

    /// What the table says of a proposal's state.
    pub(crate) fn kept_state(&self, view: &ProposalView) -> Option<String> {
        let row = self.json(tables::PROPOSALS_INFO, view.proposal_id.as_bytes())?;
        Some(row["state"].as_str().unwrap().to_owned())
    }
}

pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::new)
}

pub(crate) fn id(view: &ProposalView) -> ProposalId {
    view.proposal_id.parse().unwrap()
}

pub(crate) fn state(view: &ProposalView) -> String {
    format!("{:?}", view.proposal_state)
}

/// Has members decide on an action, which is carried out.
#[track_caller]
pub(crate) fn passes(c: &mut Consortium, name: &str, args: &Value) {
    let end = c.pass(name, args);
    assert_eq!(end.as_ref().map(state), Ok("Accepted".to_owned()), "{name}: {end:?}");
}

pub(crate) fn code<T: std::fmt::Debug>(result: Sent<T>) -> ErrorCode {
    result.unwrap_err().code
}
