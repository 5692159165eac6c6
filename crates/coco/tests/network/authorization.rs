//! Who may make which call, and in which state of the service: stated here, call by call.
//!
//! The statement is compared with the table that routes requests: a call that is in one and not in the other fails, and so
//! does one that lets others in than it is said to. The matrix below makes a case of every call, identity and state.
//! `on_a_node.rs` makes those calls.

mod on_a_node;

use std::collections::BTreeSet;

use coco_node::edge::table::{ROWS, Row, Service, Verb, Who};

/// Whom a call lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    Everybody,
    /// Members, also one that has not acknowledged the state yet.
    Members,
    ActiveMembers,
    /// Nodes that show their keys, with evidence.
    Nodes,
    /// Whoever shows nothing, and whoever shows a certificate or token that counts.
    Recognised,
}

/// When a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// Only while the service is open.
    Open,
}

use Allowed::{ActiveMembers, Everybody, Members, Nodes, Recognised};
use When::{Always, Open};

const STATEMENT: &[(&str, Allowed, When)] = &[
    ("POST /", Everybody, Open),
    ("OPTIONS /", Everybody, Always),
    ("POST /eth", Everybody, Open),
    ("OPTIONS /eth", Everybody, Always),
    ("GET /app/api", Everybody, Always),
    ("GET /app/caller", Recognised, Always),
    ("GET /app/commit", Everybody, Always),
    ("GET /app/receipt", Everybody, Always),
    ("GET /app/receipt/cose", Everybody, Always),
    ("GET /app/receipt/cose/endorsements", Everybody, Always),
    ("GET /app/tx", Everybody, Always),
    ("GET /metrics", Everybody, Always),
    ("GET /node/api", Everybody, Always),
    ("GET /node/attestations", Everybody, Always),
    ("GET /node/attestations/self", Everybody, Always),
    ("GET /node/backup", Everybody, Always),
    ("GET /node/commit", Everybody, Always),
    ("GET /node/config", Everybody, Always),
    ("GET /node/consensus", Everybody, Always),
    ("GET /node/historical_cache", Everybody, Always),
    ("GET /node/ledger-chunk", Everybody, Always),
    ("GET /node/ledger-chunk/{chunkName}", Everybody, Always),
    ("GET /node/ledger_chunk", Everybody, Always),
    ("GET /node/ledger_chunk/{chunkName}", Everybody, Always),
    ("GET /node/metrics", Everybody, Always),
    ("GET /node/network", Everybody, Always),
    ("GET /node/network/nodes", Everybody, Always),
    ("GET /node/network/nodes/{nodeId}", Everybody, Always),
    ("DELETE /node/network/nodes/{nodeId}", Everybody, Always),
    ("GET /node/network/removable_nodes", Everybody, Always),
    ("GET /node/primary", Everybody, Always),
    ("GET /node/jwt_keys/refresh/metrics", Everybody, Always),
    ("GET /node/quotes", Everybody, Always),
    ("GET /node/quotes/self", Everybody, Always),
    ("GET /node/ready/app", Everybody, Always),
    ("GET /node/ready/gov", Everybody, Always),
    ("GET /node/receipt", Everybody, Always),
    ("GET /node/receipt/cose", Everybody, Always),
    ("GET /node/receipt/cose/endorsements", Everybody, Always),
    ("GET /node/self_signed_certificate", Everybody, Always),
    ("GET /node/service/configuration", Everybody, Always),
    ("GET /node/service/previous_identity", Everybody, Always),
    ("GET /node/snapshot", Everybody, Always),
    ("GET /node/snapshot/{snapshotName}", Everybody, Always),
    ("POST /node/snapshot:create", Everybody, Always),
    ("GET /node/state", Everybody, Always),
    ("GET /node/tx", Everybody, Always),
    ("GET /node/version", Everybody, Always),
    ("GET /gov/api", Everybody, Always),
    ("GET /gov/commit", Everybody, Always),
    ("GET /gov/receipt", Everybody, Always),
    ("GET /gov/receipt/cose", Everybody, Always),
    ("GET /gov/receipt/cose/endorsements", Everybody, Always),
    ("GET /gov/tx", Everybody, Always),
    ("GET /gov/members/proposals", Everybody, Always),
    ("GET /gov/members/proposals/{proposalId}", Everybody, Always),
    ("GET /gov/members/proposals/{proposalId}/actions", Everybody, Always),
    ("GET /gov/members/proposals/{proposalId}/ballots/{memberId}", Everybody, Always),
    ("GET /gov/members/state-digests/{memberId}", Everybody, Always),
    ("POST /gov/members/proposals:create", ActiveMembers, Always),
    ("POST /gov/members/proposals:simulate", Everybody, Always),
    ("POST /node/join", Nodes, Always),
    ("POST /gov/members/proposals/{proposalId}:withdraw", ActiveMembers, Always),
    ("POST /gov/members/proposals/{proposalId}/ballots/{memberId}:submit", ActiveMembers, Always),
    ("POST /gov/members/state-digests/{memberId}:ack", Members, Always),
    ("POST /gov/members/state-digests/{memberId}:update", Members, Always),
    ("GET /gov/recovery/encrypted-shares/{memberId}", Everybody, Always),
    ("POST /gov/recovery/members/{memberId}:recover", ActiveMembers, Always),
    ("GET /gov/service/constitution", Everybody, Always),
    ("GET /gov/service/info", Everybody, Always),
    ("GET /gov/service/javascript-app", Everybody, Always),
    ("GET /gov/service/javascript-modules", Everybody, Always),
    ("GET /gov/service/javascript-modules/{moduleName}", Everybody, Always),
    ("GET /gov/service/join-policy", Everybody, Always),
    ("GET /gov/service/jwk", Everybody, Always),
    ("GET /gov/service/members", Everybody, Always),
    ("GET /gov/service/members/{memberId}", Everybody, Always),
    ("GET /gov/service/nodes", Everybody, Always),
    ("GET /gov/service/nodes/{nodeId}", Everybody, Always),
    ("GET /gov/service/organisations", Everybody, Always),
    ("GET /gov/service/transactions/commit", Everybody, Always),
    ("GET /gov/service/transactions/{transactionId}", Everybody, Always),
    ("GET /gov/service/users", Everybody, Always),
    ("GET /gov/service/users/{userId}", Everybody, Always),
];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Identity {
    Nobody,
    SelfSigned,
    PendingMember,
    ActiveMember,
    RemovedMember,
    Participant,
    OrganisationUser,
    ValidToken,
    ExpiredToken,
    TokenOfAnotherIssuer,
    TokenForAnotherAudience,
    Node,
    MemberOfAnotherNetwork,
}

impl Identity {
    const ALL: [Self; 13] = [
        Self::Nobody,
        Self::SelfSigned,
        Self::PendingMember,
        Self::ActiveMember,
        Self::RemovedMember,
        Self::Participant,
        Self::OrganisationUser,
        Self::ValidToken,
        Self::ExpiredToken,
        Self::TokenOfAnotherIssuer,
        Self::TokenForAnotherAudience,
        Self::Node,
        Self::MemberOfAnotherNetwork,
    ];
}

/// The states of a service.
const STATES: [&str; 4] = ["Opening", "Open", "WaitingForRecoveryShares", "Recovering"];

/// What a call must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nobody objects to who asks; the answer may still be that something is not there.
    Answered,
    /// 401 with `InvalidAuthenticationInfo`.
    Unauthenticated,
    /// Nothing is done, and `FrontendNotOpen` is named.
    Closed,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) call: &'static str,
    pub(crate) identity: Identity,
    pub(crate) state: &'static str,
    pub(crate) expected: Expected,
}

/// Every call, identity and state.
pub(crate) fn matrix() -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, allowed, when) in STATEMENT {
        for identity in Identity::ALL {
            for state in STATES {
                let expected = expected(*allowed, *when, identity, state);
                cases.push(Case { call, identity, state, expected });
            }
        }
    }
    cases
}

fn expected(allowed: Allowed, when: When, identity: Identity, state: &str) -> Expected {
    if when == Open && state != "Open" {
        return Expected::Closed;
    }
    let is_let_in = match allowed {
        Everybody => true,
        Members => matches!(identity, Identity::PendingMember | Identity::ActiveMember),
        ActiveMembers => identity == Identity::ActiveMember,
        Nodes => identity == Identity::Node,
        Recognised => matches!(
            identity,
            Identity::Nobody
                | Identity::PendingMember
                | Identity::ActiveMember
                | Identity::Participant
                | Identity::OrganisationUser
                | Identity::ValidToken
        ),
    };
    if is_let_in { Expected::Answered } else { Expected::Unauthenticated }
}

fn call(row: &Row) -> String {
    let method = match row.verb {
        Verb::Get => "GET",
        Verb::Post => "POST",
        Verb::Delete => "DELETE",
        Verb::Options => "OPTIONS",
    };
    format!("{method} {}", row.path)
}

#[test]
fn every_call_is_stated_and_lets_in_whom_the_statement_says() {
    let stated: BTreeSet<&str> = STATEMENT.iter().map(|(call, ..)| *call).collect();
    assert_eq!(stated.len(), STATEMENT.len(), "a call is stated twice");
    let routed: BTreeSet<String> = ROWS.iter().map(call).collect();
    let routed: BTreeSet<&str> = routed.iter().map(String::as_str).collect();
    assert_eq!(routed, stated, "what is routed, and what is stated");
    for row in ROWS {
        let name = call(row);
        let found = STATEMENT.iter().find(|(call, ..)| *call == name);
        let (_, allowed, when) = found.expect("every row is stated");
        let who = match row.who {
            Who::Anyone => Everybody,
            Who::Member => Members,
            Who::ActiveMember => ActiveMembers,
            Who::Recognised => Recognised,
            Who::Node => Nodes,
        };
        let service = match row.service {
            Service::InAnyState => Always,
            Service::Open => Open,
        };
        assert_eq!((who, service), (*allowed, *when), "{name}");
    }
}

#[test]
fn the_matrix_has_a_case_for_every_call_identity_and_state() {
    let cases = matrix();
    assert_eq!(cases.len(), ROWS.len() * Identity::ALL.len() * STATES.len());
    let count = |call: &str, expected| {
        let cases = cases.iter().filter(|case| case.call == call && case.expected == expected);
        cases.map(|case| (case.identity, case.state)).collect::<BTreeSet<_>>().len()
    };
    let create = "POST /gov/members/proposals:create";
    assert_eq!(count(create, Expected::Answered), STATES.len());
    assert_eq!(count(create, Expected::Unauthenticated), 12 * STATES.len());
    let ack = "POST /gov/members/state-digests/{memberId}:ack";
    assert_eq!(count(ack, Expected::Answered), 2 * STATES.len());
    assert_eq!(count("POST /", Expected::Closed), 3 * Identity::ALL.len());
    assert_eq!(count("GET /node/state", Expected::Answered), 4 * Identity::ALL.len());
}
