//! The window of recent proposals, which a proposal enters once.
//!
//! Rows are `<created_at, ten digits>:<digest>`, so that their order is that of time. A new proposal must not be there
//! and must not be older than the row in the middle. The oldest rows leave when the window is full: they are older than the
//! middle, so that nothing that left can come back.

use coco_kv::Transaction;
use coco_types::Digest;

use crate::{
    ErrorCode, GovernanceError, ProposalId,
    tables::{self, COSE_RECENT_PROPOSALS, ConfigurationRow, SERVICE_CONFIG, singleton_key},
};

/// How many proposals are kept when the service's configuration does not say it.
pub const WINDOW_DEFAULT: usize = 100;

/// How many may be kept at most: CCF's own bound for the configuration.
pub const WINDOW_MAX: usize = 10_000;

/// How far ahead of the node's clock a proposal may be made, in seconds. A member whose proposals come from the future
/// would otherwise move the middle of the window there, and shut everyone else out.
pub const AHEAD_MAX_S: u64 = 300;

/// Lets a proposal enter, or says why not.
pub(crate) fn enter(
    tx: &mut Transaction<'_>,
    created_at: u64,
    digest: Digest,
    proposal: ProposalId,
    now: u64,
) -> Result<(), GovernanceError> {
    let refused = |code, message: String| Err(GovernanceError::new(code, message));
    if created_at > now.saturating_add(AHEAD_MAX_S) {
        let message = format!(
            "created_at is {created_at}, and it is {now}: at most {AHEAD_MAX_S} seconds ahead are taken"
        );
        return refused(ErrorCode::InvalidCreatedAt, message);
    }
    let key = key(created_at, digest);
    if let Some(known) = tables::read::<String>(tx, COSE_RECENT_PROPOSALS, key.as_bytes())? {
        let message = format!("the proposal was submitted before, as {known}");
        return refused(ErrorCode::ProposalReplay, message);
    }
    let kept = tables::rows(tx, COSE_RECENT_PROPOSALS)?;
    if let Some((middle, _)) = kept.get(kept.len() / 2) {
        let middle = middle.split(|byte| *byte == b':').next().unwrap_or_default();
        if key.as_bytes() < middle {
            let middle = String::from_utf8_lossy(middle);
            let message = format!(
                "created_at is {created_at}; the newer half of recent proposals begins at {middle}"
            );
            return refused(ErrorCode::ProposalCreatedTooLongAgo, message);
        }
    }
    tables::write(tx, COSE_RECENT_PROPOSALS, key.as_bytes(), &proposal.to_string())?;
    // The new row counts as well.
    let leaving = (kept.len() + 1).saturating_sub(window(tx)?);
    let table = tables::table(tx, COSE_RECENT_PROPOSALS)?;
    for (oldest, _) in kept.iter().take(leaving) {
        tx.remove(table, oldest);
    }
    Ok(())
}

/// The proposal that a request made, as long as the window has it.
pub(crate) fn find(
    tx: &mut Transaction<'_>,
    created_at: u64,
    digest: Digest,
) -> Result<Option<ProposalId>, GovernanceError> {
    let key = key(created_at, digest);
    let known: Option<String> = tables::read(tx, COSE_RECENT_PROPOSALS, key.as_bytes())?;
    Ok(known.and_then(|id| id.parse().ok()))
}

fn key(created_at: u64, digest: Digest) -> String {
    format!("{created_at:010}:{digest}")
}

fn window(tx: &mut Transaction<'_>) -> Result<usize, GovernanceError> {
    let row: Option<ConfigurationRow> = tables::read(tx, SERVICE_CONFIG, singleton_key())?;
    let size = row.unwrap_or_default().recent_cose_proposals_window_size;
    let size = size.map_or(WINDOW_DEFAULT, |size| usize::try_from(size).unwrap_or(WINDOW_MAX));
    Ok(size.clamp(1, WINDOW_MAX))
}

#[cfg(test)]
mod tests {
    use coco_crypto::sha256;
    use coco_kv::Store;

    use super::*;

    const NOW: u64 = 2_000;

    fn store() -> Store {
        Store::new(tables::maps(), [1, 2])
    }

    fn submit(tx: &mut Transaction<'_>, created_at: u64, name: &str) -> Result<(), ErrorCode> {
        let id = ProposalId(sha256(name.as_bytes()));
        enter(tx, created_at, id.0, id, NOW).map_err(|error| error.code)
    }

    fn kept(tx: &mut Transaction<'_>) -> Vec<u64> {
        let rows = tables::rows(tx, COSE_RECENT_PROPOSALS).unwrap();
        let time = |key: &[u8]| String::from_utf8_lossy(&key[..10]).parse().unwrap();
        rows.iter().map(|(key, _)| time(key)).collect()
    }

    #[test]
    fn a_proposal_enters_once() {
        let store = store();
        let mut tx = store.reader().begin();
        assert_eq!(submit(&mut tx, 1000, "a"), Ok(()));
        assert_eq!(submit(&mut tx, 1000, "a"), Err(ErrorCode::ProposalReplay));
        assert_eq!(submit(&mut tx, 1000, "b"), Ok(()));
        // The same under another time is another.
        assert_eq!(submit(&mut tx, 1001, "a"), Ok(()));
        assert_eq!(kept(&mut tx), [1000, 1000, 1001]);
    }

    #[test]
    fn the_middle_is_the_oldest_that_enters() {
        let store = store();
        let mut tx = store.reader().begin();
        for time in [1000, 1010, 1020, 1030] {
            assert_eq!(submit(&mut tx, time, "a"), Ok(()));
        }
        for (time, expected) in [
            (1000, Err(ErrorCode::ProposalCreatedTooLongAgo)),
            (1019, Err(ErrorCode::ProposalCreatedTooLongAgo)),
            (1020, Ok(())),
        ] {
            assert_eq!(submit(&mut tx, time, "b"), expected, "{time}");
        }
    }

    #[test]
    fn the_window_has_the_size_that_is_configured() {
        for (configured, expected) in [(None, 100), (Some(0), 1), (Some(1), 1), (Some(3), 3)] {
            let store = store();
            let mut tx = store.reader().begin();
            if let Some(size) = configured {
                let row = serde_json::json!({ "recent_cose_proposals_window_size": size });
                tables::write(&mut tx, SERVICE_CONFIG, singleton_key(), &row).unwrap();
            }
            for time in 0..150 {
                assert_eq!(submit(&mut tx, 1000 + time, "a"), Ok(()));
            }
            let newest: Vec<u64> = (1150 - expected..1150).collect();
            assert_eq!(kept(&mut tx), newest, "{configured:?}");
        }
    }

    #[test]
    fn the_future_is_refused() {
        for (ahead, ok) in [(AHEAD_MAX_S - 1, true), (AHEAD_MAX_S, true), (AHEAD_MAX_S + 1, false)]
        {
            let store = store();
            let mut tx = store.reader().begin();
            let expected = if ok { Ok(()) } else { Err(ErrorCode::InvalidCreatedAt) };
            assert_eq!(submit(&mut tx, NOW + ahead, "a"), expected);
        }
    }
}
