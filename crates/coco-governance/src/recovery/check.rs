//! Whether shares were dealt as they must be, as far as it shows without a secret.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{AEAD_NONCE_BYTES, AEAD_TAG_BYTES};
use coco_kv::Transaction;
use coco_types::{Digest, Seqno};

use super::{LEDGER_SECRET_BYTES, PastSecretRow, RecoveryMembers, SharesRow};
use crate::{
    GovernanceError,
    tables::{
        self, ENCRYPTED_SUBMITTED_SHARES, MEMBERS_INFO, MemberRow, RECOVERY_SHARES, RecoveryRole,
        singleton_key,
    },
};

/// Why shares had to be dealt; see [`Occasion`](super::Occasion).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dealt {
    /// The service opened, and its newest ledger secret seals from this entry on; the one before from that on.
    Opening { from: Seqno, previous: Option<Seqno> },
    /// Members or the threshold changed.
    Refresh,
    /// The ledger got another secret, after one that was used from this entry on.
    Rekey { previous: Seqno },
}

/// Checks the rows of a sharing. The transaction has what the entry writes otherwise.
pub(crate) fn check_dealt(
    tx: &mut Transaction<'_>,
    dealt: Dealt,
    shares: Option<&[u8]>,
    past: Option<&[u8]>,
) -> Result<(), String> {
    let members = RecoveryMembers::read(tx).map_err(|error| error.to_string())?;
    check_shares(&members, shares.ok_or("no shares were dealt")?)?;
    let expected = match dealt {
        // The row of before stays.
        Dealt::Refresh => return Ok(()),
        Dealt::Opening { from, previous } => (previous.map(|from| from.0), Some(from.0)),
        Dealt::Rekey { previous } => (Some(previous.0), None),
    };
    let past: PastSecretRow = past
        .and_then(|row| serde_json::from_slice(row).ok())
        .ok_or("the ledger secret before is not written down")?;
    let version = past.previous_ledger_secret.as_ref().map(|secret| secret.version);
    if (version, past.next_version) != expected {
        return Err("the periods of the ledger secrets do not follow each other".to_owned());
    }
    match past.previous_ledger_secret {
        Some(secret) if !is_wrapped(&secret.encrypted_data) => {
            Err("the ledger secret before is not sealed as it must be".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

fn check_shares(members: &RecoveryMembers, row: &[u8]) -> Result<(), String> {
    let row: SharesRow = serde_json::from_slice(row)
        .map_err(|error| format!("the row of the shares cannot be read: {error}"))?;
    if row.threshold != members.threshold {
        return Err(format!(
            "{} shares give the key, and the members have decided on {}",
            row.threshold, members.threshold
        ));
    }
    let all = members.participants.iter().chain(&members.owners).map(|(id, _)| id);
    let mut entitled: Vec<&String> = all.collect();
    entitled.sort_unstable();
    for (what, held) in [
        ("shares were dealt", row.encrypted_shares.keys().collect::<Vec<_>>()),
        ("digests are written down", row.share_digests.keys().collect()),
    ] {
        if held != entitled {
            return Err(format!("{what} for others than the active recovery members"));
        }
    }
    let is_share = |share: &String| STANDARD.decode(share).is_ok_and(|share| !share.is_empty());
    let is_digest = |digest: &String| digest.parse::<Digest>().is_ok();
    if is_wrapped(&row.wrapped_latest_ledger_secret)
        && row.encrypted_shares.values().all(is_share)
        && row.share_digests.values().all(is_digest)
    {
        Ok(())
    } else {
        Err("the row of the shares has not its form".to_owned())
    }
}

/// Whether a text can be a ledger secret under a key.
fn is_wrapped(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == SEALED_SECRET_BYTES)
}

/// Bytes of a ledger secret that is sealed.
pub(crate) const SEALED_SECRET_BYTES: usize =
    AEAD_TAG_BYTES + AEAD_NONCE_BYTES + LEDGER_SECRET_BYTES;

/// Whether the last sharing gave a member a share.
pub(crate) fn is_holder(tx: &mut Transaction<'_>, member: &[u8]) -> Result<bool, GovernanceError> {
    let row: Option<SharesRow> = tables::read(tx, RECOVERY_SHARES, singleton_key())?;
    let member = str::from_utf8(member).unwrap_or_default();
    Ok(row.is_some_and(|row| row.share_digests.contains_key(member)))
}

/// Whether as many holders of the last sharing have sent something in as are needed.
pub(crate) fn has_enough(tx: &mut Transaction<'_>) -> Result<bool, GovernanceError> {
    let row: Option<SharesRow> = tables::read(tx, RECOVERY_SHARES, singleton_key())?;
    let Some(row) = row else { return Ok(false) };
    let (mut parts, mut wholes) = (0, 0);
    for (holder, _) in tables::rows(tx, ENCRYPTED_SUBMITTED_SHARES)? {
        let member: Option<MemberRow> = tables::read(tx, MEMBERS_INFO, &holder)?;
        let is_holder = str::from_utf8(&holder).is_ok_and(|id| row.share_digests.contains_key(id));
        match member.and_then(|member| member.recovery_role) {
            _ if !is_holder => {}
            Some(RecoveryRole::Owner) => wholes += 1,
            Some(RecoveryRole::Participant | RecoveryRole::NonParticipant) | None => parts += 1,
        }
    }
    Ok(wholes > 0 || parts >= row.threshold)
}
