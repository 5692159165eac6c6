//! A network whose members have not opened it yet: one node, as it is on its first day.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::ensure;
use coco_crypto::sha256;
use coco_evm::genesis::{ChainConfig, Genesis};
use coco_governance::{DEFAULT_CONSTITUTION, FirstGovernance, FirstMember};
use coco_node::{
    NodeConfig,
    config::{
        ClientInterface, ConsensusSettings, DevelopmentInterface, EthereumSettings, JwtSettings,
        LedgerSettings, Limits, NodeAddress, OperatorFeature, PeerInterface, Restart,
    },
    provision::{NetworkSpec, NodeSpec, provision},
};
use serde_json::{Map, json};

use super::{
    accounts::CHAIN_ID,
    cluster::Network,
    members::Member,
    program::{Folder, Turn, program},
};

/// Where nobody listens. Nobody else needs to find the only node, and this test reads its addresses from a file.
const NOWHERE: &str = "127.0.0.1:1";
const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Makes the network of these members, who hold no shares, and starts it.
pub(crate) fn start(members: &[&Member]) -> anyhow::Result<Network> {
    start_with(&governance(members))
}

/// Makes the network that is governed so, and starts it.
pub(crate) fn start_with(governance: &FirstGovernance) -> anyhow::Result<Network> {
    let turn = Turn::take()?;
    let folder = Folder::new()?;
    let spec = NodeSpec {
        folder: folder.path().join("n0"),
        client_address: NOWHERE.to_owned(),
        peer_address: NOWHERE.to_owned(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let made = provision(&NetworkSpec {
        nodes: std::slice::from_ref(&spec),
        code_digest: sha256(&fs::read(program())?),
        names: &[],
        genesis: &Genesis { timestamp: now, ..Genesis::new(ChainConfig::new(CHAIN_ID)) },
        governance: Some(governance),
        now,
    })?;
    let config = NodeConfig {
        data_dir: ".".into(),
        client: ClientInterface {
            listen: ANY_PORT.into(),
            enabled_operator_features: OperatorFeature::ALL.into(),
        },
        development_http: Some(DevelopmentInterface { listen: ANY_PORT.into() }),
        peer: PeerInterface { listen: ANY_PORT.into() },
        nodes: vec![NodeAddress {
            id: made.nodes[0].to_string(),
            peer: spec.peer_address,
            client: spec.client_address,
        }],
        ledger: LedgerSettings::default(),
        consensus: ConsensusSettings { restart: Restart::FromDisk, ..ConsensusSettings::default() },
        limits: Limits::default(),
        ethereum: EthereumSettings::default(),
        // A test waits for an issuer's next keys.
        jwt: JwtSettings { key_refresh_interval_ms: 200 },
    };
    fs::write(spec.folder.join("node.toml"), toml::to_string_pretty(&config)?)?;
    fs::write(folder.path().join("service_cert.pem"), &made.service_cert_pem)?;
    let mut network = Network::in_folder(folder, turn, 1, Vec::new());
    network.start(0)?;
    network.await_ready_at("/node/ready/gov")?;
    Ok(network)
}

/// Has a node that is not started yet offer operators something.
pub(crate) fn offer(config: impl AsRef<Path>, feature: OperatorFeature) -> anyhow::Result<()> {
    let before = fs::read_to_string(&config)?;
    let here = "[client]\n";
    ensure!(before.contains(here), "{before}");
    let offers = format!("{here}enabled_operator_features = [\"{feature:?}\"]\n");
    Ok(fs::write(config, before.replacen(here, &offers, 1))?)
}

/// Members with names, under the default constitution.
pub(crate) fn governance(members: &[&Member]) -> FirstGovernance {
    let members = members.iter().enumerate().map(|(i, member)| FirstMember {
        certificate_pem: member.key.certificate().pem(),
        encryption_key_pem: None,
        data: Some(Map::from_iter([("name".to_owned(), json!(format!("m{i}")))])),
    });
    FirstGovernance {
        constitution: DEFAULT_CONSTITUTION.to_owned(),
        members: members.collect(),
        recovery_threshold: None,
        restart_from_disk: true,
        voting_policy: None,
    }
}
