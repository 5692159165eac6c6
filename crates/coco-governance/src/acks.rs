//! How an admitted member becomes active: it asks for the digest of the service's state and acknowledges it.

use coco_kv::Transaction;

use crate::{
    Effect, ErrorCode, GovernanceError, MemberId, Situation, document, history,
    members::{self, FromMember},
    recovery,
    tables::{self, AckRow, MEMBERS_ACKS, MEMBERS_ENCRYPTION_KEYS, MemberStatus, RecoveryRole},
};

/// Writes the digest that the member is to acknowledge, and says it.
pub(crate) fn update(
    tx: &mut Transaction<'_>,
    from: &FromMember<'_>,
    situation: &Situation,
) -> Result<String, GovernanceError> {
    let key = from.request.signer().key();
    let before: Option<AckRow> = tables::read(tx, MEMBERS_ACKS, &key)?;
    let row = AckRow {
        state_digest: situation.root.to_string(),
        cose_sign1_req: before.and_then(|row| row.cose_sign1_req),
    };
    tables::write(tx, MEMBERS_ACKS, &key, &row)?;
    history::record(tx, &from.request)?;
    Ok(row.state_digest)
}

/// Takes an acknowledgement, by which the member becomes active.
pub(crate) fn acknowledge(
    tx: &mut Transaction<'_>,
    from: &FromMember<'_>,
) -> Result<Vec<Effect>, GovernanceError> {
    let (id, key) = (from.request.signer(), from.request.signer().key());
    let Some(mut row) = tables::read::<AckRow>(tx, MEMBERS_ACKS, &key)? else {
        let message = format!("no state digest waits for the member {id}");
        return Err(GovernanceError::new(ErrorCode::AuthorizationFailed, message));
    };
    let found = document::member(from.request.content(), "stateDigest")?;
    if found != row.state_digest {
        let found: String = found.chars().take(80).collect();
        let message = format!("the state digest is {}, not {found:?}", row.state_digest);
        return Err(GovernanceError::new(ErrorCode::StateDigestMismatch, message));
    }
    let holds_share = holds_share(tx, id, from.member.recovery_role)?;
    let status = tables::service_status(tx)?;
    let is_recovering =
        matches!(status.as_deref(), Some("Recovering" | "WaitingForRecoveryShares"));
    if holds_share && is_recovering && from.member.status != MemberStatus::Active {
        let message = "recovery members do not become active during a recovery";
        return Err(GovernanceError::new(ErrorCode::InvalidInput, message));
    }
    row.cose_sign1_req = Some(history::base64(&from.request));
    tables::write(tx, MEMBERS_ACKS, &key, &row)?;
    history::record(tx, &from.request)?;
    let is_new = members::activate(tx, id, &from.member)?;
    // It needs a share, and so all of them are made anew.
    let needs_share = is_new && holds_share && status.as_deref() == Some("Open");
    Ok(if needs_share { vec![Effect::RefreshRecoveryShares] } else { Vec::new() })
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
