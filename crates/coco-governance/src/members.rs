//! Who may act: members whose certificates are in the table, and of those the active ones, except to become active.

use std::collections::BTreeMap;

use coco_crypto::SignerCertificate;
use coco_kv::Transaction;

use crate::{
    ErrorCode, GovernanceError, MemberId,
    request::{Request, Signed},
    tables::{self, MEMBERS_CERTS, MEMBERS_INFO, MemberRow, MemberStatus},
};

/// A request of a member, whether it is active or not.
#[derive(Clone, Debug)]
pub(crate) struct FromMember<'a> {
    pub(crate) request: Signed<'a>,
    pub(crate) member: MemberRow,
}

impl<'a> FromMember<'a> {
    /// Checks the signature of a request under the certificate that the table has for its signer.
    pub(crate) fn check(
        tx: &mut Transaction<'_>,
        envelope: &'a [u8],
    ) -> Result<Self, GovernanceError> {
        let refused =
            |message: String| GovernanceError::new(ErrorCode::InvalidAuthenticationInfo, message);
        let request = Request::read(envelope).map_err(|error| refused(chain(&error)))?;
        let (signer, key) = (request.signer(), request.signer().key());
        let unknown = || refused(format!("the signer {signer} is no member"));
        let pem = tables::get(tx, MEMBERS_CERTS, &key)?.ok_or_else(unknown)?;
        let member = tables::read(tx, MEMBERS_INFO, &key)?.ok_or_else(unknown)?;
        let unusable = |error: &dyn std::error::Error| {
            refused(format!("the certificate of the member {signer} is unusable: {error}"))
        };
        let pem = str::from_utf8(&pem).map_err(|error| unusable(&error))?;
        let certificate = SignerCertificate::from_pem(pem).map_err(|error| unusable(&error))?;
        let request =
            request.verify_by(&certificate).map_err(|error| refused(error.to_string()))?;
        Ok(Self { request, member })
    }

    /// The request, if its signer is active.
    pub(crate) fn active(self) -> Result<Signed<'a>, GovernanceError> {
        match self.member.status {
            MemberStatus::Active => Ok(self.request),
            MemberStatus::Accepted => {
                let signer = self.request.signer();
                let message =
                    format!("the member {signer} is not active: it has not acknowledged the state");
                Err(GovernanceError::new(ErrorCode::InvalidAuthenticationInfo, message))
            }
        }
    }
}

/// The active ones among those that have a ballot, with their ballots, in the order of ids. A vote counts for whoever is
/// a member when the votes are counted.
pub(crate) fn entitled<'b>(
    tx: &mut Transaction<'_>,
    ballots: &'b BTreeMap<String, String>,
) -> Result<Vec<(&'b str, &'b str)>, GovernanceError> {
    let mut entitled = Vec::new();
    for (id, ballot) in ballots {
        let member: Option<MemberRow> = tables::read(tx, MEMBERS_INFO, id.as_bytes())?;
        if member.is_some_and(|member| member.status == MemberStatus::Active) {
            entitled.push((&**id, &**ballot));
        }
    }
    Ok(entitled)
}

/// Makes a member active; whether it was not before.
pub(crate) fn activate(
    tx: &mut Transaction<'_>,
    id: MemberId,
    member: &MemberRow,
) -> Result<bool, GovernanceError> {
    let is_new = member.status == MemberStatus::Accepted;
    if is_new {
        let active = MemberRow { status: MemberStatus::Active, ..member.clone() };
        tables::write(tx, MEMBERS_INFO, &id.key(), &active)?;
    }
    Ok(is_new)
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
