//! What operators have the network do: `POST /node/snapshot:create`.
//!
//! Operators have no identity in the ledger. So a node takes these calls from whoever reaches it, and only where its
//! configuration says that those who do may make them. The primary carries them out; others name it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coco_api::ErrorCode;
use coco_replica::GovernReply;
use coco_types::{TxId, TxStatus};
use hyper::StatusCode;

use super::{
    node_api,
    respond::{self, Refused, Reply},
    service::Service,
};

/// Most calls that one node has under way: each makes an entry and a snapshot, and waits in the queue of members' requests.
pub(super) const CALLS_MAX: usize = 1;

/// Asks for a snapshot; answered once the entry that asks is committed. All nodes make one, of the next signature entry.
pub(super) async fn create_snapshot(service: &Arc<Service>, path: &str) -> Result<Reply, Refused> {
    let Ok(place) = Arc::clone(service.operating()).try_acquire_owned() else {
        let message = "another snapshot is being asked for; try again";
        return Err(respond::later(ErrorCode::SessionCapExhausted, message).into());
    };
    let (service, path) = (Arc::clone(service), path.to_owned());
    // The place stays taken until the replica has answered, also when nobody waits any more.
    let asking = tokio::spawn(async move {
        let _place = place;
        ask(&service, &path).await
    });
    asking.await.unwrap_or_else(|_| {
        let message = "asking for a snapshot failed; what it did is unknown";
        Err(respond::error(ErrorCode::InternalError, message).into())
    })
}

async fn ask(service: &Service, path: &str) -> Result<Reply, Refused> {
    let deadline = Instant::now() + Duration::from_millis(service.limits().request_timeout_ms);
    let no_primary = || {
        let message = "no primary is known at the moment; try again";
        Refused::from(respond::later(ErrorCode::PrimaryNotFound, message))
    };
    let asked = service.inbox().ask_snapshot().await.map_err(|_| no_primary())?;
    match asked {
        GovernReply::Done { id, .. } => Ok(decided(id, service.decided(id, deadline).await)),
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

fn decided(id: TxId, status: TxStatus) -> Reply {
    let reply = match status {
        TxStatus::Committed => respond::empty(StatusCode::NO_CONTENT),
        TxStatus::Pending => {
            let message = format!(
                "a snapshot is asked for in entry {id}, which is not committed yet: ask for its status"
            );
            respond::later(ErrorCode::TransactionReplicationFailed, message)
        }
        TxStatus::Invalid | TxStatus::Unknown => {
            let message = format!(
                "a snapshot was asked for in entry {id}, which is lost with its primary; try again"
            );
            respond::later(ErrorCode::TransactionReplicationFailed, message)
        }
    };
    respond::at(reply, id)
}
