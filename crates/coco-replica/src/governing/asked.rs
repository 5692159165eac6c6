//! What is asked of the thread that governs.

use coco_adapter::Ticket;
use coco_governance::{IssuerKeys, MemberId, Request};

use super::{GovernRequest, Unasked};

/// What is done on another thread.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// What a member asks for.
    Member(Ticket, GovernRequest),
    /// Keys that an issuer of tokens publishes, whose keys members want to be fetched.
    IssuerKeys(Ticket, IssuerKeys),
    /// A snapshot, which an operator asks for.
    Snapshot(Ticket),
    /// The end of a recovery, once all secrets are back.
    EndOfRecovery,
    /// Another ledger secret, because members do not want it to be used for longer.
    NextSecret,
}

impl Asked {
    pub(super) const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Member(ticket, _) | Self::IssuerKeys(ticket, _) | Self::Snapshot(ticket) => {
                Some(*ticket)
            }
            Self::EndOfRecovery | Self::NextSecret => None,
        }
    }

    /// The member that it says it is from, if it is a request of one.
    pub(super) fn signer(&self) -> Option<MemberId> {
        let Self::Member(_, request) = self else { return None };
        Request::read(&request.envelope).ok().map(|request| request.signer())
    }

    /// What nobody waits for, as it is called.
    pub(super) const fn unasked(&self) -> Option<Unasked> {
        match self {
            Self::Member(..) | Self::IssuerKeys(..) | Self::Snapshot(_) => None,
            Self::EndOfRecovery => Some(Unasked::EndOfRecovery),
            Self::NextSecret => Some(Unasked::NextSecret),
        }
    }
}
