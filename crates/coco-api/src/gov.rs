//! Shapes of `/gov`. A proposal is shown by the crate of governance itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A list, or as much of it as one answer has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, in the order of their ids.
    pub value: Vec<T>,
    /// Where the list goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

/// The digest that a member is to acknowledge, or did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateDigest {
    /// 64 hexadecimal digits.
    pub member_id: String,
    /// In hexadecimal.
    pub state_digest: String,
}

/// A member's share of the ledger secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptedShare {
    /// 64 hexadecimal digits.
    pub member_id: String,
    /// Encrypted to the member's key, in base64.
    pub encrypted_share: String,
}

/// `GET /gov/service/info`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfo {
    /// `Opening`, `Open`, `WaitingForRecoveryShares` or `Recovering`.
    pub status: String,
    /// PEM.
    pub certificate: String,
    /// How often the service was recovered from disaster.
    pub recovery_count: u64,
    /// The first transaction of this incarnation of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_transaction_id: Option<String>,
    /// That of the incarnation before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_service_creation_transaction_id: Option<String>,
    /// What members attached to the service.
    pub service_data: Value,
    /// What members configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ServiceConfiguration>,
}

/// What members configured, with what holds where they did not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConfiguration {
    /// How many shares restore the service.
    pub recovery_threshold: u64,
    /// In days.
    pub maximum_node_certificate_validity_days: u64,
    /// In days.
    pub maximum_service_certificate_validity_days: u64,
    /// How many proposals a new one is compared with.
    pub recent_cose_proposals_window_size: u64,
}

/// A member of the consortium.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// 64 hexadecimal digits: SHA-256 of the certificate.
    pub member_id: String,
    /// `Accepted` or `Active`.
    pub status: String,
    /// What members say of it.
    pub member_data: Value,
    /// PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// PEM: what its share is encrypted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_encryption_key: Option<String>,
    /// `NonParticipant`, `Participant` or `Owner`.
    pub recovery_role: String,
}

/// A participant, by CCF's word.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// 64 hexadecimal digits: SHA-256 of the certificate.
    pub user_id: String,
    /// PEM.
    pub certificate: String,
    /// What members say of it.
    pub user_data: Value,
}

/// An organisation whose users are participants without being registered. Ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Organisation {
    /// Its name.
    pub name: String,
    /// The certificate of the authority that issues its users' certificates, in PEM.
    pub certificate: String,
    /// What members say of all its users.
    pub user_data: Value,
    /// The serial numbers of certificates that count no more, in hexadecimal.
    pub revoked_serials: Vec<String>,
}

/// A node, as members see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceNode {
    /// 64 hexadecimal digits.
    pub node_id: String,
    /// `Pending`, `Trusted` or `Retired`.
    pub status: String,
    /// What members say of it.
    pub node_data: Value,
    /// PEM: the certificate by which the service endorses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// It is retired, and nobody needs it any more.
    pub retired_committed: bool,
    /// Its evidence.
    pub quote_info: QuoteInfo,
    /// Where it serves, by the interface's name.
    pub rpc_interfaces: BTreeMap<String, PublishedInterface>,
}

/// Evidence. Which members are there depends on its kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuoteInfo {
    /// Its kind.
    pub format: String,
    /// What hardware signed, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Who vouches for the hardware, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsements: Option<String>,
    /// Who vouches for the utility VM, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uvm_endorsements: Option<String>,
    /// What stands for evidence without hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_quote: Option<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<QuoteDetails>,
}

/// What evidence without hardware says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuoteDetails {
    /// The digest of the code, in hexadecimal.
    pub measurement: String,
}

/// Where an interface is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedInterface {
    /// Host and port.
    pub published_address: String,
    /// What it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// `GET /gov/service/join-policy`: which nodes may join, by platform.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JoinPolicy {
    /// SGX.
    pub sgx: SgxPolicy,
    /// Without hardware.
    #[serde(rename = "virtual")]
    pub without_hardware: VirtualPolicy,
    /// SEV-SNP.
    pub snp: SnpPolicy,
}

impl JoinPolicy {
    /// The code that nodes may run: a platform with a measurement, one after the other.
    pub fn code(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let platforms = [
            ("sgx", &self.sgx.measurements),
            ("virtual", &self.without_hardware.measurements),
            ("sev-snp", &self.snp.measurements),
        ];
        platforms
            .into_iter()
            .flat_map(|(platform, codes)| codes.iter().map(move |code| (platform, code.as_str())))
    }
}

/// Which SGX nodes may join.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SgxPolicy {
    /// Digests of code, in hexadecimal.
    pub measurements: Vec<String>,
}

/// Which nodes without hardware may join.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualPolicy {
    /// What stands for digests of code.
    pub measurements: Vec<String>,
    /// Digests of what the host was told, in hexadecimal.
    pub host_data: Vec<String>,
}

/// Which SEV-SNP nodes may join.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnpPolicy {
    /// Digests of code, in hexadecimal.
    pub measurements: Vec<String>,
    /// By digest, in hexadecimal.
    pub host_data: BTreeMap<String, Value>,
    /// By DID.
    pub uvm_endorsements: BTreeMap<String, Value>,
    /// By processor.
    pub tcb_versions: BTreeMap<String, Value>,
}

/// `GET /gov/service/jwk`: whose tokens are accepted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Jwk {
    /// By name.
    pub issuers: BTreeMap<String, JwtIssuer>,
    /// By key id.
    pub keys: BTreeMap<String, Vec<JwtKey>>,
    /// PEM, by name.
    pub ca_cert_bundles: BTreeMap<String, String>,
}

/// Whoever issues tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtIssuer {
    /// Whether its keys are fetched again and again.
    pub auto_refresh: bool,
    /// The certificates by which its server is recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert_bundle_name: Option<String>,
    /// For whom its tokens must be, one of these. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
}

/// A key that signs tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtKey {
    /// PEM.
    pub public_key: String,
    /// Whose it is.
    pub issuer: String,
    /// Which tokens it may sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
}

/// `GET /gov/service/javascript-app`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JavascriptApp {
    /// By path, and by method.
    pub endpoints: BTreeMap<String, BTreeMap<String, Value>>,
}

/// An endpoint of the JavaScript application.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JavascriptEndpoint {
    /// The module.
    pub js_module: String,
    /// The function in it.
    pub js_function: String,
    /// Whether a backup passes the request on.
    pub forwarding_required: Value,
    /// Whether a backup redirects.
    pub redirection_strategy: Value,
    /// Who may call it.
    pub authn_policies: Vec<Value>,
    /// Whether it writes.
    pub mode: Value,
    /// What its documentation says.
    pub open_api: Value,
}

/// A module of the JavaScript application.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JavascriptModule {
    /// Its name.
    pub module_name: String,
}

/// `GET /gov/service/transactions/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionStatus {
    /// As asked.
    pub transaction_id: String,
    /// `Unknown`, `Pending`, `Committed` or `Invalid`.
    pub status: String,
}

/// `POST /gov/members/proposals:simulate`: what a proposal would change. Ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Simulation {
    /// What it would write, by table and key.
    pub writes: Vec<SimulatedWrite>,
    /// What it would ask the node for, in this order.
    pub effects: Vec<SimulatedEffect>,
}

/// A row that would be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedWrite {
    /// The table.
    pub table: String,
    /// Its key.
    pub key: String,
    /// `base64` when the key is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_encoding: Option<String>,
    /// Its value; null where the row would be removed.
    pub value: Option<String>,
    /// `base64` when the value is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_encoding: Option<String>,
}

/// Something that a proposal would ask the node to do, under the name that constitutions use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SimulatedEffect {
    /// Make a new ledger secret.
    TriggerLedgerRekey,
    /// Share the ledger secret anew.
    TriggerRecoverySharesRefresh,
    /// Begin a new file of the ledger.
    TriggerLedgerChunk,
    /// Make a snapshot.
    TriggerSnapshot,
    /// Open the service.
    TransitionServiceToOpen {
        /// PEM of the service before a recovery.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous_service_identity: Option<String>,
        /// PEM of the service that is meant.
        next_service_identity: String,
    },
}
