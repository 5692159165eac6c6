//! A service in this process: real rules, real TLS, one thread, and nothing that lasts.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use coco_client::{MemberId, ProposalId, ServiceIdentity};
use coco_crypto::{
    Certificate, Curve, EndorseNode, SignerCertificate, SigningKey, Validity, endorse_node,
    service_certificate, sha256,
};
use coco_governance::{
    Certificates, DEFAULT_CONSTITUTION, ErrorCode, Governance, GovernanceError, ProposalView,
    Reply, Route, Situation, tables,
};
use coco_kv::{MapName, Store, WriteSet};
use coco_script::Engine;
use coco_types::Seqno;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

/// How the node misbehaves.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// It shows another document than the one that was proposed.
    pub(crate) lies: AtomicBool,
    /// It carries requests out and closes the connection in place of answering.
    pub(crate) loses_answers: AtomicBool,
    /// So many seconds its clock is ahead.
    pub(crate) ahead_s: AtomicU64,
}

/// The service; it ends with this value.
pub(crate) struct Service {
    pub(crate) certificate: Certificate,
    pub(crate) faults: Arc<Faults>,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Service {
    /// A service that has these active members, named `m0`, `m1` and so on.
    pub(crate) fn start(members: &[SignerCertificate]) -> Self {
        let now = now();
        let validity = Validity { not_before: now - 60, not_after: now + 3_600 };
        let key = SigningKey::generate(Curve::P384);
        let certificate = service_certificate(&key, validity).unwrap();
        let acceptor = acceptor(&key, &certificate, validity);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(Faults::default());
        let seen = Arc::clone(&faults);
        let world = World::new(members, &certificate, Arc::clone(&faults));
        let world = Arc::new(Mutex::new(world));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let (world, faults) = (Arc::clone(&world), Arc::clone(&seen));
                let answer = service_fn(move |request| {
                    let (world, faults) = (Arc::clone(&world), Arc::clone(&faults));
                    async move { answer(request, &world, &faults).await }
                });
                let _ended = hyper::server::conn::http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            }
        });
        Self { certificate, faults, address, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn identity(&self) -> String {
        ServiceIdentity::of(&self.certificate).to_string()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn acceptor(key: &SigningKey, service: &Certificate, validity: Validity) -> TlsAcceptor {
    let node = SigningKey::generate(Curve::P384);
    let endorse = EndorseNode { key: node.public(), names: &[], validity };
    let endorsed = endorse_node(key, service, &endorse).unwrap();
    let chain = vec![CertificateDer::from(endorsed.der().to_vec())];
    let secret = PrivatePkcs8KeyDer::from(node.pkcs8_der().expose().to_vec());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from(secret))
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

struct World {
    store: Store,
    governance: Governance,
    service_pem: String,
    faults: Arc<Faults>,
}

/// What is answered: status, body, and whether a transaction was committed.
type Said = (u16, Vec<u8>, Option<Seqno>);

impl World {
    fn new(members: &[SignerCertificate], service: &Certificate, faults: Arc<Faults>) -> Self {
        let mut set = WriteSet::new();
        for (i, member) in members.iter().enumerate() {
            let key = MemberId(member.digest()).key();
            let info = json!({ "status": "Active", "member_data": { "name": format!("m{i}") } });
            let mut put = |name: &'static str, value: Vec<u8>| {
                set.insert(&MapName::from_static(name), &key, value);
            };
            put(tables::MEMBERS_CERTS, member.pem().into_bytes());
            put(tables::MEMBERS_INFO, info.to_string().into_bytes());
        }
        let mut one = |name: &'static str, value: Value| {
            let value = value.to_string().into_bytes();
            set.insert(&MapName::from_static(name), tables::singleton_key(), value);
        };
        one(tables::CONSTITUTION, json!(DEFAULT_CONSTITUTION));
        one(tables::SERVICE_CONFIG, json!({ "recovery_threshold": 1 }));
        one(tables::SERVICE_INFO, json!({ "cert": service.pem(), "status": "Open" }));
        let mut store = Store::new(tables::maps(), [1, 2]);
        store.apply(Seqno(1), &set).unwrap();
        let governance = Governance::new(&Engine::new());
        Self { store, governance, service_pem: service.pem(), faults }
    }

    fn situation(&self) -> Situation {
        let version = self.store.reader().version();
        let root = sha256(&version.0.to_le_bytes());
        let now = now() + self.faults.ahead_s.load(Ordering::Relaxed);
        Situation {
            root,
            now,
            ledger_secret: Seqno(1),
            submitted_under: None,
            certificates: Certificates::None,
        }
    }

    fn row(&self, name: &'static str, key: &[u8]) -> Option<Vec<u8>> {
        let snapshot = self.store.reader().head();
        let map = snapshot.map(&MapName::from_static(name)).unwrap();
        snapshot.get(map, key).map(|row| row.to_vec())
    }

    fn keys(&self, name: &'static str) -> Vec<Vec<u8>> {
        let reader = self.store.reader();
        let mut tx = reader.begin();
        let map = tx.map(&MapName::from_static(name)).unwrap();
        tx.range(map, &[], None, usize::MAX).into_iter().map(|(key, _)| key.to_vec()).collect()
    }

    fn member(&self, id: &[u8]) -> Option<Value> {
        let info: Value = serde_json::from_slice(&self.row(tables::MEMBERS_INFO, id)?).unwrap();
        let text = |name| self.row(name, id).map(|row| String::from_utf8(row).unwrap());
        Some(json!({
            "memberId": String::from_utf8_lossy(id),
            "status": info["status"],
            "memberData": info["member_data"],
            "recoveryRole": info.get("recovery_role"),
            "certificate": text(tables::MEMBERS_CERTS),
            "publicEncryptionKey": text(tables::MEMBERS_ENCRYPTION_KEYS),
        }))
    }

    fn proposal(&self, id: &[u8]) -> Option<ProposalView> {
        let row = serde_json::from_slice(&self.row(tables::PROPOSALS_INFO, id)?).unwrap();
        Some(ProposalView::new(str::from_utf8(id).unwrap().parse().unwrap(), row))
    }

    fn get(&self, path: &str) -> Said {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let found = match *parts {
            ["node", "network"] => Some(json!({
                "service_status": "Open", "service_certificate": self.service_pem,
                "current_view": 2, "primary_id": "p", "recovery_count": 0, "service_data": null,
                "current_service_create_txid": "2.1",
            })),
            ["node", "network", "nodes"] => Some(json!({ "nodes": [] })),
            ["node", "commit"] => Some(json!({ "transaction_id": "2.9" })),
            ["node", "version"] => Some(json!({
                "ccf_version": "coco-0.1.0", "quickjs_version": "", "unsafe": true,
            })),
            ["gov", "service", "constitution"] => {
                let rules = self.row(tables::CONSTITUTION, tables::singleton_key()).unwrap();
                let rules: String = serde_json::from_slice(&rules).unwrap();
                return (200, rules.into_bytes(), None);
            }
            ["gov", "service", "members"] => {
                let ids = self.keys(tables::MEMBERS_INFO);
                let all: Vec<_> = ids.iter().filter_map(|id| self.member(id)).collect();
                Some(json!({ "value": all }))
            }
            ["gov", "service", "members", id] => self.member(id.as_bytes()),
            ["gov", "members", "proposals"] => {
                let ids = self.keys(tables::PROPOSALS_INFO);
                let all: Vec<_> = ids.iter().filter_map(|id| self.proposal(id)).collect();
                Some(json!({ "value": all }))
            }
            ["gov", "members", "proposals", id] => match self.proposal(id.as_bytes()) {
                Some(view) => Some(json!(view)),
                None => return refused(ErrorCode::ProposalNotFound, "there is none"),
            },
            ["gov", "members", "proposals", id, "actions"] => {
                match self.row(tables::PROPOSALS, id.as_bytes()) {
                    Some(document) => return (200, document, None),
                    None => return refused(ErrorCode::ProposalNotFound, "there is none"),
                }
            }
            ["gov", "members", "state-digests", id] => {
                self.row(tables::MEMBERS_ACKS, id.as_bytes()).map(|row| {
                    let row: Value = serde_json::from_slice(&row).unwrap();
                    json!({ "memberId": id, "stateDigest": row["state_digest"] })
                })
            }
            _ => None,
        };
        match found {
            Some(body) => (200, body.to_string().into_bytes(), None),
            None => (404, error("ResourceNotFound", path), None),
        }
    }

    fn post(&mut self, path: &str, body: &[u8]) -> Said {
        if path == "/gov/members/proposals:simulate" {
            return self.simulate(body);
        }
        let Some(route) = route(path) else {
            return (404, error("ResourceNotFound", path), None);
        };
        let situation = self.situation();
        let reader = self.store.reader();
        let handled = match self.governance.handle(reader.begin(), route, body, &situation) {
            Ok(handled) => handled,
            Err(GovernanceError { code, message }) => return refused(code, &message),
        };
        let next = reader.version().next();
        self.store.commit(next, handled.transaction.finish()).unwrap();
        match handled.reply {
            Reply::Proposal(view) => (200, json!(view).to_string().into_bytes(), Some(next)),
            Reply::StateDigest { member, state_digest } => {
                let body = json!({ "memberId": member.to_string(), "stateDigest": state_digest });
                (200, body.to_string().into_bytes(), Some(next))
            }
            Reply::RecoveryProgress(progress) => {
                (200, json!(progress).to_string().into_bytes(), Some(next))
            }
            Reply::Done => (204, Vec::new(), Some(next)),
        }
    }

    fn simulate(&mut self, body: &[u8]) -> Said {
        let situation = self.situation();
        let reader = self.store.reader();
        match self.governance.simulate(reader.begin(), body, &situation) {
            Err(GovernanceError { code, message }) => refused(code, &message),
            Ok(simulated) => {
                let writes: Vec<Value> = simulated
                    .writes
                    .iter()
                    .map(|(map, key, value)| {
                        json!({
                            "table": map.to_string(),
                            "key": String::from_utf8_lossy(key),
                            "value": value.map(|value| String::from_utf8_lossy(value)),
                        })
                    })
                    .collect();
                let effects: Vec<String> =
                    simulated.effects.iter().map(|effect| format!("{effect:?}")).collect();
                let body = json!({ "writes": writes, "effects": effects });
                (200, body.to_string().into_bytes(), None)
            }
        }
    }
}

fn route(path: &str) -> Option<Route> {
    let proposal = |id: &str| id.parse::<ProposalId>().ok();
    let member = |id: &str| id.parse::<MemberId>().ok();
    let rest = path.strip_prefix("/gov/members/")?;
    match *rest.split('/').collect::<Vec<_>>() {
        ["proposals:create"] => Some(Route::CreateProposal),
        ["proposals", act] => {
            Some(Route::WithdrawProposal(proposal(act.strip_suffix(":withdraw")?)?))
        }
        ["proposals", id, "ballots", act] => Some(Route::SubmitBallot {
            proposal: proposal(id)?,
            member: member(act.strip_suffix(":submit")?)?,
        }),
        ["state-digests", act] => match act.split_once(':')? {
            (id, "update") => Some(Route::UpdateStateDigest(member(id)?)),
            (id, "ack") => Some(Route::Acknowledge(member(id)?)),
            _ => None,
        },
        _ => None,
    }
}

fn error(code: &str, message: &str) -> Vec<u8> {
    json!({ "error": { "code": code, "message": message } }).to_string().into_bytes()
}

fn refused(code: ErrorCode, message: &str) -> Said {
    let status = match code {
        ErrorCode::InvalidAuthenticationInfo => 401,
        ErrorCode::AuthorizationFailed => 403,
        ErrorCode::ProposalNotFound => 404,
        ErrorCode::InternalError => 500,
        _ => 400,
    };
    (status, error(code.as_str(), message), None)
}

async fn answer(
    request: Request<Incoming>,
    world: &Mutex<World>,
    faults: &Faults,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let path = uri.path();
    if path.starts_with("/gov") {
        assert_eq!(uri.query(), Some("api-version=2024-07-01"));
    }
    let is_post = method == Method::POST;
    let (status, mut body, committed) = {
        let mut world = world.lock().unwrap();
        if is_post { world.post(path, &body) } else { world.get(path) }
    };
    if path.ends_with("/actions") && faults.lies.load(Ordering::Relaxed) {
        body = br#"{"actions":[{"name":"trigger_snapshot"}]}"#.to_vec();
    }
    if committed.is_some() && faults.loses_answers.load(Ordering::Relaxed) {
        return Err(std::io::Error::other("lost"));
    }
    let mut response = Response::builder().status(status);
    if let Some(seqno) = committed {
        response = response.header(coco_api::TRANSACTION_ID_HEADER, format!("2.{seqno}"));
    }
    Ok::<_, Infallible>(response.body(Full::from(body)).unwrap()).map_err(|never| match never {})
}
