//! How an admitted member becomes active: it asks for the digest of the service's state and acknowledges it.

use coco_kv::Transaction;

use crate::{
    Effect, ErrorCode, GovernanceError, MemberId, Situation, document, history,
    members::{self, FromMember},
    recovery,
    request::{Request, Signed},
    tables::{self, AckRow, MEMBERS_ACKS, MEMBERS_ENCRYPTION_KEYS, MemberStatus, RecoveryRole},
};

/// Writes the digest that the member is to acknowledge, and says it.
///
/// Only for a request that is newer than the last one which it was written for: else whoever has an old one could give the
/// member another digest each time before it acknowledges. Any other is answered with the digest that waits, which does as
/// well for a second request within one second: the state is that of the first.
pub(crate) fn update(
    tx: &mut Transaction<'_>,
    from: &FromMember<'_>,
    situation: &Situation,
) -> Result<String, GovernanceError> {
    let key = from.request.signer().key();
    let created_at = from.request.created_at();
    let before: Option<AckRow> = tables::read(tx, MEMBERS_ACKS, &key)?;
    let before = match before {
        Some(row) if row.created_at.is_some_and(|last| created_at <= last) => {
            return Ok(row.state_digest);
        }
        before => before,
    };
    let row = AckRow {
        state_digest: situation.root.to_string(),
        cose_sign1_req: before.and_then(|row| row.cose_sign1_req),
        created_at: Some(created_at),
    };
    tables::write(tx, MEMBERS_ACKS, &key, &row)?;
    history::record(tx, &from.request)?;
    Ok(row.state_digest)
}

/// Takes an acknowledgement, by which the member becomes active. Nothing is written when it has given it before.
pub(crate) fn acknowledge(
    tx: &mut Transaction<'_>,
    from: &FromMember<'_>,
) -> Result<Vec<Effect>, GovernanceError> {
    let (id, key) = (from.request.signer(), from.request.signer().key());
    let Some(row) = tables::read::<AckRow>(tx, MEMBERS_ACKS, &key)? else {
        let message = format!("no state digest waits for the member {id}");
        return Err(GovernanceError::new(ErrorCode::AuthorizationFailed, message));
    };
    let found = document::member(from.request.content(), "stateDigest")?;
    if found != row.state_digest {
        let found: String = found.chars().take(80).collect();
        let message = format!("the state digest is {}, not {found:?}", row.state_digest);
        return Err(GovernanceError::new(ErrorCode::StateDigestMismatch, message));
    }
    // What was recorded of a member is for all to read, and shall write nothing when it comes again.
    if from.member.status == MemberStatus::Active && is_acknowledged(&row) {
        return Ok(Vec::new());
    }
    let holds_share = holds_share(tx, id, from.member.recovery_role)?;
    let status = tables::service_status(tx)?;
    let is_recovering =
        matches!(status.as_deref(), Some("Recovering" | "WaitingForRecoveryShares"));
    if holds_share && is_recovering && from.member.status != MemberStatus::Active {
        let message = "recovery members do not become active during a recovery";
        return Err(GovernanceError::new(ErrorCode::InvalidInput, message));
    }
    record(tx, &from.request, row)?;
    let is_new = members::activate(tx, id, &from.member)?;
    // It needs a share, and so all of them are made anew.
    let needs_share = is_new && holds_share && status.as_deref() == Some("Open");
    Ok(if needs_share { vec![Effect::RefreshRecoveryShares] } else { Vec::new() })
}

/// Writes once more what an acknowledgement writes for a member that gave it before: earlier versions did.
pub(crate) fn record_again(
    tx: &mut Transaction<'_>,
    request: &Signed<'_>,
) -> Result<(), GovernanceError> {
    let row: Option<AckRow> = tables::read(tx, MEMBERS_ACKS, &request.signer().key())?;
    row.map_or(Ok(()), |row| record(tx, request, row))
}

fn record(
    tx: &mut Transaction<'_>,
    request: &Signed<'_>,
    row: AckRow,
) -> Result<(), GovernanceError> {
    let row = AckRow { cose_sign1_req: Some(history::base64(&request.recorded())), ..row };
    tables::write(tx, MEMBERS_ACKS, &request.signer().key(), &row)?;
    history::record(tx, request)
}

/// Whether the digest in a row is the one that the acknowledgement beside it is of.
fn is_acknowledged(row: &AckRow) -> bool {
    let envelope = row.cose_sign1_req.as_deref().and_then(history::envelope);
    let acknowledged = envelope.as_deref().and_then(|envelope| {
        document::member(Request::read(envelope).ok()?.content(), "stateDigest").ok()
    });
    acknowledged.as_deref() == Some(&*row.state_digest)
}

fn holds_share(
    tx: &mut Transaction<'_>,
    id: MemberId,
    role: Option<RecoveryRole>,
) -> Result<bool, GovernanceError> {
    if role == Some(RecoveryRole::NonParticipant) {
        return Ok(false);
    }
    let Some(pem) = tables::get(tx, MEMBERS_ENCRYPTION_KEYS, &id.key())? else { return Ok(false) };
    // One member whose key cannot be used would keep all others from getting shares.
    recovery::read_key(&pem).map_err(|error| {
        let message = format!("the encryption key of the member {id} is unusable: {error}");
        GovernanceError::new(ErrorCode::InvalidInput, message)
    })?;
    Ok(true)
}
