//! What nodes hold, against the maxima that bound it.

use bytes::Bytes;
use coco_consensus::{Limits, Said, What};
use coco_kv::{MapName, Reader};
use coco_ledger::{NODES_MAP, NodeStatus, read_node};
use coco_planted::Bug;
use coco_replica::{GOVERN_WAITING_MAX, PENDING_NODES_MAX, Replica, Settings};
use coco_types::{Role, Seqno};

use crate::{Plan, Planted};

/// Of so many looks at nodes one counts what consensus holds.
const COUNTED_EVERY: u64 = 4;
/// Bytes of a message beside its entries, and beside the data of each.
const MESSAGE_OWN_BYTES: usize = 64;

/// The maxima of a run.
#[derive(Debug)]
pub(super) struct Maxima {
    settings: Settings,
    limits: Limits,
    /// A planted bug that lies about what is committed is to be found by what comes of that.
    knows_committed: bool,
    /// Whether strangers introduce themselves.
    has_newcomers: bool,
    looks: u64,
}

impl Maxima {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            settings: plan.settings,
            limits: plan.limits,
            knows_committed: plan.planted != Some(Planted::Inside(Bug::CommitOlderView)),
            has_newcomers: plan.newcomers > 0,
            looks: 0,
        }
    }

    /// A node holds more for committed, and has forgotten what is far below.
    pub(super) fn committed(&self, node: usize, reader: &Reader, committed: Seqno) {
        let lowest = Seqno(committed.0.saturating_sub(self.settings.retained_entries));
        let lowest = reader.pinned().map_or(lowest, |pinned| pinned.min(lowest));
        let oldest = reader.oldest();
        assert!(
            oldest >= lowest,
            "n{node} retains everything from {oldest} on, and needs {lowest}"
        );
    }

    /// Looks at what a node holds after a step.
    pub(super) fn look(&mut self, node: usize, replica: &Replica, ledger: &[Bytes]) {
        self.looks += 1;
        if !self.looks.is_multiple_of(COUNTED_EVERY) {
            return;
        }
        let held = replica.held();
        let waiting = held.govern_waiting;
        assert!(waiting <= GOVERN_WAITING_MAX, "{waiting} requests of members wait at n{node}");
        let status = held.consensus;
        // Others have what a primary wrote.
        if self.has_newcomers && status.role == Role::Primary {
            let pending = pending_nodes(&replica.reader());
            assert!(pending <= PENDING_NODES_MAX, "{pending} nodes are pending at n{node}");
        }
        let (bytes, bytes_max) = (status.window_bytes, self.limits.window_bytes);
        // What is not committed, or not on the disk, is kept beyond the limit.
        let is_needed =
            !self.knows_committed || status.window_first > status.committed.min(status.persisted);
        assert!(
            is_needed || bytes <= bytes_max,
            "n{node} has {bytes} bytes in memory, {bytes_max} at most"
        );
        for progress in &status.progress {
            let (inflight, most) = (progress.inflight, self.limits.inflight_messages);
            assert!(
                inflight <= most,
                "{inflight} messages to one node are on their way, {most} at most"
            );
        }
        // The last proposal may reach past it.
        let last = ledger.last().filter(|_| status.role == Role::Primary).map_or(0, Bytes::len);
        let (bytes, bytes_max) = (status.uncommitted_bytes, self.limits.uncommitted_bytes);
        assert!(
            bytes.saturating_sub(last) < bytes_max,
            "n{node} has proposed {bytes} bytes that are not committed, {bytes_max} at most"
        );
    }

    /// A node sends a message.
    pub(super) fn sent(&self, message: &Bytes) {
        if message.len() <= self.limits.message_bytes {
            return;
        }
        let Ok(Said { what: What::Append { previous, last, .. }, .. }) = Said::read(message) else {
            return;
        };
        let entries = usize::try_from(last.seqno.0 - previous.seqno.0).unwrap_or(usize::MAX);
        let own = MESSAGE_OWN_BYTES.saturating_mul(entries.saturating_add(1));
        // A large entry travels alone.
        let is_small = message.len() <= self.limits.message_bytes.saturating_add(own);
        let bytes = message.len();
        assert!(
            entries <= 1 || is_small,
            "{entries} entries travel together in {bytes} bytes, {} at most",
            self.limits.message_bytes
        );
    }
}

/// How many nodes nobody has decided about.
fn pending_nodes(reader: &Reader) -> usize {
    let head = reader.head();
    let Some(map) = head.map(&MapName::from_static(NODES_MAP)) else { return 0 };
    let rows = head.range(map, &[], None, usize::MAX);
    let is_pending = |key: &[u8], row: &[u8]| {
        let node = std::str::from_utf8(key).expect("an id").parse().expect("an id");
        read_node(node, row).expect("a row").status == NodeStatus::Pending
    };
    rows.iter().filter(|(key, row)| is_pending(key, row)).count()
}
