//! Decides what members' signed requests change.
//!
//! ```text
//!   a member's signed request, and the call it came with
//!        │
//!        ▼
//!   Governance::handle(transaction, …) ─▶ Handled { the transaction with its writes, the reply, effects }
//!        │                                      the caller commits it, and does what the effects ask for
//!        └─▶ GovernanceError                    the transaction is gone, and nothing of it remains
//! ```
//!
//! A request is believed by its signature alone: wherever it comes from, it counts as its signer's. Rules are the
//! constitution's, a script in the tables that members change by vote; it runs in an engine that cannot harm whoever runs
//! it, and with limits. Tables, formats and codes are CCF's, so that its tools and constitutions work. The same
//! transaction, request and situation give the same writes everywhere.
//!
//! [`caller`] tells who calls, from the certificate or the token that a client shows and the tables that members filled.
//!
//! Absent: HTTP, the sending of ledger secrets to nodes, the fetching of issuers' keys.

#![deny(clippy::wildcard_enum_match_arm)]

mod acks;
mod audit;
pub mod caller;
mod certify;
mod constitution;
mod document;
mod error;
mod expiry;
mod genesis;
mod history;
mod id;
mod issuer_keys;
mod jwk;
mod leases;
mod members;
mod nodes;
mod outside;
mod proposals;
mod recovery;
mod replay;
mod request;
pub mod rows;
pub mod tables;

use std::fmt;

use coco_crypto::SecretBytes;
use coco_kv::{Transaction, WriteSet};
pub use coco_script::Engine;
use coco_types::{Digest, Seqno};

pub use audit::{
    Act, Acts, Audit, AuditError, AuditFault, AuditReport, AuditedEntry, CLOCKS_APART_MAX_S,
    ROOT_LAG_MAX,
};
pub use certify::{CERTIFICATE_DAYS_MAX, Certificates, Certify, CertifyError, service_of};
pub use constitution::{
    BALLOT_LIMITS, BALLOTS_FUEL_MAX, CONSTITUTION_BYTES_MAX, CONSTITUTION_LIMITS,
    ConstitutionError, LOADING_LIMITS, READING_FUEL_MAX, READING_FUEL_PER_BYTE,
};
pub use error::{ErrorCode, GovernanceError};
pub use expiry::{PROPOSAL_AGE_DEFAULT_S, PROPOSAL_AGE_MAX_S, PROPOSAL_AGE_MIN_S};
pub use genesis::{
    FIRST_MEMBERS_MAX, FirstGovernance, FirstGovernanceError, FirstMember, put_virtual_measurement,
};
pub use id::{MemberId, ProposalId};
pub use issuer_keys::{
    ISSUER_KEYS_BYTES_MAX, ISSUER_KEYS_MAX, IssuerKeys, IssuerTerms, take_issuer_keys,
};
pub use leases::{LeaseRow, is_secret_outside};
pub use nodes::remove_retired_node;
pub use outside::{
    CERTIFICATES_MADE_MAX, CONSTITUTIONS_CHECKED_MAX, EFFECTS_MAX, Effect, WRITTEN_BYTES_MAX,
};
pub use proposals::{BALLOT_BYTES_MAX, OPEN_PROPOSALS_MAX, ProposalView};
pub use recovery::{
    ChainError, EncryptShare, EncryptedShareView, Occasion, OpenShareError, OpenSharingError,
    RecoveryProgress, SecretChain, SecretFrom, encrypt_share, encrypted_share,
    forget_submitted_shares, has_recovery_members, newest_secret, open_secret, seal_secret, share,
};
pub use replay::{AHEAD_MAX_S, WINDOW_DEFAULT, WINDOW_MAX};
pub use request::{
    CREATED_AT_MAX, Message, Request, RequestError, Signed, protected_headers, sign_request,
};

use constitution::{Constitution, Prelude};
use members::FromMember;
use proposals::Desk;

/// The constitution of a service that brings none of its own. It keeps voting policies as data, and has the actions of CCF
/// for members, participants, nodes, configuration, recovery and itself.
pub const DEFAULT_CONSTITUTION: &str = include_str!("../constitution/default.js");

/// What is known outside of the tables when a request comes.
#[derive(Clone, Debug)]
pub struct Situation {
    /// The Merkle root over the ledger up to the version that the transaction reads.
    pub root: Digest,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// From which entry on the newest ledger secret is used.
    pub ledger_secret: Seqno,
    /// The newest ledger secret, if recovery shares may be sent in: they are kept under it.
    pub submitted_under: Option<SecretBytes>,
    /// Where a new certificate of the service comes from.
    pub certificates: Certificates,
}

/// The call that a request came with. It must be the one that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST members/proposals:create`
    CreateProposal,
    /// `POST members/proposals/{id}:withdraw`
    WithdrawProposal(ProposalId),
    /// `POST members/proposals/{id}/ballots/{member}:submit`
    SubmitBallot {
        /// On what.
        proposal: ProposalId,
        /// By whom.
        member: MemberId,
    },
    /// `POST members/state-digests/{member}:update`
    UpdateStateDigest(MemberId),
    /// `POST members/state-digests/{member}:ack`
    Acknowledge(MemberId),
    /// `POST recovery/members/{member}:recover`
    SubmitRecoveryShare(MemberId),
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The proposal as it now is.
    Proposal(Box<ProposalView>),
    /// The digest to acknowledge.
    StateDigest {
        /// By whom.
        member: MemberId,
        /// What, in hexadecimal.
        state_digest: String,
    },
    /// How far the recovery has come.
    RecoveryProgress(RecoveryProgress),
    /// Nothing is left to say.
    Done,
}

/// A request that was carried out.
#[derive(Debug)]
pub struct Handled<'s> {
    /// The transaction with what the request changed.
    pub transaction: Transaction<'s>,
    /// The answer, for when that is committed.
    pub reply: Reply,
    /// What to do when it is committed, in this order.
    pub effects: Vec<Effect>,
}

/// What a proposal would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// What it would write.
    pub writes: WriteSet,
    /// What it would ask for.
    pub effects: Vec<Effect>,
}

/// Carries requests out. Keeps the constitution that it used last, compiled: which one changes nothing but time.
pub struct Governance {
    prelude: Prelude,
    loaded: Option<Constitution>,
}

impl Governance {
    /// Begins, with an engine for scripts.
    ///
    /// # Panics
    /// Never: what is loaded here is part of the program.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        Self { prelude: Prelude::new(engine), loaded: None }
    }

    /// Checks that a text can be a constitution: for whoever makes a service.
    ///
    /// # Errors
    /// [`ConstitutionError`] when it does not load or lacks a function.
    pub fn check_constitution(&self, text: &str) -> Result<(), ConstitutionError> {
        self.prelude.load(text).map(drop)
    }

    /// Who has signed a request, if a member has, active or not. Costs one signature, and shows whether [`Self::handle`] may
    /// be worth its time.
    ///
    /// # Errors
    /// [`GovernanceError`] when it is nobody's.
    pub fn authenticate(
        transaction: &mut Transaction<'_>,
        envelope: &[u8],
    ) -> Result<MemberId, GovernanceError> {
        FromMember::check(transaction, envelope).map(|from| from.request.signer())
    }

    /// Carries a request out. The store holds [`tables::maps`].
    ///
    /// # Errors
    /// [`GovernanceError`] when the request is refused; the transaction is gone then.
    ///
    /// # Panics
    /// Never on anything that comes from outside.
    pub fn handle<'s>(
        &mut self,
        mut transaction: Transaction<'s>,
        route: Route,
        envelope: &[u8],
        situation: &Situation,
    ) -> Result<Handled<'s>, GovernanceError> {
        let from = FromMember::check(&mut transaction, envelope)?;
        check_route(route, &from.request)?;
        let tx = &mut transaction;
        let (reply, effects) = match route {
            Route::UpdateStateDigest(member) => {
                let state_digest = acks::update(tx, &from, situation)?;
                (Reply::StateDigest { member, state_digest }, Vec::new())
            }
            Route::Acknowledge(_) => (Reply::Done, acks::acknowledge(tx, &from)?),
            Route::CreateProposal => {
                let request = from.active()?;
                let (view, effects) = self.desk(tx, situation).create(&request)?;
                (Reply::Proposal(Box::new(view)), effects)
            }
            Route::SubmitRecoveryShare(_) => {
                let request = from.active()?;
                let (progress, effects) = recovery::submit(tx, &request, situation)?;
                (Reply::RecoveryProgress(progress), effects)
            }
            Route::SubmitBallot { proposal, .. } => {
                let request = from.active()?;
                let (view, effects) = self.desk(tx, situation).vote(proposal, &request)?;
                (Reply::Proposal(Box::new(view)), effects)
            }
            Route::WithdrawProposal(proposal) => {
                let request = from.active()?;
                let view = self.desk(tx, situation).withdraw(proposal, &request)?;
                (view.map_or(Reply::Done, |view| Reply::Proposal(Box::new(view))), Vec::new())
            }
        };
        Ok(Handled { transaction, reply, effects })
    }

    /// Carries a proposal out that nobody has voted on, to show what it would change. The transaction is used up by it.
    ///
    /// # Errors
    /// [`GovernanceError`] when the constitution does not take it, or carrying it out fails.
    ///
    /// # Panics
    /// Never on anything that comes from outside.
    pub fn simulate(
        &mut self,
        mut transaction: Transaction<'_>,
        proposal: &[u8],
        situation: &Situation,
    ) -> Result<Simulated, GovernanceError> {
        let effects = self.desk(&mut transaction, situation).simulate(proposal)?;
        Ok(Simulated { writes: transaction.finish().write_set().clone(), effects })
    }

    const fn desk<'a, 's>(
        &'a mut self,
        tx: &'a mut Transaction<'s>,
        situation: &'a Situation,
    ) -> Desk<'a, 's> {
        Desk { tx, situation, prelude: &self.prelude, loaded: &mut self.loaded }
    }
}

/// Checks that what was signed is what the call names: a ballot is no withdrawal, and is for one proposal.
fn check_route(route: Route, request: &Signed<'_>) -> Result<(), GovernanceError> {
    let signer = request.signer();
    let refused = |code, message: &str| Err(GovernanceError::new(code, message));
    let is_named = match (route, request.message()) {
        (Route::CreateProposal, Message::Proposal) => true,
        (Route::WithdrawProposal(named), Message::Withdrawal(signed)) => named == signed,
        (Route::SubmitBallot { proposal, member }, Message::Ballot(signed)) => {
            if member != signer {
                let message = "the signer is not the member that the call names";
                return refused(ErrorCode::InvalidResourceName, message);
            }
            proposal == signed
        }
        (Route::UpdateStateDigest(member), Message::StateDigest)
        | (Route::Acknowledge(member), Message::Ack)
        | (Route::SubmitRecoveryShare(member), Message::RecoveryShare) => {
            if member != signer {
                let message = "the signer is not the member that the call names";
                return refused(ErrorCode::InvalidAuthenticationInfo, message);
            }
            true
        }
        (
            Route::CreateProposal
            | Route::WithdrawProposal(_)
            | Route::SubmitBallot { .. }
            | Route::UpdateStateDigest(_)
            | Route::Acknowledge(_)
            | Route::SubmitRecoveryShare(_),
            _,
        ) => {
            let message = "the message type that was signed is not that of the call";
            return refused(ErrorCode::InvalidAuthenticationInfo, message);
        }
    };
    if is_named {
        Ok(())
    } else {
        let message = "the proposal that was signed is not the one that the call names";
        refused(ErrorCode::InvalidResourceName, message)
    }
}

impl fmt::Debug for Governance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governance").finish_non_exhaustive()
    }
}
