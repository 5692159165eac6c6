//! Where a node is made: its folder, its addresses, and the file of its settings.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use coco_crypto::Certificate;
use coco_node::{
    NodeConfig,
    address::HostPort,
    config::{
        ClientInterface, ConsensusSettings, EthereumSettings, JwtSettings, LedgerSettings, Limits,
        NodeAddress, PeerInterface, Restart,
    },
    identity::Identity,
    newcomer::{Newcomer, NewcomerPlace},
    provision::program_digest,
};
use coco_types::Digest;

use crate::{
    codes::Code,
    fault::{Fault, chain},
    files::{self, Rights},
};

/// The file of settings in a node's folder.
const CONFIG_FILE: &str = "node.toml";
/// The service's certificate beside it, where this program has made the service.
const SERVICE_CERT_FILE: &str = "service_cert.pem";

#[derive(Debug, clap::Args)]
pub(super) struct PlaceArgs {
    /// Where the node's folder is made
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Where clients reach the node, by a name or an address: its certificate says the same
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) client: HostPort,
    /// Where other nodes reach it, by a name or an address
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) peer: HostPort,
    /// Where it listens for clients, if that is another place: an address of this machine. Where they reach it by a name, it is all
    /// of IPv4 at that port
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_client: Option<SocketAddr>,
    /// The same for other nodes
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_peer: Option<SocketAddr>,
}

impl PlaceArgs {
    /// The keys of the node that is to be: those that are sealed in the folder, or else new ones, which are from then on.
    pub(super) fn newcomer(&self) -> Result<Newcomer, Fault> {
        let opened = Newcomer::open(&self.dir);
        let opened = opened.map_err(|error| Fault::new(Code::FileUnreadable, chain(&error)))?;
        let mut keys = match opened {
            Some(keys) => keys,
            None => make_newcomer(&self.dir)?,
        };
        let place = NewcomerPlace { client: self.client.to_string(), peer: self.peer.to_string() };
        match &keys.place {
            Some(told) if *told == place => Ok(keys),
            // The ledger has them from when it asked first.
            Some(told) => {
                let message = format!("this node asked as {} and {}", told.client, told.peer);
                Err(Fault::new(Code::PlaceOther, message))
            }
            None => {
                keys.settle(&self.dir, place)
                    .map_err(|error| Fault::new(Code::FileUnwritable, chain(&error)))?;
                Ok(keys)
            }
        }
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.dir.join(CONFIG_FILE)
    }

    pub(super) fn service_cert_path(&self) -> PathBuf {
        self.dir.join(SERVICE_CERT_FILE)
    }

    /// Refuses a folder in which there is a node already.
    pub(super) fn check_free(&self) -> Result<(), Fault> {
        check_free(&self.dir)
    }

    /// The keys of the node whose folder this is already, if it is one of that service: one that is quarantined comes again.
    pub(super) fn node_of(&self, service: &Certificate) -> Result<Option<Newcomer>, Fault> {
        if !self.config_path().exists() {
            return Ok(None);
        }
        let identity = Identity::open(&self.dir);
        let identity = identity.map_err(|error| Fault::new(Code::FileUnreadable, chain(&error)))?;
        if identity.service_cert.key() != service.key() {
            let message = format!("{} is of a node of another service", self.dir.display());
            return Err(Fault::new(Code::FileExists, message));
        }
        let (key, encryption_key) = (identity.node_key(), Arc::clone(identity.encryption_key()));
        Ok(Some(Newcomer { key, encryption_key, place: None }))
    }

    /// Writes the settings of the node with this id, in a network of these others.
    pub(super) fn write_config(
        &self,
        id: String,
        others: Vec<NodeAddress>,
        from_disk: bool,
    ) -> Result<(), Fault> {
        let me = NodeAddress { id, peer: self.peer.to_string(), client: self.client.to_string() };
        let restart = if from_disk { Restart::FromDisk } else { Restart::Rejoin };
        let config = NodeConfig {
            // The folder of the file.
            data_dir: PathBuf::from("."),
            client: ClientInterface::at(self.listen_client.unwrap_or(self.client.listen())),
            development_http: None,
            peer: PeerInterface { listen: self.listen_peer.unwrap_or(self.peer.listen()) },
            nodes: others.into_iter().chain([me]).collect(),
            ledger: LedgerSettings::default(),
            consensus: ConsensusSettings { restart, ..ConsensusSettings::default() },
            limits: Limits::default(),
            ethereum: EthereumSettings::default(),
            jwt: JwtSettings::default(),
        };
        let config = toml::to_string_pretty(&config)
            .map_err(|error| Fault::new(Code::FileUnwritable, chain(&error)))?;
        files::create(&self.config_path(), config.as_bytes(), Rights::Public)
    }
}

/// Makes the keys of a node that is to be, and seals them into its folder.
pub(crate) fn make_newcomer(folder: &Path) -> Result<Newcomer, Fault> {
    let failed = |error: &dyn std::error::Error| Fault::new(Code::FileUnwritable, chain(error));
    std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let keys = Newcomer::generate();
    keys.seal(folder).map_err(|error| failed(&error))?;
    Ok(keys)
}

/// Refuses a folder in which there is a node already.
pub(crate) fn check_free(folder: &Path) -> Result<(), Fault> {
    let path = folder.join(CONFIG_FILE);
    if path.exists() {
        return Err(Fault::new(Code::FileExists, path.display().to_string()));
    }
    Ok(())
}

/// The measurement of this program on the virtual platform.
pub(crate) fn code_digest() -> Result<Digest, Fault> {
    program_digest().map_err(|error| Fault::new(Code::Failed, chain(&error)))
}
