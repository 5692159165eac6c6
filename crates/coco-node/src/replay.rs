//! The ledger at start-up, with what a node's identity knows of it; see [`LoadLedger`].

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use coco_crypto::{Certificate, DecryptionKey};
use coco_evm::state;
use coco_kv::MapSpec;
use coco_replica::{Keyring, LoadLedger, LoadLedgerError, Loader};
use tracing::{info, warn};

use crate::{
    disk::in_full,
    folder::LedgerFiles,
    identity::Identity,
    snapshot_files::{SNAPSHOT_FOLDER, SnapshotFiles},
};

/// What a node knows of its ledger before it reads it.
pub(crate) struct Known {
    keyring: Keyring,
    schema: Vec<MapSpec>,
    service: Certificate,
    retained_entries: u64,
}

impl Known {
    pub(crate) fn of(identity: &Identity, retained_entries: u64) -> Self {
        Self {
            keyring: Keyring {
                secrets: identity.ledger_secrets().clone(),
                cipher: Arc::<DecryptionKey>::clone(identity.encryption_key()),
            },
            schema: state::schema(),
            service: identity.service_cert.clone(),
            retained_entries,
        }
    }

    pub(crate) fn load(&self) -> LoadLedger<'_> {
        LoadLedger {
            keyring: &self.keyring,
            service: self.service.key(),
            schema: &self.schema,
            retained_entries: self.retained_entries,
        }
    }
}

/// Makes the state.
pub(crate) fn load_ledger(
    known: &Known,
    files: &mut LedgerFiles,
    snapshots: &SnapshotFiles,
) -> Result<Loader, LoadLedgerError> {
    let started = Instant::now();
    let (loader, snapshot) = known.load().load(files, snapshots, |name, error| {
        warn!(file = %name, error = in_full(error), "the snapshot cannot be used");
    })?;
    let (last, millis) = (loader.last(), started.elapsed().as_millis());
    match snapshot {
        Some(snapshot) => info!(%snapshot, %last, millis, "ledger loaded"),
        None => info!(%last, millis, "ledger replayed"),
    }
    Ok(loader)
}

/// The folder of snapshots inside a node's folder.
pub(crate) fn snapshot_folder(data_dir: &Path) -> PathBuf {
    data_dir.join(SNAPSHOT_FOLDER)
}
