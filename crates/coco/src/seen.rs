//! What commands have seen of a service, from one to the next: none shows an older state than the one before it, whichever
//! node it asks.
//!
//! One small file a service, in the folder of what is kept in passing. Whoever removes it loses nothing else.

use std::{fs, path::PathBuf, time::UNIX_EPOCH};

use coco_client::ServiceIdentity;
use coco_types::TxId;

use crate::{
    contexts,
    files::{self, Rights},
};

/// The newest transaction that was seen; none without a file that says so.
pub(crate) fn load(service: ServiceIdentity) -> Option<TxId> {
    let path = path(service)?;
    files::read_text(&path).ok()?.trim().parse().ok()
}

/// When it was seen, in seconds since 1970, by the clock of this machine.
pub(crate) fn when(service: ServiceIdentity) -> Option<u64> {
    let written = fs::metadata(path(service)?).and_then(|file| file.modified()).ok()?;
    Some(written.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Keeps it for the next command. Where it cannot be kept, that one begins without.
pub(crate) fn keep(service: ServiceIdentity, transaction: TxId) {
    if load(service).is_some_and(|kept| kept.seqno >= transaction.seqno) {
        return;
    }
    if let Some(path) = path(service) {
        let text = format!("{transaction}\n");
        let _kept: Option<()> = files::replace(&path, text.as_bytes(), Rights::Public).ok();
    }
}

/// Where it is kept.
pub(crate) fn path(service: ServiceIdentity) -> Option<PathBuf> {
    let name = service.to_string().replace(':', "-");
    Some(contexts::state_folder().ok()?.join("seen").join(name))
}
