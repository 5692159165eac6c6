//! What members did, for people and for programs.

use coco_governance::{Act, Message};
use serde_json::{Value, json};

use crate::output::{Table, short, utc};

/// A line for each act.
pub(super) fn table(acts: &[Act]) -> Table {
    let mut table = Table::with_head(["TXID", "SIGNED", "MEMBER", "ACT", "PROPOSAL", "STATE"]);
    for act in acts {
        let proposal = act.proposal.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let state = act.state.map_or_else(|| "-".to_owned(), |state| format!("{state:?}"));
        table.row([
            &act.tx_id.to_string(),
            &utc(act.created_at),
            short(&act.member.to_string()),
            &what(act),
            short(&proposal),
            &state,
        ]);
    }
    table
}

/// The same with whole ids.
pub(super) fn json(acts: &[Act]) -> Value {
    let act = |act: &Act| {
        json!({
            "transaction_id": act.tx_id.to_string(),
            "signed_at": utc(act.created_at),
            "member_id": act.member.to_string(),
            "act": act.message.name(),
            "proposal_id": act.proposal.map(|id| id.to_string()),
            "proposal_state": act.state,
            "actions": act.actions,
        })
    };
    acts.iter().map(act).collect()
}

fn what(act: &Act) -> String {
    match act.message {
        Message::Proposal => format!("proposed {}", act.actions.join(", ")),
        Message::Ballot(_) => "voted".to_owned(),
        Message::Withdrawal(_) => "withdrew".to_owned(),
        Message::Ack => "acknowledged".to_owned(),
        Message::StateDigest => "asked for a digest".to_owned(),
        Message::RecoveryShare | Message::EncryptedRecoveryShare => "sent a share".to_owned(),
    }
}
