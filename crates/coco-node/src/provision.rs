//! Making a new network: the service's and the nodes' keys, and the first entries of the ledger.
//!
//! The first entries are made once, here, and every initial node starts with the same bytes:
//!
//! 1. the nodes, their endorsed certificates and the service, opening;
//! 2. a signature;
//! 3. the genesis state of the hosted ledger, and the members with their constitution. The service waits for them to
//!    open it; one without members is open at once, and nobody can ever change it;
//! 4. a signature.
//!
//! They stand in the genesis view and are committed from the start. All keys pass through the memory of the process
//! that provisions, which is right for development only; nodes that join a running service make their own keys.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use coco_attest::PlatformId;
use coco_crypto::{
    AltName, CertificateError, Curve, DecryptionKey, EndorseNode, NodeRequestError, SecretBytes,
    SigningKey, Validity, endorse_node, node_names, service_certificate, sha256,
};
use coco_evm::{
    genesis::Genesis,
    state::{self, EvmMaps},
};
use coco_governance::{
    ConstitutionError, Engine, FirstGovernance, FirstGovernanceError, Governance,
    put_virtual_measurement,
};
use coco_kv::{Store, WriteSet};
use coco_ledger::{
    FirstLedger, GenesisNode, LEDGER_SECRET_BYTES, LedgerSecret, SealEntryError, ServiceSigner,
    ServiceStatus, genesis_write_set, put_service,
};
use coco_types::{Digest, NodeId, Seqno};
use thiserror::Error;

use crate::{
    folder::{DiskFolder, LedgerFiles},
    identity::{Identity, IdentityError},
};

/// How long certificates are valid, in seconds.
const VALIDITY_SECONDS: u64 = 365 * 24 * 3600;
/// Certificates begin a little in the past, since clocks differ.
pub(crate) const CLOCK_SKEW_SECONDS: u64 = 3600;

/// The period of a certificate that is made at `now`, in seconds since 1970.
pub(crate) const fn a_year_from(now: u64) -> Validity {
    period_from(now, VALIDITY_SECONDS)
}

/// The same for a node's, of which members say for how many days it may be valid at the most.
pub(crate) fn node_period(now: u64, days_max: Option<u64>) -> Validity {
    period_from(now, seconds_max(days_max))
}

/// The same, at most as long as another one, and longer than clocks differ.
pub(crate) fn period_like(now: u64, other: Validity, days_max: Option<u64>) -> Validity {
    let seconds = other.not_after.saturating_sub(other.not_before);
    let seconds = seconds.saturating_sub(CLOCK_SKEW_SECONDS).max(CLOCK_SKEW_SECONDS);
    period_from(now, days_max.map_or(seconds, |_| seconds.min(seconds_max(days_max))))
}

/// How long after `now` a node's certificate ends at the latest.
fn seconds_max(days_max: Option<u64>) -> u64 {
    let most = |days: u64| days.saturating_mul(24 * 3600).saturating_sub(CLOCK_SKEW_SECONDS);
    days_max.map_or(VALIDITY_SECONDS, |days| most(days).min(VALIDITY_SECONDS))
}

const fn period_from(now: u64, seconds: u64) -> Validity {
    Validity {
        not_before: now.saturating_sub(CLOCK_SKEW_SECONDS),
        not_after: now.saturating_add(seconds),
    }
}

/// Folder of the ledger inside a node's folder.
pub const LEDGER_FOLDER: &str = "ledger";

/// What a new network is made of.
#[derive(Debug)]
pub struct NetworkSpec<'a> {
    /// The nodes; their folders are made here.
    pub nodes: &'a [NodeSpec],
    /// SHA-256 of the program that the nodes run.
    pub code_digest: Digest,
    /// Further names of the nodes' certificates.
    pub names: &'a [AltName],
    /// The genesis of the hosted Ethereum ledger.
    pub genesis: &'a Genesis,
    /// Who governs, if anybody.
    pub governance: Option<&'a FirstGovernance>,
    /// Seconds since 1970.
    pub now: u64,
}

/// One node of a new network.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its folder.
    pub folder: PathBuf,
    /// Where clients reach it, host and port.
    pub client_address: String,
    /// Where other nodes reach it, host and port.
    pub peer_address: String,
}

/// Why a network could not be made.
#[derive(Debug, Error)]
pub enum ProvisionError {
    /// A folder or file could not be made.
    #[error("cannot write {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] CertificateError),
    /// A node cannot ask for certificates.
    #[error("cannot make a node's request for certificates")]
    Request(#[from] NodeRequestError),
    /// An identity could not be sealed.
    #[error("cannot seal an identity")]
    Identity(#[from] IdentityError),
    /// The genesis state does not fit an entry.
    #[error("the genesis state is too large")]
    Genesis(#[from] SealEntryError),
    /// Members and constitution make no government.
    #[error("the service cannot be governed so")]
    Governance(#[from] FirstGovernanceError),
    /// The constitution does not run.
    #[error("the constitution cannot be used")]
    Constitution(#[from] ConstitutionError),
}

/// What was made.
#[derive(Debug)]
pub struct Network {
    /// PEM of the service's certificate, for clients and auditors.
    pub service_cert_pem: String,
    /// The nodes, in the order of their folders.
    pub nodes: Vec<NodeId>,
}

/// The digest of the program that runs. Its file may have been replaced meanwhile, and what runs has not.
///
/// # Errors
/// When it cannot be read.
pub fn program_digest() -> io::Result<Digest> {
    let running = fs::read("/proc/self/exe");
    let program = running.or_else(|_| std::env::current_exe().and_then(fs::read));
    Ok(sha256(&program?))
}

/// Makes the keys and the ledger of a new network. Durable on return.
///
/// # Errors
/// [`ProvisionError`], also when a node's folder holds a ledger or an identity already; folders made so far stay.
///
/// # Panics
/// When the system has no entropy.
pub fn provision(spec: &NetworkSpec<'_>) -> Result<Network, ProvisionError> {
    let validity = a_year_from(spec.now);
    let service_key = SigningKey::generate(Curve::P384);
    let service_cert = service_certificate(&service_key, validity)?;
    let mut secret = vec![0; LEDGER_SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut secret).expect("the system has entropy");
    let secret = SecretBytes::new(secret);
    let secret = LedgerSecret::new(secret.expose().try_into().expect("it was made so long"));

    let mut identities = Vec::new();
    for encryption_key in encryption_keys(spec.nodes.len()) {
        let key = SigningKey::generate(Curve::P384);
        let names = node_names(key.public(), spec.names);
        let endorsement = EndorseNode { key: key.public(), names: &names, validity };
        let cert = endorse_node(&service_key, &service_cert, &endorsement)?;
        identities.push(Identity::new(
            &key,
            cert,
            &service_key,
            service_cert.clone(),
            encryption_key,
            secret.clone().into(),
        ));
    }
    let entries = first_entries(&identities, spec)?;
    for (node, identity) in spec.nodes.iter().zip(&identities) {
        let ledger = node.folder.join(LEDGER_FOLDER);
        let failed = |source| ProvisionError::File { path: ledger.clone(), source };
        fs::create_dir_all(&node.folder).map_err(failed)?;
        fs::create_dir(&ledger).map_err(failed)?;
        identity.seal(&node.folder)?;
        write_ledger(&ledger, &entries).map_err(failed)?;
        // The names of all this, and that of the folder itself.
        let parent = node.folder.parent().filter(|path| !path.as_os_str().is_empty());
        for folder in [Some(node.folder.as_path()), parent].into_iter().flatten() {
            let synced = File::open(folder).and_then(|open| open.sync_all());
            synced.map_err(|source| ProvisionError::File { path: folder.into(), source })?;
        }
    }
    Ok(Network {
        service_cert_pem: service_cert.pem(),
        nodes: identities.iter().map(|identity| identity.node_id).collect(),
    })
}

/// Makes so many RSA keys side by side: each takes a tenth of a second, more or less.
///
/// # Panics
/// When the system has no entropy, or starts no thread.
#[must_use]
pub fn encryption_keys(count: usize) -> Vec<Arc<DecryptionKey>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(DecryptionKey::generate)).collect();
        let keys =
            threads.into_iter().map(|thread| thread.join().expect("making a key does not panic"));
        keys.map(Arc::new).collect()
    })
}

fn write_ledger(folder: &Path, entries: &[Bytes]) -> io::Result<()> {
    let mut files = LedgerFiles::open(DiskFolder::new(folder))?.into_writer()?;
    for entry in entries {
        files.append(entry, false)?;
    }
    files.sync()?;
    Ok(())
}

/// The first entries, under the first node's signature.
fn first_entries(
    identities: &[Identity],
    spec: &NetworkSpec<'_>,
) -> Result<Vec<Bytes>, ProvisionError> {
    let first = identities.first().expect("a network has a node");
    let signer = ServiceSigner::new(
        first.node_key_secret(),
        first.node_cert.pem(),
        first.service_key_secret(),
    )
    .expect("keys that were just made can sign");
    let mut ledger = FirstLedger::new(first.ledger_secrets().newest().secret.clone());
    let mut nodes = Vec::new();
    for (identity, node) in identities.iter().zip(spec.nodes) {
        nodes.push(GenesisNode {
            node_id: identity.node_id,
            certificate_pem: identity.node_cert.pem(),
            request_pem: Some(identity.request()?.pem()),
            quote_format: PlatformId::Insecure.quote_format().to_owned(),
            code_digest: spec.code_digest,
            rpc_address: node.client_address.clone(),
            peer_address: node.peer_address.clone(),
            encryption_key_pem: identity.encryption_key().public().pem(),
        });
    }
    let cert = first.service_cert.pem();
    ledger.append(&genesis_write_set(&cert, &nodes))?;
    ledger.sign(&signer, spec.now)?;

    let mut store = Store::new(state::schema(), [0; 2]);
    for seqno in 1..=2 {
        store.apply(Seqno(seqno), &WriteSet::new()).expect("an empty write set applies");
    }
    let maps = EvmMaps::find(|name| store.map(name)).expect("the store was made with these maps");
    let mut tx = store.begin();
    spec.genesis.write(&mut tx, &maps);
    let changes = tx.finish();
    let mut writes = store.commit(Seqno(3), changes).expect("nothing else writes");
    match spec.governance {
        Some(governance) => {
            Governance::new(&Engine::new()).check_constitution(&governance.constitution)?;
            governance.put(&mut writes)?;
            put_virtual_measurement(&mut writes, &spec.code_digest);
        }
        None => put_service(&mut writes, &cert, ServiceStatus::Open),
    }
    ledger.append(&writes)?;
    ledger.sign(&signer, spec.now)?;
    Ok(ledger.into_entries())
}

#[cfg(test)]
mod tests {
    use coco_evm::genesis::ChainConfig;

    use super::*;
    use crate::{disk::in_full, identity::IDENTITY_FILE};

    /// What a making that was cut short left is never taken for a part of the next network.
    #[test]
    fn nothing_is_made_over_what_is_there() {
        let folder = tempfile::tempdir().expect("makes a folder").keep();
        let nodes = [0, 1].map(|i| NodeSpec {
            folder: folder.join(format!("n{i}")),
            client_address: format!("127.0.0.1:{}", 1000 + i),
            peer_address: format!("127.0.0.1:{}", 2000 + i),
        });
        let make = || {
            provision(&NetworkSpec {
                nodes: &nodes,
                code_digest: Digest::ZERO,
                names: &[],
                genesis: &Genesis::new(ChainConfig::new(1)),
                governance: None,
                now: 1_700_000_000,
            })
        };
        let made = make().expect("there is nothing yet");
        let kept = fs::read(nodes[1].folder.join(IDENTITY_FILE)).expect("reads");
        let refused = |missing: &Path, in_the_way: &Path| {
            fs::remove_dir_all(&nodes[0].folder).expect("removes");
            if missing.is_dir() {
                fs::remove_dir_all(missing).expect("removes");
            } else if missing.exists() {
                fs::remove_file(missing).expect("removes");
            }
            let text = in_full(&make().expect_err("something is there"));
            assert!(text.contains(&in_the_way.display().to_string()), "{text}");
            assert!(text.contains("exists"), "{text}");
        };
        let (ledger, identity) =
            (nodes[1].folder.join(LEDGER_FOLDER), nodes[1].folder.join(IDENTITY_FILE));
        refused(Path::new("/nothing"), &ledger);
        assert_eq!(fs::read(&identity).expect("reads"), kept);
        refused(&ledger, &identity);
        assert_eq!(fs::read(&identity).expect("reads"), kept);
        let found = Identity::open(&nodes[1].folder).expect("opens").node_id;
        assert_eq!(found, made.nodes[1]);
        fs::remove_dir_all(&folder).expect("removes");
    }
}
