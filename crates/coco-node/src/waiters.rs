//! Who waits until a transaction is committed: callers, and promises to callers who have gone.

use std::collections::BTreeMap;

use bytes::Bytes;
use coco_replica::LedgerState;
use coco_types::{Seqno, TxId, TxStatus};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Most that may wait at one time. One more caller is told that its transaction is pending; one more promise is not
/// kept.
pub const WAITERS_MAX: usize = 200_000;

/// Whoever waits, by the position that they wait for.
#[derive(Debug)]
pub struct Waiters {
    waiting: Mutex<Waiting>,
    lost: mpsc::Sender<Promise>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_seqno: BTreeMap<Seqno, Vec<(TxId, Waiter)>>,
    count: usize,
}

#[derive(Debug)]
enum Waiter {
    Caller(oneshot::Sender<TxStatus>),
    Promise(Promise),
}

/// Raw transactions of one entry whose callers were told that they are executed.
#[derive(Debug)]
pub struct Promise(pub Vec<Bytes>);

impl Waiters {
    /// Nobody waits yet. Promises whose entry is lost come out of the receiver.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Promise>) {
        let (lost, receiver) = mpsc::channel(WAITERS_MAX);
        (Self { waiting: Mutex::default(), lost }, receiver)
    }

    /// Waits for `id` to be committed or ruled out. `None` when too many wait already. The caller looks at the status
    /// once more after this call, in case it was decided in between.
    pub fn wait(&self, id: TxId) -> Option<oneshot::Receiver<TxStatus>> {
        let (sender, receiver) = oneshot::channel();
        self.add(id, Waiter::Caller(sender)).then_some(receiver)
    }

    /// Gives the promise out as lost should `id` not become committed.
    pub fn see_through(&self, id: TxId, promise: Promise) {
        // Over the maximum it is not kept: its transactions were executed, and are most likely committed soon.
        let _kept: bool = self.add(id, Waiter::Promise(promise));
    }

    /// Gives the promise out at once.
    pub fn lost(&self, promise: Promise) {
        // A full queue is that of a node which cannot reach a primary; then nobody's promises are kept.
        let _full: Result<(), mpsc::error::TrySendError<Promise>> = self.lost.try_send(promise);
    }

    fn add(&self, id: TxId, waiter: Waiter) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.count >= WAITERS_MAX {
            return false;
        }
        waiting.by_seqno.entry(id.seqno).or_default().push((id, waiter));
        waiting.count += 1;
        true
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
        for (id, waiter) in woken {
            let status = match state.status(id) {
                status @ (TxStatus::Committed | TxStatus::Invalid) => status,
                // Rolled back here. A later primary could only bring it back from a log that still holds it; the
                // caller is told to submit again, which is idempotent.
                TxStatus::Pending | TxStatus::Unknown => TxStatus::Unknown,
            };
            match waiter {
                Waiter::Caller(sender) => {
                    // A caller that has gone away does not need to know.
                    let _gone: Result<(), TxStatus> = sender.send(status);
                }
                Waiter::Promise(promise) if status != TxStatus::Committed => self.lost(promise),
                Waiter::Promise(_) => {}
            }
        }
    }
}
