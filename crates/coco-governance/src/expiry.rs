//! For how long a proposal stays open.
//!
//! Scripts have no clock, so the constitution keeps the age as data, in the voting policy, and it is held here, whatever the
//! constitution. What counts is when the service took the proposal: what a signer says of the time is the signer's. The
//! deadline is written with the proposal, so that a later policy moves none. Whatever a member asks for next drops what is
//! over its deadline, in the same transaction: with the deadline as the reason and without the time, so that whoever
//! replays the ledger makes the same row.
//!
//! A primary whose clock is ahead can let proposals expire early. It could as well not pass ballots on.

use coco_kv::Transaction;
use serde::Deserialize;

use crate::{
    GovernanceError,
    tables::{self, Failure, PROPOSALS_INFO, ProposalRow, ProposalState, VOTING_POLICY},
};

/// How old an open proposal becomes when the policy does not say it, in seconds: 30 days. Long enough for a board that meets
/// once a month, short enough that nothing passes by ballots that everybody forgot.
pub const PROPOSAL_AGE_DEFAULT_S: u64 = 30 * 24 * 3600;

/// The least age that a policy can set, in seconds: an hour. Below, nobody could vote for a longer one in time.
pub const PROPOSAL_AGE_MIN_S: u64 = 3600;

/// The largest age that a policy can set, in seconds: a leap year.
pub const PROPOSAL_AGE_MAX_S: u64 = 366 * 24 * 3600;

/// How old an open proposal becomes under the policy in force, in seconds. What is no whole number counts as not said: any
/// constitution may keep what it likes in that row.
pub(crate) fn age(tx: &mut Transaction<'_>) -> Result<u64, GovernanceError> {
    let row = tables::get(tx, VOTING_POLICY, tables::singleton_key())?;
    let policy: serde_json::Value =
        row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default();
    let age = policy.get("proposals_expire_after_s").and_then(serde_json::Value::as_u64);
    Ok(age.map_or(PROPOSAL_AGE_DEFAULT_S, |age| age.clamp(PROPOSAL_AGE_MIN_S, PROPOSAL_AGE_MAX_S)))
}

/// Drops every open proposal whose deadline has passed.
pub(crate) fn drop_expired(tx: &mut Transaction<'_>, now: u64) -> Result<(), GovernanceError> {
    for (key, row) in tables::rows(tx, PROPOSALS_INFO)? {
        let deadline: Deadline = tables::parse(PROPOSALS_INFO, &key, &row)?;
        if deadline.state == ProposalState::Open && has_passed(deadline.expires_at, now) {
            let mut row: ProposalRow = tables::parse(PROPOSALS_INFO, &key, &row)?;
            row.state = ProposalState::Dropped;
            row.failure = Some(reason(deadline.expires_at));
            tables::write(tx, PROPOSALS_INFO, &key, &row)?;
        }
    }
    Ok(())
}

/// Whether a proposal with this deadline is over at that time. One that has none, of an earlier version, stays open.
pub(crate) fn has_passed(expires_at: Option<u64>, now: u64) -> bool {
    expires_at.is_some_and(|deadline| deadline <= now)
}

fn reason(expires_at: Option<u64>) -> Failure {
    let deadline = expires_at.unwrap_or_default();
    Failure { reason: format!("it expired: it was not decided before {deadline}"), trace: None }
}

/// What is read of rows that mostly are ballots.
#[derive(Deserialize)]
struct Deadline {
    state: ProposalState,
    expires_at: Option<u64>,
}

#[cfg(test)]
mod tests {
    use coco_kv::Store;
    use serde_json::{Value, json};

    use super::*;

    fn age_under(policy: Option<&Value>) -> u64 {
        let store = Store::new(tables::maps(), [1, 2]);
        let mut tx = store.reader().begin();
        if let Some(policy) = policy {
            tables::write(&mut tx, VOTING_POLICY, tables::singleton_key(), policy).unwrap();
        }
        age(&mut tx).unwrap()
    }

    #[test]
    fn the_age_is_what_the_policy_says_within_bounds() {
        assert_eq!(age_under(None), PROPOSAL_AGE_DEFAULT_S);
        for (said, expected) in [
            (json!(PROPOSAL_AGE_MIN_S - 1), PROPOSAL_AGE_MIN_S),
            (json!(PROPOSAL_AGE_MIN_S), PROPOSAL_AGE_MIN_S),
            (json!(PROPOSAL_AGE_MIN_S + 1), PROPOSAL_AGE_MIN_S + 1),
            (json!(PROPOSAL_AGE_MAX_S - 1), PROPOSAL_AGE_MAX_S - 1),
            (json!(PROPOSAL_AGE_MAX_S), PROPOSAL_AGE_MAX_S),
            (json!(PROPOSAL_AGE_MAX_S + 1), PROPOSAL_AGE_MAX_S),
            (json!(u64::MAX), PROPOSAL_AGE_MAX_S),
            (json!(-1), PROPOSAL_AGE_DEFAULT_S),
            (json!(0.5), PROPOSAL_AGE_DEFAULT_S),
            (json!("1 year"), PROPOSAL_AGE_DEFAULT_S),
            (Value::Null, PROPOSAL_AGE_DEFAULT_S),
        ] {
            let policy = json!({ "proposals_expire_after_s": said });
            assert_eq!(age_under(Some(&policy)), expected, "{said}");
        }
        for other in [json!([]), json!("policy"), json!({})] {
            assert_eq!(age_under(Some(&other)), PROPOSAL_AGE_DEFAULT_S, "{other}");
        }
    }

    #[test]
    fn a_deadline_ends_what_is_open_at_that_second() {
        for (expires_at, now, expected) in [
            (Some(10), 9, false),
            (Some(10), 10, true),
            (Some(10), 11, true),
            (None, u64::MAX, false),
        ] {
            assert_eq!(has_passed(expires_at, now), expected, "{expires_at:?} at {now}");
        }
    }
}
