//! The table of routes: every call that a node answers, who may make it, and what it takes and gives.
//!
//! The router, the `allow` header, the `OpenAPI` documents and the authorization matrix are made from this table, so that
//! none of them can know a call that the others do not. A path is as its callers write it, with names in braces for the
//! parts that vary.

use super::parameters::{
    AFTER, API_VERSION, CASE, HOST, LIMIT, PORT, Parameter, SINCE, SINCE_ENTRY, STATUS,
    TRANSACTION_ID, VIEW_HISTORY,
};
use crate::config::OperatorFeature;

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How.
    pub verb: Verb,
    /// Where.
    pub path: &'static str,
    /// What answers.
    pub call: Call,
    /// Who may.
    pub who: Who,
    /// In which states of the service.
    pub service: Service,
    /// Which versions of the interface have it.
    pub versions: Versions,
    /// What its query may say.
    pub query: &'static [Parameter],
    /// What it takes.
    pub body: Body,
    /// What it gives.
    pub answer: Answer,
    /// What a node must be configured to offer.
    pub feature: Option<OperatorFeature>,
    /// What it is for, in one line.
    pub summary: &'static str,
}

/// The method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `GET`, and `HEAD` with the same answer but its body.
    Get,
    /// `POST`
    Post,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever reaches the node.
    Anyone,
    /// A member, active or not, by a signed request.
    Member,
    /// An active member, by a signed request.
    ActiveMember,
    /// Whoever shows nothing, or shows in TLS or as a token who it is, and is recognised.
    Recognised,
    /// Whoever shows the certificate of a node's key in TLS, with evidence.
    Node,
}

/// The states of the service in which a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// All.
    InAnyState,
    /// Open.
    Open,
}

/// Which values of `api-version` a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// The query need not say it.
    Unversioned,
    /// All.
    All,
    /// All but previews.
    Stable,
}

/// What a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Nothing,
    /// A member's signed request, with this message type.
    Signed(&'static str),
    /// A proposal, as JSON.
    Proposal,
    /// What a node says of itself, as JSON.
    Node,
    /// JSON-RPC.
    JsonRpc,
}

/// What a call gives when it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// JSON of the schema of that name.
    Json(&'static str),
    /// JSON, or nothing when nothing is left to say.
    JsonOrNothing(&'static str),
    /// JSON, or the way to the primary.
    JsonOrWay(&'static str),
    /// JavaScript.
    Script,
    /// COSE.
    Cose,
    /// A list of COSE messages, as CBOR.
    CoseList,
    /// Text for Prometheus.
    Metrics,
    /// Nothing.
    Nothing,
    /// Nothing, or the way to another node.
    Redirect,
    /// Nothing, or the way to the primary.
    NothingOrWay,
    /// 204, or 503.
    Readiness,
    /// The way to a file.
    WayToFile,
    /// A file, or a range of it.
    File,
}

/// What answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// JSON-RPC.
    Ethereum,
    /// A browser's question before its first request to JSON-RPC.
    Preflight,
    /// The ledger's positions and receipts.
    Ledger(LedgerCall),
    /// This node and its network.
    Node(NodeCall),
    /// What governance's tables say.
    Governance(GovernanceRead),
    /// A member's signed request.
    Write(GovernanceWrite),
    /// What a proposal would change.
    Simulate,
    /// A node that wants to belong to the network.
    Join,
    /// A file of this node.
    Download(DownloadCall),
    /// A snapshot that an operator asks for.
    CreateSnapshot,
    /// Removes the row of a node that has left.
    RemoveNode,
    /// As whom the service takes whoever asks.
    Caller,
    /// The document about the calls below a prefix.
    Api(Frontend),
}

/// Calls for files of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadCall {
    /// The way to the chunk of an entry.
    ChunkAt,
    /// A chunk.
    Chunk,
    /// The way to the newest snapshot.
    SnapshotAt,
    /// A snapshot.
    Snapshot,
}

/// Calls about positions of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the call of that name")]
pub enum LedgerCall {
    Commit,
    Tx,
    Receipt,
    CoseReceipt,
    Endorsements,
}

/// Calls about this node and its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the call of that name")]
pub enum NodeCall {
    Metrics,
    Sessions,
    HistoricalCache,
    State,
    Network,
    Nodes,
    OneNode,
    RemovableNodes,
    Primary,
    Backup,
    Version,
    Config,
    Consensus,
    ReadyApp,
    ReadyGov,
    SelfSignedCertificate,
    ServiceConfiguration,
    PreviousIdentity,
    Quotes,
    OwnQuote,
    Attestations,
    JwtRefresh,
}

/// Calls that read governance's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the call of that name")]
pub enum GovernanceRead {
    Proposals,
    Proposal,
    Actions,
    Ballot,
    StateDigest,
    EncryptedShare,
    ServiceInfo,
    Constitution,
    Members,
    Member,
    Users,
    User,
    Organisations,
    Nodes,
    Node,
    JoinPolicy,
    Jwk,
    JavascriptApp,
    JavascriptModules,
    JavascriptModule,
    Commit,
    Transaction,
}

/// Calls that carry a member's signed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the call of that name")]
pub enum GovernanceWrite {
    CreateProposal,
    WithdrawProposal,
    SubmitBallot,
    UpdateStateDigest,
    Acknowledge,
    SubmitRecoveryShare,
}

/// A prefix of paths, with a document of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frontend {
    /// `/app`
    App,
    /// `/node`
    Node,
    /// `/gov`
    Gov,
}

impl Frontend {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::App, Self::Node, Self::Gov];

    /// What its paths begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::App => "/app",
            Self::Node => "/node",
            Self::Gov => "/gov",
        }
    }
}

/// All calls. Where a path fits two rows, the first is meant.
pub static ROWS: &[Row] = &[
    rpc("/"),
    preflight("/"),
    rpc("/eth"),
    preflight("/eth"),
    //
    commit("/app/commit"),
    tx("/app/tx"),
    receipt("/app/receipt"),
    cose_receipt("/app/receipt/cose"),
    endorsements("/app/receipt/cose/endorsements"),
    CALLER,
    api("/app/api", Frontend::App),
    //
    commit("/node/commit"),
    tx("/node/tx"),
    receipt("/node/receipt"),
    cose_receipt("/node/receipt/cose"),
    endorsements("/node/receipt/cose/endorsements"),
    api("/node/api", Frontend::Node),
    node("/node/state", NodeCall::State, "NodeState", "This node's id and state"),
    node("/node/network", NodeCall::Network, "Network", "The service and its primary"),
    node("/node/network/nodes", NodeCall::Nodes, "Nodes", "The nodes that take part")
        .asks(&[HOST, PORT, STATUS]),
    node(
        "/node/network/nodes/{nodeId}",
        NodeCall::OneNode,
        "Node",
        "A node by its id, or as self or primary",
    ),
    node(
        "/node/network/removable_nodes",
        NodeCall::RemovableNodes,
        "Nodes",
        "Retired nodes that nobody needs any more",
    ),
    node("/node/primary", NodeCall::Primary, "", "Whether this node is the primary; the way to it")
        .gives(Answer::Redirect),
    node("/node/backup", NodeCall::Backup, "", "Whether this node is a backup; the way to one")
        .gives(Answer::Redirect),
    node("/node/version", NodeCall::Version, "Version", "The version of the program"),
    node("/node/config", NodeCall::Config, "Config", "How this node is configured"),
    node("/node/consensus", NodeCall::Consensus, "Consensus", "What this node knows of consensus"),
    node("/node/ready/app", NodeCall::ReadyApp, "", "Whether this node serves participants")
        .gives(Answer::Readiness),
    node("/node/ready/gov", NodeCall::ReadyGov, "", "Whether this node serves members")
        .gives(Answer::Readiness),
    node(
        "/node/self_signed_certificate",
        NodeCall::SelfSignedCertificate,
        "SelfSignedCertificate",
        "This node's certificate",
    ),
    node(
        "/node/service/configuration",
        NodeCall::ServiceConfiguration,
        "ServiceConfigurationRow",
        "What members have configured",
    ),
    node(
        "/node/service/previous_identity",
        NodeCall::PreviousIdentity,
        "PreviousIdentity",
        "The certificate of the service before the last recovery",
    ),
    node("/node/quotes", NodeCall::Quotes, "Quotes", "The evidence of trusted nodes"),
    node("/node/quotes/self", NodeCall::OwnQuote, "Quote", "This node's evidence"),
    node(
        "/node/attestations",
        NodeCall::Attestations,
        "Attestations",
        "The evidence of trusted nodes",
    ),
    node(
        "/node/jwt_keys/refresh/metrics",
        NodeCall::JwtRefresh,
        "JwtRefresh",
        "How often this node fetched keys of issuers of tokens",
    ),
    node("/node/attestations/self", NodeCall::OwnQuote, "Quote", "This node's evidence"),
    // CCF has had both spellings.
    chunk_at("/node/ledger_chunk"),
    chunk_at("/node/ledger-chunk"),
    chunk("/node/ledger_chunk/{chunkName}"),
    chunk("/node/ledger-chunk/{chunkName}"),
    download(
        "/node/snapshot",
        DownloadCall::SnapshotAt,
        OperatorFeature::SnapshotRead,
        "The way to the newest snapshot",
    )
    .gives(Answer::WayToFile)
    .asks(&[SINCE]),
    download(
        "/node/snapshot/{snapshotName}",
        DownloadCall::Snapshot,
        OperatorFeature::SnapshotRead,
        "A snapshot, or a range of it",
    ),
    CREATE_SNAPSHOT,
    REMOVE_NODE,
    node(
        "/node/historical_cache",
        NodeCall::HistoricalCache,
        "HistoricalCache",
        "What is kept in memory of the ledger's past",
    ),
    node("/node/metrics", NodeCall::Sessions, "NodeMetrics", "Connections of clients"),
    node("/metrics", NodeCall::Metrics, "", "Counters").gives(Answer::Metrics),
    //
    commit("/gov/commit"),
    tx("/gov/tx"),
    receipt("/gov/receipt"),
    cose_receipt("/gov/receipt/cose"),
    endorsements("/gov/receipt/cose/endorsements"),
    api("/gov/api", Frontend::Gov),
    write(
        "/gov/members/proposals:create",
        GovernanceWrite::CreateProposal,
        "proposal",
        "Makes a proposal",
    ),
    SIMULATE,
    JOIN,
    write(
        "/gov/members/proposals/{proposalId}:withdraw",
        GovernanceWrite::WithdrawProposal,
        "withdrawal",
        "Takes a proposal back",
    )
    .gives(Answer::JsonOrNothing("Proposal")),
    write(
        "/gov/members/proposals/{proposalId}/ballots/{memberId}:submit",
        GovernanceWrite::SubmitBallot,
        "ballot",
        "Votes on a proposal",
    ),
    list("/gov/members/proposals", GovernanceRead::Proposals, "Proposals", "All proposals"),
    read("/gov/members/proposals/{proposalId}", GovernanceRead::Proposal, "Proposal", "A proposal"),
    read(
        "/gov/members/proposals/{proposalId}/actions",
        GovernanceRead::Actions,
        "ProposalActions",
        "What a proposal would do, as it was signed",
    ),
    read(
        "/gov/members/proposals/{proposalId}/ballots/{memberId}",
        GovernanceRead::Ballot,
        "",
        "A member's ballot",
    )
    .gives(Answer::Script),
    write(
        "/gov/members/state-digests/{memberId}:update",
        GovernanceWrite::UpdateStateDigest,
        "state_digest",
        "Asks for the digest of the service's state, to acknowledge it",
    )
    .by_any_member()
    .gives(Answer::Json("StateDigest")),
    write(
        "/gov/members/state-digests/{memberId}:ack",
        GovernanceWrite::Acknowledge,
        "ack",
        "Acknowledges the state of the service, by which a member becomes active",
    )
    .by_any_member()
    .gives(Answer::Nothing),
    read(
        "/gov/members/state-digests/{memberId}",
        GovernanceRead::StateDigest,
        "StateDigest",
        "The digest that a member is to acknowledge, or did",
    ),
    read(
        "/gov/recovery/encrypted-shares/{memberId}",
        GovernanceRead::EncryptedShare,
        "EncryptedShare",
        "A member's share of the ledger secret",
    ),
    write(
        "/gov/recovery/members/{memberId}:recover",
        GovernanceWrite::SubmitRecoveryShare,
        "recovery_share",
        "Submits a member's share while the service waits for them",
    )
    .gives(Answer::Json("RecoveryProgress")),
    read(
        "/gov/service/info",
        GovernanceRead::ServiceInfo,
        "ServiceInfo",
        "The service and its configuration",
    ),
    read("/gov/service/constitution", GovernanceRead::Constitution, "", "The constitution")
        .gives(Answer::Script),
    list("/gov/service/members", GovernanceRead::Members, "Members", "All members"),
    read("/gov/service/members/{memberId}", GovernanceRead::Member, "Member", "A member"),
    list("/gov/service/users", GovernanceRead::Users, "Users", "All users"),
    read("/gov/service/users/{userId}", GovernanceRead::User, "User", "A user"),
    list(
        "/gov/service/organisations",
        GovernanceRead::Organisations,
        "Organisations",
        "All organisations whose users are recognised",
    ),
    list(
        "/gov/service/nodes",
        GovernanceRead::Nodes,
        "ServiceNodes",
        "All nodes, those that wait and those that are retired among them",
    ),
    read("/gov/service/nodes/{nodeId}", GovernanceRead::Node, "ServiceNode", "A node"),
    read(
        "/gov/service/join-policy",
        GovernanceRead::JoinPolicy,
        "JoinPolicy",
        "Which nodes may join",
    ),
    read("/gov/service/jwk", GovernanceRead::Jwk, "Jwk", "Whose tokens are accepted"),
    read(
        "/gov/service/javascript-app",
        GovernanceRead::JavascriptApp,
        "JavascriptApp",
        "The endpoints of the JavaScript application",
    )
    .stable()
    .asks(&[API_VERSION, CASE]),
    list(
        "/gov/service/javascript-modules",
        GovernanceRead::JavascriptModules,
        "JavascriptModules",
        "The modules of the JavaScript application",
    )
    .stable(),
    read(
        "/gov/service/javascript-modules/{moduleName}",
        GovernanceRead::JavascriptModule,
        "",
        "A module of the JavaScript application",
    )
    .stable()
    .gives(Answer::Script),
    read(
        "/gov/service/transactions/commit",
        GovernanceRead::Commit,
        "TransactionStatus",
        "The last committed transaction",
    ),
    read(
        "/gov/service/transactions/{transactionId}",
        GovernanceRead::Transaction,
        "TransactionStatus",
        "Whether a transaction is committed",
    ),
];

const CALLER: Row = Row {
    who: Who::Recognised,
    ..get(
        "/app/caller",
        Call::Caller,
        Answer::Json("Caller"),
        "As whom the service takes whoever asks, by the certificate shown in TLS or by a token",
    )
};

const JOIN: Row = Row {
    verb: Verb::Post,
    body: Body::Node,
    who: Who::Node,
    ..get(
        "/node/join",
        Call::Join,
        Answer::Json("JoinResponse"),
        "Says who a node is that wants to belong to the network, and gives it what it needs once members trust it",
    )
};

const CREATE_SNAPSHOT: Row = Row {
    verb: Verb::Post,
    feature: Some(OperatorFeature::SnapshotCreate),
    ..get(
        "/node/snapshot:create",
        Call::CreateSnapshot,
        Answer::NothingOrWay,
        "Asks for a snapshot, which all nodes make of the next signature",
    )
};

const REMOVE_NODE: Row = Row {
    verb: Verb::Delete,
    feature: Some(OperatorFeature::NodeRemove),
    ..get(
        "/node/network/nodes/{nodeId}",
        Call::RemoveNode,
        Answer::JsonOrWay("Removed"),
        "Removes what the ledger says of a node that has left",
    )
};

const SIMULATE: Row = Row {
    verb: Verb::Post,
    versions: Versions::All,
    query: &[API_VERSION],
    body: Body::Proposal,
    ..get(
        "/gov/members/proposals:simulate",
        Call::Simulate,
        Answer::Json("Simulation"),
        "What a proposal would change if it were accepted now. Needs no signature",
    )
};

const fn get(path: &'static str, call: Call, answer: Answer, summary: &'static str) -> Row {
    Row {
        verb: Verb::Get,
        path,
        call,
        who: Who::Anyone,
        service: Service::InAnyState,
        versions: Versions::Unversioned,
        query: &[],
        body: Body::Nothing,
        answer,
        feature: None,
        summary,
    }
}

const fn rpc(path: &'static str) -> Row {
    let row = get(path, Call::Ethereum, Answer::Json(""), "Ethereum JSON-RPC");
    Row { verb: Verb::Post, service: Service::Open, body: Body::JsonRpc, ..row }
}

const fn preflight(path: &'static str) -> Row {
    let row = get(path, Call::Preflight, Answer::Nothing, "What browsers ask first");
    Row { verb: Verb::Options, ..row }
}

const fn commit(path: &'static str) -> Row {
    let call = Call::Ledger(LedgerCall::Commit);
    get(path, call, Answer::Json("Commit"), "The last committed transaction").asks(VIEW_HISTORY)
}

const fn tx(path: &'static str) -> Row {
    let call = Call::Ledger(LedgerCall::Tx);
    let summary = "Whether a transaction is committed";
    get(path, call, Answer::Json("TxStatus"), summary).asks(&[TRANSACTION_ID])
}

const fn receipt(path: &'static str) -> Row {
    let call = Call::Ledger(LedgerCall::Receipt);
    let summary = "The receipt of a transaction, signed by a node";
    get(path, call, Answer::Json("Receipt"), summary).asks(&[TRANSACTION_ID])
}

const fn cose_receipt(path: &'static str) -> Row {
    let call = Call::Ledger(LedgerCall::CoseReceipt);
    let summary = "The receipt of a transaction, signed by the service";
    get(path, call, Answer::Cose, summary).asks(&[TRANSACTION_ID])
}

const fn endorsements(path: &'static str) -> Row {
    let call = Call::Ledger(LedgerCall::Endorsements);
    let summary =
        "How the service endorses the one that signed a receipt, when it was recovered since then";
    get(path, call, Answer::CoseList, summary).asks(&[TRANSACTION_ID])
}

const fn api(path: &'static str, frontend: Frontend) -> Row {
    get(path, Call::Api(frontend), Answer::Json("OpenApi"), "This document")
}

const fn node(
    path: &'static str,
    call: NodeCall,
    schema: &'static str,
    summary: &'static str,
) -> Row {
    get(path, Call::Node(call), Answer::Json(schema), summary)
}

const fn download(
    path: &'static str,
    call: DownloadCall,
    feature: OperatorFeature,
    summary: &'static str,
) -> Row {
    Row { feature: Some(feature), ..get(path, Call::Download(call), Answer::File, summary) }
}

const fn chunk_at(path: &'static str) -> Row {
    let summary = "The way to the ledger file that holds an entry";
    download(path, DownloadCall::ChunkAt, OperatorFeature::LedgerChunkRead, summary)
        .gives(Answer::WayToFile)
        .asks(&[SINCE_ENTRY])
}

const fn chunk(path: &'static str) -> Row {
    let summary = "A ledger file, or a range of it";
    download(path, DownloadCall::Chunk, OperatorFeature::LedgerChunkRead, summary)
}

const fn read(
    path: &'static str,
    call: GovernanceRead,
    schema: &'static str,
    summary: &'static str,
) -> Row {
    let row = get(path, Call::Governance(call), Answer::Json(schema), summary);
    Row { versions: Versions::All, query: &[API_VERSION], ..row }
}

const fn list(
    path: &'static str,
    call: GovernanceRead,
    schema: &'static str,
    summary: &'static str,
) -> Row {
    read(path, call, schema, summary).asks(&[API_VERSION, LIMIT, AFTER])
}

const fn write(
    path: &'static str,
    call: GovernanceWrite,
    message: &'static str,
    summary: &'static str,
) -> Row {
    let row = get(path, Call::Write(call), Answer::Json("Proposal"), summary);
    Row {
        verb: Verb::Post,
        who: Who::ActiveMember,
        versions: Versions::All,
        query: &[API_VERSION],
        body: Body::Signed(message),
        ..row
    }
}

impl Row {
    const fn gives(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    const fn asks(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    const fn stable(self) -> Self {
        Self { versions: Versions::Stable, ..self }
    }

    const fn by_any_member(self) -> Self {
        Self { who: Who::Member, ..self }
    }

    /// The prefix that its document is about, if it is in one.
    #[must_use]
    pub fn frontend(&self) -> Option<Frontend> {
        let is_below = |frontend: &Frontend| {
            let rest = self.path.strip_prefix(frontend.prefix());
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        Frontend::ALL.into_iter().find(is_below)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_rows_are_one_call() {
        let calls: BTreeSet<_> =
            ROWS.iter().map(|row| (row.path, format!("{:?}", row.verb))).collect();
        assert_eq!(calls.len(), ROWS.len());
    }

    #[test]
    fn governance_is_versioned_and_writes_need_a_member() {
        for row in ROWS {
            let is_common = matches!(row.call, Call::Ledger(_) | Call::Api(_));
            let is_versioned = row.versions != Versions::Unversioned;
            let is_governance = row.frontend() == Some(Frontend::Gov);
            assert_eq!(is_versioned, is_governance && !is_common, "{}", row.path);
            assert_eq!(is_versioned, row.query.contains(&API_VERSION), "{}", row.path);
            let is_signed = matches!(row.body, Body::Signed(_));
            let is_members = matches!(row.who, Who::Member | Who::ActiveMember);
            assert_eq!(is_signed, is_members, "{}", row.path);
            assert!(!is_signed || row.verb == Verb::Post, "{}", row.path);
        }
    }

    #[test]
    fn only_what_needs_the_application_waits_for_the_service_to_open() {
        for row in ROWS {
            let expected = row.call == Call::Ethereum;
            assert_eq!(row.service == Service::Open, expected, "{}", row.path);
        }
    }
}
