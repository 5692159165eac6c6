//! What operators have the network do: `POST /node/snapshot:create` and `DELETE /node/network/nodes/{nodeId}`.
//!
//! Operators have no identity in the ledger. So a node takes these calls from whoever reaches it, and only where its
//! configuration says that those who do may make them. The primary carries them out; others name it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coco_api::ErrorCode;
use coco_replica::GovernReply;
use coco_types::{NodeId, TxId, TxStatus};
use hyper::StatusCode;

use super::{
    node_api, parameters,
    respond::{self, Refused, Reply},
    service::Service,
};

/// Most calls that one node has under way: each makes an entry, and waits in the queue of members' requests.
pub(super) const CALLS_MAX: usize = 1;

/// What an operator asks for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Snapshot,
    RemovalOf(NodeId),
}

/// Asks for a snapshot; answered once the entry that asks is committed. All nodes make one, of the next signature entry.
pub(super) async fn create_snapshot(service: &Arc<Service>, path: &str) -> Result<Reply, Refused> {
    operate(service, Asked::Snapshot, path).await
}

/// Removes what the ledger says of a node that has left; answered once the entry that does is committed.
pub(super) async fn remove_node(
    service: &Arc<Service>,
    node: &str,
    path: &str,
) -> Result<Reply, Refused> {
    let node = NodeId(parameters::id(node, "node's id")?.0);
    operate(service, Asked::RemovalOf(node), path).await
}

async fn operate(service: &Arc<Service>, asked: Asked, path: &str) -> Result<Reply, Refused> {
    let Ok(place) = Arc::clone(service.operating()).try_acquire_owned() else {
        let message = "another call of an operator is under way; try again";
        return Err(respond::later(ErrorCode::SessionCapExhausted, message).into());
    };
    let (service, path) = (Arc::clone(service), path.to_owned());
    // The place stays taken until the replica has answered, also when nobody waits any more.
    let asking = tokio::spawn(async move {
        let _place = place;
        ask(&service, asked, &path).await
    });
    asking.await.unwrap_or_else(|_| {
        let message = "the call failed; what it did is unknown";
        Err(respond::error(ErrorCode::InternalError, message).into())
    })
}

async fn ask(service: &Service, asked: Asked, path: &str) -> Result<Reply, Refused> {
    let deadline = Instant::now() + Duration::from_millis(service.limits().request_timeout_ms);
    let no_primary = || {
        let message = "no primary is known at the moment; try again";
        Refused::from(respond::later(ErrorCode::PrimaryNotFound, message))
    };
    let answer = match asked {
        Asked::Snapshot => service.inbox().ask_snapshot().await,
        Asked::RemovalOf(node) => service.inbox().remove_node(node).await,
    };
    match answer.map_err(|_| no_primary())? {
        GovernReply::Done { id, .. } => Ok(decided(asked, id, service.decided(id, deadline).await)),
        GovernReply::Refused(error) => Err(error.into()),
        GovernReply::NotPrimary(Some(primary)) if primary != service.node_id() => {
            Ok(node_api::way_to(service, primary, path))
        }
        GovernReply::NotPrimary(_) => Err(no_primary()),
        GovernReply::Busy => {
            let message = "too many requests wait; try again";
            Err(respond::later(ErrorCode::TooManyPendingTransactions, message).into())
        }
    }
}

fn decided(asked: Asked, id: TxId, status: TxStatus) -> Reply {
    let reply = match (status, asked) {
        (TxStatus::Committed, Asked::Snapshot) => respond::empty(StatusCode::NO_CONTENT),
        (TxStatus::Committed, Asked::RemovalOf(_)) => respond::json(&true),
        (TxStatus::Pending, _) => {
            let message =
                format!("it is done by entry {id}, which is not committed yet: ask for its status");
            respond::later(ErrorCode::TransactionReplicationFailed, message)
        }
        (TxStatus::Invalid | TxStatus::Unknown, _) => {
            let message =
                format!("it was done by entry {id}, which is lost with its primary; try again");
            respond::later(ErrorCode::TransactionReplicationFailed, message)
        }
    };
    respond::at(reply, id)
}
