//! Until when members can vote, in words.

use coco_client::reply::Proposal;
use coco_governance::tables::ProposalState;

use crate::output::span;

/// When an open proposal expires, if it ever does, by the clock of this machine. One that is over stays `Open` until the next
/// request of a member drops it.
pub(super) fn in_words(proposal: &Proposal, now: u64) -> Option<String> {
    let expires_at =
        proposal.expires_at.filter(|_| proposal.proposal_state == ProposalState::Open)?;
    Some(match expires_at.saturating_sub(now) {
        0 => "over".to_owned(),
        left => format!("in {}", span(left)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_proposal_has_a_deadline() {
        let words = |state: &str, expires_at: &str, now| {
            let text = format!(
                r#"{{"proposalId":"p","proposerId":"m","proposalState":"{state}"{expires_at}}}"#
            );
            in_words(&serde_json::from_str(&text).unwrap(), now)
        };
        let deadline = r#","expiresAt":1000"#;
        assert_eq!(words("Open", deadline, 0).as_deref(), Some("in 16 minutes"));
        assert_eq!(words("Open", deadline, 999).as_deref(), Some("in 1 second"));
        assert_eq!(words("Open", deadline, 1000).as_deref(), Some("over"));
        assert_eq!(words("Open", deadline, u64::MAX).as_deref(), Some("over"));
        assert_eq!(words("Dropped", deadline, 0), None);
        assert_eq!(words("Open", "", 0), None, "a service of CCF");
    }
}
