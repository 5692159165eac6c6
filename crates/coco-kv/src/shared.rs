//! What the writer and all readers share: the maps, and which versions may be read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use coco_types::Seqno;
use parking_lot::{Mutex, RwLock};

use crate::{hash::Keyed, snapshot::NotRetained, table::Catalogue};

/// Shared by one writer and its readers.
pub(crate) struct Shared {
    pub(crate) keyed: Keyed,
    catalogue: RwLock<Arc<Catalogue>>,
    versions: Mutex<Versions>,
}

/// Which versions may be read, and which must stay readable.
struct Versions {
    oldest: Seqno,
    newest: Seqno,
    pins: BTreeMap<Seqno, Pinned>,
}

/// How many snapshots hold a version, and whether it was rolled back under them.
struct Pinned {
    snapshots: usize,
    is_torn: Arc<AtomicBool>,
}

/// Keeps one version readable while it lives.
pub(crate) struct Pin {
    shared: Arc<Shared>,
    catalogue: Arc<Catalogue>,
    version: Seqno,
    is_torn: Arc<AtomicBool>,
}

impl Shared {
    /// Maps whose one version is `version`.
    pub(crate) fn new(keyed: Keyed, catalogue: Arc<Catalogue>, version: Seqno) -> Self {
        let versions = Versions { oldest: version, newest: version, pins: BTreeMap::new() };
        Self { keyed, catalogue: RwLock::new(catalogue), versions: Mutex::new(versions) }
    }

    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read())
    }

    pub(crate) fn replace_catalogue(&self, catalogue: Arc<Catalogue>) {
        *self.catalogue.write() = catalogue;
    }

    /// The oldest and the newest version that can be read.
    pub(crate) fn range(&self) -> (Seqno, Seqno) {
        let versions = self.versions.lock();
        (versions.oldest, versions.newest)
    }

    /// The lowest version that a snapshot holds.
    pub(crate) fn pinned(&self) -> Option<Seqno> {
        self.versions.lock().pins.first_key_value().map(|(version, _)| *version)
    }

    /// Makes `version` the newest, once all its writes are in their maps.
    pub(crate) fn publish(&self, version: Seqno) {
        let mut versions = self.versions.lock();
        assert_eq!(version, versions.newest.next(), "versions follow one another");
        versions.newest = version;
    }

    /// Makes `to` the newest version again, before the writes above it are taken away.
    pub(crate) fn withdraw(&self, to: Seqno) {
        let mut versions = self.versions.lock();
        assert!(
            versions.oldest <= to && to <= versions.newest,
            "only retained versions can be returned to"
        );
        versions.newest = to;
        for pinned in versions.pins.split_off(&to.next()).into_values() {
            pinned.is_torn.store(true, Ordering::Release);
        }
    }

    /// Makes `asked` the oldest version, or the lowest that a snapshot holds, and says which it became.
    pub(crate) fn raise_oldest(&self, asked: Seqno) -> Seqno {
        let mut versions = self.versions.lock();
        let pinned =
            versions.pins.first_key_value().map_or(Seqno(u64::MAX), |(version, _)| *version);
        let bound = asked.min(pinned).min(versions.newest);
        versions.oldest = versions.oldest.max(bound);
        versions.oldest
    }

    /// Pins `asked`, or the newest version when nothing is asked for.
    pub(crate) fn pin(self: &Arc<Self>, asked: Option<Seqno>) -> Result<Pin, NotRetained> {
        let mut versions = self.versions.lock();
        let Versions { oldest, newest, ref mut pins } = *versions;
        let version = asked.unwrap_or(newest);
        if version < oldest || version > newest {
            return Err(NotRetained { asked: version, oldest, newest });
        }
        let pinned =
            pins.entry(version).or_insert_with(|| Pinned { snapshots: 0, is_torn: Arc::default() });
        pinned.snapshots += 1;
        let is_torn = Arc::clone(&pinned.is_torn);
        drop(versions);
        Ok(Pin { shared: Arc::clone(self), catalogue: self.catalogue(), version, is_torn })
    }
}

impl Pin {
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    pub(crate) const fn version(&self) -> Seqno {
        self.version
    }

    pub(crate) fn is_torn(&self) -> bool {
        self.is_torn.load(Ordering::Acquire)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut versions = self.shared.versions.lock();
        // A torn pin has left the registry, and another may stand under its version by now.
        if let Some(pinned) = versions.pins.get_mut(&self.version)
            && Arc::ptr_eq(&pinned.is_torn, &self.is_torn)
        {
            pinned.snapshots -= 1;
            if pinned.snapshots == 0 {
                versions.pins.remove(&self.version);
            }
        }
    }
}
