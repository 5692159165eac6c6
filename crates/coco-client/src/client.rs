//! A client of one service: asks one node after the other, until one answers.

use std::{
    io,
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::Duration,
};

use coco_api::join::{JoinRequest, JoinResponse};
use coco_attest::ReportData;
use coco_crypto::{Certificate, SigningKey};
use coco_types::{Digest, NodeId, Seqno, TxId};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::{
    Answer, CallError, Endpoint, Envelope, MemberId, ProposalId, ServiceIdentity, TrustError,
    call::{Call, Kind, Shows, USERS, member_path, proposal_path},
    exchange::{Progress, ask},
    reply::{
        Actions, Commit, Consensus, Constitution, JoinPolicy, List, Member, Network, Node,
        NodeState, Nodes, Organisation, Proposal, ServiceInfo, Simulated, TxStatus, User, Version,
    },
    trust,
};

/// How patient a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long one call may take, all nodes that are asked together.
    pub time: Duration,
}

impl Default for Settings {
    /// Ten seconds: an election takes one or two.
    fn default() -> Self {
        Self { time: Duration::from_secs(10) }
    }
}

/// A client of one service.
#[derive(Clone)]
pub struct Client {
    endpoints: Vec<Endpoint>,
    service: Certificate,
    tls: TlsConnector,
    settings: Settings,
    /// The newest transaction that is known to be committed.
    seen: Arc<Mutex<Option<TxId>>>,
}

impl Client {
    /// A client that believes nodes which have a certificate from `service`. They are asked in the order given.
    ///
    /// # Errors
    /// [`TrustError`] when the certificate cannot be used.
    pub fn new(
        service: Certificate,
        endpoints: Vec<Endpoint>,
        settings: Settings,
    ) -> Result<Self, TrustError> {
        let tls = trust::pinned(&service)?;
        Ok(Self { endpoints, service, tls, settings, seen: Arc::default() })
    }

    /// The same for a node that wants to belong to the service: it shows a certificate of its key, made by itself.
    ///
    /// # Errors
    /// [`TrustError`] when a certificate cannot be used.
    pub fn as_node(
        service: Certificate,
        endpoints: Vec<Endpoint>,
        settings: Settings,
        key: &SigningKey,
        certificate: &Certificate,
    ) -> Result<Self, TrustError> {
        let tls = trust::pinned_as(&service, key, certificate)?;
        Ok(Self { endpoints, service, tls, settings, seen: Arc::default() })
    }

    /// The newest transaction that nodes have said is committed. What is read of governance is never older: a node that
    /// lags is passed over for the next.
    ///
    /// # Panics
    /// Never: nothing panics while it is held.
    #[must_use]
    pub fn seen(&self) -> Option<TxId> {
        *self.seen.lock().expect("nothing panics while it is held")
    }

    /// Goes on from what an earlier client of the same service has seen. What no ledger can reach is not taken.
    ///
    /// # Panics
    /// Never: nothing panics while it is held.
    pub fn see(&self, transaction: TxId) {
        let mut seen = self.seen.lock().expect("nothing panics while it is held");
        let is_reachable = transaction.seqno <= SEQNO_SEEN_MAX;
        if is_reachable && seen.is_none_or(|seen| seen.seqno < transaction.seqno) {
            *seen = Some(transaction);
        }
    }

    /// The certificate that is pinned.
    #[must_use]
    pub const fn service(&self) -> &Certificate {
        &self.service
    }

    /// The identity that is pinned.
    #[must_use]
    pub fn identity(&self) -> ServiceIdentity {
        ServiceIdentity::of(&self.service)
    }

    /// Whom it asks.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Fetches the certificate that whoever answers at `endpoint` says is the service's. Nothing is believed by this: the
    /// caller compares its [`ServiceIdentity`] with one that was told another way.
    ///
    /// # Errors
    /// [`CallError`] when there is no answer, or it has no certificate.
    pub async fn danger_fetch_service_certificate(
        endpoint: &Endpoint,
        settings: Settings,
    ) -> Result<Certificate, CallError> {
        let tls = trust::danger_unverified();
        let call = Call::get("/node/network");
        let answer = call_all(std::slice::from_ref(endpoint), &tls, &call, settings, Ok).await?;
        let network: Network = answer.json()?;
        let found = Certificate::from_pem(&network.service_certificate)
            // The identity is that of the key; what else it says is by whoever has the key.
            .and_then(|found| found.verify_issued_by(&found).map(|()| found));
        found.map_err(|source| CallError::NotUnderstood {
            endpoint: endpoint.clone(),
            source: source.into(),
        })
    }

    /// Reads any path, for example `/app/receipt?transaction_id=2.4`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get(&self, target: &str) -> Result<Answer, CallError> {
        self.call(&Call::get(target)).await
    }

    /// The name of the ledger file that holds an entry, as a node gives it. Nothing is believed by this.
    ///
    /// # Errors
    /// [`CallError`]; a refusal with 404 when there is no complete file with that entry, or the node offers none.
    pub async fn ledger_chunk_at(&self, seqno: Seqno) -> Result<String, CallError> {
        let answer = self.get(&format!("/node/ledger_chunk?since={seqno}")).await?;
        let name = answer.location.as_deref().and_then(|path| path.rsplit('/').next());
        name.map(str::to_owned).ok_or_else(|| CallError::NotUnderstood {
            endpoint: answer.endpoint.clone(),
            source: "it does not say where the file is".into(),
        })
    }

    /// So many bytes of a file from `offset` on; fewer at its end, and none after it.
    ///
    /// # Errors
    /// [`CallError`]; it is not understood when the node gives something else than that part.
    pub async fn part(
        &self,
        path: &str,
        offset: u64,
        bytes: NonZeroU64,
    ) -> Result<Vec<u8>, CallError> {
        match self.call(&Call::part(path, offset, bytes)).await {
            Ok(answer) if answer.status == PARTIAL && answer.body.len() as u64 <= bytes.get() => {
                Ok(answer.body)
            }
            Ok(answer) => Err(CallError::NotUnderstood {
                endpoint: answer.endpoint,
                source: "it is not the part of the file that was asked for".into(),
            }),
            Err(error) if error.refusal().is_some_and(|refusal| refusal.status == NO_SUCH_PART) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Hands in what a member signed. Once this returns it is committed.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::OutcomeUnknown`] the same envelope can be submitted again.
    pub async fn submit(&self, envelope: &Envelope) -> Result<Answer, CallError> {
        self.call(&Call::submit(envelope)).await
    }

    /// Says who this node is, with evidence for the connection on which it says so, and hears whether members trust it. Ask the
    /// primary: a backup knows only those whom the ledger knows already.
    ///
    /// # Errors
    /// [`CallError`], with a refusal when members have not admitted its code.
    pub async fn join(
        &self,
        node: NodeId,
        says: impl Fn(&ReportData) -> io::Result<JoinRequest> + Send + Sync + 'static,
    ) -> Result<JoinResponse, CallError> {
        let ServiceIdentity(service) = self.identity();
        let body = move |data: &ReportData| Ok(serde_json::to_vec(&says(data)?)?);
        let shows = Shows { own: node, service, body: Arc::new(body) };
        self.call(&Call::join(shows)).await?.json()
    }

    /// What a proposal would change, were it accepted now.
    ///
    /// # Errors
    /// [`CallError`], with a refusal when the constitution does not take it.
    pub async fn simulate(&self, proposal: &[u8]) -> Result<Simulated, CallError> {
        self.call(&Call::simulate(proposal)).await?.json()
    }

    /// The document of a proposal, as its proposer signed it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn document(&self, proposal: ProposalId) -> Result<Vec<u8>, CallError> {
        let path = format!("{}/actions", proposal_path(proposal));
        Ok(self.call(&Call::gov(&path)).await?.body)
    }

    /// What a proposal consists of.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn actions(&self, proposal: ProposalId) -> Result<Actions, CallError> {
        let path = format!("{}/actions", proposal_path(proposal));
        self.call(&Call::gov(&path)).await?.json()
    }

    /// The constitution in force.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn constitution(&self) -> Result<Constitution, CallError> {
        let answer = self.call(&Call::gov("/gov/service/constitution")).await?;
        Ok(Constitution(String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// Waits until a transaction is committed, or cannot be any more. Gives up after the client's time.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Late`] when it is still open then.
    pub async fn wait(&self, transaction: TxId) -> Result<TxStatus, CallError> {
        let deadline = Instant::now() + self.settings.time;
        loop {
            let answer = self.get(&format!("/node/tx?transaction_id={transaction}")).await?;
            let status: TxStatus = answer.json()?;
            if status.status == "Committed" || status.status == "Invalid" {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let time_ms = self.settings.time.as_millis();
                return Err(CallError::Late { endpoint: answer.endpoint, time_ms });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn call(&self, call: &Call) -> Result<Answer, CallError> {
        let is_current = |answer: Answer| match (answer.transaction, self.seen()) {
            (Some(committed), Some(seen)) if call.reads_state() && committed.seqno < seen.seqno => {
                Err(CallError::Behind { endpoint: answer.endpoint, committed, seen })
            }
            _ => Ok(answer),
        };
        let answer = call_all(&self.endpoints, &self.tls, call, self.settings, is_current).await?;
        // Over plain HTTP nobody has proved to be a node of the service, whose later answers would be measured by this.
        let is_proven = answer.certificate.is_some();
        let counts = is_proven && (call.reads_state() || call.kind == Kind::Change);
        if let Some(transaction) = answer.transaction.filter(|_| counts) {
            self.see(transaction);
        }
        Ok(answer)
    }
}

macro_rules! reads {
    ($($what:literal $name:ident($($argument:ident: $type:ty),*) $call:expr => $reply:ty;)*) => {
        impl Client {$(
            #[doc = $what]
            ///
            /// # Errors
            /// [`CallError`].
            pub async fn $name(&self $(, $argument: $type)*) -> Result<$reply, CallError> {
                self.call(&$call).await?.json()
            }
        )*}
    };
}
reads! {
    "The state of the service." network() Call::get("/node/network") => Network;
    "The nodes of the network." nodes() Call::get("/node/network/nodes") => Nodes;
    "The state of the node that answers." state() Call::get("/node/state") => NodeState;
    "What the node that answers runs, and whether its platform protects anything." version()
        Call::get("/node/version") => Version;
    "The last committed transaction." commit() Call::get("/node/commit") => Commit;
    "What the node that answers knows of consensus." consensus() Call::get("/node/consensus") => Consensus;
    "Which code nodes may run." join_policy() Call::gov("/gov/service/join-policy") => JoinPolicy;
    "What the service says of itself." service_info() Call::gov("/gov/service/info") => ServiceInfo;
    "The nodes that governance knows." service_nodes()
        Call::gov("/gov/service/nodes") => List<Node>;
    "All members." members() Call::gov("/gov/service/members") => List<Member>;
    "The participants, or those whose ids come after a text: as many as one answer has."
        users(after: Option<&str>)
        Call::users(after) => List<User>;
    "One participant." user(id: Digest) Call::gov(&format!("{USERS}/{id}")) => User;
    "The organisations whose users are participants." organisations()
        Call::gov("/gov/service/organisations") => List<Organisation>;
    "One member." member(id: MemberId) Call::gov(&member_path(id)) => Member;
    "The proposals that are open, and the last that was decided." proposals()
        Call::gov("/gov/members/proposals") => List<Proposal>;
    "One proposal." proposal(id: ProposalId) Call::gov(&proposal_path(id)) => Proposal;
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({} at {:?})", self.identity(), self.endpoints)
    }
}

/// Asks the nodes in turn; and again while they say that it is too early, as during an election.
async fn call_all(
    endpoints: &[Endpoint],
    tls: &TlsConnector,
    call: &Call,
    Settings { time }: Settings,
    is_current: impl Fn(Answer) -> Result<Answer, CallError>,
) -> Result<Answer, CallError> {
    let deadline = Instant::now() + time;
    // Whether a change may have been carried out by a node that did not say so.
    let mut is_lost = false;
    let mut early = None;
    loop {
        let mut is_early = false;
        let (mut unknown, mut last) = (None, None);
        for (i, endpoint) in endpoints.iter().enumerate() {
            // A node that is silent must not use up the others' time.
            let started = Instant::now();
            let left = deadline.saturating_duration_since(started);
            let share = left / u32::try_from(endpoints.len() - i).unwrap_or(u32::MAX);
            let mut progress = Progress::default();
            let asked = ask(endpoint, tls, call, &mut progress);
            let asked = timeout_at(started + share, asked).await;
            let error = match asked.map(|asked| asked.and_then(&is_current)) {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error @ CallError::Behind { .. })) => {
                    is_early = true;
                    early = Some((endpoint, error));
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    CallError::Late { endpoint: endpoint.clone(), time_ms: share.as_millis() }
                }
            };
            match error.refusal().map(|refusal| refusal.status) {
                Some(TOO_EARLY) => {
                    is_early = true;
                    early = Some((endpoint, error));
                }
                // One that lags, or has been removed, does not know yet what others know.
                Some(NOT_FOUND) if call.kind == Kind::Question => {
                    unknown.get_or_insert((endpoint, error));
                }
                Some(_) => return Err(error),
                None => {
                    is_lost |= progress.may_be_done;
                    last = Some((endpoint, error));
                }
            }
        }
        if is_early && unknown.is_none() && Instant::now() + PAUSE + ATTEMPT_TIME_MIN < deadline {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        // What a node said is worth more than that another was silent.
        let Some((endpoint, error)) = unknown.or(early).or(last) else {
            return Err(CallError::NoEndpoint);
        };
        if is_lost {
            let endpoint = endpoint.clone();
            return Err(CallError::OutcomeUnknown { endpoint, source: Box::new(error) });
        }
        return Err(error);
    }
}

/// The last position that an answer can be believed to have.
const SEQNO_SEEN_MAX: Seqno = Seqno(i64::MAX.unsigned_abs());

/// The status of an answer that says: there is no such thing.
const NOT_FOUND: u16 = 404;
/// The status of a part of a file.
const PARTIAL: u16 = 206;
/// And of one that the file does not have.
const NO_SUCH_PART: u16 = 416;
/// The status of an answer that says: not now.
const TOO_EARLY: u16 = 503;

/// Nobody is asked again with less time than this: what is cut off in the middle of an attempt may have been done.
const ATTEMPT_TIME_MIN: Duration = Duration::from_millis(500);

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(100);
