//! Writes: to the local replica on the primary, over the peer channel on a backup, again when the primary is lost.
//!
//! Sending a transaction again is safe: the adapter recognises it and answers with the first result.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coco_adapter::{Check, Checked, Refusal};
use coco_replica::Reply;
use coco_types::{NodeId, Role, TxId, TxStatus};
use hyper::body::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout_at,
};

use super::service::Service;
use crate::{
    driver::{NotQueued, Submission},
    govern::{Answer, Question},
    peers::TakeForwarded,
    waiters::Promise,
};

/// How long a write looks for a primary before it gives up.
pub(super) const PRIMARY_TIME: Duration = Duration::from_secs(8);
/// Wait before the next attempt when there is no primary.
pub(super) const RETRY: Duration = Duration::from_millis(25);
/// Wait before something that may have been executed is sent again to a queue that is full.
const FULL_RETRY: Duration = Duration::from_millis(250);
/// How long a forwarded request waits for its answer before it is sent again.
const FORWARD_TIME: Duration = Duration::from_secs(5);
/// How soon a forwarded request notices that the primary is another one.
const PRIMARY_WATCH: Duration = Duration::from_millis(50);
/// Transactions checked between two yields, so that one large batch does not hold a thread for long.
const CHECKS_PER_TURN: usize = 32;

/// What a client hears of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// It is in this entry.
    In(TxId),
    /// It will not be executed.
    Refused(Refusal),
    /// The queue is full.
    Full,
    /// No primary could be reached in time. It may still have been executed.
    NoPrimary,
}

impl Service {
    /// Checks transactions; yields now and then.
    pub(crate) async fn check_all(&self, raw: &[Bytes]) -> Vec<Result<Checked, Refusal>> {
        let mut checked = Vec::with_capacity(raw.len());
        for (i, bytes) in raw.iter().enumerate() {
            if i > 0 && i % CHECKS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
            checked.push(self.checker().check(bytes));
        }
        checked
    }

    /// Executes transactions, wherever the primary is; looks for it until `deadline`. One answer each, in order.
    pub(crate) async fn submit(&self, raw: Vec<Bytes>, deadline: Instant) -> Vec<Submitted> {
        let deadline = deadline.min(Instant::now() + PRIMARY_TIME);
        let mut answers: Vec<Option<Submitted>> = vec![None; raw.len()];
        let mut checked = Vec::with_capacity(raw.len());
        for (i, result) in self.check_all(&raw).await.into_iter().enumerate() {
            match result {
                Ok(transaction) => checked.push((i, Some(transaction))),
                Err(refusal) => answers[i] = Some(Submitted::Refused(refusal)),
            }
        }
        let mut is_first = true;
        while !checked.is_empty() {
            let replies = self.attempt(&raw, &mut checked, deadline).await;
            let (mut again, mut wait) = (Vec::new(), RETRY);
            for ((i, _), reply) in checked.into_iter().zip(replies) {
                if reply == Some(Submitted::Full) {
                    wait = FULL_RETRY;
                }
                match settled(reply, is_first) {
                    Some(answer) => answers[i] = Some(answer),
                    None => again.push((i, None)),
                }
            }
            (checked, is_first) = (again, false);
            if checked.is_empty() || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Submitted::NoPrimary)).collect()
    }

    /// One attempt; `None` for each transaction that must be sent again.
    async fn attempt(
        &self,
        raw: &[Bytes],
        items: &mut [(usize, Option<Checked>)],
        deadline: Instant,
    ) -> Vec<Option<Submitted>> {
        let (role, primary) = {
            let state = self.state();
            (state.role(), state.primary())
        };
        match (role, primary) {
            (Role::Primary, _) => self.attempt_here(raw, items).await,
            (Role::Backup | Role::Candidate, Some(primary)) if primary != self.node_id() => {
                let bytes = items.iter().map(|(i, _)| raw[*i].clone()).collect();
                let time = FORWARD_TIME.min(deadline.saturating_duration_since(Instant::now()));
                let replies = tokio::select! {
                    replies = self.peers().forward(primary, bytes, time) => replies,
                    () = self.deposed(primary) => None,
                };
                match replies {
                    Some(replies) if replies.len() == items.len() => {
                        replies.into_iter().map(answer).collect()
                    }
                    Some(_) | None => vec![None; items.len()],
                }
            }
            (Role::Backup | Role::Candidate, _) => vec![None; items.len()],
        }
    }

    /// Ends when this node no longer takes `primary` for the primary: it will not answer what it was asked before.
    pub(super) async fn deposed(&self, primary: NodeId) {
        loop {
            tokio::time::sleep(PRIMARY_WATCH).await;
            if self.state().primary() != Some(primary) {
                return;
            }
        }
    }

    async fn attempt_here(
        &self,
        raw: &[Bytes],
        items: &mut [(usize, Option<Checked>)],
    ) -> Vec<Option<Submitted>> {
        let checked = items.iter_mut().map(|(i, transaction)| match transaction.take() {
            Some(transaction) => Ok(transaction),
            // An earlier attempt used it up.
            None => self.checker().check(&raw[*i]),
        });
        self.execute(checked.collect()).await.into_iter().map(answer).collect()
    }

    /// Has this node's replica execute what passed its check; an answer each, in their order.
    async fn execute(
        &self,
        checked: Vec<Result<Checked, Refusal>>,
    ) -> Vec<Result<Reply, NotQueued>> {
        let mut transactions = Vec::with_capacity(checked.len());
        let refused = checked
            .into_iter()
            .map(|result| result.map(|transaction| transactions.push(transaction)).err());
        let refused: Vec<Option<Refusal>> = refused.collect();
        let count = transactions.len();
        let mut executed = if count == 0 {
            Vec::new()
        } else {
            let (reply, receiver) = oneshot::channel();
            match self.inbox().submit(Submission { transactions, reply }) {
                // A replica that stops answers nobody: another one may.
                Ok(()) => match receiver.await {
                    Ok(replies) => replies.into_iter().map(Ok).collect(),
                    Err(_) => vec![Ok(Reply::NotPrimary(None)); count],
                },
                Err(not_queued) => vec![Err(not_queued); count],
            }
        }
        .into_iter();
        let answers = refused.into_iter().map(|refused| match refused {
            Some(refusal) => Ok(Reply::Refused(refusal)),
            None => executed.next().expect("the replica answers each transaction once"),
        });
        answers.collect()
    }

    /// Waits until `id` is decided, at most until `deadline`.
    pub(crate) async fn decided(&self, id: TxId, deadline: Instant) -> TxStatus {
        let status = self.state().status(id);
        if matches!(status, TxStatus::Committed | TxStatus::Invalid) {
            return status;
        }
        let Some(receiver) = self.waiters().wait(id) else { return TxStatus::Pending };
        // It may have been decided before the wait began.
        let status = self.state().status(id);
        if matches!(status, TxStatus::Committed | TxStatus::Invalid) {
            return status;
        }
        match timeout_at(deadline.into(), receiver).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) | Err(_) => TxStatus::Pending,
        }
    }

    /// Executes one transaction and waits until it is committed; sends it again when it was rolled back.
    pub(crate) async fn submit_and_commit(
        &self,
        raw: Bytes,
        first: Submitted,
        deadline: Instant,
    ) -> (Submitted, TxStatus) {
        let mut submitted = first;
        loop {
            let Submitted::In(id) = submitted else { return (submitted, TxStatus::Unknown) };
            match self.decided(id, deadline).await {
                TxStatus::Invalid | TxStatus::Unknown if Instant::now() < deadline => {
                    let again = self.submit(vec![raw.clone()], deadline).await;
                    match again.into_iter().next().expect("one answer each") {
                        // It was executed once, so that its sender must not hear that it was not.
                        Submitted::Full => tokio::time::sleep(FULL_RETRY).await,
                        other => submitted = other,
                    }
                }
                status => return (submitted, status),
            }
        }
    }

    /// Keeps an eye on writes whose callers have their answer: those that a lost primary takes with it are sent again.
    pub(crate) fn see_through(&self, writes: Vec<(Bytes, TxId)>) {
        for group in writes.chunk_by(|(_, one), (_, next)| one == next) {
            let Some((_, id)) = group.first() else { continue };
            let promise = Promise(group.iter().map(|(raw, _)| raw.clone()).collect());
            // Where it is too late to wait, it was decided before this node could look.
            if self.state().status(*id) == TxStatus::Invalid {
                self.waiters().lost(promise);
            } else {
                self.waiters().see_through(*id, promise);
            }
        }
    }

    /// Sends again what was lost with a primary, until the node stops.
    pub(crate) async fn send_lost_again(self: Arc<Self>, mut lost: mpsc::Receiver<Promise>) {
        while let Some(promise) = lost.recv().await {
            let service = Arc::clone(&self);
            tokio::spawn(async move { service.send_again(promise).await });
        }
    }

    /// Nobody waits who could be told that the queue is full, so what was promised is sent until there is room, or it is too late.
    async fn send_again(&self, Promise(mut raw): Promise) {
        let deadline = Instant::now() + PRIMARY_TIME;
        loop {
            let submitted = self.submit(raw.clone(), deadline).await;
            let (mut again, mut full) = (Vec::new(), Vec::new());
            for (raw, submitted) in raw.into_iter().zip(submitted) {
                match submitted {
                    Submitted::In(id) => again.push((raw, id)),
                    Submitted::Full => full.push(raw),
                    Submitted::Refused(_) | Submitted::NoPrimary => {}
                }
            }
            self.see_through(again);
            if full.is_empty() || Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(FULL_RETRY).await;
            raw = full;
        }
    }
}

/// What ends the attempts for a transaction. That the queue is full says that nothing was executed, which is so only of the first
/// attempt: one before it may have been executed, though nobody answered.
fn settled(reply: Option<Submitted>, is_first: bool) -> Option<Submitted> {
    reply.filter(|answer| is_first || *answer != Submitted::Full)
}

/// What the client hears of what the primary said, wherever it is; nothing, when the primary is another one.
fn answer(reply: Result<Reply, NotQueued>) -> Option<Submitted> {
    match reply {
        Ok(Reply::Executed(id) | Reply::Earlier(id)) => Some(Submitted::In(id)),
        Ok(Reply::Refused(refusal)) => Some(Submitted::Refused(refusal)),
        Ok(Reply::NotPrimary(_)) => None,
        Err(NotQueued) => Some(Submitted::Full),
    }
}

impl TakeForwarded for Arc<Service> {
    async fn take(&self, items: Vec<Bytes>) -> Vec<Result<Reply, NotQueued>> {
        // Signatures are verified again: what a peer says of a transaction is not what its sender signed.
        let checked = self.check_all(&items).await;
        self.execute(checked).await
    }

    async fn govern(&self, question: Question) -> Answer {
        self.govern_forwarded(question).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Inbox;

    #[test]
    fn a_full_queue_is_told_to_the_client_and_another_primary_is_looked_for() {
        assert!(matches!(answer(Err(NotQueued)), Some(Submitted::Full)));
        assert!(answer(Ok(Reply::NotPrimary(None))).is_none());
    }

    /// The one before may have been executed, and its answer lost.
    #[test]
    fn a_full_queue_does_not_end_what_was_sent_before() {
        assert_eq!(settled(Some(Submitted::Full), true), Some(Submitted::Full));
        assert_eq!(settled(Some(Submitted::Full), false), None);
        let executed = Submitted::In(TxId::new(2, 3));
        assert_eq!(settled(Some(executed.clone()), false), Some(executed));
        assert_eq!(settled(None, true), None);
    }

    #[test]
    fn a_queue_is_full_but_that_of_a_node_that_stops_answers_nobody() {
        let (inbox, jobs) = Inbox::new(0);
        let submit = |count: usize| {
            let (reply, receiver) = oneshot::channel();
            let transactions = (0..count).map(|_| Checked::new(0_u8)).collect();
            (inbox.submit(Submission { transactions, reply }), receiver)
        };
        assert_eq!(submit(1).0, Err(NotQueued));
        let (queued, mut waiting) = submit(0);
        assert_eq!(queued, Ok(()));
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(jobs);
        let (queued, mut waiting) = submit(0);
        assert_eq!(queued, Ok(()));
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
