//! A store that governance has filled, members who sign, and requests to read it: for tests.

use coco_crypto::{Certificate, Curve, SigningKey, Validity, service_certificate};
use coco_governance::{
    Certificates, DEFAULT_CONSTITUTION, Engine, Governance, MemberId, Message, ProposalId,
    ProposalView, Reply, Route, Situation, rows::Rows, sign_request, tables,
};
use coco_kv::{MapName, Store, WriteSet};
use coco_ledger::{
    GenesisNode, LEDGER_SECRET_BYTES, LedgerSecret, ServiceStatus, genesis_write_set, put_service,
};
use coco_replica::{Loader, SharedLedgerState};
use coco_types::{Digest, NodeId, Seqno};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::{
    governance::{self, Ask},
    openapi::SCHEMAS,
    parameters,
    respond::Reply as Response,
    route::{self, Query},
    table::{Answer, Call, Row},
};

const START: u64 = 1_700_000_000;

pub(super) const YES: &str = "export function vote (proposal, proposer) { return true; }";
pub(super) const NODE: NodeId = NodeId([7; 32]);
const VERSION: &str = "api-version=2024-07-01";

/// Someone with a key and a certificate.
pub(super) struct Signer {
    key: SigningKey,
    pub(super) pem: String,
    /// As members and participants are called.
    pub(super) id: String,
}

impl Signer {
    fn new() -> Self {
        let key = SigningKey::generate(Curve::P256);
        let validity = Validity { not_before: START, not_after: START + 1000 };
        let certificate: Certificate = service_certificate(&key, validity).unwrap();
        Self { key, pem: certificate.pem(), id: certificate.digest().to_string() }
    }

    pub(super) fn member(&self) -> MemberId {
        self.id.parse().unwrap()
    }

    pub(super) fn sign(&self, message: Message, created_at: u64, payload: &[u8]) -> Vec<u8> {
        sign_request(&self.key, self.member(), message, created_at, payload)
    }
}

/// A service with members, the first of whom are active.
pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) members: Vec<Signer>,
    pub(super) state: SharedLedgerState,
    governance: Governance,
    now: u64,
}

/// What a request was answered with.
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("text")
    }

    /// Status and code of an error.
    pub(super) fn error(&self) -> (u16, String) {
        let json = self.json();
        fits("Error", &json).expect("the shape of an error");
        (self.status, json["error"]["code"].as_str().expect("a code").to_owned())
    }
}

impl Fixture {
    /// With one active member, who decides alone.
    pub(super) fn new() -> Self {
        Self::with(1)
    }

    pub(super) fn with(active: usize) -> Self {
        let members: Vec<Signer> = (0..active).map(|_| Signer::new()).collect();
        let node = GenesisNode {
            node_id: NODE,
            certificate_pem: "PEM of the node".to_owned(),
            request_pem: None,
            quote_format: "Insecure_Virtual".to_owned(),
            code_digest: Digest([1; 32]),
            rpc_address: "127.0.0.1:1".to_owned(),
            peer_address: "127.0.0.1:2".to_owned(),
            encryption_key_pem: "KEY".to_owned(),
        };
        let mut set = genesis_write_set("PEM of the service", &[node]);
        put_service(&mut set, "PEM of the service", ServiceStatus::Open);
        let mut put = |table: &'static str, key: &[u8], value: Vec<u8>| {
            set.insert(&MapName::from_static(table), key, value);
        };
        for member in &members {
            put(tables::MEMBERS_CERTS, member.id.as_bytes(), member.pem.clone().into_bytes());
            put(tables::MEMBERS_INFO, member.id.as_bytes(), br#"{"status":"Active"}"#.to_vec());
        }
        let constitution = json!(DEFAULT_CONSTITUTION).to_string().into_bytes();
        put(tables::CONSTITUTION, tables::singleton_key(), constitution);
        let configuration = json!({ "recovery_threshold": 1 }).to_string().into_bytes();
        put(tables::SERVICE_CONFIG, tables::singleton_key(), configuration);
        let mut store = Store::new(tables::maps(), [1, 2]);
        store.apply(Seqno(1), &set).unwrap();
        let secret = LedgerSecret::new(&[1; LEDGER_SECRET_BYTES]);
        let state = Loader::new(secret, Vec::new(), [1, 2], 1).state();
        let governance = Governance::new(&Engine::new());
        Self { store, members, state, governance, now: START }
    }

    pub(super) fn outsider(&self) -> Signer {
        Signer::new()
    }

    pub(super) fn send(&mut self, route: Route, envelope: &[u8]) -> Reply {
        let reader = self.store.reader();
        let situation = Situation {
            root: Digest([9; 32]),
            now: self.now,
            ledger_secret: Seqno(1),
            submitted_under: None,
            certificates: Certificates::None,
        };
        self.now += 1;
        let handled = self.governance.handle(reader.begin(), route, envelope, &situation).unwrap();
        self.store.commit(reader.version().next(), handled.transaction.finish()).unwrap();
        handled.reply
    }

    pub(super) fn propose(&mut self, name: &str, args: &Value) -> ProposalView {
        let content = json!({ "actions": [{ "name": name, "args": args }] }).to_string();
        let envelope = self.members[0].sign(Message::Proposal, self.now, content.as_bytes());
        let Reply::Proposal(view) = self.send(Route::CreateProposal, &envelope) else { panic!() };
        *view
    }

    pub(super) fn vote(&mut self, by: usize, on: &ProposalView) -> ProposalView {
        let proposal: ProposalId = on.proposal_id.parse().unwrap();
        let content = json!({ "ballot": YES }).to_string();
        let signer = &self.members[by];
        let envelope = signer.sign(Message::Ballot(proposal), self.now, content.as_bytes());
        let route = Route::SubmitBallot { proposal, member: signer.member() };
        let Reply::Proposal(view) = self.send(route, &envelope) else { panic!() };
        *view
    }

    /// Has a proposal accepted.
    pub(super) fn pass(&mut self, name: &str, args: &Value) {
        let mut view = self.propose(name, args);
        for by in 0..self.members.len() {
            if view.proposal_state == tables::ProposalState::Open {
                view = self.vote(by, &view);
            }
        }
        assert_eq!(view.proposal_state, tables::ProposalState::Accepted);
    }

    /// Writes a row beside all rules.
    pub(super) fn put(&mut self, table: &'static str, key: &[u8], value: &[u8]) {
        let mut set = WriteSet::new();
        set.insert(&MapName::from_static(table), key, value.to_vec());
        let next = self.store.reader().version().next();
        self.store.apply(next, &set).unwrap();
    }

    /// Asks with a version in the query, beside what else `path` says.
    pub(super) fn get(&self, path: &str) -> Got {
        let join = if path.contains('?') { '&' } else { '?' };
        self.get_plain(&format!("{path}{join}{VERSION}"))
    }

    /// Asks, and holds what is answered against the schema that the documents name.
    pub(super) fn get_plain(&self, path: &str) -> Got {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let route::Route::Found(row, names) = route::route(&Method::GET, path, query) else {
            panic!("nothing is at {path}")
        };
        let Call::Governance(read) = row.call else { panic!("{path} reads no table") };
        let query = Query::parse(query).unwrap();
        let response = match parameters::check_version(row.versions, &query) {
            Err(refused) => refused.reply(),
            Ok(()) => {
                let mut rows = Rows::as_of(&self.store.reader().head());
                let ask = Ask { names: &names, path, query: &query };
                governance::answer(read, &mut rows, &self.state, &ask)
            }
        };
        let got = read_response(response);
        check_answer(row, &got);
        got
    }
}

pub(super) fn read_response(response: Response) -> Got {
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type");
    let content_type = content_type.map_or("", |value| value.to_str().unwrap()).to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes().to_vec();
    Got { status, content_type, body }
}

fn check_answer(row: &Row, got: &Got) {
    if got.status != 200 {
        return;
    }
    match row.answer {
        Answer::Json(schema) => {
            assert_eq!(got.content_type, "application/json", "{}", row.path);
            fits(schema, &got.json()).unwrap_or_else(|error| panic!("{}: {error}", row.path));
        }
        Answer::Script => assert_eq!(got.content_type, "text/javascript", "{}", row.path),
        _ => panic!("{} answers otherwise", row.path),
    }
}

/// Whether a value is what the schema of that name says: as much of `OpenAPI` as our schemas use.
pub(super) fn fits(schema: &str, value: &Value) -> Result<(), String> {
    let schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap();
    let schema = schemas.get(schema).unwrap_or_else(|| panic!("no schema {schema}"));
    fits_schema(&schemas, schema, value)
}

fn fits_schema(schemas: &Map<String, Value>, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.rsplit('/').next().unwrap();
        return fits_schema(schemas, &schemas[name], value);
    }
    if value.is_null() && schema["nullable"] == true {
        return Ok(());
    }
    let wrong = || Err(format!("{value} is not {schema}"));
    if let Some(all) = schema["enum"].as_array()
        && !all.contains(value)
    {
        return wrong();
    }
    match schema["type"].as_str() {
        None => Ok(()),
        Some("string") => match (schema["pattern"].as_str(), value.as_str()) {
            (Some("^[0-9a-f]{64}$"), Some(text)) if text.parse::<Digest>().is_err() => wrong(),
            (_, Some(_)) => Ok(()),
            (_, None) => wrong(),
        },
        Some("integer") if value.is_u64() => Ok(()),
        Some("boolean") if value.is_boolean() => Ok(()),
        Some("array") if value.is_array() => {
            let mut items = value.as_array().unwrap().iter();
            items.try_for_each(|item| fits_schema(schemas, &schema["items"], item))
        }
        Some("object") if value.is_object() => fits_object(schemas, schema, value),
        Some(_) => wrong(),
    }
}

fn fits_object(schemas: &Map<String, Value>, schema: &Value, value: &Value) -> Result<(), String> {
    let members = value.as_object().unwrap();
    for required in schema["required"].as_array().into_iter().flatten() {
        if !members.contains_key(required.as_str().unwrap()) {
            return Err(format!("{value} lacks {required}"));
        }
    }
    for (name, member) in members {
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(property), _) => fits_schema(schemas, property, member)?,
            (None, Value::Bool(true)) => {}
            (None, other @ Value::Object(_)) => fits_schema(schemas, other, member)?,
            (None, _) => return Err(format!("nothing is said of {name} in {value}")),
        }
    }
    Ok(())
}
