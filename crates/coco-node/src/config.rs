//! One node's configuration: a TOML file.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use coco_replica::SNAPSHOT_ENTRIES_MIN;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::address::HostPort;

/// Everything that a node is told at its start. Paths are relative to the file's folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Folder of ledger, sealed identity and hard state.
    pub data_dir: PathBuf,
    /// Where the node serves clients over HTTPS.
    pub client: ClientInterface,
    /// Ethereum JSON-RPC over plain HTTP, for development. Only loopback addresses are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub development_http: Option<DevelopmentInterface>,
    /// Where the other nodes reach this one.
    pub peer: PeerInterface,
    /// All nodes of the network with their addresses, this one included.
    pub nodes: Vec<NodeAddress>,
    /// How the ledger is written.
    #[serde(default)]
    pub ledger: LedgerSettings,
    /// Timing of elections.
    #[serde(default)]
    pub consensus: ConsensusSettings,
    /// What a client may ask for.
    #[serde(default)]
    pub limits: Limits,
    /// How Ethereum is hosted.
    #[serde(default)]
    pub ethereum: EthereumSettings,
    /// How keys of issuers of tokens are fetched.
    #[serde(default)]
    pub jwt: JwtSettings,
}

/// How keys of issuers of tokens (JWT) are fetched, for those whose keys members want to be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JwtSettings {
    /// How often, in milliseconds, while this node is primary.
    pub key_refresh_interval_ms: u64,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self { key_refresh_interval_ms: 30 * 60 * 1000 }
    }
}

/// How Ethereum is hosted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EthereumSettings {
    /// Whether transactions without a chain id (before EIP-155) are taken. They can be replayed from other chains.
    pub allow_unprotected: bool,
    /// How long a transaction waits for the nonces before it until it is refused, in milliseconds.
    pub nonce_gap_wait_ms: u64,
}

impl Default for EthereumSettings {
    fn default() -> Self {
        Self { allow_unprotected: false, nonce_gap_wait_ms: coco_evm::pool::GAP_WAIT_MS }
    }
}

/// The HTTPS interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientInterface {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What is offered to whoever asks beside what every node offers. It reads disks, gives long answers
    /// and makes entries, so it is nothing for an interface to all the world.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub enabled_operator_features: BTreeSet<OperatorFeature>,
}

impl ClientInterface {
    /// One that offers what every node offers.
    #[must_use]
    pub const fn at(listen: SocketAddr) -> Self {
        Self { listen, enabled_operator_features: BTreeSet::new() }
    }
}

/// What a node may offer, by CCF's names as far as it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OperatorFeature {
    /// Its snapshots.
    SnapshotRead,
    /// That whoever reaches it has all nodes make a snapshot.
    SnapshotCreate,
    /// The files of its ledger that are complete and committed.
    LedgerChunkRead,
    /// That whoever reaches it has the rows of nodes removed that have left. Ours.
    NodeRemove,
}

impl OperatorFeature {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::SnapshotRead, Self::SnapshotCreate, Self::LedgerChunkRead, Self::NodeRemove];
}

/// The plain HTTP interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevelopmentInterface {
    /// Where to listen: a loopback address.
    pub listen: SocketAddr,
}

/// The peer interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerInterface {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// A node of the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Where its peer interface is reached: host and port.
    pub peer: String,
    /// Where its client interface is reached: host and port.
    pub client: String,
}

/// How the ledger is written.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// A chunk file ends with the first signature after this many bytes.
    pub chunk_bytes: u64,
    /// Longest time from an entry to its signature, in milliseconds, under load.
    pub signature_interval_ms: u64,
    /// How many entries below the committed one can be asked for state; fewer where large rows were replaced, see
    /// [`PAST_BYTES_MAX`](coco_replica::PAST_BYTES_MAX).
    pub retained_entries: u64,
    /// A snapshot is made of the first signature at or after each multiple of this; 0 for none. The same on all nodes.
    pub snapshot_entries: u64,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self {
            chunk_bytes: 5_000_000,
            signature_interval_ms: 20,
            retained_entries: 1024,
            snapshot_entries: 10_000,
        }
    }
}

/// Timing of elections.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsensusSettings {
    /// A primary is heard from at least this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// A backup waits at least this long for the primary before it stands for election, in milliseconds.
    pub election_ms_min: u64,
    /// And at most this long.
    pub election_ms_max: u64,
    /// What this node is when it starts again.
    pub restart: Restart,
}

/// What a node is when it starts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// A new node, with a key that was never on a disk, which asks the others for its seat. Bears a host that sets disks
    /// back. When a majority is down at one time, nobody can give seats.
    #[default]
    Rejoin,
    /// The node that it was, with the view and the vote of its disk. Bears that all are down at once, and believes its
    /// host that the disk is the newest one.
    FromDisk,
}

impl Default for ConsensusSettings {
    fn default() -> Self {
        let restart = Restart::default();
        Self { heartbeat_ms: 50, election_ms_min: 500, election_ms_max: 1000, restart }
    }
}

/// What a client may ask for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at one time, over all client interfaces.
    pub connections_max: usize,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of a request's headers.
    pub header_bytes_max: usize,
    /// Number of a request's headers.
    pub headers_max: usize,
    /// Calls in one JSON-RPC batch.
    pub batch_max: usize,
    /// Time for the headers of a request to arrive, in milliseconds.
    pub header_timeout_ms: u64,
    /// Time for the body of a request to arrive, in milliseconds.
    pub body_timeout_ms: u64,
    /// Time for a request to be answered, in milliseconds.
    pub request_timeout_ms: u64,
    /// Transactions that wait to be executed.
    pub queue_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 2000,
            body_bytes_max: 1 << 20,
            header_bytes_max: 16 << 10,
            headers_max: 100,
            batch_max: 1000,
            header_timeout_ms: 10_000,
            body_timeout_ms: 15_000,
            request_timeout_ms: 60_000,
            queue_max: 65_536,
        }
    }
}

/// Shortest time between two fetches of an issuer's keys, in milliseconds.
const KEY_REFRESH_MS_MIN: u64 = 100;

/// Longest time that a setting may name, in milliseconds: a day. Sums of a few of them stay far from the end of a u64.
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum LoadConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is no TOML of this form.
    #[error("configuration {path} is not valid")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause, with line and column.
        source: Box<toml::de::Error>,
    },
    /// A value has no meaning.
    #[error("configuration {path}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value, and what it may be.
        what: String,
    },
}

impl NodeConfig {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`LoadConfigError`] that names the file and the value.
    pub fn load(path: &Path) -> Result<Self, LoadConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadConfigError::Read { path: path.into(), source })?;
        Self::parse(path, &text)
    }

    /// The configuration that a file at `path` holds. Errors name it, and paths inside are relative to its folder.
    ///
    /// # Errors
    /// [`LoadConfigError`] that names the value.
    pub fn parse(path: &Path, text: &str) -> Result<Self, LoadConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|source| LoadConfigError::Parse {
            path: path.into(),
            source: Box::new(source),
        })?;
        config.check().map_err(|what| LoadConfigError::Value { path: path.into(), what })?;
        if let Some(folder) = path.parent() {
            config.data_dir = folder.join(&config.data_dir);
        }
        Ok(config)
    }

    /// As everybody may see it: JSON of the parts that are named here. Where files are on its machine is none of them.
    ///
    /// # Panics
    /// Never: every value has a JSON form.
    #[must_use]
    pub fn shown(&self) -> Bytes {
        let Self { data_dir: _, client, development_http, peer, nodes, .. } = self;
        let Self { ledger, consensus, limits, ethereum, jwt, .. } = self;
        let shown = serde_json::json!({
            "client": client, "development_http": development_http, "peer": peer, "nodes": nodes,
            "ledger": ledger, "consensus": consensus, "limits": limits, "ethereum": ethereum,
            "jwt": jwt,
        });
        shown.to_string().into()
    }

    fn check_nodes(&self) -> Result<(), String> {
        if self.nodes.is_empty() || self.nodes.len() > coco_types::limits::NODES_MAX {
            return Err(format!(
                "nodes has {} members, 1 to {} are possible",
                self.nodes.len(),
                coco_types::limits::NODES_MAX
            ));
        }
        for node in &self.nodes {
            for (name, address) in [("peer", &node.peer), ("client", &node.client)] {
                let read: Result<HostPort, _> = address.parse();
                read.map_err(|error| format!("{name} of node {}: {error}", node.id))?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if let Some(development) = &self.development_http
            && !development.listen.ip().is_loopback()
        {
            return Err(format!(
                "development_http.listen is {}, but plain HTTP is served on loopback only; use the client interface",
                development.listen
            ));
        }
        self.check_nodes()?;
        let timing = &self.consensus;
        // Halved instead of doubled: a doubled number could be past the end of its type.
        if timing.heartbeat_ms == 0 || timing.election_ms_min / 2 < timing.heartbeat_ms {
            return Err(
                "consensus.election_ms_min must be at least twice heartbeat_ms, which is above 0"
                    .into(),
            );
        }
        if timing.election_ms_max <= timing.election_ms_min {
            return Err("consensus.election_ms_max must be above election_ms_min".into());
        }
        if (1..SNAPSHOT_ENTRIES_MIN).contains(&self.ledger.snapshot_entries) {
            return Err(format!(
                "ledger.snapshot_entries may be 0, for no snapshots, or {SNAPSHOT_ENTRIES_MIN} and more"
            ));
        }
        let limits = &self.limits;
        for (name, time_ms) in [
            ("ledger.signature_interval_ms", self.ledger.signature_interval_ms),
            ("consensus.election_ms_max", timing.election_ms_max),
            ("limits.header_timeout_ms", limits.header_timeout_ms),
            ("limits.body_timeout_ms", limits.body_timeout_ms),
            ("limits.request_timeout_ms", limits.request_timeout_ms),
            ("ethereum.nonce_gap_wait_ms", self.ethereum.nonce_gap_wait_ms),
            ("jwt.key_refresh_interval_ms", self.jwt.key_refresh_interval_ms),
        ] {
            if time_ms > TIME_MS_MAX {
                return Err(format!("{name} is {time_ms}, at most {TIME_MS_MAX} is possible"));
            }
        }
        let every_ms = self.jwt.key_refresh_interval_ms;
        if every_ms < KEY_REFRESH_MS_MIN {
            return Err(format!(
                "jwt.key_refresh_interval_ms is {every_ms}, at least {KEY_REFRESH_MS_MIN} is possible"
            ));
        }
        if limits.batch_max == 0 || limits.batch_max > crate::frame::FORWARD_ITEMS_MAX {
            return Err(format!(
                "limits.batch_max may be 1 to {}",
                crate::frame::FORWARD_ITEMS_MAX
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> String {
        format!(
            "data_dir = \"n0\"\n[client]\nlisten = \"127.0.0.1:0\"\n[development_http]\nlisten = \"{listen}\"\n\
             [peer]\nlisten = \"127.0.0.1:0\"\n[[nodes]]\nid = \"00\"\npeer = \"a:1\"\nclient = \"a:2\"\n"
        )
    }

    #[test]
    fn plain_http_is_refused_off_loopback() {
        for (listen, ok) in
            [("127.0.0.1:8545", true), ("[::1]:8545", true), ("0.0.0.0:8545", false)]
        {
            let parsed: NodeConfig = toml::from_str(&config(listen)).expect("parses");
            assert_eq!(parsed.check().is_ok(), ok, "{listen}");
        }
    }

    #[test]
    fn times_have_a_limit() {
        let with = |time_ms: u64, lines: &str| {
            let text =
                format!("{}{lines}", config("127.0.0.1:1")).replace("TIME", &time_ms.to_string());
            NodeConfig::parse(Path::new("node.toml"), &text)
        };
        for (time_ms, ok) in
            [(TIME_MS_MAX - 1, true), (TIME_MS_MAX, true), (TIME_MS_MAX + 1, false)]
        {
            assert_eq!(
                with(time_ms, "[limits]\nrequest_timeout_ms = TIME\n").is_ok(),
                ok,
                "{time_ms}"
            );
            assert_eq!(
                with(time_ms, "[consensus]\nelection_ms_max = TIME\n").is_ok(),
                ok,
                "{time_ms}"
            );
        }
        // Doubled, these are past the end of a u64 or of an i64.
        for time_ms in [1 << 62, i64::MAX.unsigned_abs()] {
            let refused =
                with(time_ms, "[consensus]\nheartbeat_ms = TIME\n").expect_err("it is too long");
            assert!(refused.to_string().contains("election_ms_min"), "{refused}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(
            toml::from_str::<NodeConfig>(&format!("colour = 1\n{}", config("127.0.0.1:1")))
                .is_err()
        );
    }
}
