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
    match assemble(service, id.seqno, covering) {
        Ok(receipt) => render(&receipt, id, form),
        Err(NoReceipt::Archived(error)) => respond::error(
            ErrorCode::TransactionNotFound,
            format!("the receipt of {id} cannot be made here: {error}"),
        ),
        Err(NoReceipt::Broken(error)) => {
            tracing::error!(error, %id, "cannot make a receipt");
            respond::error(
                ErrorCode::InternalError,
                "the receipt could not be made from this node's ledger",
            )
        }
    }
}

/// Why there is no receipt.
enum NoReceipt {
    /// The ledger's files around it are kept elsewhere.
    Archived(HistoryError),
    /// This node's ledger does not give it.
    Broken(String),
}

impl NoReceipt {
    fn broken(error: &dyn std::error::Error) -> Self {
        Self::Broken(error.to_string())
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
    let history = &service.parts().history;
    let entry = history.entry(seqno)?;
    let signature_of = |entry: &[u8]| -> Result<Option<SignatureRecord>, NoReceipt> {
        let entry = EntryView::parse(entry).map_err(|error| NoReceipt::broken(&error))?;
        SignatureRecord::read(&entry).map_err(|error| NoReceipt::broken(&error))
    };
    if let Some(record) = signature_of(&entry)? {
        return Ok(Receipt::of_signature(&record));
    }
    let signature = history.entry(covering)?;
    let no_signature = || NoReceipt::Broken("the covering entry is no signature".to_owned());
    let record = signature_of(&signature)?.ok_or_else(no_signature)?;
    let state = service.state();
    let evidence = state.secrets().at(seqno).commit_evidence(state.tx_id(seqno));
    Receipt::assemble(&entry, evidence, state.tree(), &record)
        .map_err(|error| NoReceipt::broken(&error))
}

fn render(receipt: &Receipt, id: TxId, form: Form) -> Reply {
    let response = match form {
        Form::Json => respond::json_text(receipt.json()),
        Form::Cose => match receipt.cose() {
            Some(cose) => {
                respond::body(StatusCode::OK, HeaderValue::from_static("application/cose"), cose)
            }
            None => {
                let message = format!("{id} is a signature entry, which has no COSE receipt");
                return respond::error(ErrorCode::TransactionNotFound, message);
            }
        },
    };
    respond::at(response, id)
}

/// Headers for pages of another origin, as browser wallets need them.
pub(crate) const ANY_ORIGIN: (HeaderName, HeaderValue) =
    (hyper::header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
