//! Every request that was carried out, as it was signed: one slot a member, and so all of them in the ledger.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_kv::Transaction;

use crate::{
    GovernanceError,
    request::Signed,
    tables::{self, COSE_HISTORY},
};

/// Keeps a request.
pub(crate) fn record(
    tx: &mut Transaction<'_>,
    request: &Signed<'_>,
) -> Result<(), GovernanceError> {
    tables::write(tx, COSE_HISTORY, &request.signer().key(), &base64(&request.recorded()))
}

/// A recorded envelope as rows hold it.
pub(crate) fn base64(recorded: &[u8]) -> String {
    STANDARD.encode(recorded)
}

/// The envelope in a row.
pub(crate) fn envelope(row: &str) -> Option<Vec<u8>> {
    STANDARD.decode(row).ok()
}
