//! `POST /node/join`: a node that wants to belong to the network says who it is, and gets what it needs once members
//! trust it.
//!
//! The TLS connection proves that it holds the key of the certificate that it shows; the evidence binds that key and that connection to
//! the code. The secrets of the service leave this node only for a node whose trust is *committed*, over that connection.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_api::{
    ErrorCode,
    join::{JoinResponse, LedgerSecretInfo, NetworkInfo, NetworkNode, ServiceIdentity},
};
use coco_attest::{
    AppraiseError, AppraiseEvidenceError, Channel, EXPORTER_BYTES, End, PlatformId, ReportData,
};
use coco_crypto::{Certificate, Curve};
use coco_governance::{
    LeaseRow,
    rows::ServiceRow,
    tables::{ConfigurationRow, NODES_INFO, NODES_LEASES, SERVICE_CONFIG, SERVICE_INFO},
};
use coco_ledger::{NodeStatus, Period, read_node};
use coco_replica::{Introduction, IntroductionReply};
use coco_types::{NodeId, TxId, TxStatus};
use hyper::{
    StatusCode,
    body::{Bytes, Incoming},
    header::{HeaderValue, LOCATION},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    introduction, node_api,
    respond::{self, Refused, Reply},
    service::Service,
    submit::RETRY,
};
use crate::{address::HostPort, clock::seconds_now, provision::node_period};

/// Longest request, in bytes: evidence, its log and what its maker says, at their longest, in base64.
const JOIN_BYTES_MAX: usize = 1 << 20;
/// Most nodes that are answered at one time: strangers ask, and each costs the replica a look at all nodes.
pub(super) const JOINS_MAX: usize = 4;
/// How long a node waits here for its entry to be committed.
const COMMIT_TIME: Duration = Duration::from_secs(10);

/// The certificate that a client showed. It holds the key; nothing else is proved.
#[derive(Clone)]
pub(super) struct ShownCertificate {
    pub(super) der: Bytes,
    /// What the session exports for the client, where that is known.
    pub(super) exporter: Option<[u8; EXPORTER_BYTES]>,
}

impl std::fmt::Debug for ShownCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownCertificate(..)")
    }
}

/// Answers a node.
pub(super) async fn join(
    service: &Arc<Service>,
    request: hyper::Request<Incoming>,
) -> Result<Reply, Refused> {
    let shown = request.extensions().get::<ShownCertificate>().cloned();
    let exporter = shown.as_ref().and_then(|shown| shown.exporter);
    let certificate = certificate(shown)?;
    let identity = &service.parts().identity;
    let channel = Channel {
        end: End::Dialled,
        service: identity.service_cert.key().digest(),
        own: certificate.key().node_id(),
        other: identity.node_id,
        exporter: exporter.ok_or_else(not_now)?,
    };
    let body = service.body(request, JOIN_BYTES_MAX);
    let data = channel.report_data();
    let (_place, introduction) = introduced(service.joining(), &certificate, data, body).await?;
    let deadline = Instant::now() + COMMIT_TIME;
    loop {
        let (at, status) = committed_status(service, introduction.node.node_id)?;
        let Some(status) = status else {
            // It is committed then, or was rolled back.
            introduce(service, &introduction, deadline).await?;
            if Instant::now() < deadline {
                continue;
            }
            return Err(not_now());
        };
        return answer(service, &certificate, &introduction, status)
            .map(|response| respond::at(respond::json(&response), at));
    }
}

/// Reads who a node says it is, and takes one of the places only then: a stranger who sends slowly holds none.
async fn introduced<'a>(
    places: &'a Semaphore,
    certificate: &Certificate,
    data: ReportData,
    body: impl Future<Output = Result<Bytes, Refused>>,
) -> Result<(SemaphorePermit<'a>, Introduction), Refused> {
    let body = body.await?;
    // What it shows is verified in its place: that takes longer than to read it.
    let place = places.try_acquire().map_err(|_| not_now())?;
    let introduction = introduction::read(certificate, data, seconds_now(), &body)
        .map_err(|error| -> Refused { respond::error(error.code(), error.to_string()).into() })?;
    Ok((place, introduction))
}

fn certificate(shown: Option<ShownCertificate>) -> Result<Certificate, Refused> {
    let refused = |message: &str| -> Refused {
        respond::error(ErrorCode::InvalidAuthenticationInfo, message).into()
    };
    let shown = shown.ok_or_else(|| {
        refused("a node shows the certificate of its key, which it made itself, in TLS")
    })?;
    let certificate = Certificate::from_der(&shown.der)
        .map_err(|error| refused(&format!("the certificate cannot be read: {error}")))?;
    if certificate.key().curve() == Curve::P384 {
        Ok(certificate)
    } else {
        Err(refused("the key of a node is on P-384"))
    }
}

/// What the committed tables say of a node, and as of which entry. Nothing of one whose lease has ended: the primary says whether it
/// comes back.
fn committed_status(
    service: &Service,
    node: NodeId,
) -> Result<(TxId, Option<NodeStatus>), Refused> {
    let (at, mut rows) = service.committed_rows();
    let key = node.to_string();
    let row = rows.get(NODES_INFO, key.as_bytes())?;
    let row = row.map(|row| read_node(node, &row)).transpose().map_err(|_| -> Refused {
        respond::error(ErrorCode::InternalError, "the node's row cannot be read").into()
    })?;
    let lease = rows.get(NODES_LEASES, key.as_bytes()).ok().flatten();
    let has_ended =
        lease.and_then(|row| LeaseRow::read(&row)).is_some_and(|lease| lease.ended_at.is_some());
    let status = row.map(|row| row.status);
    Ok((at, status.filter(|_| !has_ended)))
}

/// Has the replica write down who a node is, and waits until that is decided.
async fn introduce(
    service: &Arc<Service>,
    introduction: &Introduction,
    deadline: Instant,
) -> Result<(), Refused> {
    let reply = service.inbox().introduce(introduction.clone()).await.map_err(|_| not_now())?;
    match reply {
        IntroductionReply::Known { status: NodeStatus::Retired, .. } => {
            Err(retired(introduction.node.node_id))
        }
        IntroductionReply::Known { id, .. } => {
            let decided = service.decided(id, deadline).await;
            if decided == TxStatus::Pending { Err(not_now()) } else { Ok(()) }
        }
        IntroductionReply::NotBelieved(reason) => Err(not_believed(&reason)),
        IntroductionReply::TooMany => {
            Err(respond::later(ErrorCode::TooManyPendingTransactions, "too many nodes are pending")
                .into())
        }
        IntroductionReply::NotPrimary(primary) => {
            let address = primary.and_then(|primary| service.parts().nodes.get(primary));
            let Some(address) = address else { return Err(not_now()) };
            let location = format!("https://{}/node/join", address.client);
            let mut response = respond::empty(StatusCode::PERMANENT_REDIRECT);
            if let Ok(value) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(LOCATION, value);
            }
            Err(response.into())
        }
        IntroductionReply::Later => {
            tokio::time::sleep(RETRY).await;
            Ok(())
        }
    }
}

fn not_believed(reason: &AppraiseEvidenceError) -> Refused {
    let message = match reason {
        AppraiseEvidenceError::Appraise(AppraiseError::Measurement { platform, have })
            if *platform == PlatformId::Insecure =>
        {
            format!(
                "members have not admitted the code {have}; one of them proposes add_virtual_measurement"
            )
        }
        reason => format!("what the node shows is not believed: {reason}"),
    };
    respond::error(ErrorCode::InvalidQuote, message).into()
}

fn not_now() -> Refused {
    respond::later(ErrorCode::PrimaryNotFound, "not now; ask again").into()
}

/// What a node in this state is told.
fn answer(
    service: &Service,
    certificate: &Certificate,
    introduction: &Introduction,
    status: NodeStatus,
) -> Result<JoinResponse, Refused> {
    let node_id = introduction.node.node_id.to_string();
    match status {
        NodeStatus::Pending => {
            Ok(JoinResponse { node_status: "Pending".to_owned(), node_id, network_info: None })
        }
        NodeStatus::Trusted => {
            // What a node that is cut off knows of members' decisions is old, and its host may have it so.
            if !node_api::is_ready(service) {
                return Err(not_now());
            }
            // Members may have changed their mind about its code since it introduced itself, or it runs another.
            let (at, mut rows) = service.committed_rows();
            let policy = super::governance::manifests(&mut rows)?.policy(at.seqno.0);
            let Introduction { node, shown, .. } = introduction;
            let appraised = shown.appraise(node.node_id, seconds_now(), &policy);
            appraised.map_err(|reason| not_believed(&reason))?;
            let network_info = Some(network_info(service, certificate, introduction)?);
            Ok(JoinResponse { node_status: "Trusted".to_owned(), node_id, network_info })
        }
        NodeStatus::Retired => Err(retired(introduction.node.node_id)),
    }
}

fn retired(node: NodeId) -> Refused {
    let message = format!("the node {node} is retired: a new one needs a new key");
    respond::error(ErrorCode::InvalidNodeState, message).into()
}

fn secret_info(period: &Period) -> LedgerSecretInfo {
    let secret = STANDARD.encode(period.secret.secret().expose());
    LedgerSecretInfo { seqno: period.from.0, secret }
}

fn network_info(
    service: &Service,
    certificate: &Certificate,
    introduction: &Introduction,
) -> Result<NetworkInfo, Refused> {
    let identity = &service.parts().identity;
    let names = [&introduction.node.rpc_address, &introduction.node.peer_address];
    let names = names.map(|address| address.parse::<HostPort>());
    let names: Vec<_> = names.into_iter().flatten().map(|address| address.alt_name()).collect();
    let rows = &mut service.committed_rows().1;
    let configuration: Option<ConfigurationRow> = rows.one(SERVICE_CONFIG)?;
    let days_max = configuration.and_then(|row| row.maximum_node_certificate_validity_days);
    let validity = node_period(seconds_now(), days_max);
    let endorsed = identity.endorse(certificate.key(), &names, validity);
    let endorsed = endorsed.map_err(|error| -> Refused {
        respond::error(ErrorCode::InvalidInput, error.to_string()).into()
    })?;
    let secrets = {
        let state = service.parts().state.read();
        let committed = state.committed().seqno;
        let secrets = state.secrets().clone();
        // A period whose beginning is not committed may never be. Later ones reach the node in the ledger.
        let is_committed = move |period: &&Period| period.from <= committed.next();
        secrets
            .is_whole()
            .then(|| secrets.periods().iter().filter(is_committed).map(secret_info).collect())
    };
    let Some(ledger_secrets) = secrets else { return Err(not_now()) };
    let row: Option<ServiceRow> = rows.one(SERVICE_INFO)?;
    let nodes = service.parts().nodes.all().into_iter().map(|(id, node)| NetworkNode {
        node_id: id.to_string(),
        peer_address: node.peer,
        client_address: node.client,
    });
    Ok(NetworkInfo {
        public_only: false,
        service_status: service.status().word().to_owned(),
        identity: ServiceIdentity {
            cert: service.certificate(row.as_ref()),
            priv_key: STANDARD.encode(identity.service_key_secret().expose()),
        },
        ledger_secrets,
        endorsed_certificate: endorsed.pem(),
        nodes: nodes.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use coco_api::join::{Interface, JoinRequest, NodeInfoNetwork, QuoteInfo, RpcInterfaces};
    use coco_attest::InsecureEvidence;
    use coco_crypto::{DecryptionKey, SigningKey, Validity, service_certificate};
    use coco_types::Digest;

    use super::*;

    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_sends_slowly_holds_no_place_of_those_who_join() {
        let key = SigningKey::generate(Curve::P384);
        let validity = Validity { not_before: 1_700_000_000, not_after: 1_700_001_000 };
        let certificate = service_certificate(&key, validity).unwrap();
        let data = ReportData::on_no_channel(certificate.key().node_id());
        let quote = InsecureEvidence::new(&Digest([1; 32]), &data).encode();
        let interface = || Interface { published_address: "node.example:1".to_owned() };
        let request = JoinRequest {
            node_info_network: NodeInfoNetwork {
                node_to_node_interface: interface(),
                rpc_interfaces: RpcInterfaces { primary_rpc_interface: interface() },
            },
            quote_info: QuoteInfo {
                format: PlatformId::Insecure.quote_format().to_owned(),
                quote: STANDARD.encode(quote),
                endorsements: String::new(),
                event_log: String::new(),
            },
            public_encryption_key: DecryptionKey::generate().public().pem(),
            certificate_signing_request: None,
        };
        let body = Bytes::from(serde_json::to_vec(&request).unwrap());

        let places = Semaphore::new(1);
        let mut slow = pin!(introduced(&places, &certificate, data, std::future::pending()));
        assert!(poll(slow.as_mut()).is_pending());
        let nonsense = async { Ok(Bytes::from_static(b"{}")) };
        assert!(matches!(
            poll(introduced(&places, &certificate, data, nonsense)),
            Poll::Ready(Err(_))
        ));
        let join = || poll(introduced(&places, &certificate, data, async { Ok(body.clone()) }));
        let Poll::Ready(Ok((place, _))) = join() else { panic!("a place is free") };
        assert!(matches!(join(), Poll::Ready(Err(_))), "the one place is taken");
        drop(place);
        assert!(matches!(join(), Poll::Ready(Ok(_))));
    }
}
