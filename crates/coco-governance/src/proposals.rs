//! The life of a proposal.
//!
//! ```text
//!   create ─▶ Open ── enough votes for it ─▶ Accepted, and carried out in the same transaction
//!              │  ├── enough against it ────▶ Rejected
//!              │  └── new rules, or its deadline ─▶ Dropped
//!              └───── its proposer ─────────▶ Withdrawn
//! ```
//!
//! After a creation and after each ballot, also one that is there, all ballots are run again, and the constitution is
//! asked what they amount to. Once a proposal is decided, those decided before leave the tables; the ledger has them. A
//! proposal that cannot be decided or carried out fails, and then nothing of the last request remains: the transaction is
//! gone.
//!
//! Departures from CCF, each to be stricter: what was signed is digested and not the signature (see
//! [`Signed::digest`](crate::Signed::digest)); only ballots of members who are active when votes are counted are run;
//! documents with a name twice are refused; a constitution that does not load is not taken, and open proposals are
//! dropped whether or not the constitution does it, under another voting policy as well; ballots, and open proposals of a
//! member, have bounds; proposals from the future are refused, and open ones end at a deadline, see `expiry.rs`. The window of
//! recent proposals cannot be filled from ahead, see `replay.rs`.

use coco_crypto::sha256;
use coco_kv::Transaction;
use serde::Serialize;

use crate::{
    Effect, ErrorCode, GovernanceError, ProposalId, Situation,
    constitution::{Constitution, Prelude, Run, Tally, text_in_force},
    document, expiry, history, members,
    replay::{self, AHEAD_MAX_S},
    request::Signed,
    tables::{
        self, Failure, PROPOSALS, PROPOSALS_INFO, ProposalRow, ProposalState, VOTING_POLICY,
        singleton_key,
    },
};

/// Most open proposals of one member. Each may hold a megabyte until it is decided.
pub const OPEN_PROPOSALS_MAX: usize = 20;

/// Longest ballot, in bytes. They stand together in one row, which is written with each of them.
pub const BALLOT_BYTES_MAX: usize = 16 << 10;

/// A proposal as answers show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalView {
    /// Its id.
    pub proposal_id: String,
    /// Who made it.
    pub proposer_id: String,
    /// Where it is in its life.
    pub proposal_state: ProposalState,
    /// How many voted.
    pub ballot_count: usize,
    /// Who voted.
    pub ballot_submitters: Vec<String>,
    /// What the ballots said when it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_votes: Option<std::collections::BTreeMap<String, bool>>,
    /// Which ballots said nothing then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote_failures: Option<std::collections::BTreeMap<String, Failure>>,
    /// Why it failed or was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the service took it, in seconds since 1970. Ours, like the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<u64>,
    /// From when on it is not voted on any more, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

impl ProposalView {
    /// Shows a row.
    #[must_use]
    pub fn new(id: ProposalId, row: ProposalRow) -> Self {
        Self {
            proposal_id: id.to_string(),
            proposer_id: row.proposer_id,
            proposal_state: row.state,
            ballot_count: row.ballots.len(),
            ballot_submitters: row.ballots.into_keys().collect(),
            final_votes: row.final_votes,
            vote_failures: row.vote_failures,
            failure: row.failure,
            admitted_at: row.admitted_at,
            expires_at: row.expires_at,
        }
    }
}

/// What requests about proposals are carried out with.
pub(crate) struct Desk<'a, 's> {
    pub(crate) tx: &'a mut Transaction<'s>,
    pub(crate) situation: &'a Situation,
    pub(crate) prelude: &'a Prelude,
    /// The constitution that was loaded last, whichever it is.
    pub(crate) loaded: &'a mut Option<Constitution>,
}

impl<'s> Desk<'_, 's> {
    /// Makes a proposal, which may be decided at once.
    pub(crate) fn create(
        &mut self,
        request: &Signed<'_>,
    ) -> Result<(ProposalView, Vec<Effect>), GovernanceError> {
        let digest = request.digest();
        let id = ProposalId::new(&self.situation.root, &digest);
        let now = self.situation.now;
        replay::enter(self.tx, request.created_at(), digest, id, now)?;
        let row = ProposalRow {
            proposer_id: request.signer().to_string(),
            state: ProposalState::Open,
            ballots: std::collections::BTreeMap::new(),
            final_votes: None,
            vote_failures: None,
            failure: None,
            admitted_at: Some(now),
            expires_at: Some(now.saturating_add(expiry::age(self.tx)?)),
        };
        self.check_open_proposals(&row.proposer_id)?;
        let text = document::text(request.content())?;
        let constitution = self.constitution()?;
        self.run().validate(&constitution, text)?;
        if tables::get(self.tx, PROPOSALS, &id.key())?.is_some() {
            let message = format!("there is a proposal {id} already");
            return Err(GovernanceError::new(ErrorCode::InternalError, message));
        }
        tables::put(self.tx, PROPOSALS, &id.key(), request.content())?;
        history::record(self.tx, request)?;
        self.decide(&constitution, id, text, row)
    }

    /// Takes a ballot, after which the proposal may be decided; or counts again, if it has this one.
    pub(crate) fn vote(
        &mut self,
        id: ProposalId,
        request: &Signed<'_>,
    ) -> Result<(ProposalView, Vec<Effect>), GovernanceError> {
        let mut row = self.row(id)?.ok_or_else(|| not_found(id))?;
        if row.state != ProposalState::Open {
            let message =
                format!("the proposal {id} is {:?}, and only open ones are voted on", row.state);
            return Err(GovernanceError::new(ErrorCode::ProposalNotOpen, message));
        }
        if let Some(late) = self.came_late(id, &row, request)? {
            return Ok((late, Vec::new()));
        }
        let proposal = tables::get(self.tx, PROPOSALS, &id.key())?.ok_or_else(|| not_found(id))?;
        let ballot = document::member(request.content(), "ballot")?;
        if ballot.len() > BALLOT_BYTES_MAX {
            let found = ballot.len();
            let message =
                format!("the ballot has {found} bytes, at most {BALLOT_BYTES_MAX} are taken");
            return Err(GovernanceError::new(ErrorCode::InvalidInput, message));
        }
        let voter = request.signer().to_string();
        match row.ballots.get(&voter) {
            Some(known) if *known == ballot => {
                return self.count_again(id, document::text(&proposal)?, row, request);
            }
            Some(_) => {
                let message = format!("the member {voter} submitted another ballot for {id}");
                return Err(GovernanceError::new(ErrorCode::VoteAlreadyExists, message));
            }
            None => {}
        }
        row.ballots.insert(voter, ballot);
        history::record(self.tx, request)?;
        let constitution = self.constitution()?;
        let text = document::text(&proposal)?;
        self.decide(&constitution, id, text, row)
    }

    /// Takes a proposal back. Nothing, if there is none: whether there ever was is not known any more.
    pub(crate) fn withdraw(
        &mut self,
        id: ProposalId,
        request: &Signed<'_>,
    ) -> Result<Option<ProposalView>, GovernanceError> {
        let Some(mut row) = self.row(id)? else { return Ok(None) };
        let (signer, proposer) = (request.signer().to_string(), &row.proposer_id);
        if signer != *proposer {
            let message =
                format!("the proposal {id} is withdrawn by {proposer} only, not by {signer}");
            return Err(GovernanceError::new(ErrorCode::AuthorizationFailed, message));
        }
        match row.state {
            ProposalState::Open => {
                if let Some(late) = self.came_late(id, &row, request)? {
                    return Ok(Some(late));
                }
                row.state = ProposalState::Withdrawn;
                tables::write(self.tx, PROPOSALS_INFO, &id.key(), &row)?;
                self.forget_decided(id)?;
                history::record(self.tx, request)?;
                expiry::drop_expired(self.tx, self.situation.now)?;
            }
            ProposalState::Withdrawn => {}
            ProposalState::Accepted
            | ProposalState::Rejected
            | ProposalState::Failed
            | ProposalState::Dropped => {
                let message =
                    format!("the proposal {id} is {:?} and cannot be withdrawn", row.state);
                return Err(GovernanceError::new(ErrorCode::ProposalNotOpen, message));
            }
        }
        Ok(Some(ProposalView::new(id, row)))
    }

    /// What becomes of an open proposal whose deadline had passed when the request came: it is dropped, and the answer says so.
    /// A refusal would leave nothing behind, and the proposal open.
    fn came_late(
        &mut self,
        id: ProposalId,
        row: &ProposalRow,
        request: &Signed<'_>,
    ) -> Result<Option<ProposalView>, GovernanceError> {
        let now = self.situation.now;
        if !expiry::has_passed(row.expires_at, now) {
            return Ok(None);
        }
        history::record(self.tx, request)?;
        expiry::drop_expired(self.tx, now)?;
        let dropped = self.row(id)?.ok_or_else(|| not_found(id))?;
        Ok(Some(ProposalView::new(id, dropped)))
    }

    /// Carries a document out as if it had been accepted, for whoever wants to see what it would change.
    pub(crate) fn simulate(&mut self, content: &[u8]) -> Result<Vec<Effect>, GovernanceError> {
        let text = document::text(content)?;
        let constitution = self.constitution()?;
        self.run().validate(&constitution, text)?;
        // It has no id, and never will have this one: ids are digests of more.
        let id = ProposalId(sha256(content));
        self.carry_out(&constitution, text, id)
    }

    /// Counts the votes when a ballot comes that is there, as members may have left since the last count; nothing is written
    /// unless that decides. Not for a request of before the last minutes: anybody can send those, and a count takes time.
    fn count_again(
        &mut self,
        id: ProposalId,
        proposal: &str,
        row: ProposalRow,
        request: &Signed<'_>,
    ) -> Result<(ProposalView, Vec<Effect>), GovernanceError> {
        let is_recent = request.created_at().saturating_add(AHEAD_MAX_S) >= self.situation.now;
        if !is_recent {
            return Ok((ProposalView::new(id, row), Vec::new()));
        }
        let constitution = self.constitution()?;
        let (tally, state) = self.count(&constitution, id, proposal, &row)?;
        if state == ProposalState::Open {
            return Ok((ProposalView::new(id, row), Vec::new()));
        }
        history::record(self.tx, request)?;
        self.conclude(&constitution, id, proposal, ProposalRow { state, ..row }, tally)
    }

    /// Counts the votes, and does what they amount to.
    fn decide(
        &mut self,
        constitution: &Constitution,
        id: ProposalId,
        proposal: &str,
        mut row: ProposalRow,
    ) -> Result<(ProposalView, Vec<Effect>), GovernanceError> {
        // Scripts find the proposal in the tables, open.
        tables::write(self.tx, PROPOSALS_INFO, &id.key(), &row)?;
        let (tally, state) = self.count(constitution, id, proposal, &row)?;
        row.state = state;
        self.conclude(constitution, id, proposal, row, tally)
    }

    /// What the votes amount to on a proposal that is in the tables.
    fn count(
        &mut self,
        constitution: &Constitution,
        id: ProposalId,
        proposal: &str,
        row: &ProposalRow,
    ) -> Result<(Tally, ProposalState), GovernanceError> {
        let ballots = members::entitled(self.tx, &row.ballots)?;
        let tally = self.run().count(&ballots, proposal, &row.proposer_id)?;
        let state = self.run().resolve(constitution, proposal, &row.proposer_id, &tally, id)?;
        Ok((tally, state))
    }

    /// Does what the votes amount to.
    fn conclude(
        &mut self,
        constitution: &Constitution,
        id: ProposalId,
        proposal: &str,
        mut row: ProposalRow,
        tally: Tally,
    ) -> Result<(ProposalView, Vec<Effect>), GovernanceError> {
        let mut effects = Vec::new();
        if row.state != ProposalState::Open {
            self.forget_decided(id)?;
            row.final_votes = Some(tally.votes);
            row.vote_failures = Some(tally.failures).filter(|failures| !failures.is_empty());
            tables::write(self.tx, PROPOSALS_INFO, &id.key(), &row)?;
        }
        if row.state == ProposalState::Accepted {
            effects = self.carry_out(constitution, proposal, id)?;
        }
        // Last: what was decided before leaves the tables above, and the ledger shall say of these what became of them.
        expiry::drop_expired(self.tx, self.situation.now)?;
        Ok((ProposalView::new(id, row), effects))
    }

    /// Carries a proposal out. Another constitution must load; and no proposal that was made under another constitution or voting
    /// policy stays open. It is not for scripts to drop them: rows are as large as their ballots, and fuel has an end.
    fn carry_out(
        &mut self,
        constitution: &Constitution,
        proposal: &str,
        id: ProposalId,
    ) -> Result<Vec<Effect>, GovernanceError> {
        let policy = tables::get(self.tx, VOTING_POLICY, singleton_key())?;
        let effects = self.run().apply(constitution, proposal, id)?;
        let text = text_in_force(self.tx)?;
        let is_other = text != constitution.text;
        if is_other {
            let loaded = self.prelude.load(&text).map_err(|error| {
                let message = format!("failed to apply(): {error}");
                GovernanceError::new(ErrorCode::InternalError, message)
            })?;
            *self.loaded = Some(loaded);
        }
        if is_other || tables::get(self.tx, VOTING_POLICY, singleton_key())? != policy {
            self.drop_open(id)?;
        }
        Ok(effects)
    }

    /// Drops open proposals other than `but`.
    fn drop_open(&mut self, but: ProposalId) -> Result<(), GovernanceError> {
        for (key, row) in tables::rows(self.tx, PROPOSALS_INFO)? {
            let mut row: ProposalRow = tables::parse(PROPOSALS_INFO, &key, &row)?;
            if *key != *but.key() && row.state == ProposalState::Open {
                row.state = ProposalState::Dropped;
                tables::write(self.tx, PROPOSALS_INFO, &key, &row)?;
            }
        }
        Ok(())
    }

    /// Removes decided proposals other than `but`.
    fn forget_decided(&mut self, but: ProposalId) -> Result<(), GovernanceError> {
        let (info, proposals) =
            (tables::table(self.tx, PROPOSALS_INFO)?, tables::table(self.tx, PROPOSALS)?);
        for (key, row) in tables::rows(self.tx, PROPOSALS_INFO)? {
            let row: ProposalRow = tables::parse(PROPOSALS_INFO, &key, &row)?;
            if *key != *but.key() && row.state != ProposalState::Open {
                self.tx.remove(info, &key);
                self.tx.remove(proposals, &key);
            }
        }
        Ok(())
    }

    fn check_open_proposals(&mut self, proposer: &str) -> Result<(), GovernanceError> {
        let mut open = 0;
        for (key, row) in tables::rows(self.tx, PROPOSALS_INFO)? {
            let row: ProposalRow = tables::parse(PROPOSALS_INFO, &key, &row)?;
            let is_open = row.state == ProposalState::Open
                && !expiry::has_passed(row.expires_at, self.situation.now);
            open += usize::from(is_open && row.proposer_id == proposer);
        }
        if open < OPEN_PROPOSALS_MAX {
            return Ok(());
        }
        let message = format!(
            "the member {proposer} has {open} open proposals, and may have {OPEN_PROPOSALS_MAX}: withdraw one"
        );
        Err(GovernanceError::new(ErrorCode::TooManyOpenProposals, message))
    }

    fn row(&mut self, id: ProposalId) -> Result<Option<ProposalRow>, GovernanceError> {
        tables::read(self.tx, PROPOSALS_INFO, &id.key())
    }

    /// The constitution in force, loaded.
    fn constitution(&mut self) -> Result<Constitution, GovernanceError> {
        let text = text_in_force(self.tx)?;
        if let Some(loaded) = self.loaded.as_ref().filter(|loaded| loaded.text == text) {
            return Ok(loaded.clone());
        }
        let loaded = self
            .prelude
            .load(&text)
            .map_err(|error| GovernanceError::new(ErrorCode::InternalError, error.to_string()))?;
        Ok(self.loaded.insert(loaded).clone())
    }

    const fn run(&mut self) -> Run<'_, 's> {
        Run { tx: self.tx, situation: self.situation, prelude: self.prelude }
    }
}

fn not_found(id: ProposalId) -> GovernanceError {
    GovernanceError::new(ErrorCode::ProposalNotFound, format!("there is no proposal {id}"))
}
