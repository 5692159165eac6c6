//! The ledger at start-up, with what a node's identity knows of it; see [`LoadLedger`].

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use coco_evm::state;
use coco_replica::{LoadLedger, LoadLedgerError, Loader};
use tracing::{info, warn};

use crate::{
    disk::in_full,
    folder::LedgerFiles,
    identity::Identity,
    snapshot_files::{SNAPSHOT_FOLDER, SnapshotFiles},
};

/// Makes the state.
pub(crate) fn load_ledger(
    identity: &Identity,
    retained_entries: u64,
    files: &mut LedgerFiles,
    snapshots: &SnapshotFiles,
) -> Result<Loader, LoadLedgerError> {
    let started = Instant::now();
    let secret = identity.ledger_secret();
    let load = LoadLedger {
        secret: &secret,
        service: identity.service_cert.key(),
        schema: &state::schema(),
        index_key: secret.index_key(),
        retained_entries,
    };
    let (loader, snapshot) = load.load(files, snapshots, |name, error| {
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
