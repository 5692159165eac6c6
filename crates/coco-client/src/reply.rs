//! What nodes answer with, in CCF's shapes. Members that are not known here are passed over.

use std::collections::BTreeMap;

pub use coco_api::{
    Commit, Consensus, ConsensusConfiguration, ConsensusDetails, ConsensusNode, Network, NodeState,
    Nodes, TxStatusBody as TxStatus, Version, gov::JoinPolicy,
};
use coco_governance::tables::{Failure, MemberStatus, ProposalState, RecoveryRole};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// What is in it.
    pub value: Vec<T>,
    /// Where it goes on, if this is not all.
    #[serde(default, rename = "nextLink", skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// SHA-256 of its certificate.
    pub member_id: String,
    /// Whether it votes.
    pub status: MemberStatus,
    /// What the members say of it.
    #[serde(default)]
    pub member_data: Value,
    /// PEM.
    #[serde(default)]
    pub certificate: String,
    /// PEM, if it holds a recovery share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_encryption_key: Option<String>,
    /// Its part in recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_role: Option<RecoveryRole>,
}

impl Member {
    /// The name that the members gave it, if they did.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.member_data.get("name").and_then(Value::as_str)
    }
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// SHA-256 of its certificate.
    pub user_id: String,
    /// PEM.
    #[serde(default)]
    pub certificate: String,
    /// What the members say of it.
    #[serde(default)]
    pub user_data: Value,
}

/// An organisation whose users are participants without being registered. Services of CCF have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Organisation {
    /// Its name.
    pub name: String,
    /// The certificate of its authority, in PEM.
    #[serde(default)]
    pub certificate: String,
    /// What the members say of its users.
    #[serde(default)]
    pub user_data: Value,
    /// The serial numbers of certificates that count no more.
    #[serde(default)]
    pub revoked_serials: Vec<String>,
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// Its id.
    pub proposal_id: String,
    /// The member who made it.
    pub proposer_id: String,
    /// Where it is in its life.
    pub proposal_state: ProposalState,
    /// How many voted.
    #[serde(default)]
    pub ballot_count: usize,
    /// Who voted.
    #[serde(default)]
    pub ballot_submitters: Vec<String>,
    /// What the ballots said when it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_votes: Option<BTreeMap<String, bool>>,
    /// Which ballots said nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote_failures: Option<BTreeMap<String, Failure>>,
    /// Why it failed or was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the service took it, in seconds since 1970. Services of CCF do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<u64>,
    /// From when on it is not voted on any more, in seconds since 1970. Services of CCF have no such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// What a proposal consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    /// In the order in which they are carried out.
    pub actions: Vec<Action>,
    /// What the document says besides.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One action of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its name in the constitution.
    pub name: String,
    /// What it is to do.
    #[serde(default)]
    pub args: Value,
    /// What is said besides.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a proposal would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulated {
    /// Rows that would be written.
    pub writes: Vec<Write>,
    /// What the node would be asked to do.
    pub effects: Vec<String>,
}

/// A row that would be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The table.
    pub table: String,
    /// The row's key.
    pub key: Value,
    /// Its value; null when it would be removed.
    pub value: Value,
}

/// `GET /gov/service/info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfo {
    /// `Opening`, `Open`, `WaitingForRecoveryShares` or `Recovering`.
    pub status: String,
    /// PEM.
    pub certificate: String,
    /// How often it was recovered.
    #[serde(default)]
    pub recovery_count: u64,
    /// The first transaction of this incarnation.
    #[serde(default)]
    pub creation_transaction_id: Option<String>,
    /// What members attached to it.
    #[serde(default)]
    pub service_data: Value,
    /// What can be configured by vote.
    #[serde(default)]
    pub configuration: Value,
}

impl ServiceInfo {
    /// How many shares bring the service back; 0 where it does not say so.
    #[must_use]
    pub fn recovery_threshold(&self) -> u64 {
        self.configuration.get("recoveryThreshold").and_then(Value::as_u64).unwrap_or(0)
    }
}

/// A node as governance knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// SHA-256 of its key.
    pub node_id: String,
    /// `Pending`, `Trusted` or `Retired`.
    pub status: String,
    /// What members attached to it.
    #[serde(default)]
    pub node_data: Value,
    /// The certificate by which the service endorses it, PEM, once it is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Whether it is gone for good.
    #[serde(default)]
    pub retired_committed: bool,
    /// What it proves itself with.
    #[serde(default)]
    pub quote_info: Value,
}

impl Node {
    /// The measurement of the code that it runs, where its evidence says so.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.quote_info.get("details")?.get("measurement")?.as_str()
    }
}

/// The rules in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constitution(
    /// JavaScript.
    pub String,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_governance_shows_is_read() {
        let shown = coco_governance::ProposalView {
            proposal_id: "p".into(),
            proposer_id: "m".into(),
            proposal_state: ProposalState::Accepted,
            ballot_count: 1,
            ballot_submitters: vec!["m".into()],
            final_votes: Some([("m".to_owned(), true)].into()),
            vote_failures: Some(
                [("n".to_owned(), Failure { reason: "r".into(), trace: None })].into(),
            ),
            failure: None,
            admitted_at: Some(1),
            expires_at: Some(2),
        };
        let text = serde_json::to_string(&shown).unwrap();
        let read: Proposal = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn a_member_of_little_is_read() {
        let text = r#"{"memberId":"m","status":"Accepted","more":1,"memberData":{"name":"acme"}}"#;
        let member: Member = serde_json::from_str(text).unwrap();
        assert_eq!(member.status, MemberStatus::Accepted);
        assert_eq!(member.name(), Some("acme"));
    }
}
