//! The tables of governance: CCF's, name by name and field by field, and ours for voting policies, disclosures and
//! organisations.
//!
//! All are public, so that anyone who holds the ledger reads them. Ids are keys as the bytes of their hexadecimal text;
//! a table with one row has the key of eight zero bytes. Values are JSON, except for certificates, keys, modules and
//! proposals, which are the bytes themselves.

use std::collections::BTreeMap;

use coco_kv::{MapId, MapKind, MapName, MapSpec, Transaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{ErrorCode, GovernanceError};

/// `member id -> JSON`: [`MemberRow`].
pub const MEMBERS_INFO: &str = "public:ccf.gov.members.info";
/// `member id -> PEM`: their certificates.
pub const MEMBERS_CERTS: &str = "public:ccf.gov.members.certs";
/// `member id -> PEM`: keys to encrypt recovery shares to.
pub const MEMBERS_ENCRYPTION_KEYS: &str = "public:ccf.gov.members.encryption_public_keys";
/// `member id -> JSON`: [`AckRow`].
pub const MEMBERS_ACKS: &str = "public:ccf.gov.members.acks";
/// `participant id -> JSON`: what members say of participants.
pub const USERS_INFO: &str = "public:ccf.gov.users.info";
/// `participant id -> PEM`: their certificates.
pub const USERS_CERTS: &str = "public:ccf.gov.users.certs";
/// `one key -> JSON text`: the constitution.
pub const CONSTITUTION: &str = "public:ccf.gov.constitution";
/// `proposal id -> bytes`: proposals as they were signed.
pub const PROPOSALS: &str = "public:ccf.gov.proposals";
/// `proposal id -> JSON`: [`ProposalRow`].
pub const PROPOSALS_INFO: &str = "public:ccf.gov.proposals_info";
/// `member id -> JSON text`: the last signed request of each member, in base64. The ledger has them all.
pub const COSE_HISTORY: &str = "public:ccf.gov.cose_history";
/// `<created_at, ten digits>:<digest> -> JSON text`: the proposals that a new one is compared with.
pub const COSE_RECENT_PROPOSALS: &str = "public:ccf.gov.cose_recent_proposals";
/// `one key -> JSON`: [`ConfigurationRow`].
pub const SERVICE_CONFIG: &str = "public:ccf.gov.service.config";
/// `one key -> JSON`: which votes suffice, as our own constitution has it, and for how long proposals stay open.
pub const VOTING_POLICY: &str = "public:ccf.gov.voting_policy";
/// `proposal id -> JSON`: [`DisclosureRow`](crate::rows::DisclosureRow). Ours.
pub const DISCLOSURES: &str = "public:ccf.gov.disclosures";
/// `node id -> JSON`: which member trusted a node by its word alone, as our own constitution has it.
pub const AUTOMATIC_VOTES: &str = "public:ccf.gov.automatic_votes";
/// `one key -> JSON`: the service's certificate and status. The ledger's own crate writes it, too.
pub const SERVICE_INFO: &str = "public:ccf.gov.service.info";
/// `node id -> JSON`: the nodes. The ledger's own crate writes it, too.
pub const NODES_INFO: &str = "public:ccf.gov.nodes.info";
/// `one key -> JSON`: the newest ledger secret under a key that recovery members share, and their shares.
pub const RECOVERY_SHARES: &str = "public:ccf.internal.recovery_shares";
/// `one key -> JSON`: the ledger secret before the newest, under it. Written when the newest began.
pub const PAST_LEDGER_SECRET: &str = "public:ccf.internal.historical_encrypted_ledger_secret";
/// `member id -> JSON text`: shares that members sent in during a recovery, sealed, in base64.
pub const ENCRYPTED_SUBMITTED_SHARES: &str = "public:ccf.internal.encrypted_submitted_shares";
/// `one key -> JSON`: the last signature. Scripts ask it for the root alone; see [`crate::Situation`].
pub const SIGNATURES: &str = "public:ccf.internal.signatures";

/// `method and path -> JSON`: [`EndpointRow`](crate::rows::EndpointRow).
pub const ENDPOINTS: &str = "public:ccf.gov.endpoints";
/// `issuer -> JSON`: [`JwtIssuerRow`](crate::rows::JwtIssuerRow).
pub const JWT_ISSUERS: &str = "public:ccf.gov.jwt.issuers";
/// `key id -> JSON`: a list of [`JwtKeyRow`](crate::rows::JwtKeyRow).
pub const JWT_KEYS: &str = "public:ccf.gov.jwt.public_signing_keys_metadata_v2";
/// `name -> text`: modules of the JavaScript application.
pub const MODULES: &str = "public:ccf.gov.modules";
/// `measurement -> JSON`: SGX code that may join.
pub const NODES_CODE_IDS: &str = "public:ccf.gov.nodes.code_ids";
/// What members say of a seat in the row of the node that has it, and whoever takes it over keeps.
pub const NODE_FIELDS_KEPT: [&str; 2] = ["node_data", "successors"];

/// `node id -> JSON`: what a node has shown last of what it runs, and what was found. Ours; the replica's own crate writes it.
pub const NODES_ATTESTATIONS: &str = "public:coco.gov.nodes.attestations";
/// `seat -> JSON`: [`LeaseRow`](crate::LeaseRow). Ours.
pub const NODES_LEASES: &str = "public:coco.gov.nodes.leases";
/// `node id -> PEM`: certificates of nodes.
pub const NODES_ENDORSED_CERTIFICATES: &str = "public:ccf.gov.nodes.endorsed_certificates";
/// `digest -> JSON`: host data of SEV-SNP nodes that may join.
pub const SNP_HOST_DATA: &str = "public:ccf.gov.nodes.snp.host_data";
/// `measurement -> JSON`: SEV-SNP code that may join.
pub const SNP_MEASUREMENTS: &str = "public:ccf.gov.nodes.snp.measurements";
/// `processor -> JSON`: the least TCB version.
pub const SNP_TCB_VERSIONS: &str = "public:ccf.gov.nodes.snp.tcb_versions";
/// `DID -> JSON`: who endorses utility VMs.
pub const SNP_UVM_ENDORSEMENTS: &str = "public:ccf.gov.nodes.snp.uvm_endorsements";
/// `digest -> nothing`: host data of virtual nodes that may join.
pub const VIRTUAL_HOST_DATA: &str = "public:ccf.gov.nodes.virtual.host_data";
/// `measurement -> JSON`: virtual code that may join.
pub const VIRTUAL_MEASUREMENTS: &str = "public:ccf.gov.nodes.virtual.measurements";
/// `one key -> PEM`: the certificate of the service before the last recovery.
pub const PREVIOUS_SERVICE_IDENTITY: &str = "public:ccf.gov.service.previous_service_identity";
/// `one key -> JSON`: the endorsement of the service before the last recovery. The ledger's own crate writes and checks it.
pub const PREVIOUS_SERVICE_ENDORSEMENT: &str =
    "public:ccf.internal.previous_service_identity_endorsement";
/// `name -> JSON text`: certificates, in PEM, by which issuers of tokens are recognised.
pub const CA_CERT_BUNDLES: &str = "public:ccf.gov.tls.ca_cert_bundles";

/// `name -> JSON`: [`OrganisationRow`](crate::rows::OrganisationRow). Ours.
pub const ORGANISATIONS: &str = "public:coco.gov.organisations.info";
/// `name -> JSON`: which serial numbers of an organisation's users are revoked, as a list. Ours.
pub const ORGANISATIONS_REVOCATIONS: &str = "public:coco.gov.organisations.revocations";

/// Whether members alone write to a table, by their votes: by its name.
#[must_use]
pub fn is_of_governance(name: &str) -> bool {
    name.starts_with("public:ccf.gov.") || name.starts_with("public:coco.gov.")
}

/// All tables that a service has from the start. A constitution can use these and no others.
pub const TABLES: [&str; 55] = [
    AUTOMATIC_VOTES,
    CONSTITUTION,
    COSE_HISTORY,
    COSE_RECENT_PROPOSALS,
    DISCLOSURES,
    ENCRYPTED_SUBMITTED_SHARES,
    MEMBERS_ACKS,
    MEMBERS_CERTS,
    MEMBERS_ENCRYPTION_KEYS,
    MEMBERS_INFO,
    NODES_INFO,
    PAST_LEDGER_SECRET,
    PROPOSALS,
    PROPOSALS_INFO,
    RECOVERY_SHARES,
    SERVICE_CONFIG,
    SERVICE_INFO,
    USERS_CERTS,
    USERS_INFO,
    VOTING_POLICY,
    ENDPOINTS,
    "public:ccf.gov.history",
    "public:ccf.gov.interpreter.flush",
    "public:ccf.gov.js_runtime_options",
    JWT_ISSUERS,
    "public:ccf.gov.jwt.public_signing_key",
    "public:ccf.gov.jwt.public_signing_key_issuer",
    "public:ccf.gov.jwt.public_signing_keys",
    "public:ccf.gov.jwt.public_signing_keys_metadata",
    JWT_KEYS,
    MODULES,
    "public:ccf.gov.modules_quickjs_bytecode",
    "public:ccf.gov.modules_quickjs_version",
    NODES_ATTESTATIONS,
    NODES_CODE_IDS,
    "public:ccf.gov.nodes.code_update_policy",
    NODES_ENDORSED_CERTIFICATES,
    NODES_LEASES,
    "public:ccf.gov.nodes.node_join_policy",
    SNP_HOST_DATA,
    SNP_MEASUREMENTS,
    SNP_TCB_VERSIONS,
    SNP_UVM_ENDORSEMENTS,
    VIRTUAL_HOST_DATA,
    VIRTUAL_MEASUREMENTS,
    "public:ccf.gov.operators",
    "public:ccf.gov.roles",
    "public:ccf.gov.service.acme_certificates",
    PREVIOUS_SERVICE_IDENTITY,
    "public:ccf.gov.service.previous_service_last_signed_root",
    CA_CERT_BUNDLES,
    PREVIOUS_SERVICE_ENDORSEMENT,
    "public:ccf.internal.last_recovery_type",
    ORGANISATIONS,
    ORGANISATIONS_REVOCATIONS,
];

/// The tables as maps of a store's schema, in ranges.
#[must_use]
pub fn maps() -> Vec<MapSpec> {
    TABLES.map(|name| MapSpec::new(MapName::from_static(name), MapKind::Ordered)).to_vec()
}

/// The key of a table with one row.
#[must_use]
pub const fn singleton_key() -> &'static [u8] {
    &[0; 8]
}

/// Whether a member may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberStatus {
    /// Admitted, and has not acknowledged the state of the service yet.
    Accepted,
    /// Acts and votes.
    Active,
}

/// A member's part in recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecoveryRole {
    /// Holds nothing.
    NonParticipant,
    /// Holds a share.
    Participant,
    /// Holds a key that suffices alone.
    Owner,
}

/// A row of [`MEMBERS_INFO`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Whether it may act.
    pub status: MemberStatus,
    /// Whatever the members say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_data: Option<Value>,
    /// Its part in recovery, if it has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_role: Option<RecoveryRole>,
    /// What a constitution keeps there beside.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A row of [`MEMBERS_ACKS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckRow {
    /// The Merkle root that the member is to acknowledge next, or did.
    pub state_digest: String,
    /// Its signed acknowledgement, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cose_sign1_req: Option<String>,
    /// When the member signed the request that the digest was given for, in seconds since 1970. Ours; not there in the row of
    /// an admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<u64>,
}

/// What is read of the row of [`SERVICE_CONFIG`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConfigurationRow {
    /// How many shares restore the service.
    pub recovery_threshold: Option<u64>,
    /// Longest time for which a node's certificate may be valid, in days.
    pub maximum_node_certificate_validity_days: Option<u64>,
    /// Longest time for which the service's certificate may be valid, in days.
    pub maximum_service_certificate_validity_days: Option<u64>,
    /// How many proposals a new one is compared with.
    pub recent_cose_proposals_window_size: Option<u64>,
    /// How old a ledger secret may become before the service replaces it, in seconds. Ours.
    pub ledger_secret_age_max_s: Option<u64>,
    /// Whether a node may go on from its own disk when it starts again. Ours.
    pub restart_from_disk: Option<bool>,
    /// For how long a node is believed to run what it showed, in seconds; nothing or zero for ever. Ours.
    pub node_lease_s: Option<u64>,
}

impl ConfigurationRow {
    /// For how long a node is believed to run what it showed, in seconds, if not for ever.
    #[must_use]
    pub fn lease_s(&self) -> Option<u64> {
        self.node_lease_s.filter(|seconds| *seconds > 0)
    }
}

/// Where a proposal is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposalState {
    /// Being voted on.
    Open,
    /// Carried out.
    Accepted,
    /// Refused by vote.
    Rejected,
    /// Taken back by whoever made it.
    Withdrawn,
    /// Could not be decided or carried out. Never in a table: nothing remains of such a request.
    Failed,
    /// Open when the constitution or the voting policy changed, or for too long.
    Dropped,
}

/// Why a script gave no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it said.
    pub reason: String,
    /// The calls that led there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// A row of [`PROPOSALS_INFO`]. Keys within are ids of members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalRow {
    /// Who made it.
    pub proposer_id: String,
    /// Where it is in its life.
    pub state: ProposalState,
    /// The sources of ballots.
    pub ballots: BTreeMap<String, String>,
    /// What the ballots said when it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_votes: Option<BTreeMap<String, bool>>,
    /// Which ballots said nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote_failures: Option<BTreeMap<String, Failure>>,
    /// Why it failed or was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the service took it, in seconds since 1970. Ours, like the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<u64>,
    /// From when on it is not voted on any more, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// The table of that name in the store of a transaction.
pub(crate) fn table(tx: &Transaction<'_>, name: &'static str) -> Result<MapId, GovernanceError> {
    let map = tx.map(&MapName::from_static(name)).filter(|map| tx.is_ordered(*map));
    let missing = || format!("the store has no table {name} that can be listed");
    map.ok_or_else(|| GovernanceError::new(ErrorCode::InternalError, missing()))
}

/// The bytes of a row.
pub(crate) fn get(
    tx: &mut Transaction<'_>,
    name: &'static str,
    key: &[u8],
) -> Result<Option<coco_kv::Value>, GovernanceError> {
    let map = table(tx, name)?;
    Ok(tx.get(map, key))
}

/// Writes the bytes of a row.
pub(crate) fn put(
    tx: &mut Transaction<'_>,
    name: &'static str,
    key: &[u8],
    value: &[u8],
) -> Result<(), GovernanceError> {
    let map = table(tx, name)?;
    tx.put(map, key, value);
    Ok(())
}

/// Removes a row.
pub(crate) fn remove(
    tx: &mut Transaction<'_>,
    name: &'static str,
    key: &[u8],
) -> Result<(), GovernanceError> {
    let map = table(tx, name)?;
    tx.remove(map, key);
    Ok(())
}

/// A row that is JSON.
pub(crate) fn read<T: DeserializeOwned>(
    tx: &mut Transaction<'_>,
    name: &'static str,
    key: &[u8],
) -> Result<Option<T>, GovernanceError> {
    get(tx, name, key)?.map(|row| parse(name, key, &row)).transpose()
}

/// Reads a row of JSON.
pub(crate) fn parse<T: DeserializeOwned>(
    name: &str,
    key: &[u8],
    row: &[u8],
) -> Result<T, GovernanceError> {
    serde_json::from_slice(row).map_err(|error| {
        let key = String::from_utf8_lossy(key);
        let message = format!("the row {key:?} of {name} cannot be read: {error}");
        GovernanceError::new(ErrorCode::InternalError, message)
    })
}

/// Writes a row that is JSON.
pub(crate) fn write<T: Serialize>(
    tx: &mut Transaction<'_>,
    name: &'static str,
    key: &[u8],
    row: &T,
) -> Result<(), GovernanceError> {
    let row = serde_json::to_vec(row).expect("rows have textual keys and so a JSON form");
    put(tx, name, key, &row)
}

/// What the service is doing, if there is one.
pub(crate) fn service_status(tx: &mut Transaction<'_>) -> Result<Option<String>, GovernanceError> {
    #[derive(Deserialize)]
    struct ServiceRow {
        status: String,
    }
    let row: Option<ServiceRow> = read(tx, SERVICE_INFO, singleton_key())?;
    Ok(row.map(|row| row.status))
}

/// A key and its value.
pub type Row = (Box<[u8]>, coco_kv::Value);

/// Every row of a table, in the order of keys.
pub(crate) fn rows(
    tx: &mut Transaction<'_>,
    name: &'static str,
) -> Result<Vec<Row>, GovernanceError> {
    let map = table(tx, name)?;
    Ok(tx.range(map, &[], None, usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_public_and_named_once() {
        let names: std::collections::BTreeSet<&str> = TABLES.into_iter().collect();
        assert_eq!(names.len(), TABLES.len());
        assert!(
            names
                .iter()
                .all(|name| is_of_governance(name) || name.starts_with("public:ccf.internal."))
        );
        assert_eq!(maps().len(), TABLES.len());
    }

    #[test]
    fn a_member_keeps_what_is_not_known() {
        let row =
            r#"{"status":"Accepted","member_data":{"a":1},"recovery_role":"Owner","more":[1]}"#;
        let read: MemberRow = serde_json::from_str(row).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), row);
        let row = r#"{"status":"Active"}"#;
        let read: MemberRow = serde_json::from_str(row).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), row);
    }

    #[test]
    fn a_proposal_has_ccfs_fields() {
        let row = r#"{"proposer_id":"a","state":"Open","ballots":{"b":"export"}}"#;
        let read: ProposalRow = serde_json::from_str(row).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), row);
    }
}
