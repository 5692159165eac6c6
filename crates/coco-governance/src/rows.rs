//! What the tables say, for whoever only looks: rows as of one version of a store.

use std::collections::BTreeMap;

use coco_crypto::Certificate;
use coco_kv::{Snapshot, Transaction};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    GovernanceError, ProposalId, Request, replay,
    tables::{self, Row},
};

/// Most rows that are read at once: the store's writer waits meanwhile.
pub const PAGE_ROWS_MAX: usize = 1000;

/// The rows as of one version.
#[derive(Debug)]
pub struct Rows(Transaction<'static>);

impl Rows {
    /// Looks at the version of a snapshot.
    #[must_use]
    pub fn as_of(snapshot: &Snapshot) -> Self {
        Self(snapshot.begin())
    }

    /// The bytes of a row.
    ///
    /// # Errors
    /// [`GovernanceError`] when the store has no such table.
    pub fn get(
        &mut self,
        table: &'static str,
        key: &[u8],
    ) -> Result<Option<coco_kv::Value>, GovernanceError> {
        tables::get(&mut self.0, table, key)
    }

    /// A row that is JSON.
    ///
    /// # Errors
    /// [`GovernanceError`] when the store has no such table, or the row is of another form.
    pub fn read<T: DeserializeOwned>(
        &mut self,
        table: &'static str,
        key: &[u8],
    ) -> Result<Option<T>, GovernanceError> {
        tables::read(&mut self.0, table, key)
    }

    /// The row that stands alone in its table.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn one<T: DeserializeOwned>(
        &mut self,
        table: &'static str,
    ) -> Result<Option<T>, GovernanceError> {
        self.read(table, tables::singleton_key())
    }

    /// At most `limit` rows, and at most [`PAGE_ROWS_MAX`], in the order of keys: the first ones, or those after a key.
    ///
    /// # Errors
    /// [`GovernanceError`] when the store has no such table.
    pub fn page(
        &mut self,
        table: &'static str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, GovernanceError> {
        let start = after.map_or_else(Vec::new, |key| [key, &[0]].concat());
        let map = tables::table(&self.0, table)?;
        Ok(self.0.range(map, &start, None, limit.min(PAGE_ROWS_MAX)))
    }

    /// The proposal that a request made, as long as it counts as a recent one.
    ///
    /// # Errors
    /// [`GovernanceError`] when the store has no such table, or the row is of another form.
    pub fn proposal_of(
        &mut self,
        request: &Request<'_>,
    ) -> Result<Option<ProposalId>, GovernanceError> {
        replay::find(&mut self.0, request.created_at(), request.digest())
    }
}

/// Reads a row of JSON that came from [`Rows::page`].
///
/// # Errors
/// [`GovernanceError`] when it is of another form.
pub fn parse<T: DeserializeOwned>(table: &str, row: &Row) -> Result<T, GovernanceError> {
    tables::parse(table, &row.0, &row.1)
}

/// What is read of the row of [`tables::SERVICE_INFO`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ServiceRow {
    /// The service's certificate, in PEM.
    pub cert: String,
    /// Where it is in its life.
    pub status: String,
    /// How often it was recovered.
    #[serde(default)]
    pub recovery_count: u64,
    /// Whatever the members say of it.
    #[serde(default)]
    pub service_data: Value,
    /// The first transaction of this incarnation.
    pub current_service_create_txid: Option<String>,
    /// The position of the last service's first transaction.
    pub previous_service_identity_version: Option<u64>,
}

impl ServiceRow {
    /// The service's certificate, if it can be read.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        Certificate::from_pem(&self.cert).ok()
    }
}

/// A row of [`tables::DISCLOSURES`]: members agreed that this part of the ledger may be read with their shares.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DisclosureRow {
    /// The first entry.
    pub from: u64,
    /// The last entry.
    pub to: u64,
    /// Why.
    pub reason: String,
}

/// What is read of a row of [`tables::USERS_INFO`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct UserRow {
    /// Whatever the members say of it.
    #[serde(default)]
    pub user_data: Value,
}

/// What is read of a row of [`tables::NODES_INFO`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NodeRow {
    /// Where it is in its life.
    pub status: String,
    /// Whatever the members say of it.
    #[serde(default)]
    pub node_data: Value,
    /// It is retired, and nobody needs it any more.
    #[serde(default)]
    pub retired_committed: bool,
    /// Its evidence.
    pub quote_info: QuoteRow,
    /// The digest of its code, in hexadecimal.
    pub code_digest: Option<String>,
    /// Where clients reach it.
    #[serde(default)]
    pub rpc_interfaces: BTreeMap<String, InterfaceRow>,
}

/// Evidence, in base64 where it is bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct QuoteRow {
    /// Its kind.
    pub format: String,
    /// What the hardware signed.
    #[serde(default)]
    pub quote: String,
    /// Who vouches for the hardware.
    #[serde(default)]
    pub endorsements: String,
    /// Who vouches for the utility VM.
    pub uvm_endorsements: Option<String>,
}

/// An interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InterfaceRow {
    /// Where the node listens.
    #[serde(default)]
    pub bind_address: String,
    /// Where others reach it.
    pub published_address: String,
    /// What it speaks.
    pub app_protocol: Option<String>,
}

/// What is read of a row of [`tables::JWT_ISSUERS`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JwtIssuerRow {
    /// Whether its keys are fetched again and again.
    #[serde(default)]
    pub auto_refresh: bool,
    /// The certificates by which its server is recognised.
    pub ca_cert_bundle_name: Option<String>,
    /// For whom its tokens must be, one of these, if it is said. Ours.
    #[serde(default)]
    pub audience: Option<Audience>,
}

/// Whom a token is for: a name or several, as in RFC 7519.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Audience {
    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// A row of [`tables::ORGANISATIONS`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OrganisationRow {
    /// The certificate of the authority that issues its users' certificates, in PEM.
    pub cert: String,
    /// Whatever the members say of all its users.
    #[serde(default)]
    pub user_data: Value,
}

/// A key of a row of [`tables::JWT_KEYS`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JwtKeyRow {
    /// The key, as DER in base64.
    pub public_key: String,
    /// Whose it is.
    pub issuer: String,
    /// Which tokens it may sign.
    pub constraint: Option<String>,
}

/// What is read of a row of [`tables::ENDPOINTS`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EndpointRow {
    /// The module.
    pub js_module: String,
    /// The function in it.
    pub js_function: String,
    /// Whether a backup passes the request on.
    #[serde(default = "always")]
    pub forwarding_required: Value,
    /// Whether a backup redirects.
    #[serde(default = "none")]
    pub redirection_strategy: Value,
    /// Who may call it.
    #[serde(default)]
    pub authn_policies: Vec<Value>,
    /// Whether it writes.
    #[serde(default = "read_write")]
    pub mode: Value,
    /// What its documentation says.
    #[serde(default)]
    pub openapi: Value,
}

fn always() -> Value {
    "always".into()
}

fn none() -> Value {
    "none".into()
}

fn read_write() -> Value {
    "readwrite".into()
}

#[cfg(test)]
mod tests {
    use coco_kv::{MapName, Store, WriteSet};
    use coco_types::Seqno;

    use super::*;

    #[test]
    fn pages_follow_one_another_and_are_bounded() {
        let mut store = Store::new(tables::maps(), [1, 2]);
        let mut set = WriteSet::new();
        let users = MapName::from_static(tables::USERS_CERTS);
        for i in 0..PAGE_ROWS_MAX + 2 {
            set.insert(&users, format!("{i:064x}").as_bytes(), b"PEM".to_vec());
        }
        store.apply(Seqno(1), &set).unwrap();
        let mut rows = Rows::as_of(&store.reader().head());
        let mut page =
            |after: Option<&[u8]>, limit| rows.page(tables::USERS_CERTS, after, limit).unwrap();
        let first = page(None, usize::MAX);
        assert_eq!(first.len(), PAGE_ROWS_MAX);
        let rest = page(Some(&first[PAGE_ROWS_MAX - 1].0), 5);
        assert_eq!(rest.len(), 2);
        assert_eq!(&*rest[0].0, format!("{PAGE_ROWS_MAX:064x}").as_bytes());
        assert_eq!(page(Some(&rest[1].0), 5), []);
        assert_eq!(page(None, 1).len(), 1);
        assert!(rows.page("public:ccf.gov.nothing", None, 1).is_err());
    }

    #[test]
    fn a_row_as_of_a_version_stays() {
        let mut store = Store::new(tables::maps(), [1, 2]);
        let service = MapName::from_static(tables::SERVICE_INFO);
        for (seqno, status) in [(1, "Opening"), (2, "Open")] {
            let mut set = WriteSet::new();
            let row = serde_json::json!({ "cert": "PEM", "status": status }).to_string();
            set.insert(&service, tables::singleton_key(), row.into_bytes());
            store.apply(Seqno(seqno), &set).unwrap();
        }
        for (seqno, expected) in [(1, "Opening"), (2, "Open")] {
            let mut rows = Rows::as_of(&store.reader().snapshot(Seqno(seqno)).unwrap());
            let row: ServiceRow = rows.one(tables::SERVICE_INFO).unwrap().unwrap();
            assert_eq!((row.status.as_str(), row.recovery_count), (expected, 0));
        }
    }
}
