//! Members send their shares in, until there are enough of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{RecoveryShare, SecretBytes, ShareError};
use coco_kv::Transaction;
use serde::Serialize;

use super::{OpenSharingError, SharesRow, broken, ledger_key, wrap_under};
use crate::{
    Effect, ErrorCode, GovernanceError, MemberId, Situation, document,
    request::Signed,
    tables::{self, ENCRYPTED_SUBMITTED_SHARES, RECOVERY_SHARES, singleton_key},
};

/// Longest share in base64 that is read: one of the right length with room for another form of line ends.
const SHARE_TEXT_BYTES_MAX: usize = 80;

/// How far a recovery has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryProgress {
    /// The same, for people.
    pub message: String,
    /// How many members have sent their shares.
    pub submitted_count: usize,
    /// How many shares are needed.
    pub recovery_threshold: usize,
    /// Whether this one was the key itself, which needs no other.
    pub full_key_submitted: bool,
}

/// A member's share, as only that member can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptedShareView {
    /// Whose.
    pub member_id: String,
    /// In base64.
    pub encrypted_share: String,
}

/// `GET recovery/encrypted-shares/{member}`: what the last sharing gave a member.
///
/// # Errors
/// [`ErrorCode::ResourceNotFound`] when it gave none.
pub fn encrypted_share(
    tx: &mut Transaction<'_>,
    member: MemberId,
) -> Result<EncryptedShareView, GovernanceError> {
    let member_id = member.to_string();
    let row: Option<SharesRow> = tables::read(tx, RECOVERY_SHARES, singleton_key())?;
    let share = row.and_then(|mut row| row.encrypted_shares.remove(&member_id));
    let encrypted_share = share.ok_or_else(|| {
        let message = format!("the member {member} has no recovery share");
        GovernanceError::new(ErrorCode::ResourceNotFound, message)
    })?;
    Ok(EncryptedShareView { member_id, encrypted_share })
}

/// Forgets all shares that were sent: when a recovery begins, and when it is done.
///
/// # Errors
/// [`GovernanceError`] when the store has no such table.
pub fn forget_submitted_shares(tx: &mut Transaction<'_>) -> Result<(), GovernanceError> {
    let map = tables::table(tx, ENCRYPTED_SUBMITTED_SHARES)?;
    for (member, _) in tables::rows(tx, ENCRYPTED_SUBMITTED_SHARES)? {
        tx.remove(map, &member);
    }
    Ok(())
}

/// Takes a member's share. With the last one that is needed, the key is handed out; and again with each that comes later,
/// for whoever has lost it since.
///
/// The request is not kept with the others: it has the share in it, for all to read.
pub(crate) fn submit(
    tx: &mut Transaction<'_>,
    request: &Signed<'_>,
    situation: &Situation,
) -> Result<(RecoveryProgress, Vec<Effect>), GovernanceError> {
    let status = tables::service_status(tx)?;
    if status.as_deref() != Some("WaitingForRecoveryShares") {
        let code = ErrorCode::ServiceNotWaitingForRecoveryShares;
        return Err(GovernanceError::new(code, "the service is not waiting for recovery shares"));
    }
    let newest = situation
        .submitted_under
        .as_ref()
        .ok_or_else(|| broken("this node has nothing to keep shares under"))?;
    let row: Option<SharesRow> = tables::read(tx, RECOVERY_SHARES, singleton_key())?;
    let row = row.ok_or_else(|| broken("the ledger has no recovery shares"))?;
    let signer = request.signer().to_string();
    let share = read_share(request.content())?;
    check_holder(&row, &share, &signer)?;

    let sealed = wrap_under(newest, &SecretBytes::new(share.encode().to_vec()));
    let sealed = STANDARD.encode(sealed);
    tables::write(tx, ENCRYPTED_SUBMITTED_SHARES, signer.as_bytes(), &sealed)?;

    let shares = submitted(tx, &row, newest)?;
    let (submitted_count, recovery_threshold) = (shares.len(), row.threshold);
    let full_key_submitted = matches!(share, RecoveryShare::Whole(_));
    let mut message = if full_key_submitted {
        "Full recovery key successfully submitted".to_owned()
    } else {
        format!("{submitted_count}/{recovery_threshold} recovery shares successfully submitted")
    };
    let has_whole = shares.iter().any(|share| matches!(share, RecoveryShare::Whole(_)));
    let mut effects = Vec::new();
    if has_whole || submitted_count >= recovery_threshold {
        message.push_str("\nEnd of recovery procedure initiated");
        let key = row.combine(&shares).map_err(|error| broken(chain(&error)))?;
        effects.push(Effect::Recovered(key));
    }
    let progress =
        RecoveryProgress { message, submitted_count, recovery_threshold, full_key_submitted };
    Ok((progress, effects))
}

/// The share in a request. Errors say what is wrong and nothing of what was there.
fn read_share(content: &[u8]) -> Result<RecoveryShare, GovernanceError> {
    let wrong = |what: String| GovernanceError::new(ErrorCode::InvalidInput, what);
    let text = SecretBytes::new(document::member(content, "share")?.into_bytes());
    if text.expose().len() > SHARE_TEXT_BYTES_MAX {
        let error = ShareError::Length { found: text.expose().len() / 4 * 3 };
        return Err(wrong(error.to_string()));
    }
    let bytes = STANDARD.decode(text.expose());
    let bytes = bytes.map_err(|_| wrong("the share is not base64".to_owned()))?;
    let bytes = SecretBytes::new(bytes);
    RecoveryShare::decode(bytes.expose()).map_err(|error| wrong(error.to_string()))
}

/// Checks that this is the share that was dealt to this member.
fn check_holder(
    row: &SharesRow,
    share: &RecoveryShare,
    signer: &str,
) -> Result<(), GovernanceError> {
    let message = match row.holder(share) {
        Some(holder) if holder == signer => return Ok(()),
        Some(holder) => format!("this is the share of the member {holder}, not of {signer}"),
        None if row.share_digests.contains_key(signer) => {
            format!(
                "this is not the share that the member {signer} was given last: it is wrong, or \
                 older than the last rekey or refresh of shares"
            )
        }
        None => format!("the member {signer} was given no share when they were dealt last"),
    };
    Err(GovernanceError::new(ErrorCode::InvalidInput, message))
}

/// The shares that count: those that are still of this sharing. Others may be left from an earlier recovery.
fn submitted(
    tx: &mut Transaction<'_>,
    row: &SharesRow,
    newest: &SecretBytes,
) -> Result<Vec<RecoveryShare>, GovernanceError> {
    let key = ledger_key(newest);
    let open = |member: &[u8], value: &[u8]| {
        let sealed: String = serde_json::from_slice(value).ok()?;
        let share = key.unwrap(&STANDARD.decode(sealed).ok()?).ok()?;
        let share = RecoveryShare::decode(share.expose()).ok()?;
        row.is_of(&share, str::from_utf8(member).ok()?).then_some(share)
    };
    let rows = tables::rows(tx, ENCRYPTED_SUBMITTED_SHARES)?;
    Ok(rows.iter().filter_map(|(member, value)| open(member, value)).collect())
}

fn chain(error: &OpenSharingError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
