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
use tokio::{sync::oneshot, time::timeout_at};

use super::service::Service;
use crate::{driver::Submission, peers::TakeForwarded};

/// How long a write looks for a primary before it gives up.
pub(super) const PRIMARY_TIME: Duration = Duration::from_secs(8);
/// Wait before the next attempt when there is no primary.
const RETRY: Duration = Duration::from_millis(25);
/// How long a forwarded request waits for its answer before it is sent again.
const FORWARD_TIME: Duration = Duration::from_secs(5);
/// How soon a forwarded request notices that the primary is another one.
const PRIMARY_WATCH: Duration = Duration::from_millis(50);
/// Transactions checked between two yields, so that one large batch does not hold a thread for long.
const CHECKS_PER_TURN: usize = 32;

/// What a client hears of one write.
#[derive(Clone, Debug)]
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
        while !checked.is_empty() {
            let replies = self.attempt(&raw, &mut checked, deadline).await;
            let mut again = Vec::new();
            for ((i, _), reply) in checked.into_iter().zip(replies) {
                match reply {
                    Some(answer) => answers[i] = Some(answer),
                    None => again.push((i, None)),
                }
            }
            checked = again;
            if checked.is_empty() || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(RETRY).await;
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
    async fn deposed(&self, primary: NodeId) {
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
        let mut batch = Vec::with_capacity(items.len());
        let mut waiting = Vec::with_capacity(items.len());
        for (i, transaction) in items.iter_mut() {
            let transaction = match transaction.take() {
                Some(transaction) => transaction,
                // An earlier attempt used it up.
                None => match self.checker().check(&raw[*i]) {
                    Ok(transaction) => transaction,
                    Err(refusal) => {
                        waiting.push(Err(refusal));
                        continue;
                    }
                },
            };
            let (reply, receiver) = oneshot::channel();
            batch.push(Submission { transaction, reply });
            waiting.push(Ok(receiver));
        }
        if self.inbox().submit(batch).is_err() {
            return vec![Some(Submitted::Full); items.len()];
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for receiver in waiting {
            answers.push(match receiver {
                Ok(receiver) => receiver.await.ok().and_then(answer),
                Err(refusal) => Some(Submitted::Refused(refusal)),
            });
        }
        answers
    }

    /// Waits until `id` is decided, at most until `deadline`.
    pub(crate) async fn decided(&self, id: TxId, deadline: Instant) -> TxStatus {
        let status = self.state().status(id);
        if matches!(status, TxStatus::Committed | TxStatus::Invalid) {
            return status;
        }
        let Some(receiver) = self.waiters().wait(id) else { return status };
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
                    submitted = self
                        .submit(vec![raw.clone()], deadline)
                        .await
                        .pop()
                        .expect("one answer each");
                }
                status => return (submitted, status),
            }
        }
    }

    /// Keeps an eye on writes whose callers have their answer: those that a lost primary takes with it are sent again.
    pub(crate) fn see_through(self: &Arc<Self>, writes: Vec<(Bytes, TxId)>) {
        let Some(last) = writes.iter().map(|(_, id)| *id).max() else { return };
        let service = Arc::clone(self);
        tokio::spawn(async move {
            let deadline = Instant::now() + PRIMARY_TIME;
            if service.decided(last, deadline).await == TxStatus::Committed {
                return;
            }
            for (raw, id) in writes {
                if service.state().status(id) != TxStatus::Committed {
                    service.submit_and_commit(raw, Submitted::In(id), deadline).await;
                }
            }
        });
    }
}

fn answer(reply: Reply) -> Option<Submitted> {
    match reply {
        Reply::Executed(id) | Reply::Earlier(id) => Some(Submitted::In(id)),
        Reply::Refused(refusal) => Some(Submitted::Refused(refusal)),
        Reply::NotPrimary(_) => None,
    }
}

impl TakeForwarded for Arc<Service> {
    async fn take(&self, items: Vec<Bytes>) -> Vec<Reply> {
        // Signatures are verified again: what a peer says of a transaction is not what its sender signed.
        let mut replies = Vec::with_capacity(items.len());
        let mut waiting = Vec::new();
        let mut batch = Vec::new();
        for (i, result) in self.check_all(&items).await.into_iter().enumerate() {
            replies.push(match result {
                Ok(transaction) => {
                    let (reply, receiver) = oneshot::channel();
                    batch.push(Submission { transaction, reply });
                    waiting.push((i, receiver));
                    Reply::NotPrimary(None)
                }
                Err(refusal) => Reply::Refused(refusal),
            });
        }
        if self.inbox().submit(batch).is_ok() {
            for (i, receiver) in waiting {
                if let Ok(reply) = receiver.await {
                    replies[i] = reply;
                }
            }
        }
        replies
    }
}
