//! The window of recent proposals, which a proposal enters once.
//!
//! Rows are `<created_at, ten digits>:<digest>`, so that their order is that of time. A new proposal must not be there
//! and must not be older than the row in the middle. The oldest rows leave when the window is full: they are older than the
//! middle, so that nothing that left can come back.
//!
//! That is CCF's window, with two differences. The middle may lie ahead, where one member can put it by dating many proposals
//! there. So a proposal of the last minutes enters nevertheless, as long as it is newer than the oldest row; and for that
//! row to be old, the rows of the last minutes stay when the window is full, and one before them. And what is older than the
//! oldest row enters in the first minutes only: more rows may be of one second than there is room for, and members may have
//! made the window smaller.

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

/// How far ahead of the node's clock a proposal may be made, in seconds; and how far behind it one enters whatever others
/// made meanwhile.
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
    let mut kept: Vec<Box<[u8]>> =
        tables::rows(tx, COSE_RECENT_PROPOSALS)?.into_iter().map(|(key, _)| key).collect();
    let window = window(tx)?;
    let recent_from = format!("{:010}:", now.saturating_sub(AHEAD_MAX_S));
    if is_too_old(&kept, window, key.as_bytes(), recent_from.as_bytes()) {
        let message = format!(
            "created_at is {created_at}: before the last {AHEAD_MAX_S} seconds and the newer half of recent proposals, or before all of them"
        );
        return refused(ErrorCode::ProposalCreatedTooLongAgo, message);
    }
    tables::write(tx, COSE_RECENT_PROPOSALS, key.as_bytes(), &proposal.to_string())?;
    let place = kept.partition_point(|other| **other < *key.as_bytes());
    kept.insert(place, key.into_bytes().into());
    let old = kept.partition_point(|other| **other < *recent_from.as_bytes());
    let leaving = kept.len().saturating_sub(window).min(old.saturating_sub(1));
    let leaving = leaving.max(kept.len().saturating_sub(WINDOW_MAX));
    let table = tables::table(tx, COSE_RECENT_PROPOSALS)?;
    for oldest in kept.iter().take(leaving) {
        tx.remove(table, oldest);
    }
    Ok(())
}

/// Whether a proposal may be one that left the window, or is refused as CCF does. All that left is older than the oldest row.
fn is_too_old(kept: &[Box<[u8]>], window: usize, key: &[u8], recent_from: &[u8]) -> bool {
    let (Some(oldest), Some(middle)) = (kept.first(), kept.get(kept.len() / 2)) else {
        return false;
    };
    let middle = middle.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_before_the_middle = key < middle;
    if key > &**oldest {
        return is_before_the_middle && key < recent_from;
    }
    // Nothing has left yet, or the oldest row would be older, and the window full.
    let is_young = kept.len() < window && &**oldest >= recent_from;
    is_before_the_middle || !is_young
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
        let first = NOW - AHEAD_MAX_S;
        for name in ["a", "b", "c", "d"] {
            assert_eq!(submit(&mut tx, first, name), Ok(()), "whatever the digest");
            assert_eq!(submit(&mut tx, first, name), Err(ErrorCode::ProposalReplay));
        }
        // The same under another time is another.
        assert_eq!(submit(&mut tx, first + 1, "a"), Ok(()));
        assert_eq!(kept(&mut tx), [first, first, first, first, first + 1]);
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
    fn the_last_minutes_enter_whoever_is_ahead_of_them() {
        let store = store();
        let mut tx = store.reader().begin();
        assert_eq!(submit(&mut tx, 1000, "before"), Ok(()));
        for number in 0..2 * WINDOW_DEFAULT {
            assert_eq!(submit(&mut tx, NOW + AHEAD_MAX_S, &number.to_string()), Ok(()));
        }
        assert_eq!(kept(&mut tx)[0], 1000, "one from before stays");
        let too_old = Err(ErrorCode::ProposalCreatedTooLongAgo);
        for (time, expected) in [
            (NOW - AHEAD_MAX_S - 1, too_old),
            (NOW - AHEAD_MAX_S, Ok(())),
            (NOW - AHEAD_MAX_S + 1, Ok(())),
            (NOW, Ok(())),
        ] {
            assert_eq!(submit(&mut tx, time, "honest"), expected, "{time}");
            let again = if expected.is_ok() { Err(ErrorCode::ProposalReplay) } else { expected };
            assert_eq!(submit(&mut tx, time, "honest"), again, "{time}");
        }
    }

    #[test]
    fn what_left_among_many_of_one_second_does_not_come_back() {
        let store = store();
        let mut tx = store.reader().begin();
        for number in 0..2 * WINDOW_DEFAULT {
            let entered = submit(&mut tx, 1000, &number.to_string());
            assert!(matches!(entered, Ok(()) | Err(ErrorCode::ProposalCreatedTooLongAgo)));
        }
        assert_eq!(kept(&mut tx).len(), WINDOW_DEFAULT);
        for number in 0..2 * WINDOW_DEFAULT {
            assert!(submit(&mut tx, 1000, &number.to_string()).is_err(), "{number}");
        }
    }

    #[test]
    fn what_left_a_window_that_was_made_smaller_does_not_come_back() {
        let store = store();
        let mut tx = store.reader().begin();
        for time in 1000..1050 {
            assert_eq!(submit(&mut tx, time, "a"), Ok(()));
        }
        let row = serde_json::json!({ "recent_cose_proposals_window_size": 1 });
        tables::write(&mut tx, SERVICE_CONFIG, singleton_key(), &row).unwrap();
        // It is newer than the middle and older than others, which would leave instead of it.
        assert_eq!(submit(&mut tx, 1030, "b"), Ok(()));
        for time in 1000..1050 {
            assert!(submit(&mut tx, time, "a").is_err(), "{time}");
        }
        assert!(submit(&mut tx, 1030, "b").is_err());
    }

    #[test]
    fn nothing_enters_twice_whatever_the_order_and_the_clock() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |most: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % most
        };
        let store = store();
        let mut tx = store.reader().begin();
        let (mut entered, mut refused) = (Vec::new(), 0);
        let mut now = NOW;
        for step in 0..6_000_u64 {
            // Another primary's clock may be behind.
            now = (now + below(40)).saturating_sub(if below(50) == 0 { below(400) } else { 0 });
            if step % 500 == 0 {
                let size = 1 + below(60);
                let row = serde_json::json!({ "recent_cose_proposals_window_size": size });
                tables::write(&mut tx, SERVICE_CONFIG, singleton_key(), &row).unwrap();
            }
            let mut enter_at =
                |created_at: u64, id: ProposalId| enter(&mut tx, created_at, id.0, id, now).is_ok();
            let (created_at, id) = (
                (now + AHEAD_MAX_S).saturating_sub(below(1_000)),
                ProposalId(sha256(&step.to_le_bytes())),
            );
            if enter_at(created_at, id) {
                entered.push((created_at, id));
            } else {
                refused += 1;
            }
            if !entered.is_empty() {
                let pick = usize::try_from(below(entered.len() as u64)).unwrap();
                let (created_at, id) = entered[pick];
                assert!(!enter_at(created_at, id), "step {step}: {created_at} {id}");
            }
        }
        assert!(refused > 500 && refused < 5_000, "{refused} were refused");
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
