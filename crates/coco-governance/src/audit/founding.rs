//! What a service begins with, before anybody can have asked for anything.

use coco_crypto::Certificate;
use coco_kv::{MapName, WriteSetView};

use super::{AuditFault, act::rows};
use crate::{
    Governance,
    tables::{
        CONSTITUTION, COSE_RECENT_PROPOSALS, ENCRYPTED_SUBMITTED_SHARES, MEMBERS_ACKS,
        MEMBERS_CERTS, MEMBERS_INFO, MemberRow, MemberStatus, PAST_LEDGER_SECRET, PROPOSALS,
        PROPOSALS_INFO, RECOVERY_SHARES, SERVICE_INFO, singleton_key,
    },
};

/// What comes of acts alone.
const OF_ACTS: [&str; 7] = [
    COSE_RECENT_PROPOSALS,
    ENCRYPTED_SUBMITTED_SHARES,
    MEMBERS_ACKS,
    PAST_LEDGER_SECRET,
    PROPOSALS,
    PROPOSALS_INFO,
    RECOVERY_SHARES,
];

/// Checks an entry of the founding; whether it brings the members, and so ends it.
pub(super) fn check(
    governance: &Governance,
    writes: &WriteSetView<'_>,
) -> Result<bool, AuditFault> {
    let wrong = |reason: String| Err(AuditFault::Founding(reason));
    if let Some(table) = OF_ACTS.into_iter().find(|table| rows(writes, table).next().is_some()) {
        return wrong(format!("{table} has rows that only acts give"));
    }
    let certificates = MapName::from_static(MEMBERS_CERTS);
    let mut has_members = false;
    for (key, row) in rows(writes, MEMBERS_INFO) {
        let name = String::from_utf8_lossy(key);
        let row = row.and_then(|row| serde_json::from_slice::<MemberRow>(row).ok());
        if row.is_none_or(|row| row.status != MemberStatus::Accepted) {
            return wrong(format!("the member {name} is active and has acknowledged nothing"));
        }
        let certificate = writes.get(&certificates, key).and_then(|pem| str::from_utf8(pem).ok());
        let certificate = certificate.and_then(|pem| Certificate::from_pem(pem).ok());
        if certificate.is_none_or(|certificate| certificate.digest().to_string() != name) {
            return wrong(format!("the certificate of the member {name} is not its own"));
        }
        has_members = true;
    }
    if !has_members {
        return Ok(false);
    }
    let one = |name| writes.get(&MapName::from_static(name), singleton_key());
    let text = one(CONSTITUTION).and_then(|row| serde_json::from_slice::<String>(row).ok());
    let Some(text) = text else { return wrong("there is no constitution".to_owned()) };
    governance.check_constitution(&text).map_err(AuditFault::Constitution)?;
    if one(SERVICE_INFO).is_some() {
        return wrong("the service is opened before its members can say so".to_owned());
    }
    Ok(true)
}
