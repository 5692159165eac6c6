//! The ledger's positions, the status of transactions, and receipts: what `/node`, `/app` and `/gov` have in common, in
//! CCF's shapes.

use std::sync::Arc;

use coco_adapter::HistoryError;
use coco_api::{Commit, ErrorCode, TxStatusBody};
use coco_ledger::{EntryView, Receipt, SignatureRecord};
use coco_types::{Seqno, TxId, TxStatus};
use hyper::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};

use super::{
    earlier,
    respond::{self, Reply},
    route::Query,
    service::Service,
    table::LedgerCall,
};

/// Answers a GET.
pub(crate) async fn answer(service: &Arc<Service>, call: LedgerCall, query: &Query<'_>) -> Reply {
    match call {
        LedgerCall::Commit => commit(service, query),
        LedgerCall::Tx => status(service, query),
        LedgerCall::Receipt => receipt(service, query, Form::Json).await,
        LedgerCall::CoseReceipt => receipt(service, query, Form::Cose).await,
        LedgerCall::Endorsements => receipt(service, query, Form::Endorsements).await,
    }
}

fn commit(service: &Service, query: &Query<'_>) -> Reply {
    let state = service.state();
    let committed = state.committed();
    let since = match (query.get("view_history"), query.get("view_history_since")) {
        (Some("true"), _) => Some(0),
        (_, Some(view)) => match view.parse::<u64>() {
            Ok(view) => Some(view),
            Err(_) => {
                return respond::error(
                    ErrorCode::InvalidQueryParameterValue,
                    format!("view_history_since={view} is not a view: give a whole number"),
                );
            }
        },
        (None | Some("false"), None) => None,
        (Some(other), None) => {
            return respond::error(
                ErrorCode::InvalidQueryParameterValue,
                format!("view_history={other} is neither true nor false"),
            );
        }
    };
    let view_history = since.map(|since| {
        let views = state
            .view_history()
            .into_iter()
            .filter(|id| id.view.0 >= since && id.seqno <= committed.seqno);
        views.map(|id| id.to_string()).collect()
    });
    respond::at(
        respond::json(&Commit { transaction_id: committed.to_string(), view_history }),
        committed,
    )
}

pub(crate) fn invalid_query(message: String) -> Reply {
    respond::error(ErrorCode::InvalidQueryParameterValue, message)
}

fn status(service: &Service, query: &Query<'_>) -> Reply {
    match query.transaction_id() {
        Ok(id) => {
            let status = service.state().status(id).to_string();
            respond::json(&TxStatusBody { transaction_id: id.to_string(), status })
        }
        Err(message) => invalid_query(message),
    }
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Cose,
    /// Not the receipt, but what it takes to believe it when its service was recovered since then.
    Endorsements,
}

async fn receipt(service: &Arc<Service>, query: &Query<'_>, form: Form) -> Reply {
    let id = match query.transaction_id() {
        Ok(id) => id,
        Err(message) => return invalid_query(message),
    };
    let service = Arc::clone(service);
    // Reads the disk, so not on a thread that serves connections.
    let made = tokio::task::spawn_blocking(move || make_receipt(&service, id, form)).await;
    made.unwrap_or_else(|_| {
        respond::error(ErrorCode::InternalError, "the receipt could not be made")
    })
}

fn make_receipt(service: &Service, id: TxId, form: Form) -> Reply {
    let (status, covering) = {
        let state = service.state();
        let covering =
            state.covering_signature(id.seqno).filter(|at| *at <= state.committed().seqno);
        (state.status(id), covering)
    };
    match status {
        TxStatus::Committed => {}
        TxStatus::Invalid => {
            return respond::error(
                ErrorCode::TransactionInvalid,
                format!("transaction {id} is invalid"),
            );
        }
        TxStatus::Pending | TxStatus::Unknown => {
            return respond::error(
                ErrorCode::TransactionPendingOrUnknown,
                format!("transaction {id} is not committed; ask for its status and come back"),
            );
        }
    }
    // Only the last signature entry is covered by none, and it is proven by its own signature.
    let covering = covering.unwrap_or(id.seqno);
    let made = match form {
        Form::Json => json(service, id, covering),
        Form::Cose => cose(service, id, covering),
        Form::Endorsements => endorsements(service, id, covering),
    };
    match made {
        Ok(reply) => respond::at(reply, id),
        Err(none) => none.reply(id),
    }
}

fn json(service: &Service, id: TxId, covering: Seqno) -> Result<Reply, NoReceipt> {
    let receipt = assemble(service, id.seqno, covering)?;
    let earlier = earlier::certified(service, &receipt.signature().service_key)?;
    let receipt = match earlier {
        Some(earlier) => receipt.of_earlier(earlier),
        None => receipt,
    };
    Ok(respond::json_text(receipt.json()))
}

fn cose(service: &Service, id: TxId, covering: Seqno) -> Result<Reply, NoReceipt> {
    match assemble(service, id.seqno, covering)?.cose() {
        Some(cose) => Ok(respond::body(StatusCode::OK, COSE, cose)),
        None => Err(NoReceipt::OfSignature),
    }
}

fn endorsements(service: &Service, id: TxId, covering: Seqno) -> Result<Reply, NoReceipt> {
    let own = signature_at(service, id.seqno)?;
    let record = own.map_or_else(|| covering_signature(service, covering), Ok)?;
    let (_, endorsements) =
        earlier::endorsed(service, &record.service_key)?.ok_or(NoReceipt::Unendorsed)?;
    Ok(respond::body(StatusCode::OK, CBOR, endorsements.encode()))
}

const COSE: HeaderValue = HeaderValue::from_static("application/cose");
const CBOR: HeaderValue = HeaderValue::from_static("application/cbor");

/// Why there is no receipt.
pub(super) enum NoReceipt {
    /// The ledger's files around it are kept elsewhere.
    Archived(HistoryError),
    /// It is asked for as COSE and of a signature entry, which is proven by its node's signature alone.
    OfSignature,
    /// The service is being recovered, and nobody has given the ledger secret of that time back yet.
    Sealed,
    /// It was recovered by a version that endorsed no service of before.
    Unendorsed,
    /// This node's ledger does not give it.
    Broken(String),
}

impl NoReceipt {
    pub(super) fn broken(error: &dyn std::error::Error) -> Self {
        Self::Broken(error.to_string())
    }

    fn reply(self, id: TxId) -> Reply {
        let message = match self {
            Self::Archived(error) => format!("the receipt of {id} cannot be made here: {error}"),
            Self::OfSignature => format!("{id} is a signature entry, which has no COSE receipt"),
            Self::Sealed => {
                format!("the receipt of {id} can be made once the service has been recovered")
            }
            Self::Unendorsed => {
                format!("the service that signed {id} is not endorsed in this ledger")
            }
            Self::Broken(error) => {
                tracing::error!(error, %id, "cannot make a receipt");
                let message = "the receipt could not be made from this node's ledger";
                return respond::error(ErrorCode::InternalError, message);
            }
        };
        respond::error(ErrorCode::TransactionNotFound, message)
    }
}

impl From<HistoryError> for NoReceipt {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Archived { .. } => Self::Archived(error),
            HistoryError::Unreadable { .. } | HistoryError::Altered { .. } => Self::broken(&error),
        }
    }
}

/// Reads the entry and the signature that covers it, and puts the receipt together.
fn assemble(service: &Service, seqno: Seqno, covering: Seqno) -> Result<Receipt, NoReceipt> {
    if let Some(record) = signature_at(service, seqno)? {
        return Ok(Receipt::of_signature(&record));
    }
    let record = covering_signature(service, covering)?;
    let entry = service.parts().history.entry(seqno)?;
    let state = service.state();
    if !state.secrets().knows(seqno) {
        return Err(NoReceipt::Sealed);
    }
    let evidence = state.secrets().at(seqno).commit_evidence(state.tx_id(seqno));
    Receipt::assemble(&entry, evidence, state.tree(), &record)
        .map_err(|error| NoReceipt::broken(&error))
}

/// The signatures in an entry; none when it is no signature entry.
fn signature_at(service: &Service, seqno: Seqno) -> Result<Option<SignatureRecord>, NoReceipt> {
    let entry = service.parts().history.entry(seqno)?;
    let entry = EntryView::parse(&entry).map_err(|error| NoReceipt::broken(&error))?;
    SignatureRecord::read(&entry).map_err(|error| NoReceipt::broken(&error))
}

fn covering_signature(service: &Service, covering: Seqno) -> Result<SignatureRecord, NoReceipt> {
    let record = signature_at(service, covering)?;
    record.ok_or_else(|| NoReceipt::Broken("the covering entry is no signature".to_owned()))
}

/// Headers for pages of another origin, as browser wallets need them.
pub(crate) const ANY_ORIGIN: (HeaderName, HeaderValue) =
    (hyper::header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
