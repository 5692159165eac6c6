//! Who waits until a transaction is committed: callers, and promises to callers who have gone.

use std::collections::BTreeMap;

use bytes::Bytes;
use coco_replica::LedgerState;
use coco_types::{Seqno, TxId, TxStatus, View};
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
    /// The view of the last committed entry that was heard of.
    committed_view: View,
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

    /// Wakes everyone whose transaction is decided.
    pub fn wake(&self, state: &LedgerState, rolled_back_to: Option<Seqno>) {
        let woken = self.waiting.lock().take_decided(state.committed(), rolled_back_to);
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

impl Waiting {
    /// Takes out all at or below the committed position, those above a roll-back whose entry is gone, and those of
    /// a view that ended below them. The last are waiting on a node that passed their transaction on and has never had
    /// its entry, so that it has nothing to roll back.
    fn take_decided(
        &mut self,
        committed: TxId,
        rolled_back_to: Option<Seqno>,
    ) -> Vec<(TxId, Waiter)> {
        let later = self.by_seqno.split_off(&committed.seqno.next());
        let decided = std::mem::replace(&mut self.by_seqno, later);
        let mut woken: Vec<_> = decided.into_values().flatten().collect();
        if let Some(to) = rolled_back_to {
            woken.extend(self.by_seqno.split_off(&to.next()).into_values().flatten());
        }
        if committed.view > self.committed_view {
            self.committed_view = committed.view;
            for waiting in self.by_seqno.values_mut() {
                woken.extend(waiting.extract_if(.., |(id, _)| id.view < committed.view));
            }
            self.by_seqno.retain(|_, waiting| !waiting.is_empty());
        }
        self.count -= woken.len();
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_decided_is_taken_out_once() {
        let (waiters, _lost) = Waiters::new();
        let ids: [TxId; 5] =
            [(2, 4), (2, 7), (2, 9), (3, 8), (3, 9)].map(|(view, seqno)| TxId::new(view, seqno));
        for id in ids {
            waiters.see_through(id, Promise(Vec::new()));
        }
        let take = |committed, rolled_back_to| -> Vec<TxId> {
            let mut waiting = waiters.waiting.lock();
            let woken = waiting.take_decided(committed, rolled_back_to);
            let left: usize = waiting.by_seqno.values().map(Vec::len).sum();
            assert_eq!(waiting.count, left, "what is counted waits");
            woken.into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(take(TxId::new(2, 4), None), [ids[0]], "committed");
        assert_eq!(take(TxId::new(2, 4), None), []);
        assert_eq!(take(TxId::new(3, 6), None), [ids[1], ids[2]], "their view ended below them");
        assert_eq!(take(TxId::new(3, 6), Some(Seqno(8))), [ids[4]], "rolled back");
        assert_eq!(take(TxId::new(3, 8), None), [ids[3]], "committed");
    }
}
