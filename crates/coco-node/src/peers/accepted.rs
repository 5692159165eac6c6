//! The connections that others make to this node: how many there may be, and of whom.
//!
//! Anybody can connect. Until it has shown a certificate of the service a connection has a place among strangers, where
//! the newest goes before the oldest: who says nothing keeps no node out. After that it counts for its node, and no node
//! takes places from another.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use coco_crypto::Certificate;
use coco_types::{NodeId, limits::NODES_MAX};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use super::{CONNECT_TIMEOUT, RETRY_MIN, late};
use crate::tls::{PeerTls, peer_certificate};

/// Connections at one time whose handshake has not ended. A node's takes a few round trips; one that is not at its end
/// when so many more have come makes room.
pub(super) const HANDSHAKES_MAX: usize = 64;
/// Connections of one node at one time: its channel, a question for its seat, a copy of the ledger, and one that is dead
/// without this node having noticed. The newest goes before the oldest.
pub(super) const PER_NODE_MAX: usize = 4;
/// Connections of nodes at one time: twice the nodes, since those that have left linger until their time-out.
const ACCEPTED_MAX: usize = 2 * NODES_MAX;

/// Accepts connections until the task is dropped, and has those of nodes served.
pub(super) async fn accept_nodes<S, T>(listener: TcpListener, tls: PeerTls, serve: S)
where
    S: Fn(TlsStream<TcpStream>, Certificate) -> T + Clone + Send + 'static,
    T: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let mut handshakes = Tasks::default();
    let accepted = Arc::new(Mutex::new(Accepted::default()));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a peer");
                tokio::time::sleep(RETRY_MIN).await;
                continue;
            }
        };
        let (tls, accepted, serve) = (tls.clone(), Arc::clone(&accepted), serve.clone());
        let task = tokio::spawn(async move {
            let (stream, certificate) = match shake_hands(stream, &tls).await {
                Ok(shown) => shown,
                Err(error) => {
                    info!(%error, "no peer connects");
                    return;
                }
            };
            let from = certificate.key().node_id();
            let served = serve(stream, certificate);
            let task = tokio::spawn(async move {
                if let Err(error) = served.await {
                    info!(peer = %from, %error, "connection from a peer ended");
                }
            });
            accepted.lock().admit(from, task.abort_handle());
        });
        handshakes.push(task.abort_handle(), HANDSHAKES_MAX);
    }
}

async fn shake_hands(
    stream: TcpStream,
    tls: &PeerTls,
) -> std::io::Result<(TlsStream<TcpStream>, Certificate)> {
    stream.set_nodelay(true)?;
    let stream = timeout(CONNECT_TIMEOUT, tls.accept(stream)).await.map_err(late)??;
    let certificate = peer_certificate(stream.get_ref().1.peer_certificates())
        .ok_or_else(|| std::io::Error::other("the peer's certificate cannot be read"))?;
    Ok((stream, certificate))
}

/// Tasks that hold a connection each, the oldest first.
#[derive(Debug, Default)]
struct Tasks(VecDeque<AbortHandle>);

impl Tasks {
    fn push(&mut self, task: AbortHandle, max: usize) {
        self.forget_ended();
        if self.0.len() >= max {
            self.end_oldest();
        }
        self.0.push_back(task);
    }

    fn forget_ended(&mut self) {
        self.0.retain(|task| !task.is_finished());
    }

    fn end_oldest(&mut self) {
        if let Some(oldest) = self.0.pop_front() {
            oldest.abort();
        }
    }
}

/// The connections of nodes.
#[derive(Debug, Default)]
struct Accepted(BTreeMap<NodeId, Tasks>);

impl Accepted {
    /// Takes a connection in. When there are too many, the node that has most of them loses one; when none has two, the
    /// new one ends.
    fn admit(&mut self, from: NodeId, task: AbortHandle) {
        self.0.retain(|_, tasks| {
            tasks.forget_ended();
            !tasks.0.is_empty()
        });
        let all: usize = self.0.values().map(|tasks| tasks.0.len()).sum();
        if all >= ACCEPTED_MAX {
            let most = self.0.values_mut().max_by_key(|tasks| tasks.0.len());
            match most.filter(|tasks| tasks.0.len() > 1) {
                Some(tasks) => tasks.end_oldest(),
                None => {
                    warn!(peer = %from, limit = ACCEPTED_MAX, "too many nodes are connected");
                    task.abort();
                    return;
                }
            }
        }
        self.0.entry(from).or_default().push(task, PER_NODE_MAX);
    }
}
