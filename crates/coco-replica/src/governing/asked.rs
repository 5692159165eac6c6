//! What is asked of the thread that governs.

use coco_adapter::Ticket;
use coco_governance::{IssuerKeys, MemberId, Request};
use coco_ledger::ServiceStatus;
use coco_types::NodeId;

use super::{GovernRequest, Unasked};
use crate::Replica;

/// What is done on another thread.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// What a member asks for.
    Member(Ticket, GovernRequest),
    /// Keys that an issuer of tokens publishes, whose keys members want to be fetched.
    IssuerKeys(Ticket, IssuerKeys),
    /// A snapshot, which an operator asks for.
    Snapshot(Ticket),
    /// That the row of a node is removed which has left, which an operator asks for.
    RemoveNode(Ticket, NodeId),
    /// A snapshot, because the ledger begins with one that a service before this one stands by.
    OwnSnapshot,
    /// The end of a recovery, once all secrets are back.
    EndOfRecovery,
    /// Another ledger secret, because members do not want it to be used for longer.
    NextSecret,
}

impl Replica {
    /// Whether this node's ledger begins with a snapshot that whoever joins cannot verify, and the service can make its own.
    /// Said once.
    pub(super) fn owes_own_snapshot(&mut self) -> bool {
        let is_due = self.core.begins_with_another
            && self.service_status() == Some(ServiceStatus::Open)
            && self.core.state.read().secrets.is_whole();
        is_due && std::mem::take(&mut self.core.begins_with_another)
    }
}

impl Asked {
    pub(super) const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Member(ticket, _)
            | Self::IssuerKeys(ticket, _)
            | Self::Snapshot(ticket)
            | Self::RemoveNode(ticket, _) => Some(*ticket),
            Self::OwnSnapshot | Self::EndOfRecovery | Self::NextSecret => None,
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
            Self::Member(..) | Self::IssuerKeys(..) | Self::Snapshot(_) | Self::RemoveNode(..) => {
                None
            }
            Self::OwnSnapshot => Some(Unasked::OwnSnapshot),
            Self::EndOfRecovery => Some(Unasked::EndOfRecovery),
            Self::NextSecret => Some(Unasked::NextSecret),
        }
    }
}
