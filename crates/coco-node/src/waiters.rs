//! Callers who wait until a transaction is committed.

use std::collections::BTreeMap;

use coco_replica::LedgerState;
use coco_types::{Seqno, TxId, TxStatus};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Most callers that may wait at one time. One more is told that its transaction is pending.
pub const WAITERS_MAX: usize = 200_000;

/// The waiting callers, by the position that they wait for.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_seqno: BTreeMap<Seqno, Vec<(TxId, oneshot::Sender<TxStatus>)>>,
    count: usize,
}

impl Waiters {
    /// Waits for `id` to be committed or ruled out. `None` when too many wait already. The caller looks at the status
    /// once more after this call, in case it was decided in between.
    pub fn wait(&self, id: TxId) -> Option<oneshot::Receiver<TxStatus>> {
        let mut waiting = self.waiting.lock();
        if waiting.count >= WAITERS_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.by_seqno.entry(id.seqno).or_default().push((id, sender));
        waiting.count += 1;
        Some(receiver)
    }

    /// Wakes everyone whose transaction is decided: all at or below the committed position, and those above a
    /// roll-back whose entry is gone.
    pub fn wake(&self, state: &LedgerState, rolled_back_to: Option<Seqno>) {
        let committed = state.committed().seqno;
        let mut woken = Vec::new();
        {
            let mut waiting = self.waiting.lock();
            let later = waiting.by_seqno.split_off(&committed.next());
            woken.extend(std::mem::replace(&mut waiting.by_seqno, later).into_values().flatten());
            if let Some(to) = rolled_back_to {
                woken.extend(waiting.by_seqno.split_off(&to.next()).into_values().flatten());
            }
            waiting.count -= woken.len();
        }
        for (id, sender) in woken {
            let status = match state.status(id) {
                status @ (TxStatus::Committed | TxStatus::Invalid) => status,
                // Rolled back here. A later primary could only bring it back from a log that still holds it; the
                // caller is told to submit again, which is idempotent.
                TxStatus::Pending | TxStatus::Unknown => TxStatus::Unknown,
            };
            // A caller that has gone away does not need to know.
            let _gone: Result<(), TxStatus> = sender.send(status);
        }
    }
}
