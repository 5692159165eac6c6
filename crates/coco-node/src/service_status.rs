//! Whether the service is open, as every request asks: one number, kept in step with the committed row.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use coco_governance::tables::{SERVICE_INFO, singleton_key};
use coco_kv::{MapName, Reader, Value};
use coco_ledger::{ServiceStatus, service_status};
use coco_types::Seqno;
use tracing::info;

/// The status as of the committed version. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct KnownStatus(Arc<AtomicU8>);

impl KnownStatus {
    /// Whether participants may transact.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == number(ServiceStatus::Open)
    }

    /// CCF's word for it. A service whose row nobody has seen is not open yet.
    #[must_use]
    pub fn word(&self) -> &'static str {
        let known = self.0.load(Ordering::Relaxed);
        let status = STATUSES.into_iter().find(|status| number(*status) == known);
        match status.unwrap_or(ServiceStatus::Opening) {
            ServiceStatus::Opening => "Opening",
            ServiceStatus::Open => "Open",
            ServiceStatus::WaitingForRecoveryShares => "WaitingForRecoveryShares",
            ServiceStatus::Recovering => "Recovering",
        }
    }
}

/// Keeps [`KnownStatus`] in step.
#[derive(Debug)]
pub(crate) struct StatusWatch {
    known: KnownStatus,
    reader: Reader,
    /// The row as it was seen last: read again only when it is another.
    seen: Option<Value>,
}

impl StatusWatch {
    /// Begins with what is committed already.
    pub(crate) fn begin(reader: Reader, committed: Seqno) -> Self {
        let known = KnownStatus(Arc::new(AtomicU8::new(UNKNOWN)));
        let mut watch = Self { known, reader, seen: None };
        watch.look(committed);
        watch
    }

    /// What it keeps in step.
    pub(crate) fn known(&self) -> KnownStatus {
        self.known.clone()
    }

    /// Looks at the row, now that everything up to `committed` is.
    pub(crate) fn look(&mut self, committed: Seqno) {
        let Ok(snapshot) = self.reader.snapshot(committed) else { return };
        let map = snapshot.map(&MapName::from_static(SERVICE_INFO));
        let row = map.and_then(|map| snapshot.get(map, singleton_key()));
        let is_same = match (&row, &self.seen) {
            (Some(row), Some(seen)) => Arc::ptr_eq(row, seen),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_same {
            return;
        }
        // A row of another form does not count as one that opens the service.
        let status = row.as_deref().and_then(service_status);
        self.seen = row;
        let new = status.map_or(UNKNOWN, number);
        if self.known.0.swap(new, Ordering::Relaxed) != new {
            info!(status = self.known.word(), "service");
        }
    }
}

const STATUSES: [ServiceStatus; 4] = [
    ServiceStatus::Opening,
    ServiceStatus::Open,
    ServiceStatus::WaitingForRecoveryShares,
    ServiceStatus::Recovering,
];

const UNKNOWN: u8 = 0;

const fn number(status: ServiceStatus) -> u8 {
    match status {
        ServiceStatus::Opening => 1,
        ServiceStatus::Open => 2,
        ServiceStatus::WaitingForRecoveryShares => 3,
        ServiceStatus::Recovering => 4,
    }
}

#[cfg(test)]
mod tests {
    use coco_kv::{Store, WriteSet};
    use coco_ledger::put_service;

    use super::*;

    #[test]
    fn the_status_is_that_of_the_committed_row() {
        let mut store = Store::new(coco_governance::tables::maps(), [1, 2]);
        let mut watch = StatusWatch::begin(store.reader(), Seqno(0));
        let known = watch.known();
        assert_eq!((known.is_open(), known.word()), (false, "Opening"));
        for (seqno, status) in (1..).zip(STATUSES) {
            let mut set = WriteSet::new();
            put_service(&mut set, "PEM", status);
            store.apply(Seqno(seqno), &set).expect("applies");
            // Written, and not committed yet.
            let before = known.word();
            watch.look(Seqno(seqno - 1));
            assert_eq!(known.word(), before);
            watch.look(Seqno(seqno));
            assert_eq!(known.word(), format!("{status:?}"));
            assert_eq!(known.is_open(), status == ServiceStatus::Open);
        }
        let mut set = WriteSet::new();
        set.insert(&MapName::from_static(SERVICE_INFO), singleton_key(), b"{}".to_vec());
        store.apply(Seqno(5), &set).expect("applies");
        watch.look(Seqno(5));
        assert!(!known.is_open(), "a row of another form opens nothing");
    }
}
